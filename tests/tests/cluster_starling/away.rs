//! The API server stops, comes back, and is slow; workloads keep their size.

use std::time::Duration;

use starling_kube::targets::AWAY_AFTER;
use starling_tests::installed::{NODES, await_agents, installed, until};
use starling_tests::workload::{AT_ONCE, cpu_policy, deployment};

const SOON: Duration = Duration::from_mins(2);

#[test]
fn i8_while_the_api_server_is_away_sizes_stay_and_afterwards_they_follow_the_load() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "away");
    installed.namespace(namespace);
    let yaml = format!(
        "{}---{}",
        deployment("web", 1, 200),
        cpu_policy("Deployment", "web", AT_ONCE)
    );
    installed.apply(namespace, &yaml);
    installed.await_size(namespace, "deploy", "web", SOON, |size| size >= 2);
    let pods = installed.pods(namespace, "app=web");
    let names = pods
        .iter()
        .map(|pod| pod["metadata"]["name"].as_str().unwrap());
    let names: Vec<&str> = names.collect();
    let before = installed.size(namespace, "deploy", "web");
    cluster.freeze_api_server().unwrap();
    // The pods go on without it: their load ends while nobody can be told.
    for name in &names {
        let end = ["/bin/sh", "-c", "echo 0 >/tmp/milli"];
        // One that the policy has ended meanwhile needs no telling.
        let _ = cluster.pod_exec(namespace, name, &end);
    }
    // Longer than silence takes to count as an outage.
    std::thread::sleep(AWAY_AFTER + Duration::from_secs(5));
    cluster.resume_api_server().unwrap();
    let after = until(cluster, "the API server answers", SOON, |cluster| {
        Ok(match cluster.get(["deploy", "web", "-n", namespace]) {
            Ok(found) => Ok(found["spec"]["replicas"].as_u64().unwrap()),
            Err(why) => Err(why.to_string()),
        })
    });
    eprintln!("{before} before, {after} right after");
    installed.await_size(namespace, "deploy", "web", SOON, |size| size == 1);
    await_agents(cluster, NODES);
    installed.forget(namespace);
}

#[test]
fn a_slow_api_server_only_makes_writes_slow() {
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
    cluster.slow_api_server(Duration::from_secs(2));
    for name in ["a", "b", "c"] {
        installed.burn(namespace, name, 200);
    }
    for name in ["a", "b", "c"] {
        installed.await_size(namespace, "deploy", name, SOON, |size| size >= 2);
    }
    cluster.slow_api_server(Duration::ZERO);
    installed.forget(namespace);
}
