//! Starling on a real Kubernetes cluster, as its users have it: agents in a
//! `DaemonSet`, policies as objects, workloads that grow and shrink by what the
//! agents themselves measure.
#![allow(clippy::unwrap_used)] // What isn't there fails its test.

mod authentication;
mod away;
mod full;
mod grow;
mod install;
mod kill;
mod kinds;
mod machine;
mod measured;
mod metrics;
mod moving;
mod nodes;
mod readme;
mod recover;
mod refuse;
mod roll;
mod signals;
mod strategies;
mod verbs;
mod zones;
