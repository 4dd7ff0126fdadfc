//! What `daemonset/` holds, against kubectl, helm and a real API server: the forms say
//! the same, nonsense is refused, and an agent may do what it must and no more.
#![allow(clippy::unwrap_used)] // What isn't there fails its test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use starling_kubernetes_rig::{Cluster, check, turn};

/// What the chart adds for Helm's own use, or for people who look with kubectl.
const HELM_LABELS: [&str; 3] = [
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
];
const HELM_ANNOTATION: &str = "helm.sh/resource-policy";
/// All that can be switched on, as `examples/kustomize` does.
const EVERYTHING: [&str; 12] = [
    "--set",
    "gpu.enabled=true",
    "--set",
    "serviceMonitor.enabled=true",
    "--set",
    "prometheusRule.enabled=true",
    "--set",
    "dashboards.enabled=true",
    "--set",
    "image.repository=registry.example.com/starling",
    "--set",
    "image.tag=0.1.0",
];

/// For those who come from KEDA.
const KEDA: [&str; 4] = [
    "--set",
    "adopt={keda}",
    "--set-json",
    r#"authentications=[{"namespace": "shop", "name": "queue", "secretName": "shop-queue"}]"#,
];

fn daemonset() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../daemonset")
}

fn binary(name: &str) -> PathBuf {
    check().unwrap().binary(name).unwrap()
}

fn run(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

/// What it printed; it must succeed.
fn text(command: &mut Command) -> String {
    let output = run(command);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn helm(values: &[&str]) -> Command {
    let mut command = Command::new(binary("helm"));
    command
        .arg("template")
        .arg("starling")
        .arg(daemonset().join("chart/starling"));
    // Helm built from its module believes in a Kubernetes of long ago.
    command.args(["--kube-version", "1.36.3"]).args(values);
    command
}

fn kustomize(folder: &str) -> String {
    let folder = daemonset().join(folder);
    text(Command::new(binary("kubectl")).arg("kustomize").arg(folder))
}

/// Objects by kind and name, without what only Helm needs.
fn objects(yaml: &str) -> BTreeMap<String, Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    let objects = documents.into_iter().filter(|document| !document.is_null());
    objects
        .map(|mut object| {
            for (field, names) in [
                ("labels", &HELM_LABELS[..]),
                ("annotations", &[HELM_ANNOTATION]),
            ] {
                let metadata = object["metadata"].as_object_mut().unwrap();
                let Some(map) = metadata.get_mut(field).and_then(Value::as_object_mut) else {
                    continue;
                };
                map.retain(|name, _| !names.contains(&name.as_str()));
                if map.is_empty() {
                    metadata.remove(field);
                }
            }
            let name = object["metadata"]["name"].as_str().unwrap();
            (
                format!("{} {name}", object["kind"].as_str().unwrap()),
                object,
            )
        })
        .collect()
}

/// Every place where the two differ.
fn differences(at: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            for key in one
                .keys()
                .chain(other.keys().filter(|key| !one.contains_key(*key)))
            {
                let [one, other] = [one, other].map(|map| map.get(key).unwrap_or(&Value::Null));
                differences(&format!("{at}.{key}"), one, other, found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                differences(&format!("{at}[{index}]"), one, other, found);
            }
        }
        _ if one == other => {}
        _ => found.push(format!("{at}: {one} and {other}")),
    }
}

#[track_caller]
fn same(manifests: &str, chart: &str) {
    let [manifests, chart] = [manifests, chart].map(objects);
    let names = |objects: &BTreeMap<String, Value>| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&manifests), names(&chart));
    let mut found = Vec::new();
    for (name, object) in &manifests {
        differences(name, object, &chart[name], &mut found);
    }
    assert!(
        found.is_empty(),
        "manifests and chart differ:\n{}",
        found.join("\n")
    );
}

