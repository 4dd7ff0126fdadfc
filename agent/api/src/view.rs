//! What this agent knows, for whoever asks.
//!
//! Comes in: from the agent's loop, after each of its steps. Goes out: to the API,
//! which only reads it. Never holds what the ledger holds.

mod replica;

use std::collections::BTreeMap;
use std::sync::Arc;

use starling_consensus::Log;
use starling_engine::decide::Decision;
use starling_engine::demand::Summary;
use starling_engine::node::platform::Observation;
use starling_engine::policy::{Name, Target};
use starling_engine::unit::{Ms, NodeId};
use starling_health::Logs;
use tokio::sync::watch;

pub use replica::{REPLICAS_MAX, Replica};

/// The loop's state after its latest step. All but the ledger, which
/// [`Log::ledger`] holds.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// This agent's clock when it was taken.
    pub at: Ms,
    /// The newest summary of every node that was heard of.
    pub summaries: BTreeMap<NodeId, Arc<Summary>>,
    /// What runs on this agent's own node, as last measured.
    pub replicas: Arc<Vec<Replica>>,
    /// Nodes that gossip believes alive.
    pub alive: Vec<NodeId>,
    /// What the last pass decided, by policy; empty unless this agent leads.
    pub live: Arc<BTreeMap<Name, Decision>>,
    /// What the platform last said of each scaled workload; empty at agents that
    /// don't follow them.
    pub observations: Arc<BTreeMap<Target, Observation>>,
    /// For how long the platform hasn't answered; `None` where it does, or there is none.
    pub platform_silent_ms: Option<u64>,
    /// Why the last write of a workload's size failed; empty unless this agent leads.
    pub write_failures: BTreeMap<Target, String>,
    /// What an operator should know, in words, by subject: a policy file that
    /// was refused, a port that moved, a digest that differs.
    pub warnings: BTreeMap<String, String>,
    /// Why this agent has stopped acting for good, where it has.
    pub halted: Option<String>,
}

/// Handed to the API server.
#[derive(Clone)]
pub struct View {
    pub log: Log,
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// `None` where this agent shares its process with others.
    pub logs: Option<Logs>,
}
