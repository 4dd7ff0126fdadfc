//! Asking real servers on loopback, most of which answer badly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::get;
use starling_engine::policy::Goal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

mod endpoints;
mod https;

const ASKED: Asked<'_> = Asked {
    namespace: "default",
    name: "web",
    composed: false,
    wall_ms: 0,
    secrets: None,
    endpoints: None,
};

/// Serves the router on a port of the system's choice.
async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A server that gives every question the same answer.
async fn answering(body: impl Into<String>) -> SocketAddr {
    let body = body.into();
    serve(Router::new().fallback(move || std::future::ready(body.clone()))).await
}

fn trigger(url: &str, more: &[(&str, &str)]) -> Trigger {
    let mut metadata = BTreeMap::from([
        ("url".to_owned(), url.to_owned()),
        ("valueLocation".to_owned(), "jobs".to_owned()),
    ]);
    for (key, value) in more {
        metadata.insert((*key).to_owned(), (*value).to_owned());
    }
    Trigger {
        name: "queue".to_owned(),
        source: Source::External {
            kind: METRICS_API.to_owned(),
            metadata,
        },
        goal: Goal::AverageValue { milli: 1_000 },
        activation_milli: 0,
        window_ms: None,
    }
}

async fn poll(address: SocketAddr) -> Result<i64, Error> {
    let trigger = trigger(&format!("http://{address}/stats?token=secret"), &[]);
    Poller::default()
        .poll(&trigger, ASKED)
        .await
        .map(|it| it.milli)
}

/// The answer `body` must be refused with `reason` behind the address.
async fn refused(body: impl Into<String>, reason: &str) {
    let address = answering(body).await;
    let error = poll(address).await.unwrap_err().to_string();
    assert_eq!(error, format!("http://{address}/stats: {reason}"));
}

#[tokio::test]
async fn numbers_and_quantities_are_read_to_the_nearest_milli_unit() {
    for (value, milli) in [
        ("12", 12_000),
        ("0", 0),
        ("2.5", 2_500),
        ("1e3", 1_000_000),
        ("0.0001", 0),
        ("0.4516", 452),
        ("\"7\"", 7_000),
        ("\"250m\"", 250),
        ("\"2Ki\"", 2_048_000),
        ("9223372036854775.807", i64::MAX),
    ] {
        let address = answering(format!("{{\"jobs\": {value}}}")).await;
        assert_eq!(poll(address).await, Ok(milli), "{value}");
    }
}

#[tokio::test]
async fn a_location_leads_through_objects_lists_and_queries() {
    let body = r#"{"a.b": 1, "queues": [{"name": "x", "jobs": 3}, {"name": "y", "jobs": 4}]}"#;
    let url = format!("http://{}/", answering(body).await);
    for (location, milli) in [
        ("a\\.b", 1_000),
        ("queues.#", 2_000),
        ("queues.1.jobs", 4_000),
        ("queues.#(name==\"x\").jobs", 3_000),
    ] {
        let trigger = trigger(&url, &[("valueLocation", location)]);
        assert_eq!(
            Poller::default()
                .poll(&trigger, ASKED)
                .await
                .map(|it| it.milli),
            Ok(milli),
            "{location}"
        );
    }
}

/// Tried with gjson, the first takes days on an answer of some kilobytes.
const SLOW: [&str; 5] = [
    "#(n%\"*a*a*a*a*a*a*a*a*b\").v",
    "*a*b",
    "queues.*a*.jobs",
    "#(n%*a*\").v",
    "#(n%x%\"*a*\").v",
];

#[tokio::test]
async fn a_location_that_would_be_tried_in_every_combination_is_refused_and_never_tried() {
    let body = format!("[{{\"n\": \"{}\", \"v\": 1}}]", "a".repeat(10_000));
    let url = format!("http://{}/", answering(body).await);
    for location in SLOW {
        let trigger = trigger(&url, &[("valueLocation", location)]);
        let Source::External { kind, metadata } = &trigger.source else {
            panic!("a source of another kind");
        };
        let (key, why) = check(kind, metadata).remove(0);
        assert_eq!(key, "valueLocation");
        assert!(why.starts_with("may hold one `*`"), "{location}: {why}");
        let error = Poller::default().poll(&trigger, ASKED).await.unwrap_err();
        assert!(matches!(error.reason, Reason::Misconfigured(_)), "{error}");
    }
}

