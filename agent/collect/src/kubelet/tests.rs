//! What a kubelet says, well or badly, late or never.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::*;
use crate::suite::{self, Told, World};

/// A kubelet that says what it is told to, and a clock.
#[derive(Clone, Default)]
struct Says {
    answer: Arc<Mutex<Option<Answer>>>,
    wall_ms: Arc<Mutex<u64>>,
}

/// A whole second of this year, as kubelets write times.
const BEGAN_MS: u64 = 1_795_000_000_000;

fn written(ms: u64) -> String {
    let at = jiff::Timestamp::from_millisecond((BEGAN_MS + ms) as i64).unwrap();
    at.to_string()
}

impl Says {
    fn kubelet(&self) -> Kubelet {
        let host = tempfile::tempdir().unwrap();
        let online = host.path().join("sys/devices/system/cpu");
        std::fs::create_dir_all(&online).unwrap();
        std::fs::write(online.join("online"), "0-3\n").unwrap();
        let (answer, wall_ms) = (Arc::clone(&self.answer), Arc::clone(&self.wall_ms));
        let root = HostRoot::below(host.path());
        Kubelet::with(
            &root,
            Box::new(move || answer.lock().unwrap().take()),
            Box::new(move || {
                // The folder lives as long as the reader.
                let _ = host.path();
                Duration::from_millis(BEGAN_MS + *wall_ms.lock().unwrap())
            }),
        )
    }

    fn say(&self, pods: &Value) {
        let node = json!({"cpu": {"psi": {"some": {"total": 1}, "full": {"total": 0}}}});
        let summary = json!({"node": node, "pods": pods});
        self.answer(Ok(summary.to_string().into_bytes()));
    }

    fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = Some(answer);
    }

    fn at(&self, ms: u64) {
        *self.wall_ms.lock().unwrap() = ms;
    }
}

const UID: &str = "7b1f8a52-9c0e-4a3d-8f7e-0c6f5d2b9a11";

fn pod(uid: &str) -> PodRef {
    PodRef {
        uid: uid.into(),
        namespace: "shop".into(),
        name: "web".into(),
        containers: vec![ContainerRef {
            name: "app".into(),
            container_id: "containerd://aa".into(),
        }],
        ..PodRef::default()
    }
}

/// One container that has used so much CPU at that time.
fn said(at_ms: u64, cpu_ms: u64) -> Value {
    let at = written(at_ms);
    json!([{
        "podRef": {"name": "web", "namespace": "shop", "uid": UID},
        "startTime": written(0),
        "containers": [{
            "name": "app",
            "startTime": written(0),
            "cpu": {"time": at, "usageCoreNanoSeconds": cpu_ms * 1_000_000},
            "memory": {"time": at, "workingSetBytes": 1_000, "usageBytes": 5_000},
        }],
    }])
}

fn milli(reading: Option<Reading>) -> Option<i64> {
    reading.map(|it| it.milli)
}

/// A kubelet's own view of what the suite tells.
struct Kubelets {
    says: Says,
    now_ms: u64,
    before: BTreeMap<(u32, u32, u32), u64>,
}

impl World for Kubelets {
    fn reader(&mut self) -> Box<dyn Measure> {
        Box::new(self.says.kubelet())
    }

    fn tell(&mut self, told: &[Told]) {
        let at = written(self.now_ms);
        let mut pods: BTreeMap<u32, Vec<Value>> = BTreeMap::new();
        for it in told {
            let key = (it.pod, it.container, it.start);
            let before = self.before.insert(key, it.cpu_ms);
            // Its own rate, of the time since it looked last.
            let rate = before.map(|before| it.cpu_ms.saturating_sub(before) * 100_000);
            let mut memory = json!({"time": at});
            if let Some(bytes) = it.memory_bytes {
                memory["workingSetBytes"] = json!(bytes);
            }
            pods.entry(it.pod).or_default().push(json!({
                "name": format!("c{}", it.container),
                "startTime": written(u64::from(it.start) * 1_000),
                "cpu": {
                    "time": at,
                    "usageNanoCores": rate,
                    "usageCoreNanoSeconds": it.cpu_ms * 1_000_000,
                },
                "memory": memory,
            }));
        }
        let pods: Vec<Value> = pods
            .into_iter()
            .map(|(pod, containers)| {
                json!({"podRef": {"uid": suite::uid(pod)}, "containers": containers})
            })
            .collect();
        self.says.say(&json!(pods));
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        self.says.at(self.now_ms);
    }
}

