//! What `kubectl get` and `kubectl explain` show.

use serde_json::json;
use starling_kubernetes_rig::turn;

use crate::good::metrics;
use crate::{cluster, object};

#[test]
fn kubectl_shows_at_a_glance_how_a_policy_stands() {
    let Some(_turn) = turn::beside() else { return };
    let cluster = cluster();
    cluster
        .apply(&object(&metrics()).to_string())
        .expect("a policy");
    let condition = |kind: &str, status: &str| {
        json!({
            "type": kind,
            "status": status,
            "reason": "Because",
            "message": "of this",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    let status = json!({
        "status": {
            "observedGeneration": 1,
            "conditions": [
                condition("Ready", "True"),
                condition("Active", "False"),
                condition("Paused", "False"),
            ],
            "minReplicas": 1,
            "maxReplicas": 9,
            "currentReplicas": 3,
            "desiredReplicas": 5,
            "size": 4,
            "lastScaleTime": "2026-01-01T00:00:00Z",
            "lastGrant": "1/77",
            "triggers": "cpu: 82 %/70 %",
            "reason": "The limit on growth allows 4 of 5 for now.",
        },
    });
    let patch = status.to_string();
    cluster
        .kubectl([
            "patch",
            "sp",
            "web",
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ])
        .expect("a status");
    let shown = |more: &[&'static str]| {
        let words: Vec<&str> = ["get", "scalingpolicies"]
            .iter()
            .chain(more)
            .copied()
            .collect();
        let table = cluster.kubectl(words).expect("a table");
        let rows: Vec<String> = table.lines().map(words_of).collect();
        rows
    };
    let [head, row] = shown(&[]).try_into().expect("a head and a row");
    assert_eq!(
        head,
        "NAME TARGET MIN MAX SIZE WANT ACTIVE READY PAUSED AGE"
    );
    assert!(
        row.starts_with("web web 1 9 4 5 False True False "),
        "{row}"
    );
    let [head, row] = shown(&["-o", "wide"]).try_into().expect("a head and a row");
    assert_eq!(
        head,
        "NAME KIND TARGET MIN MAX SIZE WANT RUNNING ACTIVE READY PAUSED TRIGGERS REASON AGE"
    );
    assert!(
        row.contains(
            "StatefulSet web 1 9 4 5 3 False True False cpu: 82 %/70 % The limit on growth"
        ),
        "{row}"
    );
    let explained = cluster
        .kubectl(["explain", "scalingpolicy.spec.minReplicaCount"])
        .expect("an explanation");
    assert!(explained.contains("The fewest replicas."), "{explained}");
}

/// With one space between any two words.
fn words_of(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
