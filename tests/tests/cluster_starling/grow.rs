//! Workloads grow and shrink by what the agents measure and by what sources say.

use std::time::{Duration, Instant};

use starling_tests::installed::{installed, until};
use starling_tests::workload::{AT_ONCE, cpu_policy, deployment, number_policy};

const SOON: Duration = Duration::from_mins(1);

#[test]
fn load_on_its_pods_makes_a_deployment_grow_and_rest_lets_it_shrink() {
    let Some(installed) = installed() else { return };
    let namespace = "grow";
    installed.namespace(namespace);
    installed.apply(namespace, &deployment("web", 1, 0));
    installed.await_rollout(namespace, "web");
    let policy = cpu_policy("Deployment", "web", AT_ONCE);
    installed.apply(namespace, &policy);
    installed.await_condition(namespace, "web", "Ready");
    // The sum of what all pods burn stays the same however many there are, as with real
    // requests: one pod's 200 milli are 200 % of its request.
    let began = Instant::now();
    installed.burn(namespace, "web", 200);
    installed.await_size(namespace, "deploy", "web", SOON, |size| size >= 2);
    eprintln!(
        "from load to scale write, as kubectl sees it: {:?}",
        began.elapsed()
    );
    // 200 milli in all are 70 % of three pods' requests.
    installed.await_size(namespace, "deploy", "web", SOON, |size| size == 3);
    installed.burn(namespace, "web", 0);
    installed.await_size(namespace, "deploy", "web", SOON, |size| size == 1);
    installed.forget(namespace);
}

#[test]
fn a_number_brings_a_deployment_from_zero_and_back() {
    let Some(installed) = installed() else { return };
    let namespace = "numbers";
    installed.namespace(namespace);
    installed.apply(namespace, &deployment("worker", 0, 0));
    let address = installed.source(namespace, 0);
    let policy = number_policy("worker", &address, AT_ONCE);
    installed.apply(namespace, &policy);
    installed.await_condition(namespace, "worker", "Ready");
    let began = Instant::now();
    installed.tell(namespace, "source", "number", 25);
    installed.await_size(namespace, "deploy", "worker", SOON, |size| size >= 1);
    eprintln!("from 0 to 1, as kubectl sees it: {:?}", began.elapsed());
    installed.await_size(namespace, "deploy", "worker", SOON, |size| size == 3);
    installed.tell(namespace, "source", "number", 0);
    installed.await_size(namespace, "deploy", "worker", SOON, |size| size == 0);
    installed.forget(namespace);
}

#[test]
fn a_dry_run_decides_and_records_but_never_writes() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "dry");
    installed.namespace(namespace);
    let yaml = format!(
        "{}---{}",
        deployment("web", 1, 200),
        cpu_policy("Deployment", "web", "  dryRun: true")
    );
    installed.apply(namespace, &yaml);
    until(cluster, "the dry run wants more", SOON, |cluster| {
        let policy = cluster.get(["scalingpolicy", "web", "-n", namespace])?;
        let wanted = policy["status"]["desiredReplicas"].as_u64();
        Ok(match wanted {
            Some(wanted) if wanted >= 2 => Ok(wanted),
            _ => Err(policy["status"].to_string()),
        })
    });
    assert_eq!(installed.size(namespace, "deploy", "web"), 1);
    cluster
        .kubectl(["delete", "scalingpolicy", "web", "-n", namespace])
        .unwrap();
    assert_eq!(installed.size(namespace, "deploy", "web"), 1);
    installed.forget(namespace);
}
