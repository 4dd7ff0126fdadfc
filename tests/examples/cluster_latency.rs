//! How long a real cluster takes from load to a written size.
//!
//!     cargo run --release -p starling-tests --example cluster_latency -- --runs 40
//!
//! Five nodes with real containers, the project's image and manifests. A pod begins
//! to burn twice what it asks for; what counts is the time from the command that
//! makes it do so until the API server shows a larger size, as a watch sees it.
//! Then the same for a number that an HTTP source tells (0 to 1), and again with
//! the leader's pod killed right before. Prints every distribution, and what the
//! agents and the API server cost meanwhile.
#![allow(clippy::unwrap_used)] // A measurement that can't be made ends.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use starling_kubernetes_rig::Cluster;
use starling_tests::installed::{Installed, NODES, SYSTEM, await_agents, manifests};
use starling_tests::workload::{AT_ONCE, cpu_policy, deployment, number_policy};

const PATIENCE: Duration = Duration::from_mins(2);
/// Pods beside the measured ones, so that agents have something to measure: six on
/// each node, less than a node of the real world has, as all share two cores here.
const COMPANY: u32 = 30;

fn main() {
    let runs = std::env::args()
        .skip_while(|word| word != "--runs")
        .nth(1)
        .map_or(10, |runs| runs.parse().unwrap());
    let installed = Installed::start(NODES, &manifests());
    println!(
        "agents ready after kubectl apply: {:.1?}",
        installed.ready_after
    );
    installed.namespace("load");
    let company = deployment("company", COMPANY, 0);
    installed.apply("load", &company);
    installed.await_rollout("load", "company");

    let mut times: Vec<Duration> = (0..runs).map(|_| cpu(&installed)).collect();
    show("load to scale write", &mut times);
    let mut times: Vec<Duration> = (0..runs).map(|_| number(&installed, false)).collect();
    show("number to scale write, 0 to 1", &mut times);
    let killed = (runs / 4).max(1);
    let mut times: Vec<Duration> = (0..killed).map(|_| number(&installed, true)).collect();
    show("the same, leader killed right before", &mut times);
    rest(&installed);
}

/// Tells when a Deployment's size has changed.
struct Sizes {
    watch: Child,
    seen: Receiver<(Instant, u64)>,
}

impl Sizes {
    fn of(cluster: &Cluster, deployment: &str) -> Sizes {
        let mut watch = Command::new(cluster.binary("kubectl").unwrap())
            .args(["get", "deploy", deployment, "-n", "load", "--watch"])
            .args(["-o", "jsonpath={.spec.replicas}{\"\\n\"}"])
            .env("KUBECONFIG", cluster.kubeconfig())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
        let (tell, seen) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let size = line.trim().parse().unwrap_or(0);
                if tell.send((Instant::now(), size)).is_err() {
                    return;
                }
            }
        });
        let sizes = Sizes { watch, seen };
        sizes.seen.recv_timeout(PATIENCE).unwrap();
        sizes
    }

    /// When the size was first more than `than`.
    fn above(&self, than: u64) -> Instant {
        loop {
            let (at, size) = self.seen.recv_timeout(PATIENCE).unwrap();
            if size > than {
                return at;
            }
        }
    }
}

impl Drop for Sizes {
    fn drop(&mut self) {
        // It ended by itself, then.
        let _ = self.watch.kill();
        let _ = self.watch.wait();
    }
}

fn cpu(installed: &Installed) -> Duration {
    let yaml = format!(
        "{}---{}",
        deployment("web", 1, 0),
        cpu_policy("Deployment", "web", AT_ONCE)
    );
    installed.apply("load", &yaml);
    installed.await_rollout("load", "web");
    installed.await_condition("load", "web", "Ready");
    settle(installed, "web");
    let sizes = Sizes::of(&installed.cluster, "web");
    let began = Instant::now();
    installed.burn("load", "web", 200);
    let took = sizes.above(1) - began;
    drop(sizes);
    forget(installed, "web");
    took
}

