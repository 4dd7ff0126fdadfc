//! Nodes of a cluster: they are added, stopped, started, drained and deleted.

use std::net::Ipv4Addr;
use std::path::Path;
use std::thread;

use super::{Cluster, READY_LIMIT, lock};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::run::NODES_MAX;
use crate::shell;

impl Cluster {
    /// Adds so many nodes, and gives their names when they are ready.
    pub fn add_nodes(&self, count: u8) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for mut node in self.boot_new(count)? {
            node.serve(&self.parts())?;
            names.push(node.name().to_owned());
            lock(&self.nodes).insert(node.name().into(), node);
        }
        self.await_ready(&names)?;
        Ok(names)
    }

    /// New nodes with containerd up and all images in it.
    pub(super) fn boot_new(&self, count: u8) -> Result<Vec<Node>> {
        let first = {
            let mut next = lock(&self.next);
            let first = *next;
            if first.saturating_add(count) > NODES_MAX + 1 {
                return Err(Error::Missing(format!(
                    "a cluster has at most {NODES_MAX} nodes in its life; start another one."
                )));
            }
            *next += count;
            first
        };
        let boot = |number| {
            let mut node = Node::create(&self.parts(), number)?;
            node.boot(&self.parts())?;
            node.await_containerd()?;
            lock(&self.images)
                .clone()
                .iter()
                .try_for_each(|image| node.load(image))?;
            Ok(node)
        };
        in_parallel(first..first + count, boot)
    }

    /// The nodes' names, those that are stopped too.
    pub fn nodes(&self) -> Vec<String> {
        lock(&self.nodes).keys().cloned().collect()
    }

    /// A node's own address; its pods have others.
    pub fn node_address(&self, node: &str) -> Result<Ipv4Addr> {
        self.with(node, |node| Ok(self.run.address(node.number())))
    }

    /// The cgroup of a node, below which each hierarchy has its `kubepods`.
    pub fn node_cgroup(&self, node: &str) -> Result<String> {
        self.with(node, |node| Ok(node.cgroup(&self.run)))
    }

    /// Stops a node at once, as a power cut does; its object and its disk stay.
    pub fn stop_node(&self, node: &str) -> Result<()> {
        self.with(node, |node| node.power_off(&self.run))
    }

    /// Starts a stopped or withdrawn node again, with the disk that it had, and waits until it is ready.
    pub fn start_node(&self, node: &str) -> Result<()> {
        let before = self.heartbeat(node)?;
        self.with(node, |node| {
            node.boot(&self.parts())?;
            node.serve(&self.parts())
        })?;
        // Until it reports again, the API server still shows what it last said.
        let what = format!("{node} is back");
        shell::until(&what, READY_LIMIT, || match self.heartbeat(node) {
            Ok(now) if now != before => Ok(()),
            Ok(now) => Err(format!("it last reported at {now}")),
            Err(error) => Err(error.to_string()),
        })?;
        self.await_ready(&[node.to_owned()])
    }

    /// Moves all pods but those of `DaemonSet`s off a node and lets no others on it.
    pub fn drain_node(&self, node: &str) -> Result<()> {
        self.kubectl([
            "drain",
            node,
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--force",
            "--timeout=120s",
        ])
        .map(|_| ())
    }

    /// Stops a node at once and deletes its object, as when a machine is taken away for
    /// repair. Its disk and its name stay: `start_node` has it join anew.
    pub fn withdraw_node(&self, node: &str) -> Result<()> {
        self.stop_node(node)?;
        self.kubectl(["delete", "node", node]).map(|_| ())
    }

    /// Stops a node for good: its object, its disk and its name are gone.
    pub fn delete_node(&self, node: &str) -> Result<()> {
        self.withdraw_node(node)?;
        lock(&self.nodes).remove(node);
        // What is left of it ends with the run; a folder that stays is of no harm before.
        let _ = std::fs::remove_dir_all(self.run.dir().join(node));
        Ok(())
    }

    /// When a node's kubelet last reported, as the API server knows; empty where it has
    /// no such node.
    fn heartbeat(&self, node: &str) -> Result<String> {
        let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].lastHeartbeatTime}"#;
        self.kubectl(["get", "node", node, "--ignore-not-found", "-o", path])
    }

    /// Runs a command in a node's network and mount namespaces.
    pub fn node_exec(&self, node: &str, words: &[&str]) -> Result<String> {
        self.with(node, |node| node.exec(words))
    }

    /// Brings a docker archive to all nodes, those added later included.
    pub fn load(&self, archive: &Path) -> Result<()> {
        lock(&self.images).push(archive.to_path_buf());
        let nodes = lock(&self.nodes);
        let running = nodes.values().filter(|node| node.is_running());
        in_parallel(running, |node| node.load(archive)).map(|_| ())
    }

    /// Waits until these nodes are ready.
    pub fn await_ready(&self, nodes: &[String]) -> Result<()> {
        let path = r#"jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}"#;
        shell::until("the nodes are ready", READY_LIMIT, || {
            let seen = self
                .kubectl(["get", "nodes", "-o", path])
                .map_err(|e| e.to_string())?;
            let ready = |node: &&String| seen.lines().any(|line| line == format!("{node}=True"));
            let waiting: Vec<_> = nodes.iter().filter(|node| !ready(node)).collect();
            if waiting.is_empty() {
                return Ok(());
            }
            Err(format!("{waiting:?} aren't ready among {seen}"))
        })
    }

    pub(super) fn with<T>(
        &self,
        name: &str,
        act: impl FnOnce(&mut Node) -> Result<T>,
    ) -> Result<T> {
        let mut nodes = lock(&self.nodes);
        let node = nodes
            .get_mut(name)
            .ok_or_else(|| Error::NoNode(name.into()))?;
        act(node)
    }
}

/// Does the same with each, all at a time; the first error counts.
fn in_parallel<I: Send, T: Send>(
    items: impl Iterator<Item = I>,
    act: impl Fn(I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let act = &act;
        let threads: Vec<_> = items.map(|item| scope.spawn(move || act(item))).collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}
