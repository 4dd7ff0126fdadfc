//! Vectors of our own, for edges that the committed files leave out.

use serde_json::{Value, json};

use crate::check;

fn expect(kind: &str, inputs: &Value, expected: &Value) {
    let vector = json!({"id": "edge", "kind": kind, "inputs": inputs, "expected": expected});
    assert_eq!(check(&vector), Ok(()));
}

#[test]
fn raw_rate_limits_stay_within_32_bits() {
    let limit = |op: &str, rate: Value, change: i64| {
        json!({"op": op, "current_replicas": 2_000_000_000,
            "rules": {"select_policy": "Max", "stabilization_window_s": 0, "policies": [rate]},
            "scale_up_events": [{"change": change, "age_s": 1}],
            "scale_down_events": [{"change": 1, "age_s": 1}]})
    };
    let pods = json!({"type": "Pods", "value": i32::MAX, "period_s": 60});
    let percent = json!({"type": "Percent", "value": 1_000_000, "period_s": 60});
    for (op, rate, change, wanted) in [
        ("scale_up_limit", &pods, 1, i32::MAX),
        ("scale_up_limit", &percent, 1, i32::MAX),
        ("scale_up_limit", &percent, 2_100_000_000, i32::MIN),
        ("scale_down_limit", &pods, 2_100_000_000, i32::MIN),
        ("scale_down_limit", &percent, 1, i32::MIN),
        ("scale_down_limit", &percent, 2_100_000_000, i32::MAX),
    ] {
        let inputs = limit(op, rate.clone(), change);
        expect("behavior", &inputs, &json!({"limit": wanted}));
    }
}

#[test]
fn a_value_at_the_end_of_its_range_is_reported_whole() {
    for (series, running, average) in [
        (json!([i64::MAX, 1]), 3, i64::MAX),
        (json!([i64::MAX]), 0, i64::MAX),
        (json!([i64::MAX - 511]), 2, i64::MAX),
        // The largest that still differs from it as a float.
        (json!([i64::MAX - 1_023]), 2, (1 << 62) - 512),
    ] {
        let inputs = json!({"status_replicas": running, "target_average_milli": 1_000,
            "metric_values_milli": series, "tolerance_up": 0.1, "tolerance_down": 0.1});
        let expected = json!({"replicas": i32::MAX, "average_milli": average});
        expect("external_per_pod", &inputs, &expected);
    }
}

/// As many as HPA's 15 s passes fit in: none may leave the period late.
#[test]
fn each_of_a_hundred_changes_leaves_a_period_of_half_an_hour_in_its_turn() {
    let rules = |policies: Value| json!({"select_policy": "Max", "stabilization_window_s": 0, "policies": policies});
    let behavior = json!({
        "scale_up": rules(json!([{"type": "Pods", "value": 100, "period_s": 1_800}])),
        "scale_down": rules(json!([{"type": "Percent", "value": 100, "period_s": 15}]))});
    let steps: Vec<Value> = (2..=201)
        .map(|wanted| json!({"after_ms": 15_007, "desired_replicas": wanted}))
        .collect();
    // A hundred are granted at once. The first of them is 120 passes old when it
    // has left the period; from then on each pass lets one more go.
    let sizes: Vec<u32> = (1..=200)
        .map(|pass: u32| match pass {
            ..=100 => 1 + pass,
            101..=120 => 101,
            _ => 101 + (pass - 120),
        })
        .collect();
    let inputs = json!({"min_replicas": 1, "max_replicas": 1_000, "start_replicas": 1,
        "downscale_stabilization_s": 300, "behavior": behavior, "steps": steps});
    expect("sequence", &inputs, &json!({ "sizes": sizes }));
}

fn at_rest(min: u32, metrics: &Value) -> Value {
    json!({"min_replicas": min, "max_replicas": 6, "spec_replicas": 0, "status_replicas": 0,
        "metrics": metrics, "pods": [], "extra_metrics": [],
        "tolerance_up": 0.1, "tolerance_down": 0.1,
        "cpu_initialization_period_s": 120, "initial_readiness_delay_s": 10,
        "behavior": null, "downscale_stabilization_s": 300, "recommendations": null,
        "scale_to_zero_gate": true, "initial_scaled_to_zero": true})
}

#[test]
fn a_metric_of_an_unknown_type_does_not_keep_hpa_active_at_zero() {
    let expected = json!({"replicas": 0, "rescaled": false, "error": false, "conditions": {
        "AbleToScale": ["True", "SucceededGetScale"],
        "ScalingActive": ["False", "ScalingDisabled"],
        "ScaledToZero": ["True", "ScaledToZero"]}});
    let unknown = json!([{"type": "unknown", "invalid_type": true}]);
    expect("reconcile", &at_rest(0, &unknown), &expected);
}

/// HPA stays at zero until a metric answers.
#[test]
fn a_minimum_raised_above_zero_holds_though_every_metric_fails() {
    let expected = json!({"replicas": 2, "rescaled": true, "error": true, "conditions": {
        "AbleToScale": ["True", "SucceededRescale"],
        "ScalingActive": ["False", "FailedGetExternalMetric"],
        "ScaledToZero": ["False", "NotScaledToZero"]}});
    let failing = json!([{"type": "external", "target_value_milli": 1_000,
        "metric_values_milli": [5_000], "fetch_error": true}]);
    expect("reconcile", &at_rest(2, &failing), &expected);
}

#[test]
fn an_absent_minimum_is_one() {
    let mut inputs = at_rest(0, &json!([]));
    inputs["min_replicas"] = Value::Null;
    let metrics = json!([{"type": "object", "target_value_milli": 1_000, "metric_value_milli": 0}]);
    inputs["metrics"] = metrics;
    expect(
        "reconcile",
        &inputs,
        &json!({"replicas": 1, "rescaled": true}),
    );
}

#[test]
fn a_pod_whose_readiness_has_no_date_has_been_so_for_long() {
    let pod = |ready: &str| {
        json!({"name": ready, "phase": "Running", "ready": ready, "start_age_s": 60,
            "ready_transition_age_s": null, "request_milli": 1_000, "value_milli": 500,
            "metric_age_s": 5, "metric_window_s": 60})
    };
    let inputs = json!({"resource": "cpu", "cpu_initialization_period_s": 120,
        "initial_readiness_delay_s": 10, "pods": [pod("True"), pod("False")]});
    let expected = json!({"ready_count": 1, "unready": ["False"], "missing": [], "ignored": []});
    expect("pod_grouping", &inputs, &expected);
}
