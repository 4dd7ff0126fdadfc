//! Several agents' logs in one process, over real loopback sockets with mutual
//! TLS and real directories.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crowding;
mod filling;
mod forming;
mod founding;
mod handing;
mod harness;
mod refusing;
mod renewing;
mod restarting;
