//! The public API over real mutual TLS, with a real log behind it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod edits;
mod harness;
mod limits;
mod reads;
mod replicas;
mod scaler;
mod streams;
