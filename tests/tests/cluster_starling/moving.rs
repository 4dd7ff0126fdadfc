//! Coming from an HPA or from KEDA: what runs is handed over as it runs. What is handed over
//! is the examples of the page for those who come, as they stand there.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use starling_kubernetes_rig::shell;
use starling_tests::installed::{Installed, NODES, SYSTEM, await_agents, installed, until};
use starling_tests::sizes::Sizes;
use starling_tests::workload::deployment;

/// An answer of the command line, with an API server that is busy.
const ANSWER: Duration = Duration::from_mins(1);
const SOON: Duration = Duration::from_mins(1);
/// Many passes.
const A_WHILE: Duration = Duration::from_secs(15);
const PAGE: &str = "../daemonset/docs/moving-from-keda-and-hpa.md";
/// Work for three workers, of ten jobs each, and for three shippings, each of ten orders or
/// twenty mails.
const QUEUE: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: queue}
spec:
  selector: {matchLabels: {app: queue}}
  template:
    metadata: {labels: {app: queue}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: queue
        image: localhost/starling-test/load:1
        imagePullPolicy: Never
        command:
        - /bin/sh
        - -c
        - |
          mkdir /tmp/www
          echo '{"queue": {"jobs": 25, "orders": 25, "mails": 10}}' >/tmp/www/stats
          exec httpd -f -p 8080 -h /tmp/www
        readinessProbe: {httpGet: {port: 8080, path: /stats}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: queue}
spec: {selector: {app: queue}, ports: [{port: 8080}]}
"#;

/// What `starling import` prints of a namespace, by the user's kubeconfig.
fn import(installed: &Installed, namespace: &str) -> String {
    let mut command = Command::new(starling_tests::binary());
    command
        .args(["import", "--from-cluster", "--strict", "-n", namespace])
        .env("KUBECONFIG", installed.cluster.kubeconfig());
    shell::finish(&mut command, "", ANSWER).unwrap()
}

/// The page's example of this kind and name, in a namespace of the test's.
fn example(kind: &str, name: &str, namespace: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = fs::read_to_string(page).unwrap();
    let head = format!("kind: {kind}\nmetadata:\n  name: {name}\n  namespace: shop\n");
    let mut blocks = page.split("```yaml\n").skip(1);
    let block = blocks.find(|block| block.contains(&head)).unwrap();
    let yaml = block.split("```").next().unwrap();
    yaml.replace("namespace: shop", &format!("namespace: {namespace}"))
}

/// The same with the address of a queue that is there, in place of the page's.
fn scaled_object(name: &str, namespace: &str, queue: &str) -> String {
    example("ScaledObject", name, namespace).replace("queue.shop:8080", queue)
}

/// Starts the queue of the page's examples; gives its address. The cluster of the tests
/// resolves no names.
fn queue(installed: &Installed, namespace: &str) -> String {
    installed.apply(namespace, QUEUE);
    installed.await_rollout(namespace, "queue");
    let address = "jsonpath={.spec.clusterIP}";
    let words = ["get", "service", "queue", "-n", namespace, "-o", address];
    format!("{}:8080", installed.cluster.kubectl(words).unwrap())
}

/// How often a Deployment was written, and the size that it has.
fn written(installed: &Installed, namespace: &str, name: &str) -> (i64, u64) {
    let found = installed.cluster.get(["deploy", name, "-n", namespace]);
    let found = found.unwrap();
    let generation = found["metadata"]["generation"].as_i64().unwrap();
    let size = found["spec"]["replicas"].as_u64().unwrap();
    (generation, size)
}

/// A Deployment of this name stays as it was.
#[track_caller]
fn stays(installed: &Installed, namespace: &str, name: &str, as_it_was: (i64, u64)) {
    let later = Sizes::of(&installed.cluster, namespace, name).during(A_WHILE);
    assert!(later.is_empty(), "{later:?}");
    assert_eq!(written(installed, namespace, name), as_it_was);
}

#[test]
fn an_hpa_is_imported_while_it_runs_and_hands_over_without_a_change_of_size() {
    let Some(installed) = installed() else { return };
    let namespace = "moving";
    installed.namespace(namespace);
    // Three pods that use what the policy allows, so that it has nothing to change: from 47
    // to 77 % of what they ask for three is the right size. Upwards nobody waits for long,
    // and a pod that was kept from its work makes up for it: that side needs more room.
    installed.apply(namespace, &deployment("web", 3, 52));
    installed.await_rollout(namespace, "web");
    installed.apply(
        namespace,
        &example("HorizontalPodAutoscaler", "web", namespace),
    );
    let policies = import(&installed, namespace);
    assert!(policies.contains("minReplicaCount: 2"), "{policies}");
    assert!(policies.contains("averageUtilization: 70"), "{policies}");
    installed.apply(namespace, &policies);
    installed.await_condition(namespace, "web", "Ready=False");
    let before = written(&installed, namespace, "web");
    assert_eq!(before.1, 3);
    let cluster = &installed.cluster;
    cluster
        .kubectl(["delete", "hpa", "web", "-n", namespace])
        .unwrap();
    installed.await_condition(namespace, "web", "Ready");
    stays(&installed, namespace, "web", before);
    installed.forget(namespace);
}

/// A file of the component that adopts KEDA's objects.
pub fn keda(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../daemonset/components/keda");
    fs::read_to_string(folder.join(file)).unwrap()
}

/// As much of KEDA as there is without its operator.
fn know_scaled_objects(installed: &Installed) {
    let cluster = &installed.cluster;
    cluster.apply(&keda("scaledobjects.yaml")).unwrap();
    cluster.await_established(SCALED_OBJECTS).unwrap();
}

const SCALED_OBJECTS: &str = "scaledobjects.keda.sh";

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
fn scaled_objects_are_imported_and_hand_over_without_a_change_of_size() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "moving-keda");
    know_scaled_objects(&installed);
    installed.namespace(namespace);
    let queue = queue(&installed, namespace);
    // What the queue and the calendar ask for, so that nobody has anything to change.
    let sizes = [("office", 4), ("shipping", 3), ("worker", 3)];
    for (name, size) in sizes {
        // The office is open all year, but for the last minute of it.
        let object = scaled_object(name, namespace, &queue)
            .replace("0 8 * * 1-5", "0 0 1 1 *")
            .replace("0 18 * * 1-5", "59 23 31 12 *");
        installed.apply(namespace, &deployment(name, size, 0));
        installed.apply(namespace, &object);
        installed.await_rollout(namespace, name);
    }
    let all = || sizes.map(|(name, _)| written(&installed, namespace, name));
    let before = all();
    installed.apply(namespace, &import(&installed, namespace));
    // A kind that is new is found within a minute.
    for (name, _) in sizes {
        installed.await_condition(namespace, name, "Ready=False");
    }
    let objects = ["delete", "scaledobjects", "--all", "-n", namespace];
    cluster.kubectl(objects).unwrap();
    for (name, _) in sizes {
        installed.await_condition(namespace, name, "Ready");
    }
    stays(&installed, namespace, "worker", before[2]);
    assert_eq!(all(), before);
    // From here on it is the policies that size.
    let more = r#"{"queue": {"jobs": 45, "orders": 30, "mails": 20}}"#;
    let more = format!("echo '{more}' >/tmp/www/stats");
    let pod = installed.oldest(namespace, "queue");
    cluster
        .pod_exec(namespace, &pod, &["/bin/sh", "-c", &more])
        .unwrap();
    for (name, size) in [("shipping", 4), ("worker", 5)] {
        installed.await_size(namespace, "deploy", name, SOON, |now| now == size);
    }
    // The calendar can't be made to ask for another size, so what it asks for is looked at.
    until(cluster, "the calendar asks for four", SOON, |_| {
        Ok(installed.input(namespace, "office").and_then(|input| {
            let four = input["proposal"] == 4;
            four.then_some(()).ok_or_else(|| input.to_string())
        }))
    });
    cluster.kubectl(["delete", "crd", SCALED_OBJECTS]).unwrap();
    installed.forget(namespace);
}

