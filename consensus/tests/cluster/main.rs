//! Several agents' logs in one process, over real loopback sockets with mutual
//! TLS and real directories.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ailing;
mod backing;
mod churning;
mod crowding;
mod cutting;
mod expiring;
mod flapping;
mod forming;
mod founding;
mod handing;
mod harness;
mod killing;
mod leaving;
mod narrow;
mod network;
mod process;
mod rebuilding;
mod refusing;
mod renewing;
mod restarting;
mod saving;
mod stalling;
mod unshaken;
mod upgrading;
mod writer;
mod writing;
