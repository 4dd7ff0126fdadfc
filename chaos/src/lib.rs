//! Measures real clusters of real agents under faults and load steps, at rest, and while
//! they ask much.
//!
//! Comes in: the `starling` binary and how often to repeat. Goes out: every
//! measured time and its percentiles, or what each agent used. Each measurement
//! starts a cluster of its own on this machine, ends by itself, and leaves no
//! process and no file.

pub mod asking;
pub mod endure;
pub mod failover;
pub mod gauge;
pub mod load_step;
pub mod questions;
pub mod rest;
pub mod times;
pub mod usage;
