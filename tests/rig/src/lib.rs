//! The rig: starts real agents as processes, and watches them from outside.
//!
//! Comes in: the `starling` binary, and what its agents shall act on. Goes out: a
//! cluster that one can kill, restart and ask, a queue with real work, and what
//! was seen. The demo, `chaos` and the end-to-end tests share it.
//!
//! Never calls into an agent: it knows the files that a user would write, the
//! process table, and the public API. Whatever happens to the caller, no process
//! and no file stays.
//!
//! What starts or breaks agents goes into [`cluster`], what is asked of them into
//! [`observe`], what they scale into [`workload`] and [`queue`]. What only the
//! demo shows stays in the demo, and a real Kubernetes cluster is a rig of its own.

pub mod cluster;
pub mod load;
pub mod observe;
pub mod probe;
pub mod queue;
pub mod stop;
pub mod workload;
