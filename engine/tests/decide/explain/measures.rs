//! What is measured, and how it is shown.

use super::*;

#[test]
fn replicas_without_samples_are_told() {
    let mut web = Scenario::new(vec![cpu(60)], 8);
    let mut sums = usage(5, 97);
    sums.oldest = Some(web.now.minus(2_300));
    sums.add_missing(2, Some(1_000));
    sums.unready = 1;
    sums.unready_request_milli = 1_000;
    web.read(vec![Reading::Pods(sums)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 8 replicas.

    - cpu would keep 8 replicas, judging cautiously what isn't measured: 97 % of
      requests used, target 60 %; 5 replicas counted, 2 without a fresh sample, 1
      not ready; measured 3 s ago.

    What would change the size:
    - more replicas are ready and have fresh samples of cpu
    - cpu reaches 108 % or falls to 35 %
    [ValidMetricFound]
    "#);
}

#[test]
fn utilization_needs_requests() {
    let mut web = Scenario::new(vec![cpu(60)], 2);
    let mut sums = usage(2, 97);
    sums.without_request = 2;
    web.read(vec![Reading::Pods(sums)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 2 replicas.

    - cpu failed: a replica states no request, so its utilization is undefined; 2
      replicas counted.

    Without a usable answer the workload keeps its 2 replicas.

    What would change the size:
    - cpu can be computed
    [TriggerFailed NoMetrics]
    "#);
}

#[test]
fn memory_is_shown_in_bytes() {
    let goal = Goal::AverageValue {
        milli: 512 * 1_048_576 * 1_000,
    };
    let memory = Trigger {
        name: "heap".into(),
        source: Source::Resource(Resource::Memory),
        goal,
        activation_milli: 0,
        window_ms: None,
    };
    let mut web = Scenario::new(vec![memory], 2);
    let mut sums = usage(2, 0);
    sums.ready_usage_milli = 2 * 800 * 1_048_576 * 1_000;
    web.read(vec![Reading::Pods(sums)]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Grows from 2 to 4 replicas.

    - heap (memory) asks for 4 replicas: 800 MiB a replica, target 512 MiB; 2
      replicas counted; measured just now.
    [ValidMetricFound]
    "#);
}

#[test]
fn one_container_s_cores_can_be_the_measure() {
    let proxy = Trigger {
        name: "proxy".into(),
        source: Source::Container {
            resource: Resource::Cpu,
            container: "envoy".into(),
        },
        goal: Goal::AverageValue { milli: 250 },
        activation_milli: 0,
        window_ms: None,
    };
    let mut web = Scenario::new(vec![proxy], 2);
    web.read(vec![Reading::Pods(usage(2, 40))]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Grows from 2 to 4 replicas.

    - proxy (cpu of container envoy) asks for 4 replicas: 0.4 cores a replica,
      target 0.25 cores; 2 replicas counted; measured just now.
    [ValidMetricFound]
    "#);
}

#[test]
fn a_value_in_all_is_spread_over_ready_replicas() {
    let latency = named("latency", Goal::Value { milli: 250 });
    let mut web = Scenario::new(vec![latency], 4);
    web.read(vec![Reading::value(375, web.now.minus(7_000))]);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Grows from 4 to 6 replicas.

    - latency (metrics-api) asks for 6 replicas: 0.375, target 0.25; measured 7 s
      ago.
    [ValidMetricFound]
    "#);
}

#[test]
fn an_unknown_trigger_type_counts_as_failing() {
    let odd = Trigger {
        source: Source::Unknown {
            kind: "tarot".into(),
        },
        ..named("odd", Goal::Value { milli: 1_000 })
    };
    let mut web = Scenario::new(vec![odd], 4);
    let decision = web.pass();
    insta::assert_snapshot!(explain(&decision), @r#"
    Stays at 4 replicas.

    - odd (tarot) failed: this version doesn't know such a trigger.

    Without a usable answer the workload keeps its 4 replicas.

    What would change the size:
    - odd has a type that the leader knows
    [TriggerFailed NoMetrics]
    "#);
}

#[test]
fn a_percentage_says_what_it_is_of() {
    let trigger = |source| Trigger { source, ..cpu(50) };
    let told = |source| {
        let mut web = Scenario::new(vec![trigger(source)], 2);
        web.read(vec![Reading::Pods(usage(2, 80))]);
        explain(&web.pass())
    };
    for (source, of) in [
        (Source::Resource(Resource::Gpu), "80 % of requests used"),
        (
            Source::Nodes(Resource::Gpu),
            "80 % of what the nodes have is used",
        ),
        (Source::Resource(Resource::PsiIo), "80 % of the time"),
        (Source::Nodes(Resource::PsiIo), "80 % of the time"),
        (
            Source::Resource(Resource::Throttling),
            "80 % of the periods held back",
        ),
    ] {
        let told: Vec<_> = told(source).split_whitespace().map(str::to_owned).collect();
        let told = told.join(" ");
        assert!(told.contains(of), "{of}: {told}");
    }
}
