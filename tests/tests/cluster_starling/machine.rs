//! What agents tell of their machines, from within pods, and what a real kubelet says
//! of devices.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use starling_kube::devices::{self, Devices, State};
use starling_tests::installed::{NODES, installed, until};
use tokio::sync::watch;

const SOON: Duration = Duration::from_mins(1);

#[test]
fn each_agent_measures_its_machine_from_a_pod_that_has_no_mount_of_its_root() {
    let Some(installed) = installed() else { return };
    let wanted = [
        "starling_node_file_system_free_bytes{file_system=\"nodefs\"}",
        "starling_node_file_system_free_bytes{file_system=\"imagefs\"}",
        "starling_node_disk_busy_ratio{",
        "starling_node_network_received_bytes_per_second{",
    ];
    until(
        &installed.cluster,
        "all agents tell of their machines",
        SOON,
        |_| {
            let metrics = installed.metrics()?;
            let telling = |wanted: &str| {
                let told = metrics
                    .iter()
                    .filter(|(_, name, _)| name.starts_with(wanted));
                let nodes: BTreeSet<&String> = told.map(|(node, ..)| node).collect();
                nodes.len() == usize::from(NODES)
            };
            let missing: Vec<&str> = wanted.into_iter().filter(|it| !telling(it)).collect();
            let faults = metrics.iter().filter(|(_, name, _)| {
                name.starts_with("starling_node_unread{") && name.contains("fault=\"true\"")
            });
            let faults: Vec<_> = faults.collect();
            Ok(if missing.is_empty() && faults.is_empty() {
                Ok(())
            } else {
                Err(format!("missing {missing:?}, faults {faults:?}"))
            })
        },
    );
}

#[test]
fn a_real_kubelet_says_which_devices_its_pods_hold() {
    let Some(installed) = installed() else { return };
    // The node's /var/lib/kubelet, as the rig lays it out.
    let logs = installed.cluster.logs();
    let socket = (logs.parent().unwrap()).join("node1/kubelet/pod-resources/kubelet.sock");
    let (out, mut seen) = watch::channel(Arc::<Devices>::default());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let told = runtime.block_on(async move {
        let every = Duration::from_millis(200);
        tokio::spawn(async move { devices::follow(&socket, every, &out).await });
        let told = seen.wait_for(|devices| devices.state == State::Told);
        let told = tokio::time::timeout(SOON, told).await;
        told.unwrap().unwrap().clone()
    });
    // No node of the rig has a device that could be held.
    assert_eq!(told.holders, []);
}
