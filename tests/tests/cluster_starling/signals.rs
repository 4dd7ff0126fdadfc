//! Triggers on what agents measure besides the CPU and the memory of pods, and over
//! windows of their own, and what people are shown of it. Kubelets here have cgroup v1, so
//! there is no pressure.

use std::time::{Duration, Instant};

use starling_tests::installed::{Installed, installed, text, until};
use starling_tests::sizes::Sizes;
use starling_tests::workload::{AT_ONCE, cpu_policy, deployment};

const SOON: Duration = Duration::from_mins(1);

/// A policy whose one trigger is this.
fn policy(trigger: &str, more: &str) -> String {
    let cpu = "  - type: cpu\n    metricType: Utilization\n    metadata: {value: \"70\"}\n";
    let policy = cpu_policy("Deployment", "web", more);
    assert!(policy.contains(cpu), "{policy}");
    policy.replace(cpu, &format!("  - {trigger}\n"))
}

/// Until the trigger's value, in its own unit, is what it should be.
fn await_value(installed: &Installed, namespace: &str, what: &str, is_it: impl Fn(i64) -> bool) {
    until(&installed.cluster, what, SOON, |_| {
        Ok(installed.input(namespace, "web").and_then(|input| {
            match input["value_milli"].as_i64() {
                Some(value) if is_it(value) => Ok(()),
                _ => Err(input.to_string()),
            }
        }))
    });
}

#[test]
fn a_container_that_its_quota_holds_back_makes_its_deployment_grow() {
    let Some(installed) = installed() else { return };
    let namespace = "throttled";
    installed.namespace(namespace);
    // A limit that what a pod does at rest keeps far from.
    let limited = deployment("web", 1, 0).replace("16Mi}}", "16Mi}, limits: {cpu: 200m}}");
    let trigger = "{type: throttling, metadata: {value: \"40\"}}";
    let policy = policy(trigger, AT_ONCE);
    installed.apply(namespace, &format!("{limited}---{policy}"));
    installed.await_rollout(namespace, "web");
    installed.keep_oldest(namespace, "web");
    installed.await_condition(namespace, "web", "Ready");
    await_value(&installed, namespace, "nothing is held back", |value| {
        (0..20_000).contains(&value)
    });
    // To start it may have been held back.
    installed.await_size(namespace, "deploy", "web", SOON, |size| size == 1);
    // Five times what it may: in hardly a period it isn't stopped.
    installed.burn(namespace, "web", 1_000);
    let grown = installed.await_size(namespace, "deploy", "web", SOON, |size| size > 1);
    assert!(
        grown <= 3,
        "{grown}: at most all of the periods, 2.5 times 40 %"
    );
    installed.burn(namespace, "web", 0);
    installed.await_size(namespace, "deploy", "web", SOON, |size| size == 1);
    installed.forget(namespace);
}

#[test]
fn a_trigger_of_nodes_reads_what_the_pods_node_uses_and_has() {
    let Some(installed) = installed() else { return };
    let namespace = "of-nodes";
    installed.namespace(namespace);
    installed.apply(namespace, &deployment("web", 2, 0));
    installed.await_rollout(namespace, "web");
    // Whatever the machine does, its memory is in use by some percent: far above 1 % of
    // it, and far below all of it a thousand times.
    let trigger = |percent: u32| {
        let metadata = format!("metadata: {{of: nodes, value: \"{percent}\"}}");
        format!("{{type: memory, metricType: Utilization, {metadata}}}")
    };
    installed.apply(namespace, &policy(&trigger(100_000), "  dryRun: true"));
    installed.await_condition(namespace, "web", "Ready");
    await_value(
        &installed,
        namespace,
        "a part of the memory is in use",
        |value| (1_000..100_000).contains(&value),
    );
    until(&installed.cluster, "both pods count", SOON, |_| {
        Ok(installed.input(namespace, "web").and_then(|input| {
            let both = input["pods"]["counted"] == 2 && input["proposal"] == 1;
            both.then_some(()).ok_or_else(|| input.to_string())
        }))
    });
    installed.apply(namespace, &policy(&trigger(1), AT_ONCE));
    installed.await_size(namespace, "deploy", "web", SOON, |size| size == 6);
    installed.forget(namespace);
}

