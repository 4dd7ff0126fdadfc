//! Watches and writes that break off by a defect begin anew: each answer that comes first
//! makes whoever reads it panic, within the real task.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use kube::client::Body;
use starling_engine::unit::Ms;
use starling_kube::client::Connection;
use starling_kube::client::calls::Calls;
use starling_kube::discovery::{Discovery, Wanted};
use starling_kube::events::{Happening, Of, Teller};
use starling_kube::pods;
use starling_kube::policies::{Policies, Reads};
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(30);

/// How often each path was asked for.
type Asked = Arc<Mutex<BTreeMap<String, u32>>>;

/// An API server that has none of what it is asked for.
fn server() -> (Connection, Asked) {
    let asked = Asked::default();
    let heard = Arc::clone(&asked);
    let service = tower::service_fn(move |request: Request<Body>| {
        let path = request.uri().path().to_owned();
        let times = {
            let mut heard = heard.lock().unwrap();
            let times = heard.entry(path).or_default();
            *times += 1;
            *times
        };
        let list = r#"{"kind": "List", "metadata": {"resourceVersion": "1"}, "items": []}"#;
        let body = Full::from(list).map_frame(move |frame| {
            assert!(times > 1, "a defect in whoever reads this");
            frame
        });
        async move { Ok::<_, Infallible>(Response::new(body)) }
    });
    let connection = Connection {
        client: kube::Client::new(service, "default"),
        calls: Arc::new(Calls::default()),
    };
    (connection, asked)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never seen: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn watches_that_break_off_begin_anew() {
    let (connection, asked) = server();
    let reads = Reads {
        policies: true,
        scaled_objects: false,
    };
    let (mut policies, mut news) = Policies::new(&connection, "a", reads);
    policies.watch(true);
    let _agents = Discovery::start(
        connection.client.clone(),
        Wanted {
            namespace: "n".into(),
            service: "s".into(),
            own: "10.0.0.1".into(),
            peer_port: 1,
            api_port: 2,
        },
    );
    // What else scales is known: nothing does.
    let rivals = async {
        loop {
            let news = news.recv().await.unwrap();
            if let Some(rivals) = policies.take(news) {
                return rivals;
            }
        }
    };
    let rivals = tokio::time::timeout(PATIENCE, rivals).await.unwrap();
    assert!(rivals.is_empty());
    for of in [
        "scalingpolicies",
        "horizontalpodautoscalers",
        "scaledobjects",
        "endpointslices",
    ] {
        let again = || {
            let asked = asked.lock().unwrap();
            let mut asked = asked.iter().filter(|(path, _)| path.ends_with(of));
            asked.any(|(_, times)| *times > 1)
        };
        until(of, again).await;
    }
}

/// The event that it broke off over is lost; those that wait are not.
#[tokio::test]
async fn the_writing_of_events_begins_anew_and_goes_on_with_those_that_wait() {
    let (connection, asked) = server();
    let teller = Teller::start(&connection, "a");
    for mark in ["1", "2"] {
        teller.tell(Happening {
            of: Of {
                api_version: "v1".into(),
                kind: "Thing".into(),
                namespace: "n".into(),
                name: "x".into(),
                uid: "u".into(),
            },
            related: None,
            warning: false,
            reason: "Why".into(),
            action: "Test",
            note: String::new(),
            detail: String::new(),
            mark: mark.into(),
            at: Ms(1),
        });
    }
    let written = || asked.lock().unwrap().values().any(|times| *times > 1);
    until("the second event", written).await;
}

/// As `Platform` runs it.
#[tokio::test]
async fn the_watch_over_a_nodes_pods_begins_anew() {
    let (connection, _) = server();
    let (shown, mut pods) = watch::channel(Arc::default());
    let kept = tokio::spawn(starling_kept::again("a test", move || {
        let (connection, shown) = (connection.clone(), shown.clone());
        async move { pods::follow(&connection, "a", &shown).await }
    }));
    let listed = pods.wait_for(|it: &Arc<pods::Snapshot>| it.listed);
    let listed = tokio::time::timeout(PATIENCE, listed).await;
    assert!(listed.is_ok_and(|it| it.is_ok()));
    kept.abort();
}
