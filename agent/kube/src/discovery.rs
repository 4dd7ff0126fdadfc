//! Where other agents' pods are, by the `EndpointSlices` of their headless Service.
//!
//! Comes in: a Service that publishes addresses of pods that aren't ready too.
//! Goes out: a bounded list, kept up to date as long as somebody holds it: an
//! agent that belongs to its cluster needs it no more, and lets go of it.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, ResourceExt as _};
use starling_kept::again;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::watch::{Config, Event, Watch};

/// Pods that are told of at a time; a few are enough to find the rest. Each agent
/// takes others, so that not all ask the same ones.
pub const PODS_MAX: usize = 64;
/// Pods of the Service that are kept; further ones are left out.
const KNOWN_MAX: usize = 10_000;

/// An agent's pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// `host:port`.
    pub peer: String,
    pub api: String,
    /// It passes its readiness probe, so it belongs to the cluster.
    pub ready: bool,
}

/// Which Service, and who asks.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub namespace: String,
    pub service: String,
    /// This agent's own address isn't told of.
    pub own: String,
    /// The ports that agents listen on; all agents have one configuration.
    pub peer_port: u16,
    pub api_port: u16,
}

/// Ends when it is dropped.
pub struct Discovery {
    pods: watch::Receiver<Vec<Pod>>,
    seeds: watch::Receiver<Vec<String>>,
    task: JoinHandle<()>,
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Discovery {
    /// Must be called within a runtime. An API server that is away is said once,
    /// and asked again and again.
    pub fn start(client: kube::Client, wanted: Wanted) -> Discovery {
        let (pods_sender, pods) = watch::channel(Vec::new());
        let (seeds_sender, seeds) = watch::channel(Vec::new());
        let task = tokio::spawn(again("the search for other agents", move || {
            follow(
                client.clone(),
                wanted.clone(),
                pods_sender.clone(),
                seeds_sender.clone(),
            )
        }));
        Discovery { pods, seeds, task }
    }

    /// Ready ones first.
    pub fn pods(&self) -> watch::Receiver<Vec<Pod>> {
        self.pods.clone()
    }

    /// The same as peer addresses.
    pub fn seeds(&self) -> watch::Receiver<Vec<String>> {
        self.seeds.clone()
    }
}

async fn follow(
    client: kube::Client,
    wanted: Wanted,
    pods: watch::Sender<Vec<Pod>>,
    seeds: watch::Sender<Vec<String>>,
) {
    let api: Api<EndpointSlice> = Api::namespaced(client, &wanted.namespace);
    let label = format!("kubernetes.io/service-name={}", wanted.service);
    let mut slices = Watch::new(api, Config::default().labels(&label));
    let mut known: BTreeMap<String, Vec<Address>> = BTreeMap::new();
    let mut listed: BTreeMap<String, Vec<Address>> = BTreeMap::new();
    let mut away = false;
    loop {
        let event = match slices.next().await {
            Ok(event) => event,
            Err(failure) => {
                if !away {
                    tracing::warn!(
                        service = wanted.service,
                        "other agents can't be looked up: {failure}; trying again"
                    );
                }
                away = true;
                continue;
            }
        };
        away = false;
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(slice) => {
                listed.insert(slice.name_any(), addresses(&slice));
                continue;
            }
            Event::InitDone => known = std::mem::take(&mut listed),
            Event::Apply(slice) => {
                known.insert(slice.name_any(), addresses(&slice));
            }
            Event::Delete(slice) => {
                known.remove(&slice.name_any());
            }
        }
        let chosen = choose(&wanted, known.values().flatten());
        let peers = chosen.iter().map(|pod| pod.peer.clone()).collect();
        seeds.send_if_modified(|now| replace(now, peers));
        pods.send_if_modified(|now| replace(now, chosen));
    }
}

