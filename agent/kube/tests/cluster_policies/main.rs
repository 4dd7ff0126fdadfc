//! Policies as objects of a real API server: put into force, told of, refused,
//! removed, with a ledger and a node of this process in place of a whole agent.
#![allow(clippy::expect_used)] // A cluster that doesn't start has failed its test.

mod away;
mod force;
mod keda;
mod refused;
mod world;
