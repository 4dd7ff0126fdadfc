//! The room of the public gRPC API, `starling.v1`: what this agent knows of the
//! cluster, for users and their tools.
//!
//! Comes in: questions over mutual TLS, from holders of a user's or an agent's
//! certificate, and a [`view::View`] to answer them from. Goes out: answers that
//! say who answered and how fresh they are, and streams.
//!
//! Changes nothing but what users take away (`edit`) and who leads (`raft`), never asks
//! the agent's loop, and never waits for anything but the log's confirmation, the leader,
//! and other agents' own replicas.
//!
//! A question is a method in `service` and its answer a function of one moment
//! in `answer`, where it can be tested without a server; a stream is a file in
//! `watch`. KEDA's questions are put as these (`scaler`). Its messages are defined in
//! `proto`. A listener of another kind (health, metrics) is a room of its own.

mod agent;
mod answer;
mod caller;
mod edit;
mod enrol;
mod health;
mod leader;
mod near;
mod page;
mod raft;
mod refuse;
mod replicas;
mod scaler;
mod see;
mod service;
pub mod view;
mod watch;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use starling_consensus::tls::Callers;
use starling_consensus::{Credentials, accept};
use starling_kept::again;
use starling_proto::REPLY_BYTES_MAX;
use starling_proto::enrol::enrol_service_server::{EnrolService, EnrolServiceServer};
use starling_proto::externalscaler::external_scaler_server::ExternalScalerServer;
use starling_proto::v1::agent_service_server::{self, AgentServiceServer};
use starling_proto::v1::starling_service_server::{SERVICE_NAME, StarlingServiceServer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

pub use health::LED;

use view::View;

/// A larger question is refused with `OUT_OF_RANGE`.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;
/// An answer that takes longer ends as `DEADLINE_EXCEEDED`; a caller may ask for less.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// More questions in progress are refused with `RESOURCE_EXHAUSTED`.
pub const REQUESTS_MAX: usize = 256;
/// The same for a single connection.
pub const REQUESTS_PER_CONNECTION_MAX: usize = 64;
/// More streams are refused with `RESOURCE_EXHAUSTED`.
pub const STREAMS_MAX: usize = 64;
/// More connections wait in the system's backlog until one ends.
pub const CONNECTIONS_MAX: usize = 256;
/// How often an idle connection is asked for a sign of life, and how long it has.
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);
/// Header bytes of a single request.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// After the shutdown signal, answers in progress have this long.
const GRACE: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the API server ended")]
    Serve(#[source] tonic::transport::Error),
    #[error("the API's descriptors are unreadable")]
    Descriptors(#[source] tonic_reflection::server::Error),
}

/// Serves the API on `listener` until `shutdown`, then lets answers in progress
/// end. Streams are told to go elsewhere. `desk`, if there is one, may be asked by
/// callers without a certificate; nothing else may.
pub async fn serve(
    listener: TcpListener,
    credentials: Credentials,
    view: View,
    desk: Option<Arc<dyn EnrolService>>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let ending = CancellationToken::new();
    let agent = AgentServiceServer::new(agent::Service::new(view.clone()))
        .max_decoding_message_size(REQUEST_BYTES_MAX);
    let service = service::Service::new(view.clone(), &credentials, ending.clone());
    let service = Arc::new(service);
    let scaler = ExternalScalerServer::new(scaler::Scaler::new(service.clone()))
        .max_decoding_message_size(REQUEST_BYTES_MAX);
    let starling = StarlingServiceServer::from_arc(service)
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(REPLY_BYTES_MAX);
    let (reporter, health) = tonic_health::server::health_reporter();
    let health_ends = ending.clone();
    let reporting = tokio::spawn(again("the reporting of health", move || {
        health::report(reporter.clone(), view.clone(), health_ends.clone())
    }));
    let descriptors = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(starling_proto::DESCRIPTORS)
            .with_service_name(SERVICE_NAME)
            .with_service_name(agent_service_server::SERVICE_NAME)
    };
    let reflection = descriptors().build_v1().map_err(Error::Descriptors)?;
    // What older clients ask for.
    let reflection_alpha = descriptors().build_v1alpha().map_err(Error::Descriptors)?;
    let callers = match desk {
        Some(_) => Callers::Anyone,
        None => Callers::Certified,
    };
    let desk = desk.map(|desk| {
        EnrolServiceServer::new(enrol::Shared(desk))
            .max_decoding_message_size(enrol::REQUEST_BYTES_MAX)
    });
    let incoming = accept::connections(listener, CONNECTIONS_MAX, credentials, callers);
    let server = builder()
        .layer(caller::Admit)
        .add_service(health)
        .add_service(reflection)
        .add_service(reflection_alpha)
        .add_service(starling)
        .add_service(agent)
        .add_service(scaler)
        .add_optional_service(desk)
        .serve_with_incoming_shutdown(incoming, ending.clone().cancelled_owned());
    let mut server = std::pin::pin!(server);
    tokio::select! {
        ended = &mut server => return ended.map_err(Error::Serve),
        () = shutdown => {}
    }
    ending.cancel();
    // It ends with that, at the latest once it has told everybody.
    let _ = tokio::time::timeout(GRACE, reporting).await;
    // A client that doesn't end its connection in time is dropped with it.
    match tokio::time::timeout(GRACE, server).await {
        Ok(ended) => ended.map_err(Error::Serve),
        Err(_) => Ok(()),
    }
}

fn builder() -> Server {
    Server::builder()
        .timeout(DEADLINE)
        .load_shed(true)
        .concurrency_limit_per_connection(REQUESTS_PER_CONNECTION_MAX)
        .max_concurrent_streams(REQUESTS_PER_CONNECTION_MAX as u32)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
        .http2_max_header_list_size(HEADER_BYTES_MAX)
}
