//! Asking the leader, for callers who asked this agent.
//!
//! A question travels at most one hop: an agent that is asked by another one
//! answers itself or says that the leader has changed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use starling_consensus::Credentials;
use starling_consensus::tls::Connector;
use starling_proto::REPLY_BYTES_MAX;
use starling_proto::v1::starling_service_client::StarlingServiceClient;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::refuse;

/// Marks a question that another agent passed on.
const HOP: &str = "starling-hop";
const CONNECT: Duration = Duration::from_secs(2);
/// Leaves time to say so within the caller's own deadline.
const ANSWER: Duration = Duration::from_secs(8);
/// An unused connection is found dead after these two.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(5);

pub type Client = StarlingServiceClient<Channel>;

/// Whether another agent passed this question on.
pub fn hopped(metadata: &MetadataMap) -> bool {
    metadata.contains_key(HOP)
}

/// The way to the leader. Keeps one connection: to the last leader asked.
pub struct Leader {
    connector: Connector,
    last: Mutex<Option<(String, Channel)>>,
}

impl Leader {
    /// Shows itself as the agent that it is, and verifies the leader as one.
    pub fn new(credentials: &Credentials) -> Leader {
        Leader {
            connector: credentials.connector(),
            last: Mutex::new(None),
        }
    }

    /// A client for the leader's API at `address` (`host:port`). Connects when used.
    pub fn at(&self, address: &str) -> Result<Client, Status> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = match last.as_ref() {
            Some((known, channel)) if known == address => channel.clone(),
            _ => {
                let channel = connect(&self.connector, address).map_err(|why| {
                    refuse::with(
                        Code::Unavailable,
                        refuse::LEADER_SILENT,
                        format!(
                            "the leader's API address {address:?} is unusable ({why}); correct \
                         `advertise` in its configuration"
                        ),
                    )
                })?;
                *last = Some((address.to_owned(), channel.clone()));
                channel
            }
        };
        Ok(StarlingServiceClient::new(channel).max_decoding_message_size(REPLY_BYTES_MAX))
    }
}

/// The way to the agent whose API is at `address`. Connects when used.
pub fn connect(connector: &Connector, address: &str) -> Result<Channel, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_ANSWER)
        .connect_with_connector_lazy(connector.clone()))
}

/// `message` as a question that is passed on, with the deadline for it.
pub fn passed_on<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert(HOP, MetadataValue::from_static("1"));
    request.set_timeout(ANSWER);
    request
}

/// What the leader's refusal means to the caller: its own words, but for those
/// of a connection that failed.
pub fn refused(address: &str, status: &Status) -> Status {
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
            let words = format!(
                "the leader at {address} doesn't answer ({}); ask again in a second, or with \
                 consistency stale",
                status.message()
            );
            refuse::with(Code::Unavailable, refuse::LEADER_SILENT, words)
        }
        code => Status::with_details(code, status.message(), status.details().to_vec().into()),
    }
}