#[test]
fn a_kubelet_passes_the_suite_of_all_readers() {
    suite::run(|| {
        Box::new(Kubelets {
            says: Says::default(),
            now_ms: 0,
            before: BTreeMap::new(),
        })
    });
}

#[test]
fn what_the_kubelet_has_not_renewed_is_no_new_reading_and_ends_after_a_while() {
    let says = Says::default();
    let mut kubelet = says.kubelet();
    let pods = [pod(UID)];
    let mut measure = |at_ms: u64, summary: Option<Value>| {
        says.at(at_ms);
        if let Some(pods) = summary {
            says.say(&pods);
        }
        let measured = kubelet.measure(Ms(500_000 + at_ms), &pods);
        measured.pods[UID].clone()
    };
    measure(1_500, Some(said(0, 100)));
    let first = measure(12_000, Some(said(10_000, 2_100)));
    let cpu = first.cpu.expect("a rate");
    // 2 s old, of the 10 s between the kubelet's times.
    assert_eq!(
        (cpu.milli, cpu.at, cpu.window_ms),
        (200, Ms(510_000), 10_000)
    );
    assert_eq!(first.memory.map(|it| it.at), Some(Ms(510_000)));
    // Asked in between, asked again without news, and told of other numbers at a time
    // that didn't move: none is a new reading.
    for (at_ms, summary) in [
        (13_000, None),
        (17_000, Some(said(10_000, 2_100))),
        (22_000, Some(said(10_000, 9_999))),
        (40_000, None),
    ] {
        let again = measure(at_ms, summary);
        assert_eq!(
            (again.cpu, again.memory),
            (first.cpu, first.memory),
            "{at_ms}"
        );
    }
    let old = measure(40_001, None);
    assert_eq!((old.cpu, old.memory), (None, None));
    assert!(old.containers.contains_key("app"));
    let back = measure(42_000, Some(said(41_000, 5_200)));
    assert_eq!(milli(back.cpu), Some(100));
}

#[test]
fn a_kubelet_that_fails_is_named_once_a_pod_and_what_it_said_stands_for_a_while() {
    let says = Says::default();
    let mut kubelet = says.kubelet();
    let pods = [pod(UID), pod("other")];
    let words = |measured: &Measured| -> Vec<String> {
        measured.problems.iter().map(ToString::to_string).collect()
    };
    let never = kubelet.measure(Ms(100_000), &pods);
    assert_eq!(
        words(&never)[0],
        "shop/web: the kubelet can't be asked: it wasn't asked yet"
    );
    says.say(&said(0, 0));
    kubelet.measure(Ms(100_000), &pods);
    says.at(10_000);
    says.say(&said(10_000, 1_000));
    let whole = kubelet.measure(Ms(110_000), &pods);
    assert_eq!(
        words(&whole),
        ["shop/web, container app: the kubelet says nothing of it; it may just be starting"]
    );
    for (at, answer) in [
        (15_000, Err("no answer within 10 s".to_owned())),
        (20_000, Ok(b"{\"pods\": [{}]}".to_vec())),
        (25_000, Ok(b"<html>".to_vec())),
    ] {
        says.at(at);
        says.answer(answer);
        let measured = kubelet.measure(Ms(100_000 + at), &pods);
        assert_eq!(measured.problems.len(), 2);
        assert_eq!(measured.pods[UID].cpu, whole.pods[UID].cpu);
        let why = &words(&measured)[0];
        assert!(
            why.starts_with("shop/web: the kubelet can't be asked: "),
            "{why}"
        );
    }
    says.at(41_000);
    let measured = kubelet.measure(Ms(141_000), &pods);
    assert_eq!(measured.pods[UID].cpu, None);
}

