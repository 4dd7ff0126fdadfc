//! What KEDA's own scalers made of random settings and answers (`data/keda_sources.json`,
//! or the file that `STARLING_SOURCE_VECTORS` names), held against what a policy with that
//! trigger makes of them: it is read, and its trigger is asked, at a real HTTP server.
#![allow(clippy::unwrap_used)] // What isn't there fails the test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value as Json, json};
use starling_engine::policy::{Goal, Trigger};
use starling_policy::file;
use starling_sources::{Asked, Poller};
use tokio::net::TcpListener;

/// The file of those that are kept here.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/keda_sources.json");
/// What the vectors' settings write for the address of the server.
const SERVER: &str = "{server}";

/// Where the outcome differs on purpose: which vectors, and why.
struct Rule {
    why: &'static str,
    holds: fn(&Json, Outcome) -> bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The policy isn't accepted.
    Refused,
    /// Asking failed: the size is held.
    Failed,
    Said {
        value_milli: i64,
        active: bool,
        target_milli: i64,
    },
}

impl Outcome {
    fn expected(vector: &Json) -> Outcome {
        let expected = &vector["expected"];
        let number = |key: &str| expected[key].as_i64().unwrap();
        match expected["error"].as_str() {
            Some("config") => Outcome::Refused,
            Some(_) => Outcome::Failed,
            None => Outcome::Said {
                value_milli: number("value_milli"),
                active: expected["active"].as_bool().unwrap(),
                target_milli: number("target_milli"),
            },
        }
    }
}

/// The vector's setting.
fn setting<'a>(vector: &'a Json, key: &str) -> &'a str {
    vector["inputs"]["metadata"][key]
        .as_str()
        .unwrap_or_default()
}

fn is(vector: &Json, kind: &str) -> bool {
    vector["inputs"]["type"] == kind
}

const RULES: [Rule; 4] = [
    Rule {
        why: "metrics-api: a number below nothing is a fault of its source, and holds the size; \
              KEDA takes it for nothing",
        holds: |vector, ours| {
            let nothing = vector["expected"]["value_milli"] == 0;
            let below = vector["inputs"]["answers"].to_string().contains('-');
            is(vector, "metrics-api") && nothing && below && ours == Outcome::Failed
        },
    },
    Rule {
        why: "metrics-api: a location that can be no series of Prometheus' text format is refused \
              when the policy is read; KEDA fails whenever it asks",
        holds: |vector, ours| {
            let series = setting(vector, "format") == "prometheus";
            is(vector, "metrics-api")
                && series
                && setting(vector, "valueLocation").contains('.')
                && ours == Outcome::Refused
        },
    },
    Rule {
        why: "prometheus: an answer without `status: success` isn't Prometheus', and holds the \
              size; KEDA takes it for nothing",
        holds: |vector, ours| {
            let answers = vector["inputs"]["answers"].to_string();
            is(vector, "prometheus") && !answers.contains("success") && ours == Outcome::Failed
        },
    },
    Rule {
        why: "rabbitmq: an operation that isn't known is refused when the policy is read; KEDA \
              fails whenever it asks",
        holds: |vector, ours| {
            let known = ["", "sum", "max", "avg"];
            is(vector, "rabbitmq")
                && !known.contains(&setting(vector, "operation"))
                && ours == Outcome::Refused
        },
    },
];

/// What the server of one vector says: path, `*` for any, status and body.
type Answers = Vec<(String, u16, String)>;

async fn serve(answers: Answers) -> SocketAddr {
    let answers = Arc::new(answers);
    let router = Router::new().fallback(move |uri: Uri| {
        let answers = answers.clone();
        async move { answer(&answers, uri.path()) }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A 301 leads to the place that its body names.
fn answer(answers: &Answers, path: &str) -> Response {
    let found = answers.iter().find(|(at, ..)| at == "*" || at == path);
    let Some((_, status, body)) = found else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let status = StatusCode::from_u16(*status).unwrap();
    if status.is_redirection() {
        return (status, [(header::LOCATION, body.clone())]).into_response();
    }
    (status, body.clone()).into_response()
}

fn policy(vector: &Json, server: SocketAddr) -> String {
    let inputs = &vector["inputs"];
    let written = inputs["metadata"].as_object().unwrap();
    let settings: BTreeMap<&str, String> = written
        .iter()
        .map(|(key, value)| {
            let value = value.as_str().unwrap();
            (
                key.as_str(),
                value.replace(SERVER, &format!("http://{server}")),
            )
        })
        .collect();
    // JSON is YAML too.
    json!({
        "apiVersion": "starling.sh/v1alpha1",
        "kind": "ScalingPolicy",
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"name": "web"},
            "triggers": [{
                "type": inputs["type"],
                "metricType": inputs["metric_type"],
                "metadata": settings,
            }],
        },
    })
    .to_string()
}

async fn outcome(vector: &Json) -> Outcome {
    let answers = vector["inputs"]["answers"].as_array().unwrap().iter();
    let answers = answers.map(|it| {
        let status = it["status"].as_u64().unwrap() as u16;
        let text = |key: &str| it[key].as_str().unwrap().to_owned();
        (text("path"), status, text("body"))
    });
    let server = serve(answers.collect()).await;
    let read = file::read(&policy(vector, server));
    let [(_, policy)] = read.policies.as_slice() else {
        return Outcome::Refused;
    };
    let trigger: &Trigger = &policy.triggers[0];
    let asked = Asked {
        namespace: "default",
        name: "web",
        composed: false,
        wall_ms: 0,
        secrets: None,
        endpoints: None,
    };
    let Ok(value) = Poller::default().poll(trigger, asked).await else {
        return Outcome::Failed;
    };
    let (Goal::Value { milli } | Goal::AverageValue { milli }) = trigger.goal else {
        panic!("{:?}", trigger.goal);
    };
    Outcome::Said {
        value_milli: value.milli,
        active: value.activity_milli > trigger.activation_milli,
        target_milli: milli,
    }
}

#[tokio::test]
async fn what_keda_makes_of_an_answer_a_policy_makes_of_it() {
    let path = std::env::var("STARLING_SOURCE_VECTORS").unwrap_or_else(|_| KEPT.to_owned());
    let file: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let all = file["vectors"].as_array().unwrap();
    // A whole file of the schema holds formulas, too, which the engine's tests are for.
    let vectors: Vec<&Json> = all.iter().filter(|it| it["kind"] == "source").collect();
    let mut differ = vec![0_usize; RULES.len()];
    let mut wrong = Vec::new();
    for vector in &vectors {
        let (ours, theirs) = (outcome(vector).await, Outcome::expected(vector));
        if ours == theirs {
            continue;
        }
        match RULES.iter().position(|rule| (rule.holds)(vector, ours)) {
            Some(rule) => differ[rule] += 1,
            None => wrong.push(format!("{vector}\n  {ours:?}, not {theirs:?}")),
        }
    }
    let right = vectors.len() - wrong.len();
    println!("{right} of {} vectors", vectors.len());
    for (rule, count) in RULES.iter().zip(&differ) {
        println!("  {count} differ on purpose: {}", rule.why);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A rule that nothing needs hides what breaks.
    let needed = differ.iter().all(|count| *count > 0);
    assert!(needed || std::env::var_os("STARLING_SOURCE_VECTORS").is_some());
    assert!(!vectors.is_empty());
}
