//! The API server stops, comes back, and is slow; workloads keep their size.

use std::time::{Duration, Instant};

use starling_kube::targets::AWAY_AFTER;
use starling_tests::installed::{NODES, await_agents, installed, until};
use starling_tests::sizes::Sizes;
use starling_tests::workload::{AT_ONCE, cpu_policy, deployment};

const SOON: Duration = Duration::from_mins(2);
const AWAY: Duration = Duration::from_mins(1);
/// Of a slow API server.
const CALL: Duration = Duration::from_secs(2);

#[test]
fn i8_while_the_api_server_is_away_sizes_stay_and_afterwards_they_follow_the_load() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "away");
    installed.namespace(namespace);
    let yaml = format!(
        "{}---{}",
        // More than the policy allows, however many there are.
        deployment("web", 1, 120),
        cpu_policy("Deployment", "web", AT_ONCE)
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
    for pod in installed.pods(namespace, "app=web") {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let end = ["/bin/sh", "-c", "echo 0 >/tmp/milli"];
        // One that the policy has ended meanwhile needs no telling.
        let _ = cluster.pod_exec(namespace, name, &end);
    }
    installed.await_size(namespace, "deploy", "web", SOON, |size| size == 1);
    await_agents(cluster, NODES);
    installed.forget(namespace);
}

#[test]
fn a_slow_api_server_makes_each_write_slow_and_none_wait_for_another() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "slow");
    installed.namespace(namespace);
    for name in ["a", "b", "c"] {
        let policy = cpu_policy("Deployment", name, AT_ONCE);
        installed.apply(namespace, &format!("{}---{policy}", deployment(name, 1, 0)));
    }
    for name in ["a", "b", "c"] {
        installed.await_rollout(namespace, name);
        installed.await_condition(namespace, name, "Ready");
    }
    let names = ["a", "b", "c"];
    let mut sizes = names.map(|name| Sizes::of(cluster, namespace, name));
    let pods = names.map(|name| installed.oldest(namespace, name));
    cluster.slow_api_server(CALL);
    for pod in &pods {
        let burn = ["/bin/sh", "-c", "echo 200 >/tmp/milli"];
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
    // In a row they would be two calls apart, at least.
    assert!(written[2] < written[0] + CALL * 3, "{written:.1?}");
    installed.forget(namespace);
}
