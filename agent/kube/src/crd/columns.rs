//! What `kubectl get scalingpolicies` shows.

use serde_json::{Value, json};

/// In the order in which they stand; those with priority 1 come with `-o wide`.
pub(super) fn columns() -> Value {
    let text = |name: &str, path: &str, priority: u8, what: &str| {
        column(name, "string", path, priority, what)
    };
    let count = |name: &str, path: &str, priority: u8, what: &str| {
        column(name, "integer", path, priority, what)
    };
    let condition = |name: &str, what: &str| {
        let path = format!(".status.conditions[?(@.type==\"{name}\")].status");
        column(name, "string", &path, 0, what)
    };
    json!([
        text(
            "Kind",
            ".spec.scaleTargetRef.kind",
            1,
            "The kind of the workload."
        ),
        text(
            "Target",
            ".spec.scaleTargetRef.name",
            0,
            "The workload that the policy sizes."
        ),
        count(
            "Min",
            ".status.minReplicas",
            0,
            "The fewest replicas, as in force."
        ),
        count(
            "Max",
            ".status.maxReplicas",
            0,
            "The most replicas, as in force."
        ),
        count("Size", ".status.size", 0, "The size that was granted last."),
        count(
            "Want",
            ".status.desiredReplicas",
            0,
            "The size that is wanted now."
        ),
        count(
            "Running",
            ".status.currentReplicas",
            1,
            "Replicas that exist."
        ),
        condition("Active", "Whether there is work."),
        condition("Ready", "Whether the policy is in force as it is written."),
        condition("Paused", "Whether an annotation holds the size."),
        text(
            "Triggers",
            ".status.triggers",
            1,
            "What was measured, and its goals."
        ),
        text(
            "Reason",
            ".status.reason",
            1,
            "Why the workload has this size."
        ),
        column(
            "Age",
            "date",
            ".metadata.creationTimestamp",
            0,
            "Since when it exists."
        ),
    ])
}

fn column(name: &str, kind: &str, path: &str, priority: u8, what: &str) -> Value {
    json!({
        "name": name,
        "type": kind,
        "jsonPath": path,
        "priority": priority,
        "description": what,
    })
}
