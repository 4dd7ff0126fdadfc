//! Voters are spread over the zones that nodes' labels say, and go where somebody answers
//! while a zone is cut off.

use std::collections::BTreeSet;
use std::time::Duration;

use starling_kubernetes_rig::Cut;
use starling_tests::installed::{Installed, Member, NODES, SYSTEM, await_agents, installed};

const SOON: Duration = Duration::from_mins(2);
const LABEL: &str = "topology.kubernetes.io/zone";
/// Of the nodes, in the order of their names.
const ZONES: [&str; NODES as usize] = ["a", "a", "b", "b", "c"];

/// Until three vote, of which `right` is true.
fn await_voters(installed: &Installed, what: &str, right: impl Fn(&[&Member]) -> bool) {
    installed.await_members(what, SOON, |all| {
        let voters: Vec<&Member> = all.iter().filter(|it| it.votes()).collect();
        (voters.len() == 3 && right(&voters)).then_some(())
    });
}

/// One in each.
fn spread(voters: &[&Member]) -> bool {
    let zones: BTreeSet<&str> = voters.iter().map(|it| it.zone.as_str()).collect();
    zones == ["a", "b", "c"].into()
}

#[test]
fn voters_are_spread_over_the_nodes_zones_and_follow_when_a_zone_is_cut_off_and_comes_back() {
    let Some(installed) = installed() else { return };
    let cluster = &installed.cluster;
    let nodes = cluster.nodes();
    for (node, zone) in nodes.iter().zip(ZONES) {
        let label = format!("{LABEL}={zone}");
        let words = ["label", "node", node, &label, "--overwrite"];
        cluster.kubectl(words).unwrap();
    }
    // A pod is told its node's labels when it gets its node, so they are made anew.
    let agents = ["delete", "pods", "-l", "app.kubernetes.io/name=starling"];
    cluster
        .kubectl([&agents[..], &["-n", SYSTEM]].concat())
        .unwrap();
    await_agents(cluster, NODES);
    await_voters(&installed, "each zone has a voter", spread);

    for node in &nodes[..2] {
        cluster.cut(node, Cut::Both).unwrap();
    }
    await_voters(&installed, "the zone that is cut off has none", |voters| {
        voters.iter().all(|it| nodes[2..].contains(&it.name))
    });
    for node in &nodes[..2] {
        cluster.heal(node).unwrap();
    }
    await_voters(&installed, "each zone has a voter again", spread);
    cluster.await_ready(&nodes).unwrap();
    await_agents(cluster, NODES);
}
