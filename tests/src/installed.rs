//! One real cluster of five nodes on which Starling is installed as users install
//! it: the project's manifests, image and entry point. The tests of this binary
//! share it, one after the other; it ends with the process.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "what isn't there fails the test that looks for it"
)]

use std::collections::BTreeMap;
use std::fs;
use std::mem;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use starling_kubernetes_rig::turn::{self, Turn};
use starling_kubernetes_rig::{self as rig, Cluster, Settings, image};

use crate::workload::{AT_ONCE, cpu_policy, deployment, source};

pub const NODES: u8 = 5;
/// Where the agents are.
pub const SYSTEM: &str = "starling-system";
/// All agents are ready within this time of their pods' start. The budget is
/// 30 s; a machine that builds something beside it takes longer.
const READY: Duration = Duration::from_mins(3);

/// What agents do by themselves has happened within this time.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// An agent that is cut off costs the plugin some seconds before it asks the next.
const ANSWER: Duration = Duration::from_mins(1);

/// Where the agents' own containers have it.
const CONTEXT: &str = "/var/lib/starling/client/context.yaml";

pub struct Installed {
    pub cluster: Cluster,
    /// From `kubectl apply` to the last agent's readiness.
    pub ready_after: Duration,
    /// Made by the running test.
    namespaces: Mutex<Vec<String>>,
}

/// One of those that `starling members` lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub id: u64,
    pub role: String,
    /// Empty where its node is in none.
    pub zone: String,
    pub alive: bool,
}

impl Member {
    pub fn votes(&self) -> bool {
        self.role == "leader" || self.role == "voter"
    }
}

static INSTALLED: Mutex<Option<Installed>> = Mutex::new(None);

/// HPA's own 15 s are for clusters that nobody waits for.
const HPA_PERIOD: &str = "--horizontal-pod-autoscaler-sync-period=5s";

/// The shared cluster, for a test's turn.
pub struct Shared {
    // In the order in which they end.
    held: MutexGuard<'static, Option<Installed>>,
    _turn: Turn,
}

impl Deref for Shared {
    type Target = Installed;

    fn deref(&self) -> &Installed {
        self.held.as_ref().unwrap()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let made = mem::take(&mut *self.namespaces());
        if !thread::panicking() {
            return;
        }
        // What a test that failed leaves behind is no fault of the next: pods that go on
        // working, and what is broken. What can't be mended the next one says.
        let cluster = &self.cluster;
        for namespace in made {
            let words = ["delete", "namespace", &namespace, "--wait=false"];
            let _ = cluster.kubectl(words);
        }
        let _ = cluster.resume_api_server();
        cluster.slow_api_server(Duration::ZERO);
        for node in cluster.nodes() {
            let _ = cluster.heal(&node);
        }
    }
}

/// The cluster with no other test at work: agents are held to a second, and on two cores
/// tests beside each other would cost more than that. `None` where tests on clusters are
/// left out.
pub fn installed() -> Option<Shared> {
    turn::alone().map(shared)
}

/// The same after all others: what such a test leaves isn't of [`NODES`] nodes.
pub fn last() -> Option<Shared> {
    turn::last().map(shared)
}

fn shared(turn: Turn) -> Shared {
    let mut held = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    let nodes = held.as_ref().map(|it| it.cluster.nodes().len());
    if nodes != Some(usize::from(NODES)) {
        // One with other nodes ends before the next begins.
        *held = None;
        let began = Instant::now();
        let flags = vec![HPA_PERIOD.to_owned()];
        *held = Some(Installed::start_with(NODES, &manifests(), flags));
        turn::say(&format!("started the cluster in {:?}", began.elapsed()));
    }
    Shared { held, _turn: turn }
}

