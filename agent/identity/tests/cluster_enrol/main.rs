//! Identities by a real API server: enrolment, refusals, renewal, the cluster
//! object and discovery.

#![allow(clippy::unwrap_used)] // A helper that finds nothing has failed its test.

mod enrolling;
mod founding;
mod harness;
mod member;
mod renewing;
