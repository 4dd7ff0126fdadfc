//! Kubernetes' metrics APIs on the cluster of the tests, served by their reference
//! adapter: a pod that the API server asks, as it would ask prometheus-adapter.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "what isn't there fails the test that looks for it"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use starling_kubernetes_rig::{Cluster, image};

use crate::installed::{text, until};

const NAMESPACE: &str = "metrics-adapter";
const SOON: Duration = Duration::from_mins(2);
/// What the API server hands on to the adapter.
const APIS: [&str; 3] = [
    "v1beta1.custom.metrics.k8s.io",
    "v1beta2.custom.metrics.k8s.io",
    "v1beta1.external.metrics.k8s.io",
];

/// Ends when it is dropped: an API that nobody serves would keep every namespace of the
/// cluster from being deleted.
pub struct Adapter<'a> {
    cluster: &'a Cluster,
}

impl<'a> Adapter<'a> {
    /// Serves the APIs.
    pub fn start(cluster: &'a Cluster) -> Adapter<'a> {
        cluster.load(&image::adapter().unwrap()).unwrap();
        cluster.apply(&manifests()).unwrap();
        let adapter = Adapter { cluster };
        adapter.await_apis("True");
        adapter
    }

    /// What the adapter says from now on of a metric, such as
    /// `namespaces/shop/pods/web-1/requests`.
    pub fn set(&self, metric: &str, quantity: &str) {
        let said = self.post(metric, &format!("\"{quantity}\""));
        assert!(said.starts_with("HTTP/1.1 200 "), "{metric}: {said}");
    }

    /// Its pod ends, and the API server has noticed.
    pub fn stop(&self) {
        self.scale(0);
        self.await_apis("False");
    }

    /// Another pod serves; it knows nothing of what was set before.
    pub fn resume(&self) {
        self.scale(1);
        self.await_apis("True");
    }

    fn scale(&self, replicas: u8) {
        let replicas = format!("--replicas={replicas}");
        let words = ["scale", "deploy/adapter", "-n", NAMESPACE, &replicas];
        self.cluster.kubectl(words).unwrap();
    }

    fn await_apis(&self, available: &str) {
        for api in APIS {
            let what = format!("{api} is available: {available}");
            until(self.cluster, &what, SOON, |cluster| {
                let status = cluster.get(["apiservice", api])?["status"].clone();
                let conditions = status["conditions"].as_array();
                let mut conditions = conditions.into_iter().flatten();
                let found = conditions.find(|it| it["type"] == "Available");
                Ok(match found {
                    Some(found) if found["status"] == available => Ok(()),
                    _ => Err(status.to_string()),
                })
            });
        }
    }

    fn post(&self, metric: &str, body: &str) -> String {
        let pods = self
            .cluster
            .get(["pods", "-n", NAMESPACE, "-l", "app=adapter"]);
        let pods = pods.unwrap()["items"].clone();
        let address = text(&pods[0]["status"]["podIP"]);
        let mut stream = TcpStream::connect(format!("{address}:8080")).unwrap();
        let request = format!(
            "POST /write-metrics/{metric} HTTP/1.1\r\nHost: adapter\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Adapter<'_> {
    fn drop(&mut self) {
        let mut words = vec!["delete", "apiservice", "--ignore-not-found"];
        words.extend(APIS);
        // A test that has failed says why; this adds nothing to it.
        let _ = self.cluster.kubectl(words);
        let words = ["delete", "namespace", NAMESPACE, "--wait=false"];
        let _ = self.cluster.kubectl(words);
    }
}

fn manifests() -> String {
    let service = |(index, api): (usize, &&str)| {
        let (version, group) = api.split_once('.').unwrap();
        let priority = 100 + index;
        format!(
            "---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {{name: {api}}}
spec:
  group: {group}
  version: {version}
  service: {{name: adapter, namespace: metrics-adapter}}
  insecureSkipTLSVerify: true
  groupPriorityMinimum: 100
  versionPriority: {priority}
"
        )
    };
    let services: Vec<String> = APIS.iter().enumerate().map(service).collect();
    format!("{DEPLOYED}{}", services.concat())
}

const DEPLOYED: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: metrics-adapter}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: adapter, namespace: metrics-adapter}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: metrics-adapter}
rules:
- apiGroups: [""]
  resources: [namespaces, pods, services]
  verbs: [get, list]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: metrics-adapter}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: metrics-adapter}
subjects: [{kind: ServiceAccount, name: adapter, namespace: metrics-adapter}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: metrics-adapter-delegates}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:auth-delegator"}
subjects: [{kind: ServiceAccount, name: adapter, namespace: metrics-adapter}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: metrics-adapter, namespace: kube-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: extension-apiserver-authentication-reader}
subjects: [{kind: ServiceAccount, name: adapter, namespace: metrics-adapter}]
---
apiVersion: v1
kind: Service
metadata: {name: adapter, namespace: metrics-adapter}
spec:
  selector: {app: adapter}
  ports: [{port: 443, targetPort: 6443}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: adapter, namespace: metrics-adapter}
spec:
  selector: {matchLabels: {app: adapter}}
  template:
    metadata: {labels: {app: adapter}}
    spec:
      serviceAccountName: adapter
      terminationGracePeriodSeconds: 1
      containers:
      - name: adapter
        image: localhost/starling-test/adapter:1
        imagePullPolicy: Never
        args: [--secure-port=6443, --cert-dir=/tmp]
        volumeMounts: [{name: tmp, mountPath: /tmp}]
      volumes: [{name: tmp, emptyDir: {}}]
"#;
