//! Pods read, sorted and mapped as HPA would, whatever node they are on.

use proptest::prelude::*;
use serde_json::{Value, json};
use starling_engine::demand::pick::Pick;
use starling_engine::demand::pods::{self as engine, Phase, Sums};
use starling_engine::policy::{Controller, Resource};
use starling_engine::unit::Ms;

use super::read::{Object, Role};
use super::replicas::{Listed, Read, Usage, by_workload};
use super::*;
use crate::selector::Selector;

fn object(value: Value) -> Object {
    serde_json::from_value(value).expect("an object")
}

fn pod(value: Value) -> Pod {
    Pod::of(object(value)).expect("a pod")
}

/// A pod as the API server shows it, with much that isn't kept.
fn whole() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "uid": "u-1", "name": "web-1", "namespace": "shop",
            "labels": {"app": "web"},
            "annotations": {"kubernetes.io/config.hash": "abc", "long": "x"},
            "managedFields": [{"manager": "kubelet"}],
        },
        "spec": {
            "nodeName": "node-1",
            "containers": [
                {"name": "main", "env": [{"name": "SECRET", "value": "s"}],
                 "resources": {"requests": {"cpu": "100m", "memory": "64Mi"},
                               "limits": {"memory": "128Mi", "nvidia.com/gpu": "1"}}},
            ],
            "initContainers": [
                {"name": "once", "resources": {"requests": {"cpu": "5"}}},
                {"name": "side", "restartPolicy": "Always",
                 "resources": {"requests": {"cpu": "0.05", "memory": "1e6"}}},
            ],
        },
        "status": {
            "phase": "Running", "qosClass": "Burstable",
            "startTime": "2026-01-01T00:00:00Z",
            "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:07Z"},
                {"type": "PodScheduled", "status": "True"},
            ],
            "containerStatuses": [
                {"name": "main", "containerID": "containerd://m1", "restartCount": 2,
                 "state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}}},
            ],
            "initContainerStatuses": [
                {"name": "once", "containerID": "containerd://o1", "restartCount": 0,
                 "state": {"terminated": {"exitCode": 0}}},
                {"name": "side", "containerID": "containerd://s1", "restartCount": 0,
                 "state": {"running": {}}},
            ],
        },
    })
}

fn reading(milli: i64, at: u64) -> engine::Reading {
    engine::Reading {
        milli,
        at: Ms(at),
        window_ms: 1_000,
    }
}

/// CPU readings of a pod, by container.
fn usage<'a>(of: &[(&'a str, i64)]) -> Usage<'a> {
    let read = |(name, cpu): &(&'a str, i64)| {
        let read = Read::from_iter([(Resource::Cpu, Some(reading(*cpu, 10)))]);
        (*name, read)
    };
    Usage {
        containers: of.iter().map(read).collect(),
        ..Usage::default()
    }
}

/// With all that is known of each container.
fn replica(pod: &Pod, usage: &Usage<'_>) -> engine::Pod {
    Listed::of(Arc::new(pod.clone())).replica(usage, &Resource::ALL.into())
}

#[test]
fn a_pod_is_read_with_what_measuring_needs() {
    let pod = pod(whole());
    assert_eq!((pod.uid.as_str(), pod.cgroup_uid()), ("u-1", "abc"));
    assert_eq!(pod.started_at, Some(Ms(1_767_225_600_000)));
    assert_eq!(pod.ready_changed_at, Some(Ms(1_767_225_607_000)));
    assert_eq!((pod.phase, pod.ready), (Phase::Running, Some(true)));
    let roles = pod.containers.iter().map(|c| (c.name.as_str(), c.role));
    assert_eq!(
        roles.collect::<Vec<_>>(),
        [
            ("main", Role::Main),
            ("side", Role::Sidecar),
            ("once", Role::Init)
        ]
    );
    let main = &pod.containers[0];
    assert_eq!(
        (main.id.as_deref(), main.restarts),
        (Some("containerd://m1"), 2)
    );
    assert_eq!(main.limits_milli["nvidia.com/gpu"], 1_000);
    assert_eq!(main.limits_milli["memory"], 128 * 1024 * 1024 * 1_000);
}

#[test]
fn sidecars_count_in_the_request_and_preparing_containers_do_not() {
    let pod = pod(whole());
    assert_eq!(pod.request_milli("cpu"), Some(150));
    assert_eq!(
        pod.request_milli("memory"),
        Some((64 * 1024 * 1024 + 1_000_000) * 1_000)
    );
}

#[test]
fn one_container_without_request_leaves_the_pod_without_unless_it_states_its_own() {
    let mut value = whole();
    value["spec"]["containers"][0]["resources"] = json!({});
    assert_eq!(pod(value.clone()).request_milli("cpu"), None);
    value["spec"]["resources"] = json!({"requests": {"cpu": "2"}});
    let pod = pod(value);
    assert_eq!(pod.request_milli("cpu"), Some(2_000));
    let replica = replica(&pod, &Usage::default());
    assert_eq!(
        replica.containers["main"][&Resource::Cpu].request_milli,
        None
    );
    assert_eq!(
        replica.containers["side"][&Resource::Cpu].request_milli,
        Some(50)
    );
}

