//! Whatever has the scale subresource is a target; what happens to it is said.

use std::time::Duration;

use starling_tests::installed::{installed, until};
use starling_tests::workload::{AT_ONCE, cpu_policy, deployment, workload};

const SOON: Duration = Duration::from_mins(1);

#[test]
fn a_stateful_set_is_a_target_too() {
    let Some(installed) = installed() else { return };
    let namespace = "stateful";
    installed.namespace(namespace);
    let yaml = format!(
        "{}---{}",
        workload("StatefulSet", "db", 1, 200),
        cpu_policy("StatefulSet", "db", AT_ONCE)
    );
    installed.apply(namespace, &yaml);
    installed.await_size(namespace, "sts", "db", SOON, |size| size >= 2);
    installed.forget(namespace);
}

#[test]
fn a_target_that_is_scaled_by_hand_or_disappears_gets_a_condition() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "hands");
    installed.namespace(namespace);
    let yaml = format!(
        "{}---{}",
        deployment("web", 2, 0),
        cpu_policy("Deployment", "web", "")
    );
    installed.apply(namespace, &yaml);
    let says = |what: &str, words: &str| {
        until(cluster, what, SOON, |cluster| {
            let policy = cluster.get(["scalingpolicy", "web", "-n", namespace])?;
            let conditions = policy["status"]["conditions"].to_string();
            Ok(if conditions.contains(words) {
                Ok(())
            } else {
                Err(conditions)
            })
        });
    };
    says("it is able to scale", "SucceededGetScale");
    cluster
        .kubectl(["scale", "deploy/web", "-n", namespace, "--replicas=0"])
        .unwrap();
    says("it is switched off", "ScalingDisabled");
    assert_eq!(installed.size(namespace, "deploy", "web"), 0);
    cluster
        .kubectl(["delete", "deploy/web", "-n", namespace])
        .unwrap();
    says("it is gone", "FailedGetScale");
    installed.apply(namespace, &deployment("web", 3, 0));
    says("it is back", "SucceededGetScale");
    installed.forget(namespace);
}
