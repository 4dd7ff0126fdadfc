//! What an agent shows of itself to those who watch over it: probes for a
//! kubelet, numbers for Prometheus, and how much it writes into its log.
//!
//! Comes in: what the rooms count ([`Metrics`]), what is so at the moment
//! ([`Source`]), and the loop's sign of life. Goes out: plain HTTP on a port of
//! its own, and the process's log. Never changes anything that the agent decides
//! or does, and shows nothing that is secret: whoever reaches the port may read
//! all of it, and nobody can change anything through it.
//!
//! Where the next of its kind goes: something that happens and is counted or
//! timed becomes a method of [`Metrics`]; something that is so becomes a field
//! of [`Reading`] and a line in `reading.rs`; one more condition of being ready
//! becomes a [`Check`] in `probe.rs`.

pub mod logs;
mod machine;
mod metrics;
mod pods;
mod probe;
mod process;
mod reading;
mod serve;
pub mod used;

pub use logs::Logs;
pub use metrics::{Direction, Edit, Metrics, Proposal};
pub use pods::{HELD_MAX, Held};
pub use probe::{Check, Health};
pub use reading::{Certificate, Gossip, Log, Policy, Reading, Source};
pub use serve::{CONNECTIONS_MAX, serve};
