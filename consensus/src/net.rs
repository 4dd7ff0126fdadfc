//! The peer network: gRPC over mutual TLS.
//!
//! [`server`] answers other agents, [`client`] calls them, both with an
//! [`identity`] that every call carries and every answerer checks.

pub mod book;
pub mod client;
pub mod identity;
pub mod owner;
pub mod server;

/// Larger messages are refused on both sides. An append holds at most
/// [`crate::store::log::READ_BYTES_MAX`] or one entry, a snapshot part 256 KiB.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// A snapshot travels in parts of this size.
pub const SNAPSHOT_PART_BYTES: usize = 256 << 10;
/// The name that every agent's certificate is valid for.
pub const PEER_NAME: &str = "peer.starling";
