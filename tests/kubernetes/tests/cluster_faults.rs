//! Nodes that are cut off, stopped, added, drained and deleted, containers that are killed,
//! and an API server that is slow, frozen or gone. One cluster of three nodes for all.

#![allow(clippy::unwrap_used)] // A helper that finds nothing has failed its test.

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use starling_kubernetes_rig::{Cluster, Cut, Settings, Signal, image, turn};

const LIMIT: Duration = Duration::from_mins(1);

const PODS: &str = "\
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: load
        image: localhost/starling-test/load:1
        imagePullPolicy: Never
        resources: {requests: {cpu: 10m, memory: 16Mi}}
";

/// The cluster of this file, which ends with its process.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = Cluster::start_with(Settings {
            nodes: 3,
            images: vec![image::load().unwrap()],
            ..Settings::default()
        })
        .unwrap();
        cluster.apply(PODS).unwrap();
        cluster
            .kubectl(["rollout", "status", "ds/web", "--timeout=60s"])
            .unwrap();
        cluster
    })
}

/// The name and address of the pod on a node.
fn pod(cluster: &Cluster, node: &str) -> (String, String) {
    let selector = format!("--field-selector=spec.nodeName={node}");
    let what = format!("{node} has a pod that is ready");
    cluster
        .until(&what, LIMIT, |cluster| {
            let pods = ["pods", "-l", "app=web", &selector];
            let list = cluster.get(pods).map_err(|e| e.to_string())?;
            let pods = list["items"].as_array().ok_or("no list")?;
            let pod = pods.first().ok_or("no pod")?;
            let ready = pod["status"]["containerStatuses"][0]["ready"] == Value::Bool(true);
            let text = |path| pod.pointer(path).and_then(Value::as_str).map(String::from);
            let found = text("/metadata/name").zip(text("/status/podIP"));
            found.filter(|_| ready).ok_or(pod["status"].to_string())
        })
        .unwrap()
}

/// Whether a call from inside a node's namespaces to this address is answered.
fn answers(cluster: &Cluster, from: &str, address: &str, port: u16) -> bool {
    let script = format!("exec 3<>/dev/tcp/{address}/{port}");
    cluster
        .node_exec(from, &["timeout", "1", "bash", "-c", &script])
        .is_ok()
}

fn api_server(cluster: &Cluster) -> (String, u16) {
    let path = "jsonpath={.subsets[0].addresses[0].ip} {.subsets[0].ports[0].port}";
    let text = cluster
        .kubectl(["get", "endpoints", "kubernetes", "-o", path])
        .unwrap();
    let (address, port) = text.split_once(' ').unwrap();
    (address.to_owned(), port.parse().unwrap())
}

#[test]
fn a_cut_holds_for_what_it_names_and_is_healed() {
    let Some(_turn) = turn::alone() else { return };
    let cluster = cluster();
    let (api, port) = api_server(cluster);
    let (_, own) = pod(cluster, "node1");
    let (_, other) = pod(cluster, "node2");
    // What node1 reaches (the API server, another node's pod) and whether the host and a
    // node reach node1's pod. A call needs both ways.
    let seen = || {
        let host = std::net::TcpStream::connect_timeout(
            &format!("{own}:8080").parse().unwrap(),
            Duration::from_secs(1),
        );
        [
            answers(cluster, "node1", &api, port),
            answers(cluster, "node1", &other, 8080),
            answers(cluster, "node2", &own, 8080),
            host.is_ok(),
        ]
    };
    let is_seen = |what: &str, expected: [bool; 4]| {
        let look = |_: &Cluster| {
            let seen = seen();
            // What a busy machine answers late is answered later; what is cut off never is.
            let through = (0..4).any(|n| seen[n] && !expected[n]);
            assert!(!through, "{what}: {seen:?}");
            (seen == expected).then_some(()).ok_or(format!("{seen:?}"))
        };
        cluster.until(what, LIMIT, look).unwrap();
    };
    is_seen("all is reached", [true; 4]);
    for (cut, expected) in [
        (Cut::Both, [false; 4]),
        (Cut::Incoming, [false; 4]),
        (Cut::Outgoing, [false; 4]),
        (Cut::ApiServer, [false, true, true, true]),
        (Cut::Nodes, [true, false, false, true]),
    ] {
        cluster.cut("node1", cut).unwrap();
        is_seen(&format!("{cut:?}"), expected);
    }
    // Within itself a node that is cut off goes on.
    cluster.cut("node1", Cut::Both).unwrap();
    cluster
        .until("node1 reaches its own pod", LIMIT, |cluster| {
            let answered = answers(cluster, "node1", &own, 8080);
            answered.then_some(()).ok_or("no answer".into())
        })
        .unwrap();
    cluster.heal("node1").unwrap();
    is_seen("all is reached again", [true; 4]);
}

