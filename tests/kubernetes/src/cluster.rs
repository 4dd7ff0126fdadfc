//! The cluster as tests use it: nodes come and go, are cut off and healed, the API server
//! stops and slows down. All calls block; ending it, in whatever way, leaves nothing behind.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::assets::{self, Assets};
use crate::control::{Configs, Control};
use crate::error::{Error, Result};
use crate::image;
use crate::network::{self, Cut};
use crate::node::{Node, Parts};
use crate::pki::Authority;
use crate::proxy::Proxy;
use crate::run::{self, NODES_MAX, Run};
use crate::shell::{self, COMMAND_LIMIT};

/// Nodes are ready within seconds; a machine with other work needs longer.
const READY_LIMIT: Duration = Duration::from_mins(2);

/// What can be chosen when a cluster is started.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub nodes: u8,
    /// Docker archives that every node gets, also those that are added later.
    pub images: Vec<PathBuf>,
    /// Further flags for the API server.
    pub api_flags: Vec<String>,
}

/// A Kubernetes cluster on this machine.
pub struct Cluster {
    // In the order in which they end: the run last, since its end removes everything.
    proxy: Proxy,
    control: Mutex<Control>,
    nodes: Mutex<BTreeMap<String, Node>>,
    next: Mutex<u8>,
    images: Mutex<Vec<PathBuf>>,
    assets: Assets,
    authority: Authority,
    configs: Configs,
    run: Run,
}

impl Cluster {
    /// A cluster of so many nodes, all ready.
    pub fn start(nodes: u8) -> Result<Cluster> {
        Cluster::start_with(Settings {
            nodes,
            ..Settings::default()
        })
    }

    pub fn start_with(settings: Settings) -> Result<Cluster> {
        let assets = assets::check()?;
        let mut images = vec![image::pause()?];
        images.extend(settings.images);
        let run = Run::claim()?;
        run::make_dir(&run.dir().join("log"))?;
        let authority = Authority::create(&run.dir().join("pki"))?;
        let configs = Configs::create(&run, &authority)?;
        network::create(&run)?;
        let port = run.api_port();
        let proxy = Proxy::start(
            SocketAddr::from((run.host(), port)),
            SocketAddr::from(([127, 0, 0, 1], port)),
        )?;
        let control = Control::start(&run, &assets, &authority, &configs, &settings.api_flags)?;
        let cluster = Cluster {
            proxy,
            control: Mutex::new(control),
            nodes: Mutex::default(),
            next: Mutex::new(1),
            images: Mutex::new(images),
            assets,
            authority,
            configs,
            run,
        };
        cluster.finish_start(settings.nodes).inspect_err(|_| {
            // The first error is the one to show.
            let _ = cluster.run.keep_logs();
        })?;
        Ok(cluster)
    }

