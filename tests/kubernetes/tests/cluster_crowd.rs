//! Fake nodes and pods come by the thousand, stay as they are said to be, and go.

#![allow(clippy::unwrap_used)] // A helper that finds nothing has failed its test.

use std::collections::BTreeMap;
use std::time::Instant;

use starling_kubernetes_rig::{Cluster, FakePods, Settings, turn};

#[test]
fn two_thousand_fake_pods_are_made_and_removed() {
    let Some(_turn) = turn::beside() else { return };
    let cluster = Cluster::start_with(Settings {
        nodes: 1,
        manager_flags: vec!["--node-monitor-grace-period=10m".into()],
        ..Settings::default()
    })
    .unwrap();
    cluster.fake_nodes(20).unwrap();
    let pods = FakePods {
        namespace: "default".into(),
        prefix: "web-".into(),
        count: 2_000,
        nodes: 20,
        labels: BTreeMap::from([("app".into(), "web".into())]),
        cpu_milli: 100,
        memory_mib: 64,
    };
    let began = Instant::now();
    cluster.fake_pods(&[pods]).unwrap();
    eprintln!("2,000 fake pods took {:?}", began.elapsed());
    let ready =
        r#"jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}"#;
    let list = ["get", "pods", "-l", "app=web", "-o", ready];
    let seen = cluster.kubectl(list).unwrap();
    assert_eq!(seen.lines().filter(|line| *line == "True").count(), 2_000);
    cluster.remove_fake_pods("default").unwrap();
    let left = cluster.kubectl(["get", "pods", "-o", "name"]).unwrap();
    assert_eq!(left, "");
}