#[test]
fn a_long_window_takes_its_time_where_a_second_does_not_and_top_shows_what_is_used() {
    let Some(installed) = installed() else { return };
    let namespace = "window";
    installed.namespace(namespace);
    let pair = [("slow", "16s"), ("quick", "1s")];
    for (name, window) in pair {
        let metadata = format!("metadata: {{value: \"70\", window: {window}}}");
        let trigger = format!("{{type: cpu, metricType: Utilization, {metadata}}}");
        let policy = policy(&trigger, AT_ONCE).replace("name: web", &format!("name: {name}"));
        installed.apply(namespace, &format!("{}---{policy}", deployment(name, 1, 0)));
    }
    for (name, _) in pair {
        installed.await_rollout(namespace, name);
        installed.await_condition(namespace, name, "Ready");
    }
    // As long as the longer window is, and a reading more.
    let rested = Instant::now();
    until(&installed.cluster, "both have rested", SOON, |_| {
        let rested = rested.elapsed();
        Ok(if rested > Duration::from_secs(18) {
            Ok(())
        } else {
            Err(format!("{rested:?}"))
        })
    });
    let mut sizes = pair.map(|(name, _)| Sizes::of(&installed.cluster, namespace, name));
    let began = installed.burn(namespace, "slow", 200);
    installed.burn(namespace, "quick", 200);
    let grown = sizes
        .each_mut()
        .map(|of| of.next("it grows", |size| size >= 2));
    let [slow, quick] = grown.map(|seen| seen.at - began);
    eprintln!("more than one after {quick:?} by the mean of 1 s, {slow:?} by that of 16 s");
    // 200 milli are 200 % of what a pod asks for. The mean over 16 s, near 0 before, is above
    // 77 %, where a second pod is due, after 6 s and not before. That over 1 s is at once,
    // though its pod became busy later.
    assert!(slow > Duration::from_secs(5), "{slow:?}");
    assert!(quick < slow, "{quick:?}, {slow:?}");
    // It goes on. Busybox is told how much to burn, and keeps to it within a fifth.
    let pod = installed.oldest(namespace, "quick");
    until(&installed.cluster, "top shows what it burns", SOON, |_| {
        let top = installed.ask(&["top", "pods", "-n", namespace]);
        Ok(top.and_then(|top| {
            let pods = top["pods"].as_array().into_iter().flatten();
            let shown = pods.filter(|shown| shown["name"] == pod.as_str());
            let used: Vec<u64> = shown
                .filter_map(|shown| shown["usage"]["cpu"]["used"].as_u64())
                .collect();
            match used.as_slice() {
                [milli] if (160..=240).contains(milli) => Ok(()),
                _ => Err(format!("{used:?} milli of {pod} in {top}")),
            }
        }))
    });
    installed.forget(namespace);
}

#[test]
fn what_pods_receive_and_send_is_measured_without_any_privilege() {
    let Some(installed) = installed() else { return };
    let namespace = "carried";
    installed.namespace(namespace);
    let trigger = "{type: network, metadata: {value: 1G, window: 20s}}";
    let policy = policy(trigger, "  dryRun: true");
    installed.apply(
        namespace,
        &format!("{}---{policy}", deployment("web", 2, 0)),
    );
    installed.await_rollout(namespace, "web");
    installed.await_condition(namespace, "web", "Ready");
    until(&installed.cluster, "both are measured", SOON, |_| {
        Ok(installed.input(namespace, "web").and_then(|input| {
            let counted = input["pods"]["counted"] == 2 && input["value_milli"].is_i64();
            counted.then_some(()).ok_or_else(|| input.to_string())
        }))
    });
    let pods = installed.pods(namespace, "app=web");
    let [one, other] = [0, 1].map(|at: usize| &pods[at]);
    let address = text(&other["status"]["podIP"]);
    let ask = format!("wget -q -O /dev/null http://{address}:8080/cgi-bin/get");
    let often = format!("i=0; while [ $i -lt 100 ]; do {ask} || exit 1; i=$((i + 1)); done");
    let words = ["/bin/sh", "-c", &often];
    let name = text(&one["metadata"]["name"]);
    installed
        .cluster
        .pod_exec(namespace, &name, &words)
        .unwrap();
    // Each asks for some 100 bytes and gets as many, headers of packets aside, and both
    // pods carry both: 20,000 bytes in 20 seconds at least.
    await_value(&installed, namespace, "they have carried it", |value| {
        value > 1_000_000
    });
    installed.forget(namespace);
}