#[test]
fn a_cut_in_one_direction_lets_the_other_pass() {
    let Some(_turn) = turn::alone() else { return };
    let cluster = cluster();
    let target = cluster.node_address("node2").unwrap().to_string();
    // How many datagrams to node2 node1's link has sent, and node2's has taken.
    let count = |node: &str, side: &str| -> u64 {
        let file = "/proc/net/snmp";
        let text = cluster.node_exec(node, &["cat", file]).unwrap();
        let udp: Vec<&str> = text.lines().filter(|l| l.starts_with("Udp:")).collect();
        let column = udp[0].split(' ').position(|name| name == side).unwrap();
        udp[1].split(' ').nth(column).unwrap().parse().unwrap()
    };
    // Nobody listens there, which the receiver counts.
    let send = || {
        let script = format!("echo x >/dev/udp/{target}/9");
        cluster
            .node_exec("node1", &["bash", "-c", &script])
            .unwrap();
    };
    let arrives = || {
        let before = count("node2", "NoPorts");
        send();
        // The link within the machine delivers before `send` returns.
        count("node2", "NoPorts") > before
    };
    assert!(arrives());
    cluster.cut("node1", Cut::Incoming).unwrap();
    assert!(arrives(), "node1 is heard though it hears nothing");
    cluster.cut("node1", Cut::Outgoing).unwrap();
    assert!(!arrives());
    cluster.heal("node1").unwrap();
    cluster.cut("node2", Cut::Outgoing).unwrap();
    assert!(arrives(), "node2 hears though nobody hears it");
    cluster.cut("node2", Cut::Incoming).unwrap();
    assert!(!arrives());
    cluster.heal("node2").unwrap();
    assert!(arrives());
}

#[test]
fn the_api_server_freezes_dies_slows_down_and_comes_back() {
    let Some(_turn) = turn::alone() else { return };
    let cluster = cluster();
    // How long an answer took that may take so long.
    let ask = |config: &Path, limit_s: u32| {
        let config = format!("--kubeconfig={}", config.display());
        let limit = format!("--request-timeout={limit_s}s");
        let began = Instant::now();
        let answer = cluster.kubectl(["get", "--raw=/readyz", &config, &limit]);
        answer.map(|_| began.elapsed())
    };
    let is_silent = || ask(cluster.kubeconfig(), 2).is_err();
    let direct = || ask(cluster.kubeconfig(), 60).unwrap();
    let through_proxy = || ask(cluster.kubeconfig_through_proxy(), 60).unwrap();
    cluster.freeze_api_server().unwrap();
    assert!(is_silent());
    cluster.resume_api_server().unwrap();
    direct();

    cluster.kill_api_server().unwrap();
    assert!(is_silent());
    let began = Instant::now();
    cluster.resume_api_server().unwrap();
    eprintln!("the API server was back after {:?}", began.elapsed());
    direct();

    // kubectl gives up a TLS handshake after 10 s. This one takes a little over 4 s: the proxy
    // holds kubectl's first message back for so long, and kubectl waits for one answer.
    let delay = Duration::from_secs(4);
    cluster.slow_api_server(delay);
    let took = through_proxy();
    assert!(took >= delay, "after {took:?}");
    // What goes through a slow proxy is late each time; what a busy machine delays isn't.
    let is_quick = |ask: &dyn Fn() -> Duration| {
        (0..3).any(|_| {
            let took = ask();
            eprintln!("the API server answered after {took:?}");
            took < delay
        })
    };
    assert!(is_quick(&direct), "tests go past the proxy");
    cluster.slow_api_server(Duration::ZERO);
    assert!(is_quick(&through_proxy), "the delay has ended");

    // What the controller manager and a node do afterwards shows that both found back.
    cluster.kubectl(["create", "namespace", "after"]).unwrap();
    cluster
        .until(
            "a new namespace gets its service account",
            LIMIT,
            |cluster| {
                let account = ["get", "serviceaccount", "default", "-n", "after"];
                cluster.kubectl(account).map_err(|e| e.to_string())
            },
        )
        .unwrap();
    let run = [
        "run",
        "once",
        "-n",
        "after",
        "--image=localhost/starling-test/load:1",
        "--image-pull-policy=Never",
    ];
    cluster.kubectl(run).unwrap();
    let wait = [
        "wait",
        "-n",
        "after",
        "--for=condition=Ready",
        "pod/once",
        "--timeout=60s",
    ];
    cluster.kubectl(wait).unwrap();
    cluster
        .kubectl(["delete", "namespace", "after", "--wait=false"])
        .unwrap();
}

