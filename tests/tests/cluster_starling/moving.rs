//! Coming from an HPA or from KEDA: what runs is handed over as it runs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use starling_kubernetes_rig::shell;
use starling_tests::installed::{Installed, NODES, SYSTEM, await_agents, installed, until};
use starling_tests::workload::deployment;

/// An answer of the command line, with an API server that is busy.
const ANSWER: Duration = Duration::from_mins(1);
const SOON: Duration = Duration::from_mins(1);
/// Many passes.
const A_WHILE: Duration = Duration::from_secs(15);

/// What `starling import` prints of a namespace, by the user's kubeconfig.
fn import(installed: &Installed, namespace: &str) -> String {
    let mut command = Command::new(starling_tests::binary());
    command
        .args(["import", "--from-cluster", "--strict", "-n", namespace])
        .env("KUBECONFIG", installed.cluster.kubeconfig());
    shell::finish(&mut command, "", ANSWER).unwrap()
}

/// How often the Deployment was written, and the size that it has.
fn written(installed: &Installed, namespace: &str) -> (i64, u64) {
    let found = installed.cluster.get(["deploy", "web", "-n", namespace]);
    let found = found.unwrap();
    let generation = found["metadata"]["generation"].as_i64().unwrap();
    (generation, installed.size(namespace, "deploy", "web"))
}

/// Three pods that use what the policy allows, so that it has nothing to change.
fn three(namespace: &str, installed: &Installed) {
    installed.namespace(namespace);
    // From 47 to 77 % of what they ask for three is the right size. Upwards nobody waits, and
    // a pod that was kept from its work makes up for it: that side needs more room.
    installed.apply(namespace, &deployment("web", 3, 52));
    installed.await_rollout(namespace, "web");
}

#[track_caller]
fn stays(installed: &Installed, namespace: &str, as_it_was: (i64, u64)) {
    let began = Instant::now();
    while began.elapsed() < A_WHILE {
        assert_eq!(written(installed, namespace), as_it_was);
    }
}

#[test]
fn an_hpa_is_imported_while_it_runs_and_hands_over_without_a_change_of_size() {
    let Some(installed) = installed() else { return };
    let namespace = "moving";
    three(namespace, &installed);
    installed.apply(
        namespace,
        "
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 2
  maxReplicas: 6
  metrics:
  - type: Resource
    resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}
  behavior:
    scaleUp: {stabilizationWindowSeconds: 15}
    scaleDown: {stabilizationWindowSeconds: 60}
",
    );
    let policies = import(&installed, namespace);
    assert!(policies.contains("minReplicaCount: 2"), "{policies}");
    assert!(policies.contains("averageUtilization: 70"), "{policies}");
    installed.apply(namespace, &policies);
    installed.await_condition(namespace, "web", "Ready=False");
    let before = written(&installed, namespace);
    assert_eq!(before.1, 3);
    let cluster = &installed.cluster;
    cluster
        .kubectl(["delete", "hpa", "web", "-n", namespace])
        .unwrap();
    installed.await_condition(namespace, "web", "Ready");
    stays(&installed, namespace, before);
    installed.forget(namespace);
}

/// A file of the component that adopts KEDA's objects.
pub fn keda(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../daemonset/components/keda");
    fs::read_to_string(folder.join(file)).unwrap()
}

/// As much of KEDA as there is without its operator.
fn know_scaled_objects(installed: &Installed) {
    installed
        .cluster
        .apply(&keda("scaledobjects.yaml"))
        .unwrap();
    let wait = ["wait", "--for=condition=Established", SCALED_OBJECTS];
    installed.cluster.kubectl(wait).unwrap();
}

const SCALED_OBJECTS: &str = "crd/scaledobjects.keda.sh";
const SCALED_OBJECT: &str = "
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: web}
spec:
  scaleTargetRef: {name: web}
  minReplicaCount: 1
  maxReplicaCount: 6
  advanced:
    horizontalPodAutoscalerConfig:
      behavior: {scaleUp: {stabilizationWindowSeconds: 15}}
  triggers:
  - type: cpu
    metricType: Utilization
    metadata: {value: '70'}
