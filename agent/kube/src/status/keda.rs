//! The status of a `ScaledObject` that is decided for: what KEDA writes there, in
//! KEDA's words and form (keda.md 1.4).
//!
//! Comes in: what the status of a policy would say, and the object. Goes out: KEDA's
//! conditions, without times as KEDA has them, and the fields beside them.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};
use starling_engine::decide::conditions::Stated;
use starling_engine::policy::Name;

use super::{Condition, Status};

/// KEDA's conditions that mean something without its HPA.
const KINDS: [&str; 4] = ["Ready", "Active", "Fallback", "Paused"];

/// What is known of an adopted object beside its policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The object's own name.
    pub name: Name,
    /// What of it has no equivalent.
    pub left_out: Vec<String>,
    /// What its status says of its spec alone.
    fixed: Value,
}

impl About {
    pub fn new(name: Name, left_out: Vec<String>, spec: &Value) -> About {
        About {
            fixed: fixed(&name.namespace, spec),
            name,
            left_out,
        }
    }
}

/// As much of a policy's status as KEDA's has. To KEDA an object whose triggers fail
/// isn't ready; `failing` says how.
pub fn project(status: &Status, about: &About, failing: Option<&Stated>) -> Status {
    let conditions = status.conditions.iter();
    let conditions = conditions.filter(|it| KINDS.contains(&it.kind.as_str()));
    Status {
        conditions: conditions.map(|it| condition(it, about, failing)).collect(),
        ..Status::default()
    }
}

fn condition(it: &Condition, about: &About, failing: Option<&Stated>) -> Condition {
    let ready = it.kind == "Ready";
    let mut message = it.message.clone();
    let mut truth = it.status.as_str();
    let reason = match (ready, truth, failing) {
        (true, "True", Some(failing)) => {
            truth = failing.status.code();
            message.clone_from(&failing.message);
            failing.reason.as_ref()
        }
        (true, "True", None) => {
            "ScaledObject is decided for by Starling".clone_into(&mut message);
            for left_out in &about.left_out {
                message.push_str("; ");
                message.push_str(left_out);
            }
            "ScaledObjectReady"
        }
        (true, "False", _) => "ScaledObjectCheckFailed",
        _ => it.reason.as_str(),
    };
    Condition {
        kind: it.kind.clone(),
        status: truth.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: String::new(),
    }
}