#[test]
fn broken_connections_are_made_anew() {
    let Some(_turn) = turn::alone() else { return };
    let cluster = cluster();
    let (name, _) = pod(cluster, "node3");
    cluster.break_connections();
    // The kubelet hears of the pod's end only over a watch that it has opened again.
    cluster
        .kubectl(["delete", "pod", &name, "--timeout=60s"])
        .unwrap();
    assert_ne!(pod(cluster, "node3").0, name);
}

#[test]
fn a_killed_container_is_started_again_in_its_pod() {
    let Some(_turn) = turn::alone() else { return };
    let cluster = cluster();
    let (name, address) = pod(cluster, "node2");
    let restarts = |cluster: &Cluster| {
        let path = "jsonpath={.status.containerStatuses[0].restartCount}";
        cluster.kubectl(["get", "pod", &name, "-o", path])
    };
    let before = restarts(cluster).unwrap();
    cluster.kill_pod("default", &name).unwrap();
    cluster
        .until("the container has been restarted", LIMIT, |cluster| {
            let now = restarts(cluster).map_err(|e| e.to_string())?;
            (now != before).then_some(()).ok_or(now)
        })
        .unwrap();
    assert_eq!(pod(cluster, "node2"), (name.clone(), address));

    cluster.signal_pod("default", &name, Signal::Stop).unwrap();
    let ask = ["ask", "127.0.0.1", "8080", "/cgi-bin/get"];
    let answer = cluster.pod_exec("default", &name, &ask).unwrap();
    assert!(answer.is_empty(), "it stands still, and says {answer}");
    cluster
        .signal_pod("default", &name, Signal::Continue)
        .unwrap();
    let answer = cluster.pod_exec("default", &name, &ask).unwrap();
    assert!(answer.contains(&name), "{answer}");
    assert!(cluster.kill_pod("default", "nobody").is_err());
}

#[test]
fn nodes_are_added_stopped_started_drained_and_deleted() {
    let Some(_turn) = turn::alone() else { return };
    let cluster = cluster();
    let began = Instant::now();
    let added = cluster.add_nodes(2).unwrap();
    eprintln!("two more nodes were ready after {:?}", began.elapsed());
    let (name, _) = pod(cluster, &added[0]);
    let file = "/var/lib/starling/kept";
    cluster.node_exec(&added[0], &["touch", file]).unwrap();
    assert!(cluster.node_exec(&added[1], &["ls", file]).is_err());

    cluster.stop_node(&added[0]).unwrap();
    assert!(cluster.node_exec(&added[0], &["true"]).is_err());
    let began = Instant::now();
    cluster.start_node(&added[0]).unwrap();
    eprintln!("a stopped node was back after {:?}", began.elapsed());
    cluster.node_exec(&added[0], &["ls", file]).unwrap();
    // The API server first shows what the kubelet said of the pod before the power cut.
    cluster
        .until("the same pod answers again", LIMIT, |cluster| {
            let (again, address) = pod(cluster, &added[0]);
            let answered = again == name && answers(cluster, "node1", &address, 8080);
            answered
                .then_some(())
                .ok_or(format!("{again} at {address}"))
        })
        .unwrap();

    cluster.drain_node(&added[1]).unwrap();
    for node in &added {
        cluster.delete_node(node).unwrap();
    }
    assert_eq!(cluster.nodes(), ["node1", "node2", "node3"]);
    let nodes = cluster.kubectl(["get", "nodes", "-o", "name"]).unwrap();
    assert_eq!(nodes.lines().count(), 3, "{nodes}");
    assert!(cluster.stop_node(&added[0]).is_err());
}