#[test]
fn a_pod_has_a_sample_only_if_every_running_container_was_read() {
    let pod = pod(whole());
    let half = replica(&pod, &usage(&[("main", 70)]));
    assert_eq!(half.metrics[&Resource::Cpu].sample, None);
    assert_eq!(
        half.containers["main"][&Resource::Cpu].sample,
        Some(reading(70, 10))
    );
    let all = replica(&pod, &usage(&[("main", 70), ("side", 5), ("once", 900)]));
    assert_eq!(all.metrics[&Resource::Cpu].sample, Some(reading(75, 10)));
    assert_eq!(all.metrics[&Resource::Memory].sample, None);
    assert!(!all.containers.contains_key("once"));
}

#[test]
fn an_unknown_readiness_counts_as_ready_as_in_hpa() {
    let mut value = whole();
    value["status"]["conditions"][0]["status"] = json!("Unknown");
    assert_eq!(pod(value.clone()).ready, Some(true));
    value["status"]["conditions"] = json!([]);
    assert_eq!(pod(value).ready, None);
}

#[test]
fn what_keeps_a_pod_from_running_is_said_in_the_kubelets_words() {
    let mut value = whole();
    let waiting = |reason: &str| json!({"waiting": {"reason": reason, "message": "m".repeat(999)}});
    value["status"]["containerStatuses"][0]["state"] = waiting("ContainerCreating");
    assert_eq!(trouble::of(&pod(value.clone())), None);
    value["status"]["containerStatuses"][0]["state"] = waiting("ImagePullBackOff");
    let found = trouble::of(&pod(value.clone())).expect("trouble");
    assert_eq!(
        (found.reason.as_str(), found.container.as_str()),
        ("ImagePullBackOff", "main")
    );
    assert_eq!(found.message.len(), read::MESSAGE_CHARS_MAX);
    value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:01:00Z");
    assert_eq!(trouble::of(&pod(value)), None);
}

fn named(uid: &str, app: &str, phase: &str) -> Object {
    let mut value = whole();
    value["metadata"]["uid"] = json!(uid);
    value["metadata"]["labels"] = json!({"app": app, "tier": "front"});
    value["status"]["phase"] = json!(phase);
    object(value)
}

fn store_of(objects: impl IntoIterator<Item = Object>) -> Store {
    let mut store = Store::default();
    assert!(!store.take(Ok(Event::Init)));
    for object in objects {
        assert!(!store.take(Ok(Event::InitApply(object))));
    }
    assert!(store.take(Ok(Event::InitDone)));
    store
}

#[test]
fn a_pod_that_two_selectors_match_counts_for_both() {
    let store = store_of([named("a", "web", "Running"), named("b", "db", "Running")]);
    let parse = |text: &str| Selector::parse(text).expect("a selector");
    let (web, front, none) = (parse("app=web"), parse("tier in (front)"), parse("app=x"));
    let found = by_workload(
        &store.snapshot,
        [
            ("web", "shop", &web),
            ("front", "shop", &front),
            ("none", "shop", &none),
            ("elsewhere", "other", &web),
        ],
    );
    let counts: Vec<_> = found.iter().map(|(k, pods)| (*k, pods.len())).collect();
    assert_eq!(counts, [("front", 2), ("web", 1)]);
}

#[test]
fn a_new_list_replaces_what_was_known_only_when_it_is_whole() {
    let mut store = store_of([named("a", "web", "Running"), named("b", "web", "Running")]);
    store.take(Ok(Event::Init));
    store.take(Ok(Event::InitApply(named("c", "web", "Running"))));
    let uids = |store: &Store| store.snapshot.pods.keys().cloned().collect::<Vec<_>>();
    assert_eq!(uids(&store), ["a", "b"]);
    store.take(Ok(Event::InitDone));
    assert_eq!(uids(&store), ["c"]);
    assert!(store.take(Err(Failure::Unreachable("away".into()))));
    assert_eq!(uids(&store), ["c"], "the last known pods stay");
    assert!(store.snapshot.trouble.is_some());
    store.take(Ok(Event::Delete(named("c", "web", "Running"))));
    assert!(store.snapshot.pods.is_empty() && store.snapshot.trouble.is_none());
}

#[test]
fn beyond_the_bound_ended_pods_make_room_first_and_the_rest_is_counted() {
    let name = |i: usize| format!("{i:05}");
    let phase = |i: usize| if i == 500 { "Succeeded" } else { "Running" };
    let mut store = store_of((0..PODS_MAX).map(|i| named(&name(i), "web", phase(i))));
    assert_eq!(
        (store.snapshot.pods.len(), store.snapshot.left_out),
        (PODS_MAX, 0)
    );
    store.take(Ok(Event::Apply(named("new", "web", "Running"))));
    assert!(store.snapshot.pods.contains_key("new"));
    assert!(!store.snapshot.pods.contains_key(&name(500)));
    assert_eq!(
        (store.snapshot.pods.len(), store.snapshot.left_out),
        (PODS_MAX, 1)
    );
    store.take(Ok(Event::Apply(named("newer", "web", "Running"))));
    assert!(!store.snapshot.pods.contains_key("newer"));
    assert_eq!(store.snapshot.left_out, 2);
    store.take(Ok(Event::Delete(named("newer", "web", "Running"))));
    store.take(Ok(Event::Delete(named(&name(1), "web", "Running"))));
    store.take(Ok(Event::Apply(named(&name(500), "web", "Running"))));
    assert_eq!(
        (store.snapshot.pods.len(), store.snapshot.left_out),
        (PODS_MAX, 0)
    );
}

