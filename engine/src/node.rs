//! One agent's behaviour without its I/O: routes every input, keeps what was
//! heard, and, while this agent leads, plans a pass over all policies each second.
//!
//! Comes in: an [`Input`], the time and the ledger. Goes out: [`Output`]s for the
//! host to carry out. Never does I/O; a host that repeats or loses an output
//! does no harm, the next pass plans from what is.

use std::collections::BTreeMap;

use crate::decide::Decision;
use crate::demand::{Sample, Summary};
use crate::ledger::Command;
use crate::policy::Trigger;
use crate::unit::{Ms, NodeId};

/// All that can happen to an agent.
#[derive(Debug, Clone)]
pub enum Input {
    /// Time has passed; see [`Node::wakeup`].
    Tick,
    /// This node was measured.
    Sampled(Sample),
    /// Another node's summary came in.
    Heard(Summary),
    /// An external trigger was asked.
    Polled {
        policy: String,
        trigger: String,
        result: Result<i64, String>,
    },
    /// The nodes that gossip believes alive, this one included.
    Alive(Vec<NodeId>),
    /// Whether this agent leads and may act; the term if so.
    Leads(Option<u64>),
    /// The last [`Output::Propose`] is done with, whatever became of it.
    Proposed,
}

/// All that an agent may be asked to do.
#[derive(Debug, Clone)]
pub enum Output {
    /// Tell the other nodes.
    Publish(Summary),
    /// Ask an external trigger and come back with [`Input::Polled`].
    Poll { policy: String, trigger: Trigger },
    /// Propose to the log and come back with [`Input::Proposed`].
    Propose(Command),
    /// This node's ledger differs from the majority's: stop acting, say so.
    Halt(String),
}

/// The state of one agent.
#[derive(Debug)]
pub struct Node {
    pub id: NodeId,
    /// The newest summary of every node, this one included.
    pub summaries: BTreeMap<NodeId, Summary>,
    /// What the last pass decided, by policy; empty unless this agent leads.
    pub live: BTreeMap<String, Decision>,
}
