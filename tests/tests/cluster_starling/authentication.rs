//! How a trigger proves who asks: KEDA's objects, and the Secrets that they name.

use std::time::Duration;

use starling_tests::installed::{Installed, SYSTEM, installed, until};
use starling_tests::sizes::Sizes;
use starling_tests::workload::{AT_ONCE, deployment};

use super::moving::keda;

const SOON: Duration = Duration::from_mins(1);
const A_WHILE: Duration = Duration::from_secs(10);
const NAMESPACE: &str = "secret";
const QUEUE: &str = "
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata: {name: queue}
spec:
  secretTargetRef:
  - {parameter: apiKey, name: queue, key: key}
";
/// In this namespace and no other.
const MAY_READ: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: starling-secrets}
rules:
- {apiGroups: [''], resources: [secrets, configmaps], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: starling-secrets}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: starling-secrets}
subjects:
- {kind: ServiceAccount, name: starling, namespace: SYSTEM}
";

fn secret(key: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: queue}}\nstringData: {{key: {key}}}\n")
}

fn policy(address: &str) -> String {
    format!(
        "
apiVersion: starling.sh/v1alpha1
kind: ScalingPolicy
metadata: {{name: web}}
spec:
  scaleTargetRef: {{name: web}}
  minReplicaCount: 1
  maxReplicaCount: 6
  pollingInterval: 1
  triggers:
  - type: metrics-api
    authenticationRef: {{name: queue}}
    metadata:
      url: http://{address}/cgi-bin/get
      valueLocation: number
      targetValue: '10'
      authMode: apiKey
      method: query
{AT_ONCE}
"
    )
}

/// Waits until the policy's trigger has failed for this reason.
#[track_caller]
fn fails(installed: &Installed, why: &str) {
    installed.await_condition(NAMESPACE, "web", "ScalingActive=False");
    until(&installed.cluster, why, SOON, |cluster| {
        let object = cluster.get(["scalingpolicy", "web", "-n", NAMESPACE])?;
        let conditions = object["status"]["conditions"].to_string();
        Ok(conditions.contains(why).then_some(()).ok_or(conditions))
    });
}

/// For many questions.
#[track_caller]
fn stays(installed: &Installed, size: u64) {
    let mut sizes = Sizes::of(&installed.cluster, NAMESPACE, "web");
    sizes.during(A_WHILE);
    assert_eq!(sizes.all(), [size]);
}

#[test]
fn a_rotated_secret_counts_at_the_next_question_and_a_missing_one_changes_no_size() {
    let Some(installed) = installed() else { return };
    let cluster = &installed.cluster;
    for kind in ["triggerauthentications", "clustertriggerauthentications"] {
        cluster.apply(&keda(&format!("{kind}.yaml"))).unwrap();
        let name = format!("{kind}.keda.sh");
        cluster.await_established(&name).unwrap();
    }
    installed.namespace(NAMESPACE);
    installed.apply(NAMESPACE, &deployment("web", 2, 0));
    installed.await_rollout(NAMESPACE, "web");
    let address = installed.source(NAMESPACE, 40);
    let source = installed.oldest(NAMESPACE, "source");
    let key = |key: &str| {
        let set = format!("echo {key} >/tmp/key");
        let words = ["/bin/sh", "-c", &set];
        cluster.pod_exec(NAMESPACE, &source, &words).unwrap();
    };
    key("marigold");
    installed.apply(NAMESPACE, QUEUE);
    installed.apply(NAMESPACE, &policy(&address));
    fails(
        &installed,
        "may not read Secret secret/queue: set `rbac.secrets: [secret]`",
    );
    installed.apply(NAMESPACE, &MAY_READ.replace("SYSTEM", SYSTEM));
    fails(&installed, "there is no Secret secret/queue");
    stays(&installed, 2);
    installed.apply(NAMESPACE, &secret("marigold"));
    installed.await_size(NAMESPACE, "deploy", "web", SOON, |size| size == 4);
    // The source takes the new one alone.
    key("larkspur");
    fails(&installed, "answered HTTP 401");
    installed.tell(NAMESPACE, "source", "number", 60);
    stays(&installed, 4);
    installed.apply(NAMESPACE, &secret("larkspur"));
    installed.await_size(NAMESPACE, "deploy", "web", SOON, |size| size == 6);
    // Nobody was told of either.
    let told = [
        installed.told(&["explain", "web", "-n", NAMESPACE]),
        installed.told(&["policies", "-n", NAMESPACE]),
        cluster
            .get(["scalingpolicy", "web", "-n", NAMESPACE])
            .unwrap(),
    ];
    for told in told.map(|it| it.to_string()) {
        assert!(
            !told.contains("marigold") && !told.contains("larkspur"),
            "{told}"
        );
    }
    let secret = ["delete", "secret", "queue", "-n", NAMESPACE];
    cluster.kubectl(secret).unwrap();
    fails(&installed, "there is no Secret secret/queue");
    stays(&installed, 6);
    for kind in ["triggerauthentications", "clustertriggerauthentications"] {
        let crd = format!("crd/{kind}.keda.sh");
        cluster.kubectl(["delete", &crd]).unwrap();
    }
    installed.forget(NAMESPACE);
}