#[tokio::test]
async fn a_location_may_look_for_a_beginning_an_end_and_a_text() {
    let body = r#"{"queues": [{"n": "x", "v": 1}, {"n": "web-jobs-1", "v": 2}], "web-1": 3}"#;
    let url = format!("http://{}/", answering(body).await);
    for (location, milli) in [
        ("web-*", 3_000),
        ("queues.#(n%\"web-*\").v", 2_000),
        ("queues.#(n%\"*-1\").v", 2_000),
        ("queues.#(n%\"*jobs*\").v", 2_000),
        ("queues.#(n!%\"*jobs*\").v", 1_000),
        ("queues.#(n%\"*jobs*\")#|#", 1_000),
    ] {
        let trigger = trigger(&url, &[("valueLocation", location)]);
        let value = Poller::default()
            .poll(&trigger, ASKED)
            .await
            .map(|it| it.milli);
        assert_eq!(value, Ok(milli), "{location}");
    }
}

#[tokio::test]
async fn looking_through_a_long_answer_holds_up_nobody_else() {
    // What one `*` can cost, or a fifth of it: a busy machine gets through with it in time.
    let name = "a".repeat(60_000);
    let url = format!(
        "http://{}/",
        answering(format!("[{{\"n\": \"{name}\"}}]")).await
    );
    let location = format!("#(n%\"*{}b\").v", "a".repeat(200));
    let trigger = trigger(&url, &[("valueLocation", &location), ("timeout", "60s")]);
    let poller = Poller::default();
    let mut answer = std::pin::pin!(poller.poll(&trigger, ASKED));
    // On one thread: it goes round only while that isn't held up.
    let mut rounds = 0;
    let result = loop {
        tokio::select! {
            result = &mut answer => break result,
            () = tokio::time::sleep(std::time::Duration::from_millis(5)) => rounds += 1,
        }
    };
    let missing = Reason::Missing { location };
    assert_eq!(result.unwrap_err().reason, missing);
    assert!(rounds >= 3, "{rounds} rounds");
}

#[tokio::test]
async fn answers_that_are_no_number_are_refused() {
    refused("{}", "the answer has no `jobs`").await;
    refused("[1]", "the answer has no `jobs`").await;
    refused("{\"jobs\": null}", "`jobs` is null, not a number").await;
    refused("{\"jobs\": true}", "`jobs` is true, not a number").await;
    refused("{\"jobs\": {}}", "`jobs` is an object, not a number").await;
    refused("{\"jobs\": [1]}", "`jobs` is a list, not a number").await;
    refused("{\"jobs\": \"many\"}", "`jobs` is `many`, not a number").await;
    refused("{\"jobs\": \"NaN\"}", "`jobs` is `NaN`, not a number").await;
    refused("{\"jobs\": \"+Inf\"}", "`jobs` is `+Inf`, not a number").await;
    refused("{\"jobs\": \"\"}", "`jobs` is ``, not a number").await;
    refused("{\"jobs\": -1}", "`jobs` is negative: -1").await;
    refused("{\"jobs\": \"-1m\"}", "`jobs` is negative: -1m").await;
    refused("{\"jobs\": 1e300}", "`jobs` is too large: 1e300").await;
    refused(
        "{\"jobs\": 9223372036854775.808}",
        "`jobs` is too large: 9223372036854775.808",
    )
    .await;
    refused(
        format!("{{\"jobs\": \"{}\"}}", "x\\n".repeat(100)),
        &format!("`jobs` is `{}…`, not a number", "x\\n".repeat(40)),
    )
    .await;
}

#[tokio::test]
async fn answers_that_are_not_json_are_refused() {
    for body in [
        "jobs 12",
        "",
        "{\"jobs\": NaN}",
        "{\"jobs\": Infinity}",
        "{\"jobs\": 1",
        "{\"jobs\": 1}x",
    ] {
        let address = answering(body).await;
        let error = poll(address).await.unwrap_err();
        assert!(
            matches!(error.reason, Reason::Unreadable { format: "JSON", .. }),
            "{body}: {error}"
        );
        assert!(
            error.to_string().contains("the answer is not JSON: "),
            "{error}"
        );
    }
    let deep = answering("[".repeat(900_000)).await;
    let error = poll(deep).await.unwrap_err();
    assert!(
        matches!(error.reason, Reason::Unreadable { format: "JSON", .. }),
        "{error}"
    );
}

