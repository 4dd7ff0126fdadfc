//! The settings of an agent in a pod: where its cluster object, its Service and
//! its token are.
//!
//! Comes in: the block `kubernetes` and the pod's environment. Goes out: the
//! block with its defaults, or what is wrong with it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use starling_policy::{is_label, is_subdomain};

use super::Config;
use super::check::Violations;

/// Bytes in the name of an object.
const OBJECT_BYTES_MAX: usize = 253;

/// Everything has a default in a pod of the `DaemonSet`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Kubernetes {
    /// Where the pods, the Service and the cluster object are. Default:
    /// `$POD_NAMESPACE`.
    pub namespace: Option<String>,
    /// The headless Service by which agents find each other.
    pub service: String,
    /// A `ConfigMap` that says which cluster this is. Agents make it, and whoever
    /// does founds the cluster.
    pub cluster_object: String,
    /// The pod's projected service account token, with `starling/CLUSTER` as its
    /// audience, by which an agent proves on which node it runs.
    pub token: PathBuf,
    /// Sizes come from `ScalingPolicy` objects.
    pub policies: bool,
    /// Whose objects are decided for as they are, in that program's place.
    pub adopt: Vec<Adopt>,
    /// KEDA's own: the Secrets that `ClusterTriggerAuthentication`s name are there.
    pub keda_namespace: String,
    /// How pods are measured. Default: `$STARLING_MEASURE`, else by their cgroups.
    pub measure: Option<Measure>,
    /// The node's own address, where its kubelet is asked. Default: `$HOST_IP`.
    pub host_address: Option<String>,
    /// The kubelet is believed whoever signed its certificate. Default:
    /// `$STARLING_KUBELET_INSECURE_TLS`, else only if the cluster's authority did.
    pub kubelet_insecure_tls: Option<bool>,
}

/// What tells how much the pods of a node use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// The kernel, each second; needs the host's `/sys`.
    Cgroups,
    /// The node's kubelet, which renews its numbers every 10 to 15 s; needs nothing of
    /// the host's, and the right to get `nodes/stats`.
    Kubelet,
}

/// Programs whose objects can be decided for as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Adopt {
    /// `ScaledObject`s; KEDA's operator mustn't run beside it.
    Keda,
}

impl std::str::FromStr for Adopt {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Adopt, &'static str> {
        match text {
            "keda" => Ok(Adopt::Keda),
            _ => Err("not known; allowed: keda"),
        }
    }
}

impl Default for Kubernetes {
    fn default() -> Kubernetes {
        Kubernetes {
            namespace: None,
            service: "starling-peers".into(),
            cluster_object: "starling-cluster".into(),
            token: "/var/run/secrets/starling/token".into(),
            policies: true,
            adopt: Vec::new(),
            keda_namespace: "keda".into(),
            measure: None,
            host_address: None,
            kubelet_insecure_tls: None,
        }
    }
}

impl Kubernetes {
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    pub fn adopts(&self, whose: Adopt) -> bool {
        self.adopt.contains(&whose)
    }

    /// Where the node's kubelet is, if pods are measured by it.
    pub fn kubelet(&self) -> Option<IpAddr> {
        match self.measure {
            Some(Measure::Kubelet) => self.host_address.as_ref()?.parse().ok(),
            _ => None,
        }
    }
}

const MEASURE: &str = "STARLING_MEASURE";
const INSECURE: &str = "STARLING_KUBELET_INSECURE_TLS";

fn not_one_of(variable: &str, word: &str, words: &str) -> String {
    format!("`{}` in {variable} is not {words}", word.escape_debug())
}

/// Takes what the pod's environment knows and says what is wrong.
pub(super) fn check(
    config: &mut Config,
    base: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
    wrong: &mut Violations,
) {
    let Some(kubernetes) = &mut config.kubernetes else {
        return;
    };
    let from_pod = |setting: &mut Option<String>,
                    wrong: &mut Violations,
                    field: &str,
                    variable: &str,
                    path: &str| {
        if setting.is_none() {
            *setting = environment(variable).filter(|value| !value.is_empty());
        }
        if setting.is_none() {
            let why = format!(
                "is neither stated nor in the environment: let the pod set {variable} from \
                 `fieldRef: {{fieldPath: {path}}}`"
            );
            wrong.push((field.to_owned(), why));
        }
    };
    from_pod(
        &mut config.node,
        wrong,
        "node",
        "NODE_NAME",
        "spec.nodeName",
    );
    from_pod(
        &mut config.advertise,
        wrong,
        "advertise",
        "POD_IP",
        "status.podIP",
    );
    if config.zone.is_none() {
        config.zone = environment("NODE_ZONE").filter(|zone| !zone.is_empty());
    }
    from_pod(
        &mut kubernetes.namespace,
        wrong,
        "kubernetes.namespace",
        "POD_NAMESPACE",
        "metadata.namespace",
    );
    let from_word = |variable: &str| environment(variable).filter(|word| !word.is_empty());
    if kubernetes.measure.is_none()
        && let Some(word) = from_word(MEASURE)
    {
        match word.as_str() {
            "cgroups" => kubernetes.measure = Some(Measure::Cgroups),
            "kubelet" => kubernetes.measure = Some(Measure::Kubelet),
            _ => {
                let why = not_one_of(MEASURE, &word, "cgroups or kubelet");
                wrong.push(("kubernetes.measure".into(), why));
            }
        }
    }
    if kubernetes.kubelet_insecure_tls.is_none()
        && let Some(word) = from_word(INSECURE)
    {
        kubernetes.kubelet_insecure_tls = word.parse().ok();
        if kubernetes.kubelet_insecure_tls.is_none() {
            let why = not_one_of(INSECURE, &word, "true or false");
            wrong.push(("kubernetes.kubeletInsecureTls".into(), why));
        }
    }
    if kubernetes.measure == Some(Measure::Kubelet) {
        let field = "kubernetes.hostAddress";
        let setting = &mut kubernetes.host_address;
        from_pod(setting, wrong, field, "HOST_IP", "status.hostIP");
        if let Some(address) = setting
            && address.parse::<IpAddr>().is_err()
        {
            let why = format!("`{}` is not an IP address", address.escape_debug());
            wrong.push((field.into(), why));
        }
    }
    // What is missing has been said already.
    let namespace = kubernetes.namespace.as_deref().unwrap_or("x");
    let labels = [
        ("namespace", namespace),
        ("service", kubernetes.service.as_str()),
        ("kedaNamespace", kubernetes.keda_namespace.as_str()),
    ];
    for (field, name) in labels {
        if !is_label(name) {
            let why = format!(
                "`{}` is not a name: write 1 to 63 of a-z, 0-9 and `-`, beginning and ending with \
                 a letter or digit",
                name.escape_debug()
            );
            wrong.push((format!("kubernetes.{field}"), why));
        }
    }
    if !is_subdomain(&kubernetes.cluster_object, OBJECT_BYTES_MAX) {
        let why = format!(
            "`{}` is not the name of a ConfigMap, such as starling-cluster",
            kubernetes.cluster_object.escape_debug()
        );
        wrong.push(("kubernetes.clusterObject".into(), why));
    }
    kubernetes.token = base.join(&kubernetes.token);
    if !config.seeds.is_empty() {
        let why = "can't stand beside `kubernetes`: agents find each other through \
                   `kubernetes.service`; remove it";
        wrong.push(("seeds".into(), why.into()));
    }
    if config.bootstrap {
        let why = "can't stand beside `kubernetes`: the agent that makes \
                   `kubernetes.clusterObject` founds the cluster; remove it";
        wrong.push(("bootstrap".into(), why.into()));
    }
}
