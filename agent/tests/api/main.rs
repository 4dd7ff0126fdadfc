//! The public API over real mutual TLS, with a real log behind it, and the
//! commands that ask it.

mod commands;
mod harness;
mod limits;
mod reads;
mod streams;
