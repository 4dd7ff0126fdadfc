//! The log on disk: sled, used so that a power cut loses nothing acknowledged.
//!
//! [`open`] checks what is there and hands out a [`disk::Disk`] (the one thread
//! that touches sled), a [`log::LogStore`] for openraft and the
//! [`snapshots::Snapshots`] beside it. Nothing here knows what entries mean.

pub mod busy;
pub mod disk;
#[cfg(test)]
mod going_back;
#[cfg(test)]
mod golden;
pub mod guard;
pub mod keys;
pub mod log;
pub mod marker;
pub mod needs;
pub mod open;
pub mod snapshots;
#[cfg(test)]
mod suite;
pub mod tail;

pub use disk::Disk;
pub use log::LogStore;
pub use snapshots::Snapshots;
