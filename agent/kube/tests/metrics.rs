//! The metrics APIs, asked over a real socket of a server that answers well or badly.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answering;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use starling_engine::demand::pods::Sums;
use starling_engine::node::Answer;
use starling_engine::policy::Source;
use starling_kube::client;
use starling_kube::metrics::{ANSWER_BYTES_MAX, Metrics, PODS_MAX, SERIES_MAX};
use tokio::net::TcpListener;

const EXTERNAL: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop";
const NEW: &str = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/shop";
const OLD: &str = "/apis/custom.metrics.k8s.io/v1beta1/namespaces/shop";
const PODS: &str = "/api/v1/namespaces/shop/pods?labelSelector=app%3Dweb&limit=250";

/// An API server that gives the same answer to each question of a path.
struct Api {
    metrics: Metrics,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Api {
    /// `answer` says status and body for a path with its query.
    async fn new(answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> Api {
        let (address, asked) = answering::serve(answer).await;
        Api {
            metrics: at(address),
            asked,
        }
    }

    /// Answers these paths with these bodies, and all else with 404 as the API server does.
    async fn of<const N: usize>(answers: [(String, Value); N]) -> Api {
        let answers: BTreeMap<String, String> =
            answers.map(|(path, body)| (path, body.to_string())).into();
        Api::new(move |path| match answers.get(path) {
            Some(body) => (200, body.clone()),
            None => (404, "404 page not found\n".to_owned()),
        })
        .await
    }

    async fn ask(&self, source: &Source) -> Result<Answer, String> {
        self.metrics.ask("shop", source, "app=web").await
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn at(address: SocketAddr) -> Metrics {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = kube::Config::new(format!("http://{address}").parse().unwrap());
    Metrics::new(&client::over(config).unwrap())
}

fn metadata(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn external(pairs: &[(&str, &str)]) -> Source {
    Source::External {
        kind: "external-metrics-api".into(),
        metadata: metadata(pairs),
    }
}

fn object(api_version: &str, kind: &str, name: &str) -> Source {
    Source::Object {
        kind: "custom-metrics-api".into(),
        metadata: metadata(&[
            ("metric", "requests"),
            ("apiVersion", api_version),
            ("kind", kind),
            ("name", name),
            ("selector", "verb=GET"),
        ]),
    }
}

fn pods() -> Source {
    Source::Pods {
        metric: "requests".into(),
        selector: None,
    }
}

/// One of each type.
fn all() -> [Source; 3] {
    let namespace = object("v1", "Namespace", "shop");
    [external(&[("metric", "requests")]), namespace, pods()]
}

fn values(values: &[Value]) -> Value {
    let item = |value: &Value| json!({"value": value, "timestamp": "2026-01-01T00:00:00Z"});
    json!({"kind": "MetricValueList", "items": values.iter().map(item).collect::<Vec<_>>()})
}

fn of_pods(values: &[(&str, &str)]) -> Value {
    let item = |(name, value): &(&str, &str)| json!({"describedObject": {"kind": "Pod", "name": name}, "value": value});
    json!({"items": values.iter().map(item).collect::<Vec<_>>()})
}

fn pod(name: &str, phase: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"nodeName": "a"}, "status": {"phase": phase}})
}

#[tokio::test]
async fn external_series_are_summed_in_whatever_form_their_amounts_are_written() {
    let path = format!("{EXTERNAL}/a%2Fb?labelSelector=queue%20in%20%28a%2Cb%29");
    let amounts = [
        json!("500m"),
        json!("1k"),
        json!("2Gi"),
        json!(3),
        json!(0.5),
    ];
    let api = Api::of([(path.clone(), values(&amounts))]).await;
    let source = external(&[("metric", "a/b"), ("selector", "queue in (a,b)")]);
    let sum = 500 + 1_000_000 + (2 << 30) * 1_000 + 3_000 + 500;
    assert_eq!(api.ask(&source).await, Ok(Answer::value(sum)));
    assert_eq!(api.asked(), [path]);
}

#[tokio::test]
async fn an_object_is_asked_for_by_its_resource_and_in_the_newest_version_that_has_it() {
    let place = "ingresses.networking.k8s.io/main/requests?metricLabelSelector=verb%3DGET";
    let (new, old) = (format!("{NEW}/{place}"), format!("{OLD}/{place}"));
    let resources = json!({
        "kind": "APIResourceList",
        "groupVersion": "networking.k8s.io/v1",
        "resources": [{
            "name": "ingresses", "singularName": "ingress", "namespaced": true,
            "kind": "Ingress", "verbs": ["get"],
        }],
    });
    let kinds = "/apis/networking.k8s.io/v1".to_owned();
    let ingress = object("networking.k8s.io/v1", "Ingress", "main");
    let known = (kinds.clone(), resources);
    let api = Api::of([known.clone(), (old.clone(), values(&[json!("1500m")]))]).await;
    assert_eq!(api.ask(&ingress).await, Ok(Answer::value(1_500)));
    assert_eq!(api.asked(), [kinds.clone(), new.clone(), old]);
    let api = Api::of([known, (new.clone(), values(&[json!("7")]))]).await;
    assert_eq!(api.ask(&ingress).await, Ok(Answer::value(7_000)));
    assert_eq!(api.asked(), [kinds, new]);

    let path = format!("{NEW}/metrics/requests?metricLabelSelector=verb%3DGET");
    let api = Api::of([(path, values(&[json!("2")]))]).await;
    let answer = api.ask(&object("v1", "Namespace", "shop")).await;
    assert_eq!(answer, Ok(Answer::value(2_000)));
}

#[tokio::test]
async fn values_of_pods_are_sorted_with_all_pods_of_the_target() {
    let path =
        format!("{NEW}/pods/*/requests?labelSelector=app%3Dweb&metricLabelSelector=verb%3DGET");
    let next = format!("{PODS}&continue=a%3D%3D");
    let mut leaving = pod("leaving", "Running");
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let first = json!({
        "metadata": {"continue": "a=="},
        "items": [pod("busy", "Running"), leaving, pod("starting", "Pending")],
    });
    let second = json!({
        "metadata": {},
        "items": [pod("silent", "Running"), pod("idle", "Running"), pod("failed", "Failed")],
    });
    let samples = of_pods(&[
        ("busy", "3"),
        ("leaving", "90"),
        ("starting", "80"),
        ("idle", "500m"),
        ("failed", "70"),
        ("stranger", "1"),
    ]);
    let api = Api::of([
        (path.clone(), samples),
        (PODS.to_owned(), first),
        (next.clone(), second),
    ])
    .await;
    let source = Source::Pods {
        metric: "requests".into(),
        selector: Some("verb=GET".into()),
    };
    let Ok(Answer::Pods(sums)) = api.ask(&source).await else {
        panic!("no pods");
    };
    let expected = Sums {
        pods: 6,
        samples: 6,
        ready: 2,
        ready_usage_milli: 3_500,
        ready_newest_milli: 3_500,
        unready: 1,
        missing: [(0, 1)].into(),
        ignored: 2,
        without_request: 6,
        strangers: 1,
        strangers_usage_milli: 1_000,
        oldest: sums.oldest,
        ..Sums::default()
    };
    assert_eq!(sums, expected);
    assert_eq!(api.asked(), [path, PODS.to_owned(), next]);
}

#[tokio::test]
async fn without_a_selector_nobody_is_asked() {
    let api = Api::of([]).await;
    let answer = api.metrics.ask("shop", &pods(), "").await;
    assert!(answer.unwrap_err().contains("which pods are its own"));
    assert_eq!(api.asked(), [""; 0]);
}

#[tokio::test]
async fn an_answer_without_values_is_an_error_and_no_zero() {
    for body in [
        json!({"items": []}),
        json!({"items": null}),
        json!({"kind": "Status"}),
    ] {
        let api = Api::new(move |_| (200, body.to_string())).await;
        for source in all() {
            let why = api.ask(&source).await.unwrap_err();
            assert_eq!(why, "the metrics API has no value for requests");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_of_another_kind_or_no_amount_is_an_error() {
    let bodies = [
        "{".to_owned(),
        "<html>".to_owned(),
        "[1]".to_owned(),
        json!({"items": "5"}).to_string(),
        json!({"items": [{"value": null}]}).to_string(),
        json!({"items": [{"metricName": "requests"}]}).to_string(),
        values(&[json!("many")]).to_string(),
        values(&[json!("1"), json!("")]).to_string(),
        values(&[json!("1e30")]).to_string(),
        values(&[json!("9223372036854775808m")]).to_string(),
    ];
    for body in bodies {
        let shown = body.clone();
        // The object's own value is the first.
        let second = body.contains("\"1\"");
        let api = Api::new(move |_| (200, body.clone())).await;
        for source in all() {
            if second && matches!(source, Source::Object { .. }) {
                continue;
            }
            assert!(api.ask(&source).await.is_err(), "{shown} for {source:?}");
        }
    }
    let of_none = json!({"items": [{"value": "1"}]});
    let of_another =
        json!({"items": [{"describedObject": {"kind": "Node", "name": "a"}, "value": "1"}]});
    for body in [of_none, of_another] {
        let api = Api::new(move |_| (200, body.to_string())).await;
        let why = api.ask(&pods()).await.unwrap_err();
        assert_eq!(why, "requests has a value that is of no pod");
    }
}

#[tokio::test]
async fn an_error_says_whose_it_is_and_what_to_do() {
    let status = |code: u16, reason: &str, message: &str| {
        let body = json!({
            "kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code,
        });
        (code, body.to_string())
    };
    let absent = "the server could not find the metric requests for pods";
    let answers = [
        (
            (404, "404 page not found\n".to_owned()),
            ["404 page not found", "needs an adapter"],
        ),
        (
            status(404, "NotFound", absent),
            [absent, "needs an adapter"],
        ),
        (
            status(403, "Forbidden", "User cannot get it"),
            [
                "User cannot get it",
                "metrics.k8s.io], resources: [\"*\"], verbs: [",
            ],
        ),
        // Of the API server, where the adapter doesn't answer.
        (
            (503, "service unavailable\n".to_owned()),
            ["the adapter", "service unavailable"],
        ),
        (
            status(500, "InternalError", "no series"),
            ["the adapter", "no series"],
        ),
        ((500, "x".repeat(1 << 20)), ["the adapter", "status 500"]),
        (
            status(429, "TooManyRequests", "slow down"),
            ["overloaded", "slow down"],
        ),
    ];
    for (answer, words) in answers {
        let api = Api::new(move |_| answer.clone()).await;
        for source in all() {
            let why = api.ask(&source).await.unwrap_err();
            let said = words.iter().all(|word| why.contains(word));
            assert!(said && why.len() < 1_000, "{words:?}: {why}");
        }
    }
}

#[tokio::test]
async fn an_api_server_that_is_away_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for source in all() {
        let answer = at(address).ask("shop", &source, "app=web").await;
        assert!(answer.unwrap_err().contains("can't be reached"));
    }
}

#[tokio::test]
async fn pods_that_can_t_be_listed_make_no_answer() {
    let samples = of_pods(&[("a", "1")]).to_string();
    let api = Api::new(move |path| match path {
        PODS => (403, "User cannot list pods".to_owned()),
        _ => (200, samples.clone()),
    })
    .await;
    let why = api.ask(&pods()).await.unwrap_err();
    assert_eq!(
        why,
        "the target's pods can't be listed: User cannot list pods"
    );
}

#[tokio::test]
async fn pods_with_some_labels_are_counted_page_by_page_or_the_nodes_they_run_on() {
    let on = |node: &str| json!({"metadata": {"name": "p"}, "spec": {"nodeName": node}});
    let unplaced = json!({"metadata": {"name": "p"}, "spec": {}});
    let first = json!({"metadata": {"continue": "more"}, "items": [on("a"), on("a"), unplaced]});
    let listed = "\
        /api/v1/namespaces/shop/pods?labelSelector=app%20in%20%28a%2Cb%29&fieldSelector=\
         status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed&limit=250";
    let api = Api::of([
        (listed.to_owned(), first),
        (
            format!("{listed}&continue=more"),
            json!({"items": [on("b")]}),
        ),
    ])
    .await;
    for (by_node, expected) in [("false", 4_000), ("true", 2_000)] {
        let source = Source::External {
            kind: "kubernetes-workload".into(),
            metadata: metadata(&[("podSelector", "app in (a,b)"), ("groupByNode", by_node)]),
        };
        assert!(Metrics::knows(&source));
        let answer = api.metrics.ask("shop", &source, "").await;
        assert_eq!(answer, Ok(Answer::value(expected)));
    }
    let api = Api::new(|_| (403, "User cannot list pods".to_owned())).await;
    let source = Source::External {
        kind: "kubernetes-workload".into(),
        metadata: metadata(&[("podSelector", "app=a")]),
    };
    let why = api.ask(&source).await.unwrap_err();
    assert_eq!(why, "pods can't be listed: User cannot list pods");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_an_error() {
    let many = values(&vec![json!("1"); SERIES_MAX + 1]).to_string();
    let padded = format!("{}{}", " ".repeat(ANSWER_BYTES_MAX), values(&[json!("1")]));
    for (body, words) in [
        (many, "more than 10000 series"),
        (padded, "more than 16777216 bytes"),
    ] {
        let api = Api::new(move |_| (200, body.clone())).await;
        for source in all() {
            let why = api.ask(&source).await.unwrap_err();
            assert!(why.contains(words), "{why}");
        }
    }
}

#[tokio::test]
async fn a_target_of_too_many_pods_is_an_error_and_a_list_without_end_is_none_either() {
    let samples = of_pods(&[("a", "1")]).to_string();
    let page = json!({
        "metadata": {"continue": "more"},
        "items": vec![pod("p", "Running"); 250],
    });
    let page = page.to_string();
    let api = Api::new(move |path| {
        let listed = path.starts_with("/api/v1/");
        (
            200,
            if listed {
                page.clone()
            } else {
                samples.clone()
            },
        )
    })
    .await;
    let why = api.ask(&pods()).await.unwrap_err();
    assert_eq!(
        why,
        format!("the target's pods can't be listed: there are more than {PODS_MAX}")
    );
    assert_eq!(api.asked().len(), 1 + PODS_MAX / 250 + 1);
}
