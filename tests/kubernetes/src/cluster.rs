//! The cluster as tests use it: nodes come and go, are cut off and healed, the API server
//! stops and slows down. All calls block; ending it, in whatever way, leaves nothing behind.

mod faults;
mod nodes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::assets::{self, Assets};
use crate::client;
use crate::control::{Configs, Control};
use crate::crowd::{self, FakePods};
use crate::error::{Error, Result};
use crate::image;
use crate::network;
use crate::node::{Node, Parts};
use crate::pki::Authority;
use crate::proxy::Proxy;
use crate::run::{self, Run};
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
    /// Further flags for the controller manager.
    pub manager_flags: Vec<String>,
}

/// A definition is served within a second; this is for a busy machine.
const ESTABLISHED: Duration = Duration::from_mins(1);

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
        let control = Control::start(
            &run,
            &assets,
            &authority,
            &configs,
            &settings.api_flags,
            &settings.manager_flags,
        )?;
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
        cluster
            .finish_start(settings.nodes)
            .inspect_err(|_| cluster.name_logs())?;
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
        if let Some(path) = client::path(words.as_ref()) {
            return client::read(self.kubeconfig(), &path);
        }
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

    /// Waits until the API server serves the kind of a definition, such as
    /// `scalingpolicies.starling.sh`. `kubectl wait` alone fails in place of waiting where the
    /// definition has no condition yet, and what comes next may not be known at once.
    pub fn await_established(&self, name: &str) -> Result<()> {
        let definition = format!("crd/{name}");
        let condition = ["wait", &definition, "--for=condition=Established"];
        let list = ["get", name, "--all-namespaces"];
        self.until(&format!("{definition} is served"), ESTABLISHED, |cluster| {
            cluster.kubectl(condition).map_err(|e| e.to_string())?;
            cluster.kubectl(list).map_err(|e| e.to_string()).map(|_| ())
        })
    }

    /// Makes nodes `fake0` and so on, that nothing runs behind. After 50 s without a sign of
    /// life the controller manager takes them for lost and their pods for unready; a test
    /// that takes longer sets `--node-monitor-grace-period` in `Settings::manager_flags`.
    pub fn fake_nodes(&self, count: usize) -> Result<()> {
        crowd::nodes(self.kubeconfig(), count)
    }

    /// Makes groups of pods on fake nodes that say that they run and are ready.
    pub fn fake_pods(&self, groups: &[FakePods]) -> Result<()> {
        crowd::pods(self.kubeconfig(), groups)
    }

    /// Makes objects of one kind, such as `apps/v1` and `Deployment`, each with the status
    /// that it says, if any. What would act on them is to be switched off before, by
    /// `--controllers` in `Settings::manager_flags`.
    pub fn fake_objects(
        &self,
        api_version: &str,
        kind: &str,
        namespace: &str,
        objects: Vec<Value>,
    ) -> Result<()> {
        crowd::objects(self.kubeconfig(), api_version, kind, namespace, objects)
    }

    /// Removes all fake pods of a namespace.
    pub fn remove_fake_pods(&self, namespace: &str) -> Result<()> {
        crowd::remove_pods(self.kubeconfig(), namespace)
    }

    /// For clients on this machine: straight to the API server, whatever the proxy does.
    pub fn kubeconfig(&self) -> &Path {
        &self.configs.admin
    }

    /// For clients that shall meet what nodes and pods meet.
    pub fn kubeconfig_through_proxy(&self) -> &Path {
        &self.configs.through_proxy
    }

    /// A file for each component: `kube-apiserver.log`, `node1-kubelet.log` and so on. When
    /// the cluster has ended they are in `/var/lib/starling-rig/logs-NUMBER`.
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

    fn name_logs(&self) {
        let path = self.run.kept_logs();
        eprintln!("the logs of {} are in {}", self.run.id(), path.display());
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            run: &self.run,
            assets: &self.assets,
            authority: &self.authority,
            configs: &self.configs,
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            self.name_logs();
        }
    }
}

/// A panic elsewhere leaves what is guarded as it is: the cluster still has to be ended.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
