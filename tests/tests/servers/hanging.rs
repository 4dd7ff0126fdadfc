//! Servers that take questions and never answer, beside one that does.

use starling_rig::cluster::Cluster;
use starling_rig::cluster::files::Documents;
use starling_tests::sleepers::PROCESS;
use starling_tests::{binary, until};
use tokio::net::TcpListener;

use crate::counting::{self, Asked};

/// More than what is asked at once.
const HANGING: usize = 300;
/// Policies that ask the same.
const ALIKE: usize = 20;

fn policy(name: &str, url: &str) -> String {
    format!(
        "---\napiVersion: starling.sh/v1alpha1\nkind: ScalingPolicy\nmetadata: {{name: {name}}}\n\
         spec:\n  scaleTargetRef: {{kind: Process, name: {name}}}\n  pollingInterval: 1\n  \
         maxReplicaCount: 2\n  triggers:\n  - type: metrics-api\n    metadata: {{url: '{url}', \
         valueLocation: n, targetValue: '10'}}\n"
    )
}

/// Takes each connection, and says nothing.
async fn hang(listener: TcpListener, name: String, asked: Asked) {
    let mut held = Vec::new();
    while let Ok((stream, _)) = listener.accept().await {
        held.push(stream);
        *asked.lock().unwrap().entry(name.clone()).or_default() += 1;
    }
}

#[tokio::test]
async fn hanging_servers_delay_no_other_and_what_many_want_to_know_is_asked_once() {
    let asked = Asked::default();
    let url = counting::serve(&asked, None).await;
    let mut policies = policy("web", &format!("{url}/web"));
    for n in 0..ALIKE {
        policies += &policy(&format!("alike-{n}"), &format!("{url}/alike"));
    }
    for n in 0..HANGING {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        policies += &policy(&format!("hangs-{n}"), &url);
        tokio::spawn(hang(listener, format!("hangs-{n}"), asked.clone()));
    }

    let mut cluster = Cluster::new(&binary(), 1).unwrap();
    let documents = Documents {
        each: PROCESS.into(),
        first: policies,
    };
    cluster.start(&documents).await.unwrap();
    until(
        "all have been asked, and the one that answers often",
        || async {
            let asked = asked.lock().unwrap();
            let often = asked.get("/web").is_some_and(|times| *times >= 20);
            (often && asked.len() == HANGING + 2).then_some(())
        },
    )
    .await;

    let asked = asked.lock().unwrap();
    let (web, alike) = (asked["/web"], asked["/alike"]);
    let hanging = asked.iter().filter(|(name, _)| name.starts_with("hangs"));
    let hanging: Vec<usize> = hanging.map(|(_, times)| *times).collect();
    let most = hanging.iter().max().unwrap();
    let shown = format!("web {web}, alike {alike}, those that hang at most {most}");
    println!("{shown}");
    // Each is asked every second. One that hangs takes three for that, and rests then.
    assert!(most * 2 < web, "{shown}");
    assert!(alike < web * 3, "{shown}");
}