#[test]
fn what_is_derived_from_the_manifests_is_up_to_date() {
    let Some(_turn) = turn::beside() else { return };
    let mut render = Command::new(daemonset().join("render"));
    text(render.arg("--check").env("KUBECTL", binary("kubectl")));
}

#[test]
fn the_chart_and_the_manifests_say_the_same() {
    let Some(_turn) = turn::beside() else { return };
    same(&kustomize("base"), &text(&mut helm(&[])));
    same(
        &kustomize("examples/kustomize"),
        &text(&mut helm(&EVERYTHING)),
    );
    same(
        &kustomize("examples/kubelet"),
        &text(&mut helm(&["--set", "measure=kubelet"])),
    );
}

#[test]
fn values_that_the_chart_doesn_t_know_or_can_t_follow_are_refused() {
    let Some(_turn) = turn::beside() else { return };
    let refusals = [
        ("replicas=3", "'replicas' not allowed"),
        ("image.tagg=dev", "'tagg' not allowed"),
        ("image.digest=dev", "/image/digest"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("cluster=Prod", "/cluster"),
        ("namespace.name=a_b", "/namespace/name"),
        ("dataDir=/", "/dataDir"),
        ("dataDir=/var/../etc", "/dataDir"),
        ("crds.install=maybe", "/crds/install"),
        ("rbac.targets[0].group=*", "/rbac/targets/0/group"),
        ("rbac.secrets[0]=a_b", "/rbac/secrets/0"),
        (
            "updateStrategy.maxUnavailable=0",
            "/updateStrategy/maxUnavailable",
        ),
        ("resources.limits.memory=much", "/resources/limits/memory"),
        (
            "terminationGracePeriodSeconds=-1",
            "/terminationGracePeriodSeconds",
        ),
        ("extraEnv[0].name=POD_IP", "/extraEnv/0/name"),
        ("networkPolicy.apiFrom=all", "/networkPolicy/apiFrom"),
        ("serviceMonitor.interval=0s", "/serviceMonitor/interval"),
        ("profile=half", "/profile"),
        ("measure=magic", "/measure"),
        ("kubelet.insecureTls=maybe", "/kubelet/insecureTls"),
        ("profile=restricted", "isn't there yet"),
        (
            "gpu.enabled=true,affinity.nodeAffinity.a=1",
            "affinity.nodeAffinity can't be set",
        ),
    ];
    for (value, words) in refusals {
        let output = run(&mut helm(&["--set", value]));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{value} is taken");
        assert!(errors.contains(words), "{value} gives: {errors}");
    }
}

#[test]
fn values_that_are_set_are_followed() {
    let Some(_turn) = turn::beside() else { return };
    let digest = format!("sha256:{}", "a".repeat(64));
    let chart = text(&mut helm(&[
        "--set-json",
        r#"rbac={"targets": [{"group": "argoproj.io", "resource": "rollouts"}]}"#,
        "--set",
        &format!("image.digest={digest},cluster=east,namespace.name=autoscaling,dataDir=/srv/it"),
        "--set",
        "priorityClassName=,networkPolicy.enabled=false,crds.install=false,crds.keep=false",
        "--set",
        "commonLabels.team=platform,nodeSelector.disk=fast",
        "--set",
        "keys.secretName=starling-tls,keys.gossipSecretName=starling-gossip",
        "--set",
        "measure=kubelet,kubelet.insecureTls=true",
    ]));
    let objects = objects(&chart);
    for name in ["ResourceQuota starling", "NetworkPolicy starling"] {
        assert!(!objects.contains_key(name), "{name} is there");
    }
    assert!(
        !objects
            .keys()
            .any(|name| name.starts_with("CustomResourceDefinition"))
    );
    let rules = &objects["ClusterRole starling-targets-custom"]["rules"];
    assert_eq!(rules[1]["resources"][0], "rollouts/scale");
    let daemonset = &objects["DaemonSet starling"];
    assert_eq!(daemonset["metadata"]["namespace"], "autoscaling");
    assert_eq!(daemonset["metadata"]["labels"]["team"], "platform");
    let pod = &daemonset["spec"]["template"]["spec"];
    assert_eq!(
        pod["containers"][0]["image"],
        format!("localhost/starling@{digest}")
    );
    assert_eq!(pod["nodeSelector"]["disk"], "fast");
    assert!(pod.get("priorityClassName").is_none());
    let environment = pod["containers"][0]["env"].to_string();
    assert!(environment.contains("STARLING_KUBELET_INSECURE_TLS"));
    assert!(!environment.contains("HOST_PROC") && !chart.contains("path: /proc"));
    assert!(chart.contains("path: /srv/it\n"));
    assert!(chart.contains("keys: /etc/starling-keys\n"));
    assert!(chart.contains("audience: starling/east\n"));
    assert!(chart.contains("cluster: east\n"));
}

#[test]
fn what_comes_with_keda_s_objects_is_the_same_in_both_forms() {
    let Some(_turn) = turn::beside() else { return };
    let chart = text(&mut helm(&KEDA));
    assert!(chart.contains("authentications: /etc/starling-authentications\n"));
    let objects = self::objects(&chart);
    assert!(objects.contains_key("CustomResourceDefinition scaledobjects.keda.sh"));
    let pod = &objects["DaemonSet starling"]["spec"]["template"]["spec"];
    let agent = &pod["containers"][0];
    let arguments = [
        "agent",
        "--config",
        "/etc/starling/agent.yaml",
        "--adopt",
        "keda",
    ];
    assert_eq!(agent["args"], serde_json::json!(arguments));
    let mounts = agent["volumeMounts"].as_array().unwrap();
    let mounted = |it: &Value| it["mountPath"] == "/etc/starling-authentications/shop/queue";
    assert!(mounts.iter().any(mounted), "{mounts:?}");
    // The component for kustomize asks for no less and no more.
    let folder = daemonset().join("components/keda");
    let component =
        self::objects(&std::fs::read_to_string(folder.join("cluster-role.yaml")).unwrap());
    let role = "ClusterRole starling-adopt-keda";
    assert_eq!(component[role]["rules"], objects[role]["rules"]);
}

#[test]
fn agents_with_gpus_adopt_keda_s_objects_as_the_others_do() {
    let Some(_turn) = turn::beside() else { return };
    let folder = tempfile::tempdir().unwrap();
    let depth = folder.path().components().count() - 1;
    // Only relative paths are taken.
    let daemonset = daemonset().canonicalize().unwrap();
    let daemonset = format!("{}{}", "../".repeat(depth), daemonset.display());
    let lines = [
        "apiVersion: kustomize.config.k8s.io/v1beta1".to_owned(),
        "kind: Kustomization".to_owned(),
        format!("resources: [{daemonset}/base]"),
        format!("components: [{daemonset}/components/gpu, {daemonset}/components/keda]"),
    ];
    std::fs::write(folder.path().join("kustomization.yaml"), lines.join("\n")).unwrap();
    let objects = objects(&kustomize(&folder.path().to_string_lossy()));
    for name in ["starling", "starling-gpu"] {
        let pod = &objects[&format!("DaemonSet {name}")]["spec"]["template"]["spec"];
        let arguments = pod["containers"][0]["args"].to_string();
        assert!(
            arguments.contains(r#""--adopt","keda""#),
            "{name}: {arguments}"
        );
    }
}

#[test]
fn secrets_may_be_read_where_it_is_asked_for_and_nowhere_else() {
    let Some(_turn) = turn::beside() else { return };
    let with = |values: &[&str]| {
        let chart = text(&mut helm(values));
        objects(&chart)
    };
    let role = "ClusterRole starling-secrets";
    let none = with(&[]);
    assert!(!none.keys().any(|name| name.ends_with(" starling-secrets")));
    let values = "rbac.secrets={shop},kedaNamespace=scaler,sources.networks={10.0.0.0/8}";
    let single = with(&["--set", values]);
    assert!(!single.contains_key("ClusterRoleBinding starling-secrets"));
    let binding = &single["RoleBinding starling-secrets"];
    assert_eq!(binding["metadata"]["namespace"], "shop");
    let settings = single["ConfigMap starling"]["data"].to_string();
    for said in ["kedaNamespace: scaler", "networks: [\\\"10.0.0.0/8\\\"]"] {
        assert!(settings.contains(said), "{settings}");
    }
    for kind in ["triggerauthentications", "clustertriggerauthentications"] {
        let crd = format!("CustomResourceDefinition {kind}.keda.sh");
        assert!(
            single.contains_key(&crd) && !none.contains_key(&crd),
            "{crd}"
        );
    }
    let all = with(&["--set", "rbac.secrets={*}"]);
    let folder = daemonset().join("components/secrets");
    let component = objects(&std::fs::read_to_string(folder.join("cluster-role.yaml")).unwrap());
    assert_eq!(component[role]["rules"], all[role]["rules"]);
    let binding = "ClusterRoleBinding starling-secrets";
    assert_eq!(component[binding]["subjects"], all[binding]["subjects"]);
    assert_eq!(
        all[role]["rules"],
        serde_json::json!([{ "apiGroups": [""], "resources": ["secrets", "configmaps"], "verbs": ["get"] }])
    );
}

/// For the dry run alone: it isn't about what the Prometheus operator accepts.
const PROMETHEUS: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: PLURAL.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {kind: KIND, plural: PLURAL}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
";

/// `yes` or `no` for the agents' service account.
fn may(cluster: &Cluster, words: &[&str]) -> String {
    let mut command = Command::new(cluster.binary("kubectl").unwrap());
    command.env("KUBECONFIG", cluster.kubeconfig());
    command.args([
        "auth",
        "can-i",
        "--as=system:serviceaccount:starling-system:starling",
    ]);
    // It fails where the answer is no.
    let output = run(command.args(words));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_real_api_server_takes_every_form_and_grants_no_more_than_is_needed() {
    let Some(_turn) = turn::beside() else { return };
    let cluster = Cluster::start(0).unwrap();
    let monitoring = [
        ("servicemonitors", "ServiceMonitor"),
        ("prometheusrules", "PrometheusRule"),
    ];
    for (plural, kind) in monitoring {
        let crd = PROMETHEUS.replace("PLURAL", plural).replace("KIND", kind);
        cluster.apply(&crd).unwrap();
        let name = format!("{plural}.monitoring.coreos.com");
        cluster.await_established(&name).unwrap();
    }

    // The real thing, from nothing, with no word of warning.
    let flat = daemonset().join("starling.yaml");
    let mut apply = Command::new(cluster.binary("kubectl").unwrap());
    apply
        .env("KUBECONFIG", cluster.kubeconfig())
        .arg("apply")
        .arg("-f")
        .arg(&flat);
    let applied = run(&mut apply);
    let errors = String::from_utf8_lossy(&applied.stderr);
    assert!(applied.status.success() && errors.is_empty(), "{errors}");
    // It fails where anything would change.
    cluster
        .kubectl(["diff", "-f", &flat.to_string_lossy()])
        .unwrap();

    let dry = ["apply", "--dry-run=server", "-f", "-"];
    for yaml in [
        kustomize("base"),
        kustomize("examples/kustomize"),
        kustomize("examples/kubelet"),
        text(&mut helm(&[])),
        text(&mut helm(&EVERYTHING)),
        text(&mut helm(&KEDA)),
    ] {
        cluster.kubectl_with(dry, &yaml).unwrap();
    }

    let examples = daemonset().join("examples/kubernetes");
    let examples = examples.to_string_lossy();
    cluster
        .kubectl(["apply", "--dry-run=server", "-f", &examples])
        .unwrap();

    // The sum of the roles is made by a controller.
    cluster
        .until("agents may scale", Duration::from_secs(30), |cluster| {
            let answer = may(
                cluster,
                &[
                    "update",
                    "deployments.apps",
                    "--subresource=scale",
                    "-n",
                    "default",
                ],
            );
            if answer == "yes" { Ok(()) } else { Err(answer) }
        })
        .unwrap();
    for allowed in [
        "get statefulsets.apps --subresource=scale -n default",
        "watch replicasets.apps -A",
        "list pods -A",
        "patch scalingpolicies.starling.sh --subresource=status -n default",
        "create events.events.k8s.io -n default",
        "patch events.events.k8s.io -n default",
        "watch events -A",
        "create tokenreviews.authentication.k8s.io",
        "list horizontalpodautoscalers.autoscaling -A",
        "watch endpointslices.discovery.k8s.io -n starling-system",
        "list endpointslices.discovery.k8s.io -n default",
        "get configmaps/starling-cluster -n starling-system",
        "create configmaps -n starling-system",
        "update configmaps/starling-cluster -n starling-system",
    ] {
        let words: Vec<_> = allowed.split(' ').collect();
        assert_eq!(may(&cluster, &words), "yes", "{allowed}");
    }
    for denied in [
        "get secrets -n starling-system",
        "list secrets -A",
        "patch deployments.apps -n default",
        "delete pods -n default",
        "create pods --subresource=exec -n default",
        "get pods --subresource=log -n default",
        "patch deployments.apps --subresource=scale -n default",
        "list nodes",
        "create subjectaccessreviews.authorization.k8s.io",
        "list customresourcedefinitions.apiextensions.k8s.io",
        "get nodes --subresource=proxy",
        "update scalingpolicies.starling.sh -n default",
        "get configmaps -n default",
        "list triggerauthentications.keda.sh -A",
        "watch endpointslices.discovery.k8s.io -n default",
        "update configmaps/starling -n starling-system",
        "delete configmaps/starling-cluster -n starling-system",
        "patch rollouts.argoproj.io --subresource=scale -n default",
        "impersonate users",
        "escalate clusterroles.rbac.authorization.k8s.io",
    ] {
        let words: Vec<_> = denied.split(' ').collect();
        assert_eq!(may(&cluster, &words), "no", "{denied}");
    }
    cluster.end().unwrap();
}

#[test]
fn helm_installs_upgrades_and_uninstalls() {
    let Some(_turn) = turn::beside() else { return };
    let cluster = Cluster::start(0).unwrap();
    let chart = daemonset().join("chart/starling");
    let helm = |words: &[&str]| {
        let mut command = Command::new(binary("helm"));
        command.env("KUBECONFIG", cluster.kubeconfig()).args(words);
        if words[0] != "uninstall" {
            command.arg(&chart);
        }
        text(&mut command)
    };
    let notes = helm(&["install", "starling"]);
    for command in [
        "rollout status daemonset/starling",
        "starling status",
        "kind: ScalingPolicy",
    ] {
        assert!(notes.contains(command), "{notes}");
    }
    helm(&["upgrade", "starling", "--set", "gpu.enabled=true"]);
    cluster
        .kubectl(["get", "-n", "starling-system", "daemonset", "starling-gpu"])
        .unwrap();
    helm(&["uninstall", "starling", "--wait"]);
    // Policies stay, since the definition of what they are does.
    cluster
        .kubectl(["get", "crd", "scalingpolicies.starling.sh"])
        .unwrap();
    helm(&["install", "starling", "--set", "crds.keep=false"]);
    helm(&["uninstall", "starling", "--wait"]);
    assert!(
        cluster
            .kubectl(["get", "crd", "scalingpolicies.starling.sh"])
            .is_err()
    );
    cluster.end().unwrap();
}
