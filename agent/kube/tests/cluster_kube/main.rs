//! The room on a real API server, without nodes: scheduler and controllers run, no
//! pod ever does.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A helper that finds nothing has failed its test.

mod counted;
mod pods;
mod rig;
mod scale;
mod targets;
mod watch;
