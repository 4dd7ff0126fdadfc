//! The wire formats: generated code and conversions from and to the engine's types.
//!
//! What comes from outside is checked and bounded here, before anything else
//! sees it. The .proto files are the only definition of what travels.

pub mod log;
pub mod summary;
pub mod view;

/// The public API.
pub mod v1 {
    #![allow(clippy::pedantic, clippy::all, missing_docs)]
    tonic::include_proto!("starling.v1");
}

/// Between the agents' logs.
pub mod raft {
    #![allow(clippy::pedantic, clippy::all, missing_docs)]
    tonic::include_proto!("starling.raft.v1");
}

/// What agents ask each other to ask.
pub mod ask {
    #![allow(clippy::pedantic, clippy::all, missing_docs)]
    tonic::include_proto!("starling.ask.v1");
}

/// Inside sealed datagrams.
pub mod gossip {
    #![allow(clippy::pedantic, clippy::all, missing_docs)]
    tonic::include_proto!("starling.gossip.v1");
}

/// A reply of the public API is never larger: servers cut pages and stream
/// messages to stay well below it, clients refuse more.
pub const REPLY_BYTES_MAX: usize = 4 << 20;

/// How an agent gets its certificate.
pub mod enrol {
    #![allow(clippy::pedantic, clippy::all, missing_docs)]
    tonic::include_proto!("starling.enrol.v1");
}

/// The kubelet's own API, as far as it says which devices pods hold.
pub mod podresources {
    #![allow(clippy::pedantic, clippy::all, missing_docs)]
    tonic::include_proto!("v1");
}

/// KEDA's contract with servers that know metrics of their own.
pub mod externalscaler {
    #![allow(clippy::pedantic, clippy::all, missing_docs)]
    tonic::include_proto!("externalscaler");
}

/// Descriptors of our own, the kubelet's and KEDA's left out, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