/// By uid.
type Readings = BTreeMap<String, Usage<'static>>;

/// Any pod that can be seen, with readings or without.
fn any_pod() -> impl Strategy<Value = (Pod, Readings)> {
    let phase = prop_oneof![
        Just(Phase::Pending),
        Just(Phase::Running),
        Just(Phase::Failed),
        Just(Phase::Succeeded)
    ];
    let container = (
        proptest::option::of(0_i64..2_000),
        proptest::option::of((0_i64..3_000, 0_u64..20_000)),
        any::<bool>(),
    );
    (
        any::<u64>(),
        phase,
        any::<bool>(),
        proptest::option::of(any::<bool>()),
        proptest::option::of(0_u64..1_000_000),
        0_u64..1_000_000,
        proptest::collection::vec(container, 0..3),
        prop_oneof![Just("web"), Just("db")],
    )
        .prop_map(
            |(id, phase, deleted, ready, started, changed, containers, app)| {
                let mut usage = Usage::default();
                let mut kept = Vec::new();
                for (i, (request, read, running)) in containers.into_iter().enumerate() {
                    if let Some((milli, at)) = read {
                        let read = Read::from_iter([
                            (Resource::Cpu, Some(reading(milli, at))),
                            (Resource::Memory, Some(reading(milli * 7, at))),
                        ]);
                        usage.containers.push((["c0", "c1", "c2"][i], read));
                    }
                    let requests = request.map(|milli| ("cpu".to_owned(), milli));
                    kept.push(read::Container {
                        name: format!("c{i}"),
                        running,
                        requests_milli: requests.into_iter().collect(),
                        ..read::Container::default()
                    });
                }
                let pod = Pod {
                    uid: id.to_string(),
                    namespace: "shop".into(),
                    name: format!("p{id}"),
                    labels: [("app".to_owned(), app.to_owned())].into(),
                    phase,
                    deleted,
                    ready,
                    ready_changed_at: Some(Ms(changed)),
                    started_at: started.map(Ms),
                    qos: "Burstable".into(),
                    config_hash: None,
                    host_network: false,
                    requests_milli: BTreeMap::new(),
                    containers: kept,
                };
                let readings = [(pod.uid.clone(), usage)].into();
                (pod, readings)
            },
        )
}

proptest! {
    #[test]
    fn merging_what_each_node_sees_equals_summing_over_all_pods(
        pods in proptest::collection::vec((any_pod(), 0_usize..5), 0..40),
        now in 0_u64..2_000_000,
    ) {
        let selectors = ["app=web", "app!=db", "app"].map(|s| Selector::parse(s).expect("sound"));
        let workloads = || selectors.iter().enumerate().map(|(i, s)| (i, "shop", s));
        let mut nodes = vec![(Snapshot::default(), Readings::new()); 5];
        let (mut whole, mut all) = (Snapshot::default(), Readings::new());
        for ((pod, readings), node) in pods {
            let pod = Arc::new(pod);
            whole.pods.insert(pod.uid.clone(), Arc::clone(&pod));
            nodes[node].0.pods.insert(pod.uid.clone(), pod);
            nodes[node].1.extend(readings.clone());
            all.extend(readings);
        }
        // The same uid drawn for two nodes would be two pods on one node.
        let on_nodes: usize = nodes.iter().map(|(n, _)| n.pods.len()).sum();
        prop_assume!(on_nodes == whole.pods.len());

        let controller = Controller::default();
        let replicas = |snapshot: &Snapshot, readings: &Readings, workload: usize| {
            let found = by_workload(snapshot, workloads());
            let pods = found.get(&workload).into_iter().flatten();
            pods.map(|pod| replica(pod, &readings[&pod.uid]))
                .collect::<Vec<_>>()
        };
        let picks = [
            Pick::replica(Resource::Cpu),
            Pick::replica(Resource::Memory),
            Pick::container(Resource::Cpu, "c0"),
        ];
        for workload in 0..selectors.len() {
            for pick in picks {
                let sum = |pods: &[engine::Pod]| Sums::of(pods, pick, &controller, Ms(now));
                let mut merged = Sums::default();
                for (snapshot, readings) in &nodes {
                    merged.merge(&sum(&replicas(snapshot, readings, workload)));
                }
                prop_assert_eq!(merged, sum(&replicas(&whole, &all, workload)));
            }
        }
    }
}
