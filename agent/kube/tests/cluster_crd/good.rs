//! What a policy may say, and what others are made from by a change.

use serde_json::{Value, json};

/// By KEDA's triggers.
pub fn triggers() -> Value {
    json!({
        "scaleTargetRef": { "name": "web" },
        "minReplicaCount": 1,
        "triggers": [
            { "type": "cpu", "metricType": "Utilization", "metadata": { "value": "70" } },
            {
                "type": "metrics-api",
                "name": "q",
                "metadata": { "url": "http://q/x", "valueLocation": "a.b", "targetValue": "2.5" },
            },
        ],
    })
}

/// By what others are asked.
fn asked() -> Value {
    json!({
        "scaleTargetRef": { "name": "web" },
        "triggers": [
            {
                "type": "prometheus",
                "metadata": { "serverAddress": "http://p", "query": "up", "threshold": "1" },
            },
            {
                "type": "rabbitmq",
                "metadata": { "host": "http://r", "queueName": "a" },
            },
            { "type": "redis", "metadata": { "address": "r:1", "listName": "a" } },
            {
                "type": "redis-streams",
                "metadata": { "address": "r:1", "stream": "a", "lagCount": "0" },
            },
            {
                "type": "redis-sentinel",
                "metadata": { "addresses": "r:1,s:1", "sentinelMaster": "m", "listName": "a" },
            },
            {
                "type": "redis-cluster-streams",
                "metadata": { "hosts": "r,s", "ports": "1,1", "stream": "a" },
            },
            {
                "type": "external",
                "metadata": { "scalerAddress": "s:1", "threshold": "many", "any key": "" },
            },
        ],
    })
}

/// By HPA's metrics.
pub fn metrics() -> Value {
    json!({
        "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web" },
        "metrics": [cpu()],
    })
}

pub fn cpu() -> Value {
    json!({
        "type": "Resource",
        "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 70 } },
    })
}

/// `base` with a JSON merge patch.
pub fn patched(mut base: Value, patch: &Value) -> Value {
    merge(&mut base, patch);
    base
}

fn merge(base: &mut Value, patch: &Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    base.remove(key);
                } else {
                    merge(base.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (base, patch) => base.clone_from(patch),
    }
}

/// Specs that are to be taken.
pub fn good() -> Vec<Value> {
    let all_metrics = json!({
        "minReplicaCount": 0,
        "metrics": [
            cpu(),
            {
                "type": "ContainerResource",
                "containerResource": {
                    "name": "memory",
                    "container": "app",
                    "target": { "type": "AverageValue", "averageValue": "100Mi" },
                },
            },
            {
                "type": "Pods",
                "pods": {
                    "metric": { "name": "packets" },
                    "target": { "type": "AverageValue", "averageValue": 10 },
                },
            },
            {
                "type": "Object",
                "object": {
                    "describedObject": {
                        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "main",
                    },
                    "metric": { "name": "rps" },
                    "target": { "type": "Value", "value": "2k" },
                },
            },
            {
                "type": "External",
                "external": {
                    "metric": { "name": "queue", "selector": { "matchLabels": { "a": "b" } } },
                    "target": { "type": "AverageValue", "averageValue": "30" },
                },
            },
        ],
        "behavior": {
            "scaleUp": {
                "tolerance": "0.05",
                "policies": [{ "type": "Pods", "value": 4, "periodSeconds": 15 }],
            },
        },
    });
    vec![
        asked(),
        triggers(),
        metrics(),
        patched(metrics(), &all_metrics),
        patched(
            triggers(),
            &json!({ "metrics": [cpu()], "cooldownPeriod": 5 }),
        ),
        patched(triggers(), &json!({ "triggers": [working_hours()] })),
        patched(
            triggers(),
            &json!({ "strategy": "banded", "banded": { "highPercent": 90 } }),
        ),
        patched(
            triggers(),
            &json!({
                "strategy": "objective",
                "objective": { "wait": "250ms", "missRatio": "3 %", "arrivals": "q", "serviceTime": "1.5s" },
                "minReplicaCount": 4,
                "idleReplicaCount": 0,
                "fallback": { "failureThreshold": 3, "replicas": 4, "recoveryThreshold": 2 },
                "pollingInterval": 30,
                "staleAfter": 30,
            }),
        ),
    ]
}

/// By a calendar.
pub fn working_hours() -> Value {
    json!({
        "type": "cron",
        "metadata": {
            "timezone": "Europe/Berlin",
            "start": "0 8 * * 1-5",
            "end": "0 18 * * 1-5",
            "desiredReplicas": " 5 ",
        },
    })
}
