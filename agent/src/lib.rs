//! Everything with I/O: the agent's own loop, and the edges around it.
//!
//! A sample's way through the code is listed in the README.

pub mod actuate;
pub mod api;
pub mod cli;
pub mod collect;
pub mod config;
pub mod demo;
pub mod gossip;
pub mod keys;
pub mod policy;
pub mod process;
pub mod run;
pub mod trigger;
pub mod view;
pub mod worker;