#[tokio::test]
async fn statuses_from_300_on_are_refused() {
    let refused = (StatusCode::INTERNAL_SERVER_ERROR, "{\"jobs\": 1}");
    let router = Router::new()
        .route("/broken", get(move || async move { refused }))
        .route("/known", get(|| async { StatusCode::NOT_MODIFIED }))
        .route("/nowhere", get(|| async { StatusCode::FOUND }));
    let address = serve(router).await;
    for (path, reason) in [
        ("broken", "answered HTTP 500"),
        ("absent", "answered HTTP 404"),
        ("known", "answered HTTP 304"),
        ("nowhere", "answered HTTP 302"),
    ] {
        let url = format!("http://{address}/{path}");
        let error = Poller::default()
            .poll(&trigger(&url, &[]), ASKED)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), format!("{url}: {reason}"));
    }
}

/// `/9` leads to `/8`, and so on to the number.
fn stairs() -> Router {
    let step = |axum::extract::Path(step): axum::extract::Path<u32>| async move {
        match step.checked_sub(1) {
            Some(next) => Redirect::to(&next.to_string()).into_response(),
            None => "{\"jobs\": 1}".into_response(),
        }
    };
    Router::new().route("/steps/{step}", get(step))
}

#[tokio::test]
async fn redirects_are_followed_ten_times_and_never_to_another_scheme() {
    let secure = || async { Redirect::permanent("https://127.0.0.1:1/stats?key=1") };
    let address = serve(stairs().route("/secure", get(secure))).await;
    let poll = async |path: &str| {
        let url = format!("http://{address}/{path}");
        let trigger = trigger(&url, &[]);
        let answer = Poller::default()
            .poll(&trigger, ASKED)
            .await
            .map(|it| it.milli);
        answer.map_err(|error| error.to_string().replace(&url, "URL"))
    };
    assert_eq!(poll("steps/0").await, Ok(1_000));
    assert_eq!(poll("steps/10").await, Ok(1_000));
    let why = "URL: is redirected more than 10 times";
    assert_eq!(poll("steps/11").await, Err(why.to_owned()));
    let why = "URL: is redirected to https://127.0.0.1:1/stats, which is another scheme; write \
               that address";
    assert_eq!(poll("secure").await, Err(why.to_owned()));
}

#[tokio::test]
async fn addresses_of_the_link_and_of_clouds_metadata_are_asked_nothing() {
    let metadata = || async { Redirect::permanent("http://169.254.169.254/jobs") };
    let address = serve(Router::new().fallback(get(metadata))).await;
    let why = "can't connect: 169.254.169.254 isn't asked: it is an address of this machine's link \
               or of its cloud's metadata; where metrics are to be had there, name its network in \
               `sources.networks` of the agents' settings, with all others that are asked";
    for url in [
        "http://169.254.169.254/latest".to_owned(),
        "https://169.254.169.254/latest".to_owned(),
        "http://[::ffff:169.254.169.254]/latest".to_owned(),
        // No address to whoever reads the URL: the system makes one of it, as of a name.
        "http://2852039166/latest".to_owned(),
        format!("http://{address}/elsewhere"),
    ] {
        let asked = Poller::default().poll(&trigger(&url, &[]), ASKED).await;
        assert_eq!(asked.unwrap_err().to_string(), format!("{url}: {why}"));
    }
    // Not HTTP, and no question of its own: all of them connect in one place.
    let at = stream::Address::parse("169.254.169.254:6379").unwrap();
    let refused = stream::plain(&at).await.err().unwrap();
    assert_eq!(refused.to_string(), why);
}