";

/// Changes the agents' arguments, and waits until all of them have them. All end at the same
/// time, in place of one after another.
fn patch_agents(installed: &Installed, patch: &str) {
    let cluster = &installed.cluster;
    let agents = ["patch", "daemonset/starling", "-n", SYSTEM];
    let at_a_time = |most: &str| {
        let pointer = "/spec/updateStrategy/rollingUpdate/maxUnavailable";
        let patch = format!(r#"[{{"op": "replace", "path": "{pointer}", "value": {most}}}]"#);
        let words = ["--type=json", "-p", &patch];
        cluster.kubectl([&agents[..], &words].concat()).unwrap();
    };
    at_a_time("\"100%\"");
    let words = ["--type=json", "-p", patch];
    cluster.kubectl([&agents[..], &words].concat()).unwrap();
    let done = [
        "rollout",
        "status",
        "daemonset/starling",
        "-n",
        SYSTEM,
        "--timeout=180s",
    ];
    cluster.kubectl(done).unwrap();
    at_a_time("1");
    await_agents(cluster, NODES);
}

#[test]
fn a_scaled_object_is_imported_and_hands_over_without_a_change_of_size() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "moving-keda");
    know_scaled_objects(&installed);
    three(namespace, &installed);
    installed.apply(namespace, SCALED_OBJECT);
    installed.apply(namespace, &import(&installed, namespace));
    // A kind that is new is found within a minute.
    installed.await_condition(namespace, "web", "Ready=False");
    let before = written(&installed, namespace);
    let object = ["delete", "scaledobject", "web", "-n", namespace];
    cluster.kubectl(object).unwrap();
    installed.await_condition(namespace, "web", "Ready");
    stays(&installed, namespace, before);
    assert_eq!(written(&installed, namespace).1, 3);
    cluster.kubectl(["delete", SCALED_OBJECTS]).unwrap();
    installed.forget(namespace);
}

#[test]
fn a_scaled_object_is_adopted_as_it_is_and_given_back_without_a_change_of_size() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "adopted");
    know_scaled_objects(&installed);
    cluster.apply(&keda("cluster-role.yaml")).unwrap();
    three(namespace, &installed);
    installed.apply(namespace, SCALED_OBJECT);
    let before = written(&installed, namespace);
    patch_agents(
        &installed,
        r#"[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--adopt"},
            {"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "keda"}]"#,
    );
    let condition = |object: &str, condition: &str| {
        let condition = format!("--for=condition={condition}");
        let wait = ["wait", object, "-n", namespace, &condition, "--timeout=90s"];
        cluster.kubectl(wait).unwrap();
    };
    condition("scaledobject/web", "Ready");
    condition("scaledobject/web", "Active");
    stays(&installed, namespace, before);
    assert_eq!(before.1, 3);
    // What it can't do it says, and the workload keeps its size.
    let unknown = SCALED_OBJECT.replace("- type: cpu", "- type: kafka");
    installed.apply(namespace, &unknown);
    condition("scaledobject/web", "Ready=False");
    let said = cluster.get(["so", "web", "-n", namespace]).unwrap();
    let said = said["status"]["conditions"].to_string();
    assert!(said.contains("`kafka` isn't a type of trigger"), "{said}");
    installed.apply(namespace, SCALED_OBJECT);
    condition("scaledobject/web", "Ready");

    patch_agents(
        &installed,
        r#"[{"op": "remove", "path": "/spec/template/spec/containers/0/args/4"},
            {"op": "remove", "path": "/spec/template/spec/containers/0/args/3"}]"#,
    );
    until(cluster, "it is nobody's policy any more", SOON, |_| {
        let policies = installed.ask(&["policies", "-n", namespace]);
        Ok(policies.and_then(|policies| {
            let text = policies.to_string();
            let gone = !text.contains("web.scaledobject");
            gone.then_some(()).ok_or(text)
        }))
    });
    stays(&installed, namespace, before);
    cluster.kubectl(["delete", SCALED_OBJECTS]).unwrap();
    installed.forget(namespace);
}
