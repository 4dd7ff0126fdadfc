//! The CRD on a real API server: what it takes, what it refuses and in which words,
//! and what `kubectl get` shows. Whatever is refused there is refused by the agent
//! too, so that files are held to the same.
#![allow(clippy::expect_used)] // A cluster that doesn't start has failed its test.

mod bad;
mod good;
mod judged;
mod shown;

use serde_json::{Value, json};
use starling_kube::crd;
use starling_kubernetes_rig::Cluster;

/// A cluster without nodes, which knows the CRD.
fn cluster() -> Cluster {
    let cluster = Cluster::start(0).expect("a cluster");
    cluster
        .apply(&crd::yaml().expect("the CRD"))
        .expect("it is taken");
    cluster
        .await_established("scalingpolicies.starling.sh")
        .expect("it is served");
    cluster
}

fn object(spec: &Value) -> Value {
    json!({
        "apiVersion": "starling.sh/v1alpha1",
        "kind": "ScalingPolicy",
        "metadata": { "name": "web", "namespace": "default" },
        "spec": spec,
    })
}