#[test]
fn pressure_network_and_processes_are_the_pods_own_and_pressure_needs_a_kernel_that_counts() {
    let says = Says::default();
    let mut kubelet = says.kubelet();
    let pods = [pod(UID)];
    let psi = |some_us: u64| {
        let full_us = some_us / 2;
        json!({"some": {"total": some_us, "avg10": 1.5}, "full": {"total": full_us}})
    };
    let say = |at_ms: u64, bytes: u64, some_us: u64| {
        let mut pods = said(at_ms, 0);
        let at = written(at_ms);
        pods[0]["containers"][0]["cpu"]["psi"] = psi(some_us);
        pods[0]["cpu"] = json!({"time": at, "psi": psi(2 * some_us)});
        pods[0]["io"] = json!({"time": at, "psi": psi(some_us)});
        pods[0]["process_stats"] = json!({"process_count": 7});
        pods[0]["network"] = json!({
            "time": at, "name": "eth0", "rxBytes": bytes, "txBytes": 2 * bytes,
            "interfaces": [
                {"name": "eth0", "rxBytes": bytes, "txBytes": 2 * bytes},
                {"name": "net1", "rxBytes": bytes, "txBytes": 0},
                {"name": "lo", "rxBytes": 999_999, "txBytes": 999_999},
            ],
        });
        pods
    };
    says.say(&say(0, 1_000, 0));
    kubelet.measure(Ms(100_000), &pods);
    says.at(10_000);
    says.say(&say(10_000, 21_000, 1_000_000));
    let usage = kubelet.measure(Ms(110_000), &pods).pods[UID].clone();
    assert_eq!(milli(usage.received), Some(4_000_000));
    assert_eq!(milli(usage.sent), Some(4_000_000));
    assert_eq!(milli(usage.network()), Some(8_000_000));
    assert_eq!(milli(usage.pids), Some(7_000));
    assert_eq!(milli(usage.psi.cpu.some), Some(200));
    assert_eq!(milli(usage.psi.cpu.full), Some(100));
    assert_eq!(milli(usage.psi.io.some), Some(100));
    assert_eq!(usage.psi.memory.some, None);
    assert_eq!(milli(usage.containers["app"].psi.cpu.some), Some(100));
    // What no kubelet has.
    assert_eq!(
        (usage.disk(), usage.throttled, usage.oom_kills),
        (None, None, None)
    );
    // A kernel that counts none: the kubelet says zeros.
    let calm = json!({"node": {"cpu": {"psi": psi(0)}}, "pods": say(20_000, 0, 0)});
    says.at(20_000);
    says.answer(Ok(calm.to_string().into_bytes()));
    let usage = kubelet.measure(Ms(120_000), &pods).pods[UID].clone();
    assert_eq!((usage.psi.cpu.some, usage.psi.io.full), (None, None));
    // And the network's counters went back.
    assert_eq!(usage.network(), None);
}

#[test]
fn a_static_pod_goes_by_its_hash_and_a_summary_of_nothing_is_one() {
    let says = Says::default();
    let mut kubelet = says.kubelet();
    let mut mirror = pod("mirror");
    mirror.static_hash = Some(UID.into());
    says.say(&said(0, 0));
    let measured = kubelet.measure(Ms(100_000), &[mirror]);
    assert_eq!(milli(measured.pods["mirror"].memory), Some(1_000_000));
    says.answer(Ok(b"{\"node\": {}, \"pods\": null}".to_vec()));
    let measured = kubelet.measure(Ms(100_000), &[pod(UID)]);
    assert_eq!(measured.pods[UID], usage::Pod::default());
}
