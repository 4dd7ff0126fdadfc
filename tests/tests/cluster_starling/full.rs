//! The disk under the leader's data runs full: another agent leads, sizes go on, and the
//! agent comes back by itself once there is room.

use std::cell::Cell;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use starling_kubernetes_rig::{Cluster, shell, turn};
use starling_tests::installed::{Installed, Member, await_agents, manifests, until};
use starling_tests::workload::{AT_ONCE, deployment, large_policy, number_policy};
use tempfile::TempDir;

/// Three vote then, and nobody can stand in for one of them.
const NODES: u8 = 3;
const SOON: Duration = Duration::from_mins(2);
/// The kubelet waits for up to five minutes before it starts again what keeps ending.
const RESTARTED: Duration = Duration::from_mins(6);

/// A file system of 64 MiB with what was under a node's `/var/lib/starling`, in its place.
struct SmallDisk {
    /// The file, and what was under it.
    image: TempDir,
    at: PathBuf,
}

fn run(script: &str) {
    let mut command = Command::new("sh");
    command.args(["-ec", script]);
    shell::finish(&mut command, "", Duration::from_mins(1)).unwrap();
}

impl SmallDisk {
    /// The node is off meanwhile.
    fn under(cluster: &Cluster, node: &str) -> SmallDisk {
        let run_dir = cluster.logs().parent().unwrap().to_owned();
        let disk = SmallDisk {
            image: TempDir::new().unwrap(),
            at: run_dir.join(node).join("starling"),
        };
        let (image, at) = (disk.image.path().display(), disk.at.display());
        cluster.stop_node(node).unwrap();
        run(&format!(
            "truncate -s 64M {image}/disk
             mkfs.ext4 -q -F -m 0 {image}/disk
             mkdir {image}/before
             cp -a {at}/. {image}/before
             mount -t ext4 -o loop {image}/disk {at}
             rmdir {at}/lost+found
             cp -a {image}/before/. {at}"
        ));
        cluster.start_node(node).unwrap();
        disk
    }

    /// Not a block of it is free.
    fn fill(&self) {
        run(&format!(
            "mkdir {at}/filler
             dd if=/dev/zero of={at}/filler/large bs=64k status=none 2>&1 || true
             n=0
             while sync -f {at}; dd if=/dev/zero of={at}/filler/$n bs=4k count=1 status=none 2>&1
             do n=$((n + 1)); test $n -lt 500; done || true",
            at = self.at.display()
        ));
    }

    fn make_room(&self) {
        run(&format!("rm -rf {}/filler", self.at.display()));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What has it open keeps it until it ends.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// How often the kubelet has started the agent's container anew.
fn restarts(installed: &Installed, node: &str) -> u64 {
    let pods = installed.agents();
    let pod = pods.iter().find(|pod| pod["spec"]["nodeName"] == node);
    let containers = &pod.unwrap()["status"]["containerStatuses"];
    containers[0]["restartCount"].as_u64().unwrap_or(0)
}

/// The member of this name, once an agent tells of it.
fn member(installed: &Installed, name: &str) -> Member {
    installed.await_members("it is a member", SOON, |all| {
        all.iter().find(|it| it.name == name).cloned()
    })
}

#[test]
fn a_leader_whose_disk_runs_full_ends_nothing_is_lost_and_it_comes_back_once_there_is_room() {
    let Some(_turn) = turn::alone() else { return };
    let installed = Installed::start(NODES, &manifests());
    let (cluster, namespace) = (&installed.cluster, "full");
    installed.namespace(namespace);
    installed.apply(namespace, &deployment("worker", 1, 0));
    installed.apply(namespace, &deployment("large", 1, 0));
    let address = installed.source(namespace, 25);
    installed.apply(namespace, &number_policy("worker", &address, AT_ONCE));
    installed.await_size(namespace, "deploy", "worker", SOON, |size| size == 3);

    let node = cluster.nodes().remove(0);
    let id = member(&installed, &node).id;
    let disk = SmallDisk::under(cluster, &node);
    await_agents(cluster, NODES);
    until(cluster, "it leads, as the same member", SOON, |_| {
        // In vain while it has still to catch up.
        let _ = installed.starling(&["raft", "transfer", &node]);
        let now = member(&installed, &node);
        let right = now.id == id && now.role == "leader";
        Ok(right.then_some(()).ok_or_else(|| format!("{now:?}")))
    });
    let before = restarts(&installed, &node);
    disk.fill();
    let generation = Cell::new(1);
    let leader = until(cluster, "another agent leads", SOON, |_| {
        generation.set(generation.get() + 1);
        installed.apply(namespace, &large_policy("Deployment", generation.get()));
        let leader = installed.leader();
        Ok(if leader == node {
            Err(leader)
        } else {
            Ok(leader)
        })
    });
    until(cluster, "the kubelet has started it anew", SOON, |_| {
        let now = restarts(&installed, &node);
        Ok(if now > before {
            Ok(())
        } else {
            Err(format!("{now} times"))
        })
    });
    // While it can't, all goes on.
    installed.tell(namespace, "source", "number", 45);
    installed.await_size(namespace, "deploy", "worker", SOON, |size| size == 5);
    installed.tell(namespace, "source", "number", 15);
    installed.await_size(namespace, "deploy", "worker", SOON, |size| size == 2);
    until(cluster, "somebody is missed", SOON, |_| {
        // It is there for a moment after each start.
        Ok(installed.starling(&["status"]).and_then(|status| {
            let degraded = status["state"] == "degraded";
            degraded.then_some(()).ok_or_else(|| status.to_string())
        }))
    });

    disk.make_room();
    until(cluster, "the cluster is healthy again", RESTARTED, |_| {
        Ok(installed.starling(&["status"]).and_then(|status| {
            let healthy = status["state"] == "healthy";
            healthy.then_some(()).ok_or_else(|| status.to_string())
        }))
    });
    assert_eq!(member(&installed, &node).id, id, "the same member");
    eprintln!(
        "{node} led, then {leader}; it was started {} times",
        restarts(&installed, &node)
    );
    installed.tell(namespace, "source", "number", 35);
    installed.await_size(namespace, "deploy", "worker", SOON, |size| size == 4);
    let changes = installed.changes(namespace, "worker");
    assert_eq!(changes, [(1, 3), (3, 5), (5, 2), (2, 4)]);
}