fn number(installed: &Installed, kill: bool) -> Duration {
    let service = "
apiVersion: v1
kind: Service
metadata: {name: source}
spec: {selector: {app: source}, ports: [{port: 8080}]}
";
    let yaml = format!(
        "{}---{service}---{}",
        deployment("source", 1, 0),
        deployment("worker", 0, 0)
    );
    installed.apply("load", &yaml);
    installed.await_rollout("load", "source");
    let words = [
        "get",
        "service",
        "source",
        "-n",
        "load",
        "-o",
        "jsonpath={.spec.clusterIP}",
    ];
    let address = installed.cluster.kubectl(words).unwrap();
    let policy = number_policy("worker", &format!("{address}:8080"), AT_ONCE);
    installed.apply("load", &policy);
    installed.await_condition("load", "worker", "Ready");
    let sizes = Sizes::of(&installed.cluster, "worker");
    if kill {
        let leader = installed.agent_on(&installed.leader());
        installed.cluster.kill_pod(SYSTEM, &leader).unwrap();
    }
    let began = Instant::now();
    installed.tell("load", "source", "number", 5);
    let took = sizes.above(0) - began;
    drop(sizes);
    forget(installed, "worker");
    if kill {
        let nodes = u8::try_from(installed.cluster.nodes().len()).unwrap();
        await_agents(&installed.cluster, nodes);
    }
    took
}

/// Until a pod has been measured idle.
fn settle(installed: &Installed, policy: &str) {
    let words = ["explain", policy, "-n", "load"];
    let _ = installed.cluster.until("it is measured", PATIENCE, |_| {
        installed.starling(&words).map(|_| ())
    });
}

fn forget(installed: &Installed, name: &str) {
    let policy = format!("scalingpolicy/{name}");
    let deployment = format!("deploy/{name}");
    let words = ["delete", &policy, &deployment, "-n", "load"];
    installed.cluster.kubectl(words).unwrap();
}

fn show(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64();
    println!(
        "{what}: {} runs, p50 {:.2} s, p99 {:.2} s, max {:.2} s",
        times.len(),
        at(50),
        at(99),
        times[times.len() - 1].as_secs_f64()
    );
}

/// What a minute of rest costs: each agent, and the API server by verb.
fn rest(installed: &Installed) {
    let minute = Duration::from_mins(1);
    let before = numbers(installed);
    std::thread::sleep(minute);
    let after = numbers(installed);
    for (name, value) in &after {
        let grown = value - before.get(name).copied().unwrap_or(0.0);
        let each_second = grown / minute.as_secs_f64();
        if name.contains("cpu_seconds") {
            println!("at rest: {name}: {:.2} % of a core", each_second * 100.0);
        } else if name.contains("resident") {
            println!("at rest: {name}: {:.1} MiB", value / f64::from(1 << 20));
        } else if each_second > 0.0 {
            println!("at rest: {name}: {each_second:.2} a second");
        }
    }
}

/// CPU, memory and API calls of each agent, as it tells them itself.
fn numbers(installed: &Installed) -> BTreeMap<String, f64> {
    let mut numbers = BTreeMap::new();
    for node in installed.cluster.nodes() {
        let pods = installed.pods(SYSTEM, "app.kubernetes.io/name=starling");
        let pod = pods
            .iter()
            .find(|pod| pod["spec"]["nodeName"] == node.as_str());
        let address = pod.unwrap()["status"]["podIP"].as_str().unwrap().to_owned();
        let metrics = Command::new("curl")
            .args(["-s", &format!("http://{address}:7403/metrics")])
            .output()
            .unwrap();
        for line in String::from_utf8(metrics.stdout).unwrap().lines() {
            let wanted = [
                "process_cpu_seconds_total",
                "process_resident_memory_bytes",
                "starling_kubernetes_api_calls_total",
                "starling_kubernetes_requests_total",
            ];
            let Some((name, value)) = line.rsplit_once(' ') else {
                continue;
            };
            if wanted.iter().any(|wanted| name.starts_with(wanted)) {
                numbers.insert(format!("{node} {name}"), value.parse().unwrap_or(0.0));
            }
        }
    }
    numbers
}
