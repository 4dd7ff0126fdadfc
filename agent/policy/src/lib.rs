//! The room of what users write: policies and processes, as YAML files in a
//! directory that is an editor of the replicated ledger.
//!
//! Comes in: the files, the ledger, and which workloads live nodes can run. Goes
//! out, once a second: commands to propose, the processes that this machine can
//! run, and what is wrong, in words.
//!
//! Never writes to the directory, never proposes by itself, and never takes a
//! missing or broken file for a wish to remove something.
//!
//! A new field stands in `schema` as it is written and in `convert` as the
//! engine takes it, where it is also checked. A new kind of document goes into
//! [`file`]; one that is converted, not read, into [`import`]. Anything else that reads YAML from users does so through [`yaml`],
//! so that each complaint names line and field. Another place where policies are
//! written is a room of its own, which hands its documents to the same
//! conversion.

mod convert;
pub mod directory;
mod elsewhere;
pub mod file;
pub mod import;
mod memory;
pub mod objects;
mod reconcile;
pub mod schema;
pub mod sources;
pub mod yaml;

pub use convert::{is_label, is_subdomain};
pub use directory::{Directory, Error, Looked, Saved, Scan};
pub use elsewhere::IMPORT;
