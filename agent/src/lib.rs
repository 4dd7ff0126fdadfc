//! The agent itself: the loop that runs the rooms, and the `starling` binary.
//!
//! Comes in: a configuration. Goes out: an agent that runs until it is told to end.
//!
//! Never holds a rule about numbers (that is the engine's), a wire format
//! (`proto`'s), or anything that a room beside it could do without the others.
//! The library knows nothing of the demo; only the binary does.
//!
//! A new kind of event wakes the loop in [`run`]; a new setting stands in
//! [`config`]; what the ledger says that this machine must do is carried out in
//! [`actuate`]. Something new with I/O is a room, a crate beside this one, that
//! `run::start` puts together with the rest. A sample's way through the code is
//! listed in the README.

pub mod actuate;
pub mod config;
pub mod debug;
pub mod measure;
pub mod platform;
pub mod prepare;
pub mod recover;
pub mod run;