/// The manifests as they are shipped.
pub fn manifests() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../daemonset/starling.yaml");
    let text = fs::read_to_string(path).unwrap();
    // No registry is reached from here: the image is on the nodes already.
    let lines = text.lines().map(|line| match line.split_once("image: ") {
        Some((before, name)) if name.contains("starling") => {
            format!("{before}image: {}", image::STARLING)
        }
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What the chart gives where nothing is set but the image and `values`, each such as
/// `measure=kubelet`.
pub fn chart(values: &[&str]) -> String {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../daemonset/chart/starling");
    let (repository, tag) = image::STARLING.rsplit_once(':').unwrap();
    let mut helm = Command::new(rig::check().unwrap().binary("helm").unwrap());
    helm.args(["template", "starling"]).arg(chart);
    // Helm built from its module believes in a Kubernetes of long ago.
    helm.args(["--kube-version", "1.36.3"]);
    let image = [
        format!("image.repository={repository}"),
        format!("image.tag={tag}"),
    ];
    for value in image
        .iter()
        .map(String::as_str)
        .chain(values.iter().copied())
    {
        helm.args(["--set", value]);
    }
    rig::shell::finish(&mut helm, "", ANSWER).unwrap()
}

/// Until so many agents are ready.
pub fn await_agents(cluster: &Cluster, agents: u8) {
    let ready = cluster.until("every agent is ready", READY, |cluster| {
        let status = cluster.get(["daemonset", "starling", "-n", SYSTEM]);
        let status = status.map_err(|error| error.to_string())?;
        let ready = status["status"]["numberReady"].as_u64().unwrap_or(0);
        if ready == u64::from(agents) {
            Ok(())
        } else {
            Err(format!("{ready} of {agents} are"))
        }
    });
    if let Err(error) = ready {
        panic!("{error}\n{}", state_of_agents(cluster));
    }
}

/// Looks again and again; fails with what was seen last, and how the agents are.
pub fn until<T>(
    cluster: &Cluster,
    what: &str,
    within: Duration,
    look: impl Fn(&Cluster) -> rig::Result<Result<T, String>>,
) -> T {
    let found = cluster.until(what, within, |cluster| {
        look(cluster).map_err(|error| error.to_string())?
    });
    found.unwrap_or_else(|error| panic!("{error}\n{}", state_of_agents(cluster)))
}

/// What a person would look at.
pub fn state_of_agents(cluster: &Cluster) -> String {
    let words: [&[&str]; 3] = [
        &["get", "pods", "-n", SYSTEM, "-o", "wide"],
        &["get", "events", "-n", SYSTEM],
        &[
            "logs",
            "-n",
            SYSTEM,
            "-l",
            "app.kubernetes.io/name=starling",
            "--all-containers",
            "--tail=30",
            "--prefix",
        ],
    ];
    let said = words.map(|words| cluster.kubectl(words).unwrap_or_else(|e| e.to_string()));
    said.join("\n")
}

impl Installed {
    /// Starts a cluster and installs Starling on it, by these documents.
    pub fn start(nodes: u8, documents: &str) -> Installed {
        Installed::start_with(nodes, documents, Vec::new())
    }

    /// The same, with these flags for the controller manager.
    pub fn start_with(nodes: u8, documents: &str, manager_flags: Vec<String>) -> Installed {
        let images = vec![
            image::image(&crate::binary()).unwrap(),
            image::load().unwrap(),
            // That of the examples.
            image::busybox().unwrap(),
        ];
        let cluster = Cluster::start_with(Settings {
            nodes,
            images,
            manager_flags,
            ..Settings::default()
        })
        .unwrap();
        let began = Instant::now();
        cluster.apply(documents).unwrap();
        await_agents(&cluster, nodes);
        Installed {
            ready_after: began.elapsed(),
            cluster,
            namespaces: Mutex::default(),
        }
    }

    /// The pod of an agent on a node.
    pub fn agent_on(&self, node: &str) -> String {
        let pods = self.agents();
        let pod = pods.iter().find(|pod| pod["spec"]["nodeName"] == node);
        text(&pod.unwrap()["metadata"]["name"])
    }

    /// The pods of all agents.
    pub fn agents(&self) -> Vec<Value> {
        self.pods(SYSTEM, "app.kubernetes.io/name=starling")
    }

    /// Asked for again where no answer came.
    pub fn pods(&self, namespace: &str, selector: &str) -> Vec<Value> {
        until(&self.cluster, "pods are listed", SOON, |cluster| {
            let list = cluster.get(["pods", "-n", namespace, "-l", selector])?;
            let items = list["items"].as_array().cloned();
            Ok(items.ok_or_else(|| list.to_string()))
        })
    }

    /// What each agent tells Prometheus: its node, the name with its labels, the value. Fails
    /// where one doesn't answer, as while it starts.
    pub fn metrics(&self) -> rig::Result<Vec<(String, String, f64)>> {
        let mut all = Vec::new();
        let nodes = self.cluster.nodes();
        let mut pods = self.agents();
        // That of a node that is gone stays listed for a while.
        pods.retain(|pod| {
            nodes
                .iter()
                .any(|node| pod["spec"]["nodeName"] == node.as_str())
        });
        for pod in pods {
            let (node, address) = (&pod["spec"]["nodeName"], &pod["status"]["podIP"]);
            let url = format!("http://{}:7403/metrics", text(address));
            let told = rig::shell::finish(Command::new("curl").args(["-sS", &url]), "", ANSWER)?;
            for line in told.lines() {
                let numbered = line.rsplit_once(' ');
                if let Some((name, Ok(value))) = numbered.map(|(n, v)| (n, v.parse())) {
                    all.push((text(node), name.to_owned(), value));
                }
            }
        }
        Ok(all)
    }

    /// `kubectl starling`, as users have it.
    pub fn plugin(&self, words: &[&str]) -> Command {
        let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../daemonset/kubectl-starling");
        let kubectl = self.cluster.binary("kubectl").unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = kubectl.parent().into_iter().map(PathBuf::from);
        let folders = folders.chain(std::env::split_paths(&path));
        // `status` has answered also where it says by its code that something is missing.
        let answered = "\"$0\" \"$@\" || [ $? -le 2 ]";
        let mut command = if words.first() == Some(&"status") {
            let mut shell = Command::new("sh");
            shell.args(["-c", answered]).arg(plugin);
            shell
        } else {
            Command::new(plugin)
        };
        command
            .args(words)
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .env("PATH", std::env::join_paths(folders).unwrap());
        command
    }

    /// Asks by it; the answer as JSON.
    pub fn starling(&self, words: &[&str]) -> Result<Value, String> {
        let mut command = self.plugin(&[words, &["-o", "json"]].concat());
        let said = rig::shell::finish(&mut command, "", ANSWER).map_err(|e| e.to_string())?;
        serde_json::from_str(&said).map_err(|e| format!("{e}: {said}"))
    }

    /// The same, asked again until an answer comes: agents may be electing a leader.
    pub fn told(&self, words: &[&str]) -> Value {
        let what = format!("`starling {}` is answered", words.join(" "));
        until(&self.cluster, &what, READY, |_| Ok(self.starling(words)))
    }

    /// `starling` in an agent's container, past kubectl and the API server: a fraction of the
    /// work, for what is asked again and again.
    pub fn ask(&self, words: &[&str]) -> Result<Value, String> {
        let nodes = self.cluster.nodes();
        let agent = nodes.iter().find_map(|node| {
            let mut all = self.cluster.containers(node).ok()?.into_iter();
            all.find(|it| (it.namespace.as_str(), it.name.as_str()) == (SYSTEM, "agent"))
        });
        let agent = agent.ok_or("no agent runs")?;
        let as_json = ["--context", CONTEXT, "-o", "json"];
        let words = [&["/usr/local/bin/starling"], words, &as_json].concat();
        let said = agent.exec(&words).map_err(|e| e.to_string())?;
        serde_json::from_str(&said).map_err(|e| format!("{e}: {said}"))
    }

    /// The node whose agent leads.
    pub fn leader(&self) -> String {
        self.await_leader("an agent leads", READY, |_| true)
    }

    /// The node whose agent leads, once `right` accepts it.
    pub fn await_leader(
        &self,
        what: &str,
        within: Duration,
        right: impl Fn(&str) -> bool,
    ) -> String {
        until(&self.cluster, what, within, |_| {
            Ok(self.starling(&["status"]).and_then(|status| {
                let leader = status["leader"].as_str().filter(|name| right(name));
                leader.map(str::to_owned).ok_or_else(|| status.to_string())
            }))
        })
    }

    /// All members, as the agent that is asked knows them; another one may lag.
    pub fn members(&self) -> Result<Vec<Member>, String> {
        let answer = self.starling(&["members"])?;
        let list = answer["members"].as_array();
        let list = list.ok_or_else(|| answer.to_string())?;
        let member = |it: &Value| Member {
            name: text(&it["name"]),
            id: it["id"].as_u64().unwrap(),
            role: text(&it["role"]),
            zone: text(&it["zone"]),
            alive: it["alive"].as_bool().unwrap(),
        };
        Ok(list.iter().map(member).collect())
    }

    /// Until `right` makes something of the members.
    pub fn await_members<T>(
        &self,
        what: &str,
        within: Duration,
        right: impl Fn(&[Member]) -> Option<T>,
    ) -> T {
        until(&self.cluster, what, within, |_| {
            Ok(self
                .members()
                .and_then(|all| right(&all).ok_or_else(|| format!("{all:?}"))))
        })
    }

    /// The id of each member, by name. Asked for again where no answer came.
    pub fn ids(&self) -> BTreeMap<String, u64> {
        let ids = |all: &[Member]| all.iter().map(|it| (it.name.clone(), it.id)).collect();
        self.await_members("members are told", READY, |all| Some(ids(all)))
    }

    /// The size that a workload is to have. Asked for again where no answer came.
    pub fn size(&self, namespace: &str, kind: &str, name: &str) -> u64 {
        self.await_size(namespace, kind, name, SOON, |_| true)
    }

    /// Takes a member out that is gone for good. Asked again where no answer came, which may
    /// have happened after all.
    pub fn remove_member(&self, node: &str) {
        until(&self.cluster, "it is no member", READY, |_| {
            Ok(match self.starling(&["remove", node]) {
                Err(why) if !why.contains("no member is called") => Err(why),
                _ => Ok(()),
            })
        });
    }

    /// Until a workload is to have a size that `right` accepts.
    pub fn await_size(
        &self,
        namespace: &str,
        kind: &str,
        name: &str,
        within: Duration,
        right: impl Fn(u64) -> bool,
    ) -> u64 {
        let what = format!("{kind} {namespace}/{name} has the right size");
        until(&self.cluster, &what, within, |cluster| {
            let found = cluster.get([kind, name, "-n", namespace])?;
            let size = &found["spec"]["replicas"];
            let accepted = size.as_u64().filter(|size| right(*size));
            Ok(accepted.ok_or_else(|| format!("it is {size}")))
        })
    }

    /// A namespace of a test's own.
    pub fn namespace(&self, name: &str) {
        let yaml = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n");
        self.cluster.apply(&yaml).unwrap();
        self.namespaces().push(name.to_owned());
    }

    fn namespaces(&self) -> MutexGuard<'_, Vec<String>> {
        let held = self.namespaces.lock();
        held.unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what a test made; nobody waits for it.
    pub fn forget(&self, namespace: &str) {
        let words = ["delete", "namespace", namespace, "--wait=false"];
        self.cluster.kubectl(words).unwrap();
    }

    pub fn apply(&self, namespace: &str, yaml: &str) {
        let words = ["apply", "-n", namespace, "-f", "-"];
        self.cluster.kubectl_with(words, yaml).unwrap();
    }

    pub fn await_rollout(&self, namespace: &str, deployment: &str) {
        let deployment = format!("deploy/{deployment}");
        let words = [
            "rollout",
            "status",
            &deployment,
            "-n",
            namespace,
            "--timeout=90s",
        ];
        self.cluster.kubectl(words).unwrap();
    }

    /// Until a policy has a condition, such as `Ready` or `Ready=False`.
    pub fn await_condition(&self, namespace: &str, policy: &str, condition: &str) {
        let (policy, condition) = (
            format!("scalingpolicy/{policy}"),
            format!("--for=condition={condition}"),
        );
        let words = [
            "wait",
            &policy,
            "-n",
            namespace,
            &condition,
            "--timeout=90s",
        ];
        if let Err(error) = self.cluster.kubectl(words) {
            panic!("{error}\n{}", state_of_agents(&self.cluster));
        }
    }

    /// Until the conditions of a policy say something.
    pub fn await_words(&self, namespace: &str, policy: &str, words: &str) {
        let what = format!("the conditions of {policy} say {words:?}");
        until(&self.cluster, &what, SOON, |cluster| {
            let policy = cluster.get(["scalingpolicy", policy, "-n", namespace])?;
            let conditions = policy["status"]["conditions"].to_string();
            Ok(conditions.contains(words).then_some(()).ok_or(conditions))
        });
    }

    /// What `starling explain` says of the first trigger of a policy just now.
    pub fn input(&self, namespace: &str, policy: &str) -> Result<Value, String> {
        let answer = self.ask(&["explain", policy, "-n", namespace])?;
        match &answer["live"]["inputs"][0] {
            Value::Null => Err(format!("no live input in {answer}")),
            input => Ok(input.clone()),
        }
    }

    /// The changes of size of a policy's target, each as from and to, the first first.
    pub fn changes(&self, namespace: &str, policy: &str) -> Vec<(u64, u64)> {
        let words = [
            "decisions",
            policy,
            "-n",
            namespace,
            "--consistency",
            "leader",
        ];
        // Who leads may change just then.
        let answer = until(&self.cluster, "the leader tells of changes", SOON, |_| {
            Ok(self.ask(&words))
        });
        let changes = answer["decisions"].as_array().unwrap().iter().rev();
        let size = |change: &Value, field: &str| change[field].as_u64().unwrap();
        changes
            .map(|change| (size(change, "previous_size"), size(change, "size")))
            .collect()
    }

    /// An idle Deployment `web` of one pod under a CPU policy, both ready.
    pub fn web(&self, namespace: &str) {
        let policy = cpu_policy("Deployment", "web", AT_ONCE);
        let yaml = format!("{}---{policy}", deployment("web", 1, 0));
        self.apply(namespace, &yaml);
        self.await_rollout(namespace, "web");
        self.await_condition(namespace, "web", "Ready");
    }

    /// Starts the pod that tells a number, and gives the address that it tells it at.
    pub fn source(&self, namespace: &str, number: u32) -> String {
        self.apply(namespace, &source(number));
        self.await_rollout(namespace, "source");
        let address = "jsonpath={.spec.clusterIP}";
        let words = ["get", "service", "source", "-n", namespace, "-o", address];
        format!("{}:8080", self.cluster.kubectl(words).unwrap())
    }

    /// Has one pod of an app use so many thousandths of a core; returns since when.
    pub fn burn(&self, namespace: &str, app: &str, milli: u32) -> Instant {
        self.tell(namespace, app, "milli", milli)
    }

    /// Sets a number of one pod of an app, the same pod each time; returns when that
    /// was: finding the pod takes longer than telling it.
    pub fn tell(&self, namespace: &str, app: &str, what: &str, number: u32) -> Instant {
        let pod = self.oldest(namespace, app);
        let set = format!("echo {number} >/tmp/{what}; cat /proc/uptime");
        let words = ["/bin/sh", "-c", &set];
        let then = uptime(&self.cluster.pod_exec(namespace, &pod, &words).unwrap());
        let now = uptime(&fs::read_to_string("/proc/uptime").unwrap());
        Instant::now()
            .checked_sub(now.saturating_sub(then))
            .unwrap()
    }

    /// The pod of an app that is told something.
    pub fn oldest(&self, namespace: &str, app: &str) -> String {
        let mut pods = self.pods(namespace, &format!("app={app}"));
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        pods.sort_by_key(|pod| text(&pod["metadata"]["creationTimestamp"]));
        text(&pods[0]["metadata"]["name"])
    }

    /// Has that pod stay when its Deployment shrinks. Of pods of the same age any other
    /// one might.
    pub fn keep_oldest(&self, namespace: &str, app: &str) {
        let pod = self.oldest(namespace, app);
        let cost = "controller.kubernetes.io/pod-deletion-cost=100";
        let words = ["annotate", "pod", &pod, "-n", namespace, cost];
        self.cluster.kubectl(words).unwrap();
    }
}

/// The machine's, which its containers share, from what `/proc/uptime` says.
fn uptime(text: &str) -> Duration {
    let seconds = text.split_whitespace().next().unwrap();
    Duration::from_secs_f64(seconds.parse().unwrap())
}

/// Whether the kubelet calls a pod ready.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|it| it["type"] == "Ready" && it["status"] == "True")
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