#[tokio::test]
async fn what_a_question_carries_goes_to_the_host_alone_that_it_was_meant_for() {
    let seen = |headers: axum::http::HeaderMap| async move {
        let carried = usize::from(headers.contains_key("x-api-key"));
        format!("{{\"jobs\": {carried}}}")
    };
    let other = serve(Router::new().route("/stats", get(seen))).await;
    let away = format!("http://{other}/stats");
    let router = Router::new()
        .route("/stats", get(seen))
        .route("/here", get(|| async { Redirect::to("stats") }))
        .route("/away", get(move || async move { Redirect::to(&away) }));
    let address = serve(router).await;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("default/queue");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("apiKey"), "word").unwrap();
    let poller = Poller::new(Some(dir.path().to_owned()));
    for (path, carried) in [("stats", 1_000), ("here", 1_000), ("away", 0)] {
        let url = format!("http://{address}/{path}");
        let settings = [("authMode", "apiKey"), (AUTHENTICATION, "queue")];
        let answer = poller.poll(&trigger(&url, &settings), ASKED).await;
        assert_eq!(answer.unwrap().milli, carried, "{path}");
    }
}

#[tokio::test]
async fn an_answer_of_10_mb_is_cut_off_whether_or_not_it_says_so() {
    refused(" ".repeat(10_000_000), "the answer is longer than 1024 KiB").await;
    let piece = || async { Ok::<_, std::io::Error>(" ".repeat(100_000)) };
    let pieces = move || {
        let stream = tokio_stream::StreamExt::then(tokio_stream::iter(0..100), move |_| piece());
        std::future::ready(Body::from_stream(stream))
    };
    let address = serve(Router::new().fallback(pieces)).await;
    assert_eq!(poll(address).await.unwrap_err().reason, Reason::TooLong);
}

#[tokio::test]
async fn silence_ends_with_the_timeout_before_and_within_the_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("http://{address}/stats");
    for beginning in ["", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"] {
        let trigger = trigger(&url, &[("timeout", "200")]);
        let poller = Poller::default();
        let silence = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            // On a busy machine the poller may have hung up by then, and says the same.
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(beginning.as_bytes()).await;
            // Ends when the poller hangs up.
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        };
        let (answer, ()) = tokio::join!(poller.poll(&trigger, ASKED), silence);
        assert_eq!(
            answer.unwrap_err().to_string(),
            format!("{url}: no answer within 200 ms")
        );
    }
}

#[tokio::test]
async fn connections_that_are_refused_or_closed_are_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("http://{address}/stats");
    let poller = Poller::default();
    let close = async { drop(listener.accept().await.unwrap()) };
    let asked = trigger(&url, &[]);
    let (answer, ()) = tokio::join!(poller.poll(&asked, ASKED), close);
    assert!(matches!(answer.unwrap_err().reason, Reason::Connection(_)));
    drop(listener);
    let error = poller.poll(&asked, ASKED).await.unwrap_err().to_string();
    assert_eq!(
        error,
        format!("{url}: can't connect: Connection refused (os error 111)")
    );
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let accepted = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = accepted.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut buffer = [0; 4_096];
                while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"jobs\":1}";
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    let poller = Poller::default();
    let trigger = trigger(&format!("http://{address}/"), &[]);
    for _ in 0..20 {
        assert_eq!(
            poller.poll(&trigger, ASKED).await.map(|it| it.milli),
            Ok(1_000)
        );
    }
    // One may have been closed while the next question was on its way.
    assert!(accepted.load(Ordering::Relaxed) <= 2);
}

#[tokio::test]
async fn errors_show_no_secret() {
    let url = "http://127.0.0.1:1/stats?token=secret#secret";
    let error = Poller::default()
        .poll(&trigger(url, &[]), ASKED)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("http://127.0.0.1:1/stats: can't connect"),
        "{error}"
    );
    for url in [
        "http://u:secret@h/",
        "https://u:secret@h/?secret",
        "ftp://u:secret@h/?secret",
        "u:secret@h?secret",
    ] {
        let error = Poller::default()
            .poll(&trigger(url, &[]), ASKED)
            .await
            .unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(
            error.to_string().starts_with("trigger queue: url "),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_is_not_asked_over_http_is_refused() {
    let mut trigger = trigger("http://h/", &[]);
    trigger.source = Source::Resource(starling_engine::policy::Resource::Cpu);
    let error = Poller::default().poll(&trigger, ASKED).await.unwrap_err();
    assert_eq!(error.to_string(), "trigger queue: is measured, not asked");
    trigger.source = Source::External {
        kind: "aws-sqs-queue".to_owned(),
        metadata: BTreeMap::new(),
    };
    let error = Poller::default().poll(&trigger, ASKED).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "trigger queue: type `aws-sqs-queue` can't be asked"
    );
}
