//! What a policy may not say.

use serde_json::{Value, json};

use crate::good::{cpu, metrics, patched, triggers, working_hours};

/// What is wrong, and the words that refuse it. Strings start with the field.
pub fn bad() -> Vec<(Value, Value, &'static str)> {
    let trigger = |base: Value, patch: Value| json!({ "triggers": [patched(base, &patch)] });
    let usage = |patch: Value| {
        let base =
            json!({ "type": "cpu", "metricType": "Utilization", "metadata": { "value": "70" } });
        trigger(base, patch)
    };
    let api = |patch: Value| {
        let metadata = json!({ "url": "http://q", "valueLocation": "a", "targetValue": "1" });
        trigger(
            json!({ "type": "metrics-api", "metadata": metadata }),
            patch,
        )
    };
    let query = |patch: Value| {
        let metadata = json!({ "serverAddress": "http://p", "query": "up", "threshold": "1" });
        let prometheus = json!({ "type": "prometheus", "metadata": metadata });
        trigger(prometheus, json!({ "metadata": patch }))
    };
    let rabbit = |patch: Value| {
        let metadata =
            json!({ "host": "http://r", "queueName": "a", "mode": "QueueLength", "value": "5" });
        let rabbitmq = json!({ "type": "rabbitmq", "metadata": metadata });
        trigger(rabbitmq, json!({ "metadata": patch }))
    };
    let redis = |kind: &str, patch: Value| {
        let metadata = json!({ "address": "r:1", "listName": "a", "stream": "a" });
        let redis = json!({ "type": kind, "metadata": metadata });
        trigger(redis, json!({ "metadata": patch }))
    };
    let cron = |patch: Value| trigger(working_hours(), json!({ "metadata": patch }));
    let metric = |patch: Value| json!({ "metrics": [patched(cpu(), &patch)] });
    let objective = |objective: Value| json!({ "strategy": "objective", "objective": objective });
    let (t, m) = (triggers, metrics);
    vec![
        (
            t(),
            json!({ "minReplicaCount": 13, "maxReplicaCount": 12 }),
            "spec.minReplicaCount: Invalid value: must not be more than maxReplicaCount",
        ),
        (
            t(),
            json!({ "minReplicaCount": 101 }),
            "which is 100 where it is left out",
        ),
        (
            t(),
            json!({ "minReplicaCount": -1 }),
            "should be greater than or equal to 0",
        ),
        (
            t(),
            json!({ "maxReplicaCount": 100_001 }),
            "should be less than or equal to 100000",
        ),
        (
            t(),
            json!({ "idleReplicaCount": 1 }),
            "spec.idleReplicaCount: Invalid value: must be less than minReplicaCount",
        ),
        (
            t(),
            json!({ "fallback": { "failureThreshold": 3, "replicas": 101 } }),
            "spec.fallback.replicas: Invalid value: must not be more than maxReplicaCount",
        ),
        (
            t(),
            json!({ "fallback": { "replicas": 1 } }),
            "spec.fallback.failureThreshold: Required value",
        ),
        (
            t(),
            json!({ "fallback": { "failureThreshold": 3, "replicas": 1, "recoveryThreshold": 0 } }),
            "spec.fallback.recoveryThreshold: Invalid value: 0: spec.fallback.recoveryThreshold \
             in body should be greater than or equal to 1",
        ),
        (
            t(),
            json!({ "staleAfter": -1 }),
            "spec.staleAfter in body should be greater than or equal to 0",
        ),
        (
            t(),
            json!({ "triggers": null }),
            "name at least one of triggers and metrics",
        ),
        (
            t(),
            json!({ "triggers": [] }),
            "name at least one of triggers and metrics",
        ),
        (
            m(),
            json!({ "cooldownPeriod": 3 }),
            "with metrics alone HPA's rules hold",
        ),
        (
            m(),
            json!({ "minReplicaCount": 0 }),
            "what replicas use can't wake a workload that has none",
        ),
        (
            t(),
            patched(usage(json!({})), &json!({ "minReplicaCount": 0 })),
            "what replicas use can't wake a workload that has none",
        ),
        (
            t(),
            json!({ "triggers": [{ "type": "cpu", "name": "q", "metricType": "Utilization", "metadata": { "value": "7" } }, { "type": "memory", "name": "q", "metricType": "Utilization", "metadata": { "value": "7" } }] }),
            "spec.triggers: Invalid value: two triggers have the same name",
        ),
        (
            t(),
            json!({ "scaleTargetRef": { "apiVersion": "apps/v1/x" } }),
            "must be group/version such as apps/v1",
        ),
        (
            t(),
            json!({ "scaleTargetRef": { "name": "Web" } }),
            "spec.scaleTargetRef.name: Invalid value: is not a name",
        ),
        (
            t(),
            json!({ "scaleTargetRef": { "kind": "a/b" } }),
            "spec.scaleTargetRef.kind: Invalid value: is not a kind",
        ),
        (
            t(),
            json!({ "behavior": { "scaleUp": { "tolerance": "-0.1" } } }),
            "spec.behavior.scaleUp.tolerance: Invalid value: must be 0 to 10",
        ),
        (
            t(),
            json!({ "behavior": { "scaleDown": { "tolerance": 11 } } }),
            "spec.behavior.scaleDown.tolerance: Invalid value: must be 0 to 10",
        ),
        (
            t(),
            json!({ "behavior": { "scaleDown": { "policies": [] } } }),
            "should have at least 1 items",
        ),
        (
            t(),
            json!({ "behavior": { "scaleDown": { "policies": [{ "type": "Pods", "value": 0, "periodSeconds": 15 }] } } }),
            "should be greater than or equal to 1",
        ),
        (
            t(),
            json!({ "behavior": { "scaleDown": { "stabilizationWindowSeconds": 3601 } } }),
            "should be less than or equal to 3600",
        ),
        (
            t(),
            json!({ "banded": {} }),
            "spec.banded: Invalid value: needs strategy: banded beside it",
        ),
        (
            t(),
            json!({ "objective": { "wait": "1s", "missRatio": "3%" } }),
            "spec.objective: Invalid value: needs strategy: objective",
        ),
        (
            t(),
            json!({ "strategy": "objective" }),
            "spec.strategy: Invalid value: needs objective beside it",
        ),
        (
            t(),
            json!({ "strategy": "guess" }),
            "supported values: \"target\", \"banded\", \"objective\"",
        ),
        (
            t(),
            patched(api(json!({})), &json!({ "strategy": "banded" })),
            "banded needs a cpu or memory trigger",
        ),
        (
            t(),
            json!({ "strategy": "banded", "banded": { "lowPercent": 85 } }),
            "spec.banded.lowPercent: Invalid value: must be less than highPercent",
        ),
        (
            t(),
            json!({ "strategy": "banded", "banded": { "highAimPercent": 85 } }),
            "spec.banded.highAimPercent: Invalid value: must lie between",
        ),
        (
            t(),
            json!({ "strategy": "banded", "banded": { "lowAimPercent": 20 } }),
            "spec.banded.lowAimPercent: Invalid value: must lie between",
        ),
        (
            t(),
            objective(json!({ "wait": "1d", "missRatio": "3%" })),
            "spec.objective.wait: Invalid value: must be a duration of at most 1h",
        ),
        (
            t(),
            objective(json!({ "wait": "2h", "missRatio": "3%" })),
            "spec.objective.wait: Invalid value: must be a duration",
        ),
        (
            t(),
            objective(json!({ "wait": "0s", "missRatio": "3%" })),
            "spec.objective.wait: Invalid value: must be a duration",
        ),
        (
            t(),
            objective(json!({ "wait": "1s", "missRatio": "60%" })),
            "spec.objective.missRatio: Invalid value: must be a percentage",
        ),
        (
            t(),
            objective(json!({ "wait": "1s", "missRatio": "0.6" })),
            "spec.objective.missRatio: Invalid value: must be a percentage",
        ),
        (
            t(),
            objective(json!({ "wait": "1s", "missRatio": "x" })),
            "spec.objective.missRatio: Invalid value: must be a percentage",
        ),
        (
            t(),
            objective(json!({ "wait": "1s", "missRatio": "1%", "serviceTime": "200h" })),
            "spec.objective.serviceTime: Invalid value: must be a duration of at most 168h",
        ),
        (
            t(),
            objective(json!({ "wait": "1s", "missRatio": "1%", "slots": 0 })),
            "should be greater than or equal to 1",
        ),
        (
            t(),
            objective(json!({ "wait": "1s", "missRatio": "1%", "arrivals": "cpu" })),
            "spec.objective.arrivals: Invalid value: must be the name of a trigger",
        ),
        (
            t(),
            objective(json!({ "wait": "1s", "missRatio": "1%", "inSystem": "z" })),
            "spec.objective.inSystem: Invalid value: must be the name of a trigger",
        ),
        (
            t(),
            usage(json!({ "type": "aws-sqs-queue", "metricType": null })),
            "spec.triggers[0].type: Invalid value: is not known; allowed: cpu, memory, gpu, \
             gpu-memory, disk, network, psi, throttling, metrics-api, prometheus, rabbitmq, redis, redis-sentinel, redis-cluster, redis-streams, redis-sentinel-streams, redis-cluster-streams, nats-jetstream, kafka, postgresql, kubernetes-workload, mysql, external, external-push, cron",
        ),
        (
            t(),
            usage(json!({ "name": "-a" })),
            "spec.triggers[0].name: Invalid value: is not a name",
        ),
        (
            t(),
            usage(json!({ "metricType": "Value" })),
            "cpu and memory need metricType",
        ),
        (
            t(),
            usage(json!({ "metricType": null })),
            "cpu and memory need metricType",
        ),
        (
            t(),
            api(json!({ "metricType": "Utilization" })),
            "spec.triggers[0].metricType: Invalid value: must be AverageValue or Value",
        ),
        (
            t(),
            usage(json!({ "metadata": { "value": null } })),
            "what agents measure needs value",
        ),
        (
            t(),
            usage(json!({ "metadata": { "x": "y" } })),
            "what agents measure knows only value, containerName, window, of and what",
        ),
        (
            t(),
            usage(json!({ "metadata": { "value": "7.5" } })),
            "value must be a whole number of percent",
        ),
        (
            t(),
            usage(json!({ "metadata": { "value": "100001" } })),
            "value must be a whole number of percent",
        ),
        (
            t(),
            usage(json!({ "metricType": "AverageValue", "metadata": { "value": "0" } })),
            "value must be an amount above 0",
        ),
        (
            t(),
            api(json!({ "metadata": { "url": null } })),
            "metrics-api needs url",
        ),
        (
            t(),
            api(json!({ "metadata": { "valueLocation": null } })),
            "metrics-api needs valueLocation",
        ),
        (
            t(),
            api(json!({ "metadata": { "targetValue": null } })),
            "metrics-api needs targetValue",
        ),
        (
            t(),
            api(json!({ "metadata": { "targetValue": "-1" } })),
            "targetValue must be an amount above 0",
        ),
        (
            t(),
            api(json!({ "metadata": { "activationTargetValue": "-1" } })),
            "activationTargetValue must be an amount that isn't negative",
        ),
        (
            t(),
            query(json!({ "serverAddress": null })),
            "prometheus needs serverAddress",
        ),
        (
            t(),
            query(json!({ "query": null })),
            "prometheus needs query",
        ),
        (
            t(),
            query(json!({ "threshold": null })),
            "prometheus needs threshold",
        ),
        (
            t(),
            query(json!({ "threshold": "0" })),
            "threshold must be an amount above 0",
        ),
        (
            t(),
            query(json!({ "activationThreshold": "-1" })),
            "activationThreshold must be an amount that isn't negative",
        ),
        (
            t(),
            rabbit(json!({ "queueName": null })),
            "rabbitmq needs queueName",
        ),
        (
            t(),
            rabbit(json!({ "mode": null })),
            "rabbitmq: mode and value go together",
        ),
        (
            t(),
            rabbit(json!({ "value": "none" })),
            "value must be an amount above 0",
        ),
        (
            t(),
            rabbit(json!({ "mode": null, "value": null, "queueLength": "-1" })),
            "queueLength must be an amount above 0",
        ),
        (
            t(),
            rabbit(json!({ "activationValue": "x" })),
            "activationValue must be an amount that isn't negative",
        ),
        (
            t(),
            redis("redis", json!({ "listName": null })),
            "redis, redis-sentinel, redis-cluster need listName",
        ),
        (
            t(),
            redis("redis-cluster", json!({ "listLength": "0" })),
            "listLength must be an amount above 0",
        ),
        (
            t(),
            redis("redis-streams", json!({ "stream": null })),
            "redis-streams, redis-sentinel-streams, redis-cluster-streams need stream",
        ),
        (
            t(),
            redis(
                "redis-sentinel-streams",
                json!({ "pendingEntriesCount": "x" }),
            ),
            "pendingEntriesCount must be an amount above 0",
        ),
        (
            t(),
            cron(json!({ "timezone": null })),
            "cron needs timezone",
        ),
        (t(), cron(json!({ "start": null })), "cron needs start"),
        (t(), cron(json!({ "end": null })), "cron needs end"),
        (
            t(),
            cron(json!({ "desiredReplicas": null })),
            "cron needs desiredReplicas",
        ),
        (
            t(),
            cron(json!({ "desiredReplicas": "0" })),
            "desiredReplicas must be a whole number, 1 to 100000",
        ),
        (
            t(),
            cron(json!({ "desiredReplicas": "2.5" })),
            "desiredReplicas must be a whole number, 1 to 100000",
        ),
        (
            t(),
            cron(json!({ "end": "0 8 * * 1-5" })),
            "end must not be the same as start",
        ),
        (
            t(),
            cron(json!({ "activation": "1" })),
            "cron knows only timezone, start, end and desiredReplicas",
        ),
        (
            t(),
            trigger(working_hours(), json!({ "metricType": "Value" })),
            "must be AverageValue, or left out: a calendar",
        ),
        (
            m(),
            metric(json!({ "type": "Pods" })),
            "pods must be set with type: Pods, and only with it",
        ),
        (
            m(),
            metric(
                json!({ "external": { "metric": { "name": "a" }, "target": { "type": "Value", "value": 1 } } }),
            ),
            "external must be set with type: External",
        ),
        (
            m(),
            metric(json!({ "resource": { "name": "gpu" } })),
            "spec.metrics[0].resource.name: Invalid value: is not known; allowed: cpu, memory",
        ),
        (
            m(),
            metric(
                json!({ "resource": { "target": { "type": "Value", "value": 3, "averageUtilization": null } } }),
            ),
            "spec.metrics[0].resource.target.type: Invalid value: must be Utilization or AverageValue",
        ),
        (
            m(),
            metric(json!({ "resource": { "target": { "averageValue": 3 } } })),
            "target.averageValue must be set with type: AverageValue",
        ),
        (
            m(),
            metric(json!({ "resource": { "target": { "averageUtilization": null } } })),
            "target.averageUtilization must be set with type: Utilization",
        ),
        (
            m(),
            metric(json!({ "resource": { "target": { "averageUtilization": 0 } } })),
            "should be greater than or equal to 1",
        ),
        (
            m(),
            metric(
                json!({ "resource": { "target": { "type": "AverageValue", "averageUtilization": null, "averageValue": "0" } } }),
            ),
            "spec.metrics[0].resource.target.averageValue: Invalid value: must be an amount above 0",
        ),
        (
            m(),
            metric(
                json!({ "resource": { "target": { "type": "AverageValue", "averageUtilization": null, "averageValue": 0 } } }),
            ),
            "spec.metrics[0].resource.target.averageValue: Invalid value: must be an amount above 0",
        ),
        (
            m(),
            metric(
                json!({ "resource": { "target": { "type": "AverageValue", "averageUtilization": null, "averageValue": "x" } } }),
            ),
            "spec.metrics[0].resource.target.averageValue: Invalid value: must be an amount above 0",
        ),
        (
            m(),
            json!({ "newField": 1 }),
            "unknown field \"spec.newField\"",
        ),
    ]
}
