//! A kubelet's summary, as far as it is used: `stats/v1alpha1` of Kubernetes.
//!
//! Comes in: an answer's bytes. Goes out: what it says of pods and containers. Every
//! field may be missing. Never fills one in.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

#[derive(Debug, Deserialize)]
pub struct Summary {
    /// Go writes a list of nothing as null.
    #[serde(default, deserialize_with = "nothing_is_null")]
    pub pods: Vec<Pod>,
    node: Option<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    cpu: Option<Cpu>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    #[serde(rename = "podRef")]
    pub reference: PodRef,
    #[serde(default, deserialize_with = "nothing_is_null")]
    pub containers: Vec<Container>,
    pub cpu: Option<Cpu>,
    pub memory: Option<Memory>,
    pub io: Option<Io>,
    pub network: Option<Network>,
    #[serde(rename = "process_stats")]
    process_stats: Option<Processes>,
}

#[derive(Debug, Deserialize)]
pub struct PodRef {
    pub uid: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    name: String,
    /// Of the container that ran last, where it was restarted.
    #[serde(default)]
    pub start_time: String,
    pub cpu: Option<Cpu>,
    pub memory: Option<Memory>,
    pub io: Option<Io>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cpu {
    #[serde(default, deserialize_with = "time")]
    pub time: Option<Duration>,
    pub usage_nano_cores: Option<u64>,
    pub usage_core_nano_seconds: Option<u64>,
    #[serde(default)]
    pub psi: Option<Stalled>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    #[serde(default, deserialize_with = "time")]
    pub time: Option<Duration>,
    pub working_set_bytes: Option<u64>,
    #[serde(default)]
    pub psi: Option<Stalled>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Io {
    #[serde(default, deserialize_with = "time")]
    pub time: Option<Duration>,
    #[serde(default)]
    pub psi: Option<Stalled>,
}

/// Microseconds, as the kernel has them, though the types' documentation says
/// nanoseconds: neither cAdvisor nor the kubelet converts them.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(from = "Written")]
pub struct Stalled {
    pub some_us: u64,
    pub full_us: u64,
}

#[derive(Deserialize)]
struct Written {
    some: Total,
    full: Total,
}

#[derive(Deserialize)]
struct Total {
    total: u64,
}

impl From<Written> for Stalled {
    fn from(written: Written) -> Stalled {
        Stalled {
            some_us: written.some.total,
            full_us: written.full.total,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    #[serde(default, deserialize_with = "time")]
    pub time: Option<Duration>,
    rx_bytes: Option<u64>,
    tx_bytes: Option<u64>,
    #[serde(default, deserialize_with = "nothing_is_null")]
    interfaces: Vec<Interface>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Interface {
    name: String,
    rx_bytes: Option<u64>,
    tx_bytes: Option<u64>,
}

/// Bytes of all of a pod's interfaces.
#[derive(Debug, Clone, Copy)]
pub struct Interfaces {
    pub received: u64,
    pub sent: u64,
}

#[derive(Debug, Deserialize)]
struct Processes {
    process_count: Option<u64>,
}

impl Summary {
    pub fn read(bytes: &[u8]) -> Result<Summary, String> {
        serde_json::from_slice(bytes)
            .map_err(|e| format!("its summary can't be read: {e}; is it Kubernetes 1.32 or newer?"))
    }
}

impl Summary {
    /// In the whole node something has waited for a CPU at some time, if anybody counts.
    pub fn counts_pressure(&self) -> bool {
        let node = self.node.as_ref().and_then(|node| node.cpu?.psi);
        node.is_some_and(|psi| psi.some_us > 0)
    }
}

impl Pod {
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|it| it.name == name)
    }

    pub fn processes(&self) -> Option<u64> {
        self.process_stats.as_ref()?.process_count
    }
}

impl Network {
    /// All but loopback; the default interface alone where there is no list.
    pub fn interfaces(&self) -> Option<Interfaces> {
        let others = self.interfaces.iter().filter(|it| it.name != "lo");
        let sum = others
            .map(|it| it.rx_bytes.zip(it.tx_bytes))
            .reduce(|a, b| {
                let ((a, x), (b, y)) = a.zip(b)?;
                Some((a.saturating_add(b), x.saturating_add(y)))
            });
        let counted = sum.unwrap_or_else(|| self.rx_bytes.zip(self.tx_bytes));
        counted.map(|(received, sent)| Interfaces { received, sent })
    }
}

fn nothing_is_null<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// `2026-11-26T21:38:00Z`, since 1970. What is none is missing.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    let at: Option<jiff::Timestamp> = text.and_then(|text| text.parse().ok());
    Ok(at.and_then(|at| at.as_duration().try_into().ok()))
}
