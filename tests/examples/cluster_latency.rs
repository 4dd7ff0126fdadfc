//! How long a real cluster takes from load to a written size.
//!
//!     cargo run --release -p starling-tests --example cluster_latency -- --runs 40
//!
//! Five nodes with real containers, the project's image and manifests. A pod begins
//! to burn twice what it asks for; what counts is the time from that moment until the
//! API server shows a larger size, as a watch sees it.
//! Then the same for a number that an HTTP source tells (0 to 1), and again with
//! the leader's pod killed right before; how long decisions pause while every agent
//! is replaced. Prints every distribution, and what agents cost at rest.
#![allow(clippy::unwrap_used)] // A measurement that can't be made ends.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use starling_tests::cost;
use starling_tests::installed::{Installed, NODES, SYSTEM, await_agents, manifests, text};
use starling_tests::sizes::Sizes;
use starling_tests::workload::{AT_ONCE, deployment, number_policy};

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
    let numbers = (0..runs).map(|_| number(&installed, false).1);
    let mut times: Vec<Duration> = numbers.collect();
    show("number to scale write, 0 to 1", &mut times);
    let killed = (runs / 4).max(1);
    let numbers = (0..killed).map(|_| number(&installed, true));
    let (mut kills, mut times): (Vec<Duration>, Vec<Duration>) = numbers.unzip();
    show("the same, leader's pod killed right before", &mut times);
    show("the same, from the kill", &mut kills);
    roll(&installed);
    println!("a minute of rest, {COMPANY} pods:");
    for (node, cost) in cost::over(&installed, Duration::from_mins(1)) {
        println!("  {node}: {cost}");
    }
}

fn cpu(installed: &Installed) -> Duration {
    installed.web("load");
    settle(installed, "web");
    let mut sizes = Sizes::of(&installed.cluster, "load", "web");
    let began = installed.burn("load", "web", 200);
    let took = sizes.next("it grows", |size| size > 1).at - began;
    drop(sizes);
    forget(installed, "web");
    took
}

/// From the kill, if any, and from the number to the write.
fn number(installed: &Installed, kill: bool) -> (Duration, Duration) {
    let address = source(installed);
    installed.apply("load", &deployment("worker", 0, 0));
    let policy = number_policy("worker", &address, AT_ONCE);
    installed.apply("load", &policy);
    installed.await_condition("load", "worker", "Ready");
    let mut sizes = Sizes::of(&installed.cluster, "load", "worker");
    let mut killed = None;
    if kill {
        let leader = installed.agent_on(&installed.leader());
        installed.cluster.kill_pod(SYSTEM, &leader).unwrap();
        killed = Some(Instant::now());
    }
    let began = installed.tell("load", "source", "number", 5);
    let written = sizes.next("it grows", |size| size > 0).at;
    drop(sizes);
    forget(installed, "worker");
    if kill {
        let nodes = u8::try_from(installed.cluster.nodes().len()).unwrap();
        await_agents(&installed.cluster, nodes);
    }
    (written - killed.unwrap_or(began), written - began)
}

/// Where a pod tells a number, 0 at first.
fn source(installed: &Installed) -> String {
    let address = installed.source("load", 0);
    installed.tell("load", "source", "number", 0);
    address
}

/// How long decisions pause while every agent is replaced. A dry run is to decide
/// anew with each poll, once a second, because the number changes faster.
fn roll(installed: &Installed) {
    let address = source(installed);
    installed.apply("load", &deployment("worker", 1, 0));
    installed.await_rollout("load", "worker");
    let more = format!("  dryRun: true\n{AT_ONCE}");
    let policy = number_policy("worker", &address, &more);
    // From one to five is what HPA's rate lets one pass do.
    let policy = policy.replace("minReplicaCount: 0", "minReplicaCount: 1");
    installed.apply("load", &policy);
    installed.await_condition("load", "worker", "Ready");
    // This machine reaches pods, not Services.
    let pod = text(&installed.pods("load", "app=source")[0]["status"]["podIP"]);
    let play = |goes_on: &mut dyn FnMut() -> bool| {
        let began = SystemTime::now();
        let mut number = 0;
        while goes_on() {
            number = (number + 1) % 5;
            let set = format!("http://{pod}:8080/cgi-bin/set?number={}", number * 10 + 10);
            let told = Command::new("curl")
                .args(["-sS", "-o", "/dev/null", &set])
                .status();
            assert!(told.unwrap().success());
            std::thread::sleep(Duration::from_millis(300));
        }
        decided(installed, began)
    };
    let end = Instant::now() + Duration::from_secs(20);
    let before = gaps(&play(&mut || Instant::now() < end));
    let restart = ["rollout", "restart", "daemonset/starling", "-n", SYSTEM];
    installed.cluster.kubectl(restart).unwrap();
    let began = Instant::now();
    let during = gaps(&play(&mut || !rolled(installed)));
    let took = began.elapsed();
    let usual = before.iter().max().copied().unwrap_or_default();
    let pauses = during.iter().map(|gap| gap.saturating_sub(usual));
    println!(
        "rolling update of {took:.0?}: {} decisions at most {:.2?} apart, {:.2?} of pauses in all \
         (beyond {usual:.2?}, the longest gap of {} without it)",
        during.len() + 1,
        during.iter().max().copied().unwrap_or_default(),
        pauses.sum::<Duration>(),
        before.len() + 1,
    );
    forget(installed, "worker");
}

/// Whether every agent is new and ready.
fn rolled(installed: &Installed) -> bool {
    let words = ["daemonset", "starling", "-n", SYSTEM];
    let found = installed.cluster.get(words).unwrap();
    let (status, wanted) = (&found["status"], u64::from(NODES));
    let seen = status["observedGeneration"] == found["metadata"]["generation"];
    seen && status["updatedNumberScheduled"] == wanted && status["numberReady"] == wanted
}

/// When the policy `worker` was decided on since.
fn decided(installed: &Installed, since: SystemTime) -> Vec<Timestamp> {
    let words = ["decisions", "worker", "-n", "load", "--limit", "1000"];
    let told = installed.starling(&words).unwrap();
    let all = told["decisions"].as_array().unwrap().iter();
    let times = all.map(|it| text(&it["time"]).parse::<Timestamp>().unwrap());
    let since = Timestamp::try_from(since).unwrap();
    let mut times: Vec<Timestamp> = times.filter(|at| *at >= since).collect();
    times.sort_unstable();
    times
}

fn gaps(times: &[Timestamp]) -> Vec<Duration> {
    let pairs = times.windows(2);
    pairs
        .map(|pair| pair[1].duration_since(pair[0]).unsigned_abs())
        .collect()
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
    // The next run begins on a quiet machine.
    let app = format!("app={name}");
    let ended = installed.cluster.until("its pods end", PATIENCE, |_| {
        match installed.pods("load", &app).len() {
            0 => Ok(()),
            left => Err(format!("{left} are left")),
        }
    });
    ended.unwrap();
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
