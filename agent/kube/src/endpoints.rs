//! The ready pods behind a Service, listed when a trigger asks each of them.
//!
//! Comes in: a Service's name. Goes out: an address for each pod, or in words why they
//! can't be told. Keeps nothing, and watches nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client};

use crate::client::{self, Connection, Failure, LIST_DEADLINE};

/// Slices of one Service, of at most 1,000 pods each; a Service with more of them is an
/// error.
const SLICES_MAX: u32 = 20;

#[derive(Clone)]
pub struct Endpoints {
    client: Client,
}

impl Endpoints {
    pub fn new(connection: &Connection) -> Endpoints {
        Endpoints {
            client: connection.client.clone(),
        }
    }

    /// In order. A pod with addresses of both families is told once.
    pub async fn ready(&self, namespace: &str, service: &str) -> Result<Vec<IpAddr>, String> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), namespace);
        let label = format!("kubernetes.io/service-name={service}");
        let of_service = ListParams::default().labels(&label).limit(SLICES_MAX);
        let listed = client::call(LIST_DEADLINE, api.list(&of_service)).await;
        let slices = listed.map_err(|failure| words(namespace, service, &failure))?;
        let more = slices.metadata.continue_.filter(|token| !token.is_empty());
        if more.is_some() {
            return Err(format!(
                "Service {namespace}/{service} has more than {SLICES_MAX} EndpointSlices"
            ));
        }
        if slices.items.is_empty() {
            return Err(format!(
                "there is no Service {namespace}/{service} with pods"
            ));
        }
        Ok(addresses(&slices.items))
    }
}

fn addresses(slices: &[EndpointSlice]) -> Vec<IpAddr> {
    let endpoints = slices
        .iter()
        .flat_map(|slice| slice.endpoints.iter().flatten());
    // Not said is ready; a pod's first address is as good as its others.
    let ready = endpoints.filter(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.and_then(|it| it.ready) != Some(false)
    });
    let first = ready.filter_map(|endpoint| endpoint.addresses.first()?.parse().ok());
    let all: BTreeSet<IpAddr> = first.collect();
    let of_one_family = all.iter().any(IpAddr::is_ipv4);
    all.into_iter()
        .filter(|ip| !of_one_family || ip.is_ipv4())
        .collect()
}

fn words(namespace: &str, service: &str, failure: &Failure) -> String {
    match failure {
        Failure::Forbidden(why) => {
            format!("{why}; apply the ClusterRole that the manifests hold")
        }
        failure => format!("the pods behind Service {namespace}/{service} aren't known: {failure}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ready_pod_is_told_once() {
        let slice = |family: &str, endpoints: &str| {
            let text = format!(
                r#"{{"metadata": {{}}, "addressType": "{family}", "endpoints": {endpoints}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let slices = [
            slice(
                "IPv4",
                r#"[{"addresses": ["10.0.0.2"], "conditions": {"ready": true}},
                    {"addresses": ["10.0.0.1"]},
                    {"addresses": ["10.0.0.3"], "conditions": {"ready": false}}]"#,
            ),
            slice("IPv4", r#"[{"addresses": ["10.0.0.2"]}]"#),
            slice("IPv6", r#"[{"addresses": ["fd00::1"]}]"#),
            slice("IPv4", "null"),
        ];
        let told = |slices: &[EndpointSlice]| {
            let all = addresses(slices).into_iter();
            all.map(|ip| ip.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(told(&slices), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(told(&slices[2..]), ["fd00::1"]);
    }
}
