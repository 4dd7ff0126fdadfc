//! The images: the project's own recipe makes one that runs, from a binary that needs its
//! libraries; pods of the load image burn and tell what they are told to.

#![allow(clippy::unwrap_used)] // What isn't there fails its test.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use starling_kubernetes_rig::{Cluster, image, turn};

const LIMIT: Duration = Duration::from_mins(1);

const PODS: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: says}
spec:
  restartPolicy: Never
  containers:
  - name: starling
    image: localhost/starling:dev
    imagePullPolicy: Never
    args: [--help]
    securityContext: {runAsNonRoot: true}
---
apiVersion: v1
kind: Pod
metadata: {name: works}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: load
    image: localhost/starling-test/load:1
    imagePullPolicy: Never
    env: [{name: NUMBER, value: '7'}]
";

/// Thousandths of a core that a cgroup used while this time passed: what is measured.
fn burnt_milli(usage: &Path, time: Duration) -> u128 {
    let read = || -> u128 { fs::read_to_string(usage).unwrap().trim().parse().unwrap() };
    let (before, began) = (read(), Instant::now());
    std::thread::sleep(time);
    (read() - before) * 1_000 / began.elapsed().as_nanos()
}

#[test]
fn images_run_and_load_is_as_told() {
    let Some(_turn) = turn::alone() else { return };
    let cluster = Cluster::start(1).unwrap();
    // Any binary that is linked to glibc will do: here it is the rig's own.
    let binary = Path::new(env!("CARGO_BIN_EXE_starling-kubernetes-rig"));
    cluster.load(&image::image(binary).unwrap()).unwrap();
    cluster.load(&image::load().unwrap()).unwrap();
    cluster.apply(PODS).unwrap();
    let wait = "--for=jsonpath={.status.phase}=Succeeded";
    cluster
        .kubectl(["wait", wait, "pod/says", "--timeout=60s"])
        .unwrap();
    let said = cluster.kubectl(["logs", "says"]).unwrap();
    assert!(said.contains("whole Kubernetes cluster"), "{said}");

    let wait = "--for=condition=Ready";
    cluster
        .kubectl(["wait", wait, "pod/works", "--timeout=60s"])
        .unwrap();
    let ask = |path: &str| {
        let words = ["ask", "127.0.0.1", "8080", path];
        cluster.pod_exec("default", "works", &words).unwrap()
    };
    let told = ask("/cgi-bin/get");
    assert!(told.contains(r#""milli": 0, "number": 7"#), "{told}");
    ask("/cgi-bin/set?number=12");
    ask("/cgi-bin/set?milli=200");
    ask("/cgi-bin/set?milli=nonsense");
    let told = ask("/cgi-bin/get");
    assert!(told.contains(r#""milli": 200, "number": 12"#), "{told}");

    let containers = cluster.containers("node1").unwrap();
    let load = containers.iter().find(|one| one.pod == "works").unwrap();
    let cgroup = load.cgroup.trim_start_matches('/');
    let usage = Path::new("/sys/fs/cgroup/cpuacct")
        .join(cgroup)
        .join("cpuacct.usage");
    // A machine with other work may not have so much to give for a while.
    cluster
        .until("the pod burns 200m", LIMIT, |_| {
            let burnt = burnt_milli(&usage, Duration::from_secs(3));
            (150..250)
                .contains(&burnt)
                .then_some(())
                .ok_or(format!("{burnt}m"))
        })
        .unwrap();
}
