//! collect
pub mod proc;