fn replace<T: PartialEq>(now: &mut T, next: T) -> bool {
    let changed = *now != next;
    *now = next;
    changed
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Address {
    ip: IpAddr,
    ready: bool,
}

/// Pods that are about to end are left out.
fn addresses(slice: &EndpointSlice) -> Vec<Address> {
    let mut addresses = Vec::new();
    for endpoint in slice.endpoints.iter().flatten() {
        let conditions = endpoint.conditions.as_ref();
        let is = |condition: Option<bool>| condition == Some(true);
        if conditions.is_some_and(|c| is(c.terminating)) {
            continue;
        }
        // `ready` is always so where addresses that aren't are published.
        let ready = conditions.is_some_and(|c| is(c.serving));
        let ips = endpoint.addresses.iter().filter_map(|ip| ip.parse().ok());
        addresses.extend(ips.map(|ip| Address { ip, ready }));
    }
    addresses
}

/// Ready ones first; among equals each agent prefers others, always the same.
fn choose<'a>(wanted: &Wanted, known: impl Iterator<Item = &'a Address>) -> Vec<Pod> {
    let own: Option<IpAddr> = wanted.own.parse().ok();
    let rank = |address: &Address| {
        let order = BuildHasherDefault::<DefaultHasher>::new();
        let order = order.hash_one((&wanted.own, address.ip));
        (!address.ready, order, address.ip)
    };
    let mut all: Vec<Address> = known
        .filter(|address| Some(address.ip) != own)
        .take(KNOWN_MAX)
        .copied()
        .collect();
    all.sort_unstable_by_key(rank);
    // A pod may be in two slices for a moment.
    all.dedup_by_key(|address| address.ip);
    let at = |ip: IpAddr, port: u16| std::net::SocketAddr::new(ip, port).to_string();
    all.iter()
        .take(PODS_MAX)
        .map(|address| Pod {
            peer: at(address.ip, wanted.peer_port),
            api: at(address.ip, wanted.api_port),
            ready: address.ready,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(own: &str) -> Wanted {
        Wanted {
            namespace: "n".into(),
            service: "s".into(),
            own: own.into(),
            peer_port: 7400,
            api_port: 7402,
        }
    }

    fn slice(endpoints: &str) -> EndpointSlice {
        let text = format!(
            r#"{{"metadata": {{"name": "s-1"}}, "addressType": "IPv4", "endpoints": {endpoints}}}"#
        );
        serde_json::from_str(&text).expect("a slice")
    }

    #[test]
    fn pods_are_told_of_ready_ones_first_without_this_one_and_those_that_end() {
        let slice = slice(
            r#"[{"addresses": ["10.0.0.1"], "conditions": {"ready": true, "serving": false}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": true, "serving": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": true, "serving": true}},
                {"addresses": ["10.0.0.3"], "conditions": {"serving": true, "terminating": true}},
                {"addresses": ["10.0.0.4"]},
                {"addresses": ["nonsense"], "conditions": {"serving": true}}]"#,
        );
        let pods = choose(&wanted("10.0.0.4"), addresses(&slice).iter());
        let pod = |ip: &str, ready| Pod {
            peer: format!("{ip}:7400"),
            api: format!("{ip}:7402"),
            ready,
        };
        assert_eq!(pods, [pod("10.0.0.2", true), pod("10.0.0.1", false)]);
    }

    #[test]
    fn of_many_pods_each_agent_takes_others_and_always_the_same() {
        let all: Vec<Address> = (0..=255)
            .map(|n| Address {
                ip: IpAddr::from([10, 0, 0, n]),
                ready: true,
            })
            .collect();
        let (a, b) = (wanted("10.0.1.1"), wanted("10.0.1.2"));
        let chosen = choose(&a, all.iter());
        assert_eq!(chosen.len(), PODS_MAX);
        assert_eq!(chosen, choose(&a, all.iter().rev()));
        assert_ne!(chosen, choose(&b, all.iter()));
    }
}