#[test]
fn a_scaled_object_is_adopted_as_it_is_and_given_back_without_a_change_of_size() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "adopted");
    know_scaled_objects(&installed);
    cluster.apply(&keda("cluster-role.yaml")).unwrap();
    installed.namespace(namespace);
    let object = scaled_object("worker", namespace, &queue(&installed, namespace));
    installed.apply(namespace, &deployment("worker", 3, 0));
    installed.await_rollout(namespace, "worker");
    installed.apply(namespace, &object);
    let before = written(&installed, namespace, "worker");
    patch_agents(
        &installed,
        r#"[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--adopt"},
            {"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "keda"}]"#,
    );
    let condition = |condition: &str| {
        let condition = format!("--for=condition={condition}");
        let object = "scaledobject/worker";
        let wait = ["wait", object, "-n", namespace, &condition, "--timeout=90s"];
        cluster.kubectl(wait).unwrap();
    };
    condition("Ready");
    condition("Active");
    stays(&installed, namespace, "worker", before);
    assert_eq!(before.1, 3);
    // What it can't do it says, and the workload keeps its size.
    let unknown = object.replace("- type: metrics-api", "- type: aws-sqs-queue");
    installed.apply(namespace, &unknown);
    condition("Ready=False");
    let said = cluster.get(["so", "worker", "-n", namespace]).unwrap();
    let said = said["status"]["conditions"].to_string();
    assert!(
        said.contains("`aws-sqs-queue` isn't a type of trigger"),
        "{said}"
    );
    installed.apply(namespace, &object);
    condition("Ready");

    patch_agents(
        &installed,
        r#"[{"op": "remove", "path": "/spec/template/spec/containers/0/args/4"},
            {"op": "remove", "path": "/spec/template/spec/containers/0/args/3"}]"#,
    );
    until(cluster, "it is nobody's policy any more", SOON, |_| {
        let policies = installed.ask(&["policies", "-n", namespace]);
        Ok(policies.and_then(|policies| {
            let text = policies.to_string();
            let gone = !text.contains("worker.scaledobject");
            gone.then_some(()).ok_or(text)
        }))
    });
    stays(&installed, namespace, "worker", before);
    cluster.kubectl(["delete", "crd", SCALED_OBJECTS]).unwrap();
    installed.forget(namespace);
}
