//! What users write on disk: policies and processes, as YAML files in a
//! directory that is an editor of the replicated ledger.
//!
//! Comes in: the files, the ledger, and which workloads live nodes can run. Goes
//! out, once a second: commands to propose, the processes that this machine can
//! run, and what is wrong, in words. Never writes to the directory, and never
//! takes a missing or broken file for a wish to remove something.

mod convert;
pub mod directory;
pub mod file;
mod memory;
pub mod quantity;
mod reconcile;
mod schema;
pub mod yaml;

pub use convert::{is_label, is_subdomain};
pub use directory::{Directory, Error, Scan};
