//! The room that talks to the Kubernetes API: what the platform has, and what it
//! is asked to have.
//!
//! In come objects of the API server (targets, pods of a node); out go typed
//! observations and the outcomes of writes. It never decides a number: the engine
//! does, and this room carries it out with a precondition. An API server that is
//! away, slow or refusing is an ordinary state with a name, never an end.
//!
//! Another kind of target needs nothing here as long as it has the `scale`
//! subresource. Another thing to watch is a module of its own over [`watch`].

pub mod authentication;
pub mod backoff;
pub mod client;
pub mod cluster;
pub mod crd;
pub mod devices;
pub mod discovery;
pub mod endpoints;
pub mod events;
pub mod kubelet;
pub mod metrics;
pub mod patches;
pub mod pods;
pub mod policies;
pub mod scale;
pub mod scalers;
pub mod selector;
pub mod status;
pub mod target;
pub mod targets;
pub mod token;
pub mod watch;
