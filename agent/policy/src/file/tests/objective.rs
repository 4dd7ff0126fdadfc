//! The `objective` block: what it may say and what is refused.

use starling_engine::policy::{Objective, Strategy};

use super::{POLICY, policy, problems, refused, refused_with};

/// The policy with a queue that counts what arrives, under strategy `objective`.
fn objective(block: &str) -> String {
    let (head, triggers) = POLICY.split_once("  triggers:\n").unwrap();
    let triggers = triggers.replace("metrics-api\n", "metrics-api\n      name: arrivals\n");
    format!("{head}  strategy: objective\n  objective: {block}\n  triggers:\n{triggers}")
}

#[test]
fn an_objective_is_read_in_the_units_that_people_write() {
    let read = |block: &str| match policy(&objective(block)).strategy {
        Strategy::Objective(objective) => *objective,
        other => panic!("{other:?}"),
    };
    let full = "{wait: 250ms, missRatio: 3%, serviceTime: 40ms, slots: 4, arrivals: arrivals, \
                inSystem: arrivals}";
    let expected = Objective {
        wait_ms: 250,
        miss_ppm: 30_000,
        service_ms: Some(40),
        slots: Some(4),
        arrivals: Some("arrivals".into()),
        in_system: Some("arrivals".into()),
    };
    assert_eq!(read(full), expected);
    let least = Objective {
        service_ms: None,
        slots: None,
        arrivals: None,
        in_system: None,
        ..expected
    };
    assert_eq!(read("{wait: 0.25s, missRatio: 0.03}"), least);
    for (written, ms) in [
        ("1ms", 1),
        ("2s", 2_000),
        ("1.5m", 90_000),
        ("1h", 3_600_000),
    ] {
        let block = format!("{{wait: {written}, missRatio: 3 %}}");
        assert_eq!(read(&block).wait_ms, ms, "{written}");
    }
    for (written, ppm) in [
        ("50%", 500_000),
        ("0.5", 500_000),
        ("0.0001%", 1),
        ("0.000001", 1),
    ] {
        let block = format!("{{wait: 1s, missRatio: {written}}}");
        assert_eq!(read(&block).miss_ppm, ppm, "{written}");
    }
}

#[test]
fn an_objective_that_can_not_be_meant_is_refused() {
    let cases = [
        ("{missRatio: 3%}", "14: spec.objective: `wait` is missing"),
        (
            "{wait: 250, missRatio: 3%}",
            "21: spec.objective.wait: `250` is not a duration; write a number and a unit, \
             such as 250ms, 2s or 1m",
        ),
        (
            "{wait: 0ms, missRatio: 3%}",
            "21: spec.objective.wait: must be 1 ms to 1 h, is 0ms",
        ),
        (
            "{wait: 2h, missRatio: 3%}",
            "21: spec.objective.wait: must be 1 ms to 1 h, is 2h",
        ),
        (
            "{wait: 1Gs, missRatio: 3%}",
            "21: spec.objective.wait: `1Gs` is not a duration; write a number and a unit, \
             such as 250ms, 2s or 1m",
        ),
        (
            "{wait: -1s, missRatio: 3%}",
            "21: spec.objective.wait: `-1s` is not a duration; write a number and a unit, \
             such as 250ms, 2s or 1m",
        ),
        (
            "{wait: 1s, missRatio: 51%}",
            "36: spec.objective.missRatio: must be above 0 and at most 50%, is 51%",
        ),
        (
            "{wait: 1s, missRatio: 0}",
            "36: spec.objective.missRatio: must be above 0 and at most 50%, is 0",
        ),
        (
            "{wait: 1s, missRatio: 3m}",
            "36: spec.objective.missRatio: `3m` is not a ratio; write a percentage such as \
             3% or a fraction such as 0.03",
        ),
        (
            "{wait: 1s, missRatio: 3%, serviceTime: 0s}",
            "53: spec.objective.serviceTime: must be 1 ms to 7 days, is 0s",
        ),
        (
            "{wait: 1s, missRatio: 3%, slots: 0}",
            "47: spec.objective.slots: must be 1 to 10000, is 0",
        ),
        (
            "{wait: 1s, missRatio: 3%, slots: 10001}",
            "47: spec.objective.slots: must be 1 to 10000, is 10001",
        ),
        (
            "{wait: 1s, missRatio: 3%, arrivals: queue}",
            "50: spec.objective.arrivals: \"queue\" is not the name of a trigger of this \
             policy",
        ),
        (
            "{wait: 1s, missRatio: 3%, inSystem: cpu}",
            "50: spec.objective.inSystem: \"cpu\" measures the replicas; name an external \
             trigger",
        ),
        (
            "{wait: 1s, missRatio: 3%, misses: 3%}",
            "40: spec.objective.misses: unknown field `misses`; allowed: wait, missRatio, \
             serviceTime, slots, arrivals, inSystem",
        ),
    ];
    for (block, expected) in cases {
        let problems = problems(&objective(block));
        assert_eq!(problems, format!("12:{expected}\n"), "{block}");
    }
    refused(
        POLICY,
        "  minReplicaCount: 1",
        "  strategy: objective\n  minReplicaCount: 1",
        &[
            "6:3: spec.objective: is missing; say how long work may wait and how often \
             longer, as in `objective: {wait: 250ms, missRatio: 3%, arrivals: TRIGGER}`",
        ],
    );
    refused_with(
        "objective: {wait: 1s, missRatio: 3%}",
        &["9:14: spec.objective: needs `strategy: objective` beside it"],
    );
}
