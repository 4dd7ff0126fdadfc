//! Several agents' logs in one process, over real loopback sockets with mutual
//! TLS and real directories.

mod forming;
mod harness;
mod refusing;
mod restarting;