    fn finish_start(&self, nodes: u8) -> Result<()> {
        thread::scope(|scope| {
            let booting = scope.spawn(|| self.boot_new(nodes));
            self.api_server_ready()?;
            let booted = booting
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            let names: Vec<String> = booted.iter().map(|node| node.name().into()).collect();
            for mut node in booted {
                node.serve(&self.parts())?;
                lock(&self.nodes).insert(node.name().into(), node);
            }
            self.await_ready(&names)
        })?;
        // Without it no pod can be created.
        shell::until("the default service account is there", READY_LIMIT, || {
            self.kubectl(["get", "serviceaccount", "default"])
                .map(|_| ())
                .map_err(|e| e.to_string())
        })
    }

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
    fn boot_new(&self, count: u8) -> Result<Vec<Node>> {
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

    /// Starts a stopped node again, with the disk that it had, and waits until it is ready.
    pub fn start_node(&self, node: &str) -> Result<()> {
        self.with(node, |node| {
            node.boot(&self.parts())?;
            node.serve(&self.parts())
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

    /// Stops a node for good: its object, its disk and its name are gone.
    pub fn delete_node(&self, node: &str) -> Result<()> {
        self.stop_node(node)?;
        self.kubectl(["delete", "node", node])?;
        lock(&self.nodes).remove(node);
        // What is left of it ends with the run; a folder that stays is of no harm before.
        let _ = std::fs::remove_dir_all(self.run.dir().join(node));
        Ok(())
    }

    /// Cuts a node off, in place of any other cut of it.
    pub fn cut(&self, node: &str, how: Cut) -> Result<()> {
        self.with(node, |node| network::cut(&self.run, node.name(), how))
    }

    /// Takes a node's cut back.
    pub fn heal(&self, node: &str) -> Result<()> {
        self.with(node, |node| network::heal(&self.run, node.name()))
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

    fn api_server_ready(&self) -> Result<()> {
        lock(&self.control).ready(|words| self.kubectl(words))
    }

    /// Runs kubectl as administrator and gives what it printed.
    pub fn kubectl<'a>(&self, words: impl AsRef<[&'a str]>) -> Result<String> {
        self.kubectl_with(words, "")
    }

    /// Runs kubectl with this input, as for `apply -f -`.
    pub fn kubectl_with<'a>(&self, words: impl AsRef<[&'a str]>, input: &str) -> Result<String> {
        let mut command = Command::new(self.assets.binary("kubectl")?);
        command
            .env("KUBECONFIG", self.kubeconfig())
            .env("KUBECACHEDIR", self.run.dir().join("kubectl"))
            .args(words.as_ref());
        shell::finish(&mut command, input, COMMAND_LIMIT)
    }

    /// Applies these documents.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        self.kubectl_with(["apply", "-f", "-"], yaml).map(|_| ())
    }

    /// What `kubectl get ... -o json` shows.
    pub fn get<'a>(&self, words: impl AsRef<[&'a str]>) -> Result<Value> {
        let mut all = vec!["get", "-o", "json"];
        all.extend_from_slice(words.as_ref());
        let text = self.kubectl(all)?;
        serde_json::from_str(&text).map_err(|error| Error::Command {
            command: "kubectl get -o json".into(),
            how: format!("printed no JSON ({error})"),
            output: shell::tail(&text),
        })
    }

    /// Waits until `probe` succeeds, at most so long; its error says what is still amiss.
    pub fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut probe: impl FnMut(&Cluster) -> std::result::Result<T, String>,
    ) -> Result<T> {
        shell::until(what, limit, || probe(self))
    }

    /// For clients on this machine: straight to the API server, whatever the proxy does.
    pub fn kubeconfig(&self) -> &Path {
        &self.configs.admin
    }

    /// For clients that shall meet what nodes and pods meet.
    pub fn kubeconfig_through_proxy(&self) -> &Path {
        &self.configs.through_proxy
    }

    /// A file for each component: `kube-apiserver.log`, `node1-kubelet.log` and so on. They
    /// go with the cluster, unless its test fails.
    pub fn logs(&self) -> PathBuf {
        self.run.dir().join("log")
    }

    /// The path of a binary of the same build, such as `helm`.
    pub fn binary(&self, name: &str) -> Result<PathBuf> {
        self.assets.binary(name)
    }

    /// The name that all of this cluster's things on the machine begin with.
    pub fn id(&self) -> String {
        self.run.id()
    }

    /// Ends it, as dropping does, and says what went wrong.
    pub fn end(mut self) -> Result<()> {
        self.run.end()
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            run: &self.run,
            assets: &self.assets,
            authority: &self.authority,
            configs: &self.configs,
        }
    }

    fn with<T>(&self, name: &str, act: impl FnOnce(&mut Node) -> Result<T>) -> Result<T> {
        let mut nodes = lock(&self.nodes);
        let node = nodes
            .get_mut(name)
            .ok_or_else(|| Error::NoNode(name.into()))?;
        act(node)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() && self.run.keep_logs().is_ok() {
            eprintln!(
                "the logs of {} are kept in {}",
                self.run.id(),
                self.run.kept_logs().display()
            );
        }
    }
}

/// A panic elsewhere leaves what is guarded as it is: the cluster still has to be ended.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