/// The same of what the object's status shows.
pub fn shown(status: &Value) -> Status {
    let listed = status.get("conditions").and_then(Value::as_array);
    let text = |it: &Value, key: &str| {
        let value = it.get(key).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let conditions = listed.into_iter().flatten().map(|it| Condition {
        kind: text(it, "type"),
        status: text(it, "status"),
        reason: text(it, "reason"),
        message: text(it, "message"),
        last_transition_time: String::new(),
    });
    Status {
        conditions: conditions
            .filter(|it| KINDS.contains(&it.kind.as_str()))
            .collect(),
        ..Status::default()
    }
}

/// A merge patch of the object's status.
pub fn patch(status: &Status, about: &About, now: Timestamp) -> Value {
    let conditions = status.conditions.iter();
    let conditions: Vec<Value> = conditions
        .map(|it| {
            json!({
                "type": it.kind,
                "status": it.status,
                "reason": it.reason,
                "message": it.message,
            })
        })
        .collect();
    let mut patch = about.fixed.clone();
    if status
        .condition("Active")
        .is_some_and(|it| it.status == "True")
    {
        let seconds = Timestamp::from_second(now.as_second()).unwrap_or(now);
        patch["lastActiveTime"] = json!(seconds.to_string());
    }
    patch["conditions"] = json!(conditions);
    json!({ "status": patch })
}

/// What KEDA's status says of the spec: its target, its triggers, their metrics.
fn fixed(namespace: &str, spec: &Value) -> Value {
    let target = &spec["scaleTargetRef"];
    let text = |value: &Value, default: &str| value.as_str().unwrap_or(default).to_owned();
    let version = text(&target["apiVersion"], "apps/v1");
    let kind = text(&target["kind"], "Deployment");
    let (group, short) = version.split_once('/').unwrap_or(("", &version));
    let mut types = Vec::new();
    let (mut external, mut resource) = (Vec::new(), Vec::new());
    for (index, trigger) in spec["triggers"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let kind = text(&trigger["type"], "");
        let setting = |key: &str| text(&trigger["metadata"][key], "");
        match kind.as_str() {
            "cpu" | "memory" => resource.push(kind.clone()),
            "cron" => {
                let times = [setting("start"), setting("end")].map(|it| cron(&it));
                let name = format!("cron-{}-{}-{}", setting("timezone"), times[0], times[1]);
                external.push(metric(index, &name));
            }
            "metrics-api" => {
                let name = format!("metric-api-{}", setting("valueLocation"));
                external.push(metric(index, &name));
            }
            "redis" | "redis-sentinel" | "redis-cluster" => {
                let name = format!("redis-{}", setting("listName"));
                external.push(metric(index, &name));
            }
            "redis-streams" | "redis-sentinel-streams" | "redis-cluster-streams" => {
                let name = format!("redis-streams-{}", setting("stream"));
                external.push(metric(index, &name));
            }
            "nats-jetstream" => {
                let name = format!("nats-jetstream-{}", setting("stream"));
                external.push(metric(index, &name));
            }
            // Where a `connectionString` says it, KEDA takes what stands behind its last `/`,
            // which nobody looks up in a secret here.
            "mysql" => {
                let name = format!("mysql-{}", setting("dbName"));
                external.push(metric(index, name.trim_end_matches('-')));
            }
            "kafka" => {
                let name = match setting("topic") {
                    topic if topic.is_empty() => format!("{}-topics", setting("consumerGroup")),
                    topic => topic,
                };
                external.push(metric(index, &format!("kafka-{name}")));
            }
            "rabbitmq" => {
                let name = format!("rabbitmq-{}", escaped(&setting("queueName")));
                external.push(metric(index, &name));
            }
            "kubernetes-workload" => {
                external.push(metric(index, &format!("workload-{namespace}")));
            }
            other => external.push(metric(index, other)),
        }
        if !types.contains(&kind) {
            types.push(kind);
        }
    }
    let formula = &spec["advanced"]["scalingModifiers"]["formula"];
    let composed = formula.as_str().is_some_and(|formula| !formula.is_empty());
    json!({
        "compositeScalerName": composed.then_some("composite-metric"),
        "scaleTargetKind": format!("{version}.{kind}"),
        "scaleTargetGVKR": {
            "group": group,
            "version": short,
            "kind": kind,
            "resource": format!("{}s", kind.to_lowercase()),
        },
        "externalMetricNames": external,
        "resourceMetricNames": resource,
        "triggersTypes": types.join(","),
    })
}

/// KEDA's name of a trigger's metric.
fn metric(index: usize, name: &str) -> String {
    let normal = |c: char| {
        if matches!(c, '/' | '.' | ':' | '%' | '(' | ')') {
            '-'
        } else {
            c
        }
    };
    format!("s{index}-{}", name.chars().map(normal).collect::<String>())
}

/// As Go writes a text into an address's query.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => escaped.push('+'),
            b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => escaped.push(char::from(byte)),
            // Writing to a string can't fail.
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}

