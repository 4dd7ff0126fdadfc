//! What the tests on a real API server share: connections, objects, waiting.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use starling_engine::policy::Target;
use starling_kube::client::{self, Connection};
use starling_kube::target::Reference;
use tokio::time::Instant;

/// A custom resource that can be scaled.
pub const WORKERS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: workers.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Worker, plural: workers, singular: worker}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}
    subresources:
      scale:
        specReplicasPath: .spec.replicas
        statusReplicasPath: .status.replicas
        labelSelectorPath: .status.selector
";

pub const LIMIT: Duration = Duration::from_mins(1);

pub fn prepare() {
    // A second one in the same process has nothing left to do.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub async fn connect(kubeconfig: &Path) -> anyhow::Result<Connection> {
    let source = client::Source::Kubeconfig {
        file: Some(kubeconfig.to_owned()),
        context: None,
    };
    Ok(client::connect(&source).await?)
}

/// The same server, as the owner of a token.
pub async fn connect_with_token(kubeconfig: &Path, token: &str) -> anyhow::Result<Connection> {
    let mut read = Kubeconfig::read_from(kubeconfig)?;
    for user in &mut read.auth_infos {
        user.auth_info = Some(serde_json::from_value(
            serde_json::json!({"token": token.trim()}),
        )?);
    }
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(read, &options).await?;
    Ok(client::over(config)?)
}

pub fn reference(group: &str, kind: &str, namespace: &str, name: &str) -> Reference {
    Reference {
        target: Target {
            group: group.into(),
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
        },
        version: "v1".into(),
    }
}

/// An object of the apps group with a pod template, as YAML.
pub fn workload(kind: &str, namespace: &str, name: &str, replicas: u32) -> String {
    let more = match kind {
        "StatefulSet" => format!("serviceName: {name}\n  podManagementPolicy: Parallel"),
        _ => "revisionHistoryLimit: 1".into(),
    };
    let more = if kind == "ReplicaSet" { "" } else { &more };
    format!(
        "
apiVersion: apps/v1
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  replicas: {replicas}
  {more}
  selector:
    matchLabels: {{app: {name}}}
    matchExpressions: [{{key: tier, operator: In, values: [b, a]}}]
  template:
    metadata: {{labels: {{app: {name}, tier: a}}}}
    spec:
      containers:
      - name: main
        image: localhost/none:1
        resources: {{requests: {{cpu: 10m, memory: 8Mi}}}}
---"
    )
}

pub fn namespace(name: &str) -> String {
    format!("\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n---")
}

/// Asks again and again until there is an answer.
pub async fn until<T, F>(what: &str, mut probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + LIMIT;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(why) if Instant::now() >= deadline => panic!("{what}: {why}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
