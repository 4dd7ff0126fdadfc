//! Decisions, from outside: whole passes over whole lives of workloads.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod scenario;

mod accounts;
mod asked;
mod banded;
mod bounded;
mod explain;
mod invariants;
mod keda;
mod kept;
mod nearest;
mod objective;
mod sound;
mod sums;
mod totality;
mod week;
