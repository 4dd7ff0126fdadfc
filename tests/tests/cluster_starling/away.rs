//! The API server stops, comes back, and is slow; workloads keep their size.

use std::time::{Duration, Instant};

use starling_kube::targets::AWAY_AFTER;
use starling_tests::installed::{NODES, await_agents, installed, until};
use starling_tests::sizes::Sizes;
use starling_tests::workload::{AT_ONCE, cpu_policy, deployment, workload};

const SOON: Duration = Duration::from_mins(2);
const AWAY: Duration = Duration::from_mins(1);
/// Of a slow API server.
const CALL: Duration = Duration::from_secs(2);

#[test]
fn i8_while_the_api_server_is_away_sizes_stay_and_afterwards_they_follow_the_load() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "away");
    installed.namespace(namespace);
    // A busy machine may keep pods from their work for some seconds: that they use less then
    // is no reason to shrink.
    let steady = "  behavior: {scaleDown: {stabilizationWindowSeconds: 20}}";
    let yaml = format!(
        "{}---{}",
        // More than the policy allows, however many there are.
        deployment("web", 1, 120),
        cpu_policy("Deployment", "web", steady)
    );
    installed.apply(namespace, &yaml);
    installed.await_size(namespace, "deploy", "web", SOON, |size| size == 6);
    let generation = || {
        let found = cluster.get(["deploy", "web", "-n", namespace]);
        found.map(|it| it["metadata"]["generation"].as_u64().unwrap())
    };
    let before = generation().unwrap();
    // First it is silent, longer than silence takes to count as an outage; then streams
    // break, and new ones are refused.
    let stopped = Instant::now();
    cluster.freeze_api_server().unwrap();
    std::thread::sleep(AWAY_AFTER + Duration::from_secs(5));
    cluster.kill_api_server().unwrap();
    std::thread::sleep(AWAY.saturating_sub(stopped.elapsed()));
    cluster.resume_api_server().unwrap();
    let after = until(cluster, "the API server answers", SOON, |_| {
        Ok(generation().map_err(|why| why.to_string()))
    });
    assert_eq!(after, before, "its size has changed");
    // Nor does it change by what is read anew.
    let mut sizes = Sizes::of(cluster, namespace, "web");
    let later = sizes.during(Duration::from_secs(10));
    assert!(later.is_empty(), "{later:?}");
    until(cluster, "it shrinks as its pods rest", SOON, |cluster| {
        for pod in installed.pods(namespace, "app=web") {
            let name = pod["metadata"]["name"].as_str().unwrap();
            let rest = ["/bin/sh", "-c", "echo 0 >/tmp/milli"];
            // One that can't be told just now is told at the next look.
            let _ = cluster.pod_exec(namespace, name, &rest);
        }
        let size = installed.size(namespace, "deploy", "web");
        let right = size == 1;
        Ok(right.then_some(()).ok_or_else(|| format!("it is {size}")))
    });
    // Each of Kubernetes' own controllers takes up its streams again by itself, some a minute
    // after others. Tests that follow need more of them than this one.
    for kind in ["StatefulSet", "ReplicaSet"] {
        let name = kind.to_lowercase();
        installed.apply(namespace, &workload(kind, &name, 1, 0));
        until(cluster, "its pod is made", SOON, |_| {
            let pods = installed.pods(namespace, &format!("app={name}"));
            Ok((!pods.is_empty()).then_some(()).ok_or_else(|| name.clone()))
        });
    }
    await_agents(cluster, NODES);
    installed.forget(namespace);
}

#[test]
fn a_slow_api_server_makes_each_write_slow_and_none_wait_for_another() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "slow");
    installed.namespace(namespace);
    let names = ["a", "b", "c", "d", "e", "f"];
    for name in names {
        let policy = cpu_policy("Deployment", name, AT_ONCE);
        installed.apply(namespace, &format!("{}---{policy}", deployment(name, 1, 0)));
    }
    for name in names {
        installed.await_rollout(namespace, name);
        installed.await_condition(namespace, name, "Ready");
    }
    let mut sizes = names.map(|name| Sizes::of(cluster, namespace, name));
    let pods = names.map(|name| installed.oldest(namespace, name));
    cluster.slow_api_server(CALL);
    for pod in &pods {
        // 120 % of what it asks for; two cores have room for six times as much.
        let burn = ["/bin/sh", "-c", "echo 120 >/tmp/milli"];
        cluster.pod_exec(namespace, pod, &burn).unwrap();
    }
    let began = Instant::now();
    let mut written: Vec<Duration> = Vec::new();
    for of_one in &mut sizes {
        written.push(of_one.next("it grows", |size| size >= 2).at - began);
    }
    cluster.slow_api_server(Duration::ZERO);
    written.sort_unstable();
    eprintln!("written after {written:.1?}");
    // In a row the last would be five calls behind the first, at least.
    assert!(written[5] < written[0] + CALL * 4, "{written:.1?}");
    installed.forget(namespace);
}