fn cron(schedule: &str) -> String {
    let mut name = String::new();
    for c in schedule.chars() {
        match c {
            '*' => name.push('x'),
            '/' => name.push_str("Sl"),
            '?' => name.push_str("Qm"),
            ',' => name.push_str("Cm"),
            c if c.is_whitespace() => {}
            c => name.push(c),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use starling_engine::decide::reason::{ConditionKind, Status as Truth};

    use super::*;

    fn about() -> About {
        let spec = json!({
            "scaleTargetRef": { "name": "web" },
            "triggers": [
                { "type": "cron", "metadata": {
                    "timezone": "Etc/UTC", "start": "0 0 * * Thu", "end": "59 23 * * Thu" } },
                { "type": "cpu", "metadata": { "value": "70" } },
                { "type": "metrics-api", "metadata": { "valueLocation": "queue.jobs" } },
            ],
        });
        About::new(Name::new("shop", "web"), Vec::new(), &spec)
    }

    #[test]
    fn a_status_is_keda_s_and_reads_back_as_it_was_written() {
        let condition = |kind: &str, status: &str, reason: &str| Condition {
            kind: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: "m".to_owned(),
            last_transition_time: "2026-01-01T00:00:00Z".to_owned(),
        };
        let status = Status {
            size: Some(3),
            conditions: vec![
                condition("Ready", "True", "InForce"),
                condition("AbleToScale", "True", "ReadyForNewScale"),
                condition("Active", "True", "ScalerActive"),
                condition("Paused", "False", "ScaledObjectUnpaused"),
            ],
            ..Status::default()
        };
        let projected = project(&status, &about(), None);
        let patch = patch(&projected, &about(), Timestamp::UNIX_EPOCH);
        let written = &patch["status"];
        assert_eq!(written["conditions"][0]["reason"], "ScaledObjectReady");
        assert_eq!(written["conditions"].as_array().unwrap().len(), 3);
        assert_eq!(written["lastActiveTime"], "1970-01-01T00:00:00Z");
        assert_eq!(written["scaleTargetKind"], "apps/v1.Deployment");
        assert_eq!(written["triggersTypes"], "cron,cpu,metrics-api");
        assert_eq!(written["resourceMetricNames"], json!(["cpu"]));
        assert_eq!(
            written["externalMetricNames"],
            json!([
                "s0-cron-Etc-UTC-00xxThu-5923xxThu",
                "s2-metric-api-queue-jobs"
            ])
        );
        assert_eq!(shown(written), projected);
    }

    #[test]
    fn metrics_of_what_is_asked_have_keda_s_names() {
        let spec = json!({
            "scaleTargetRef": { "name": "web" },
            "triggers": [
                { "type": "prometheus", "metadata": { "query": "up" } },
                { "type": "rabbitmq", "metadata": { "queueName": "^jobs .*" } },
                { "type": "redis", "metadata": { "listName": "celery" } },
                { "type": "redis-streams", "metadata": { "stream": "a:b" } },
                { "type": "nats-jetstream", "metadata": { "stream": "mails" } },
                { "type": "postgresql", "metadata": { "query": "SELECT 1" } },
                { "type": "kubernetes-workload", "metadata": { "podSelector": "app=a" } },
                { "type": "mysql", "metadata": { "dbName": "shop" } },
                { "type": "kafka", "metadata": { "topic": "jobs.new", "consumerGroup": "a" } },
                { "type": "kafka", "metadata": { "consumerGroup": "a" } },
                { "type": "redis-cluster", "metadata": { "listName": "celery" } },
                { "type": "redis-sentinel-streams", "metadata": { "stream": "mails" } },
                { "type": "external-push", "metadata": { "scalerAddress": "scaler:1" } },
            ],
        });
        let about = About::new(Name::new("shop", "web"), Vec::new(), &spec);
        assert_eq!(
            about.fixed["externalMetricNames"],
            json!([
                "s0-prometheus",
                "s1-rabbitmq--5Ejobs+--2A",
                "s2-redis-celery",
                "s3-redis-streams-a-b",
                "s4-nats-jetstream-mails",
                "s5-postgresql",
                "s6-workload-shop",
                "s7-mysql-shop",
                "s8-kafka-jobs-new",
                "s9-kafka-a-topics",
                "s10-redis-celery",
                "s11-redis-streams-mails",
                "s12-external-push"
            ])
        );
    }

    #[test]
    fn an_object_whose_triggers_fail_isn_t_ready() {
        let status = Status {
            conditions: vec![Condition {
                kind: "Ready".to_owned(),
                status: "True".to_owned(),
                reason: "InForce".to_owned(),
                ..Condition::default()
            }],
            ..Status::default()
        };
        let failing = Stated {
            kind: ConditionKind::Ready,
            status: Truth::Unknown,
            reason: "PartialTriggerError".into(),
            message: "queue failed: there is no Secret shop/queue.".to_owned(),
        };
        let projected = project(&status, &about(), Some(&failing));
        let shown = &projected.conditions[0];
        let told = (shown.status.as_str(), shown.reason.as_str(), &shown.message);
        assert_eq!(told, ("Unknown", "PartialTriggerError", &failing.message));
    }

    #[test]
    fn what_can_t_be_decided_for_says_so_in_keda_s_words() {
        let status = Status {
            conditions: vec![Condition {
                kind: "Ready".to_owned(),
                status: "False".to_owned(),
                reason: "Invalid".to_owned(),
                message: "spec.triggers[0].type: `aws-sqs-queue` isn't".to_owned(),
                ..Condition::default()
            }],
            ..Status::default()
        };
        let projected = project(&status, &about(), None);
        assert_eq!(projected.conditions[0].reason, "ScaledObjectCheckFailed");
        assert_eq!(
            projected.conditions[0].message,
            status.conditions[0].message
        );
        assert_eq!(
            patch(&projected, &about(), Timestamp::UNIX_EPOCH)["status"]["lastActiveTime"],
            Value::Null
        );
    }
}
