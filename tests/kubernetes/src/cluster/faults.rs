//! What is done to a cluster from outside: nodes are cut off, the API server stops or slows
//! down, containers are killed. None of it needs the API server, but what waits for it.

use std::time::Duration;

use super::{Cluster, lock};
use crate::container::{Container, Signal};
use crate::error::{Error, Result};
use crate::network::{self, Cut};

impl Cluster {
    /// Cuts a node off, in place of any other cut of it.
    pub fn cut(&self, node: &str, how: Cut) -> Result<()> {
        self.with(node, |node| network::cut(&self.run, node.name(), how))
    }

    /// Takes a node's cut back.
    pub fn heal(&self, node: &str) -> Result<()> {
        self.with(node, |node| network::heal(&self.run, node.name()))
    }

    /// The API server dies at once: who asks sees closed connections.
    pub fn kill_api_server(&self) -> Result<()> {
        lock(&self.control).kill_api_server()
    }

    /// The API server stands still: who asks gets no answer.
    pub fn freeze_api_server(&self) -> Result<()> {
        lock(&self.control).freeze_api_server()
    }

    /// The API server goes on after either; returns when it serves.
    pub fn resume_api_server(&self) -> Result<()> {
        lock(&self.control).resume_api_server()?;
        self.api_server_ready()
    }

    /// Delays all that nodes and pods say to the API server, from now on; zero ends it.
    /// Tests and the control plane itself go past the proxy and are as fast as ever.
    pub fn slow_api_server(&self, delay: Duration) {
        self.proxy.delay(delay);
    }

    /// Breaks all connections of nodes and pods to the API server: watches, too.
    pub fn break_connections(&self) {
        self.proxy.break_connections();
    }

    /// The containers that run on a node, as containerd knows them.
    pub fn containers(&self, node: &str) -> Result<Vec<Container>> {
        self.with(node, |node| node.containers())
    }

    /// Sends a signal to all processes in a pod's containers. The API server isn't asked.
    pub fn signal_pod(&self, namespace: &str, pod: &str, signal: Signal) -> Result<()> {
        let containers = self.containers_of(namespace, pod)?;
        containers.iter().try_for_each(|one| one.signal(signal))
    }

    /// SIGKILL for a pod's containers, as when the kernel runs out of memory.
    pub fn kill_pod(&self, namespace: &str, pod: &str) -> Result<()> {
        self.signal_pod(namespace, pod, Signal::Kill)
    }

    /// Runs a command of the pod's first container in there. The API server isn't asked.
    pub fn pod_exec(&self, namespace: &str, pod: &str, words: &[&str]) -> Result<String> {
        let containers = self.containers_of(namespace, pod)?;
        let first = containers.first().map(|one| one.exec(words));
        first.unwrap_or_else(|| Err(no_container(namespace, pod)))
    }

    fn containers_of(&self, namespace: &str, pod: &str) -> Result<Vec<Container>> {
        let mut found = Vec::new();
        for node in lock(&self.nodes).values() {
            let all = node.containers()?;
            found.extend(all.into_iter().filter(|one| one.is_of(namespace, pod)));
        }
        if found.is_empty() {
            return Err(no_container(namespace, pod));
        }
        Ok(found)
    }
}

fn no_container(namespace: &str, pod: &str) -> Error {
    Error::NoContainer {
        namespace: namespace.into(),
        pod: pod.into(),
    }
}
