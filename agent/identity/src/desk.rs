//! Where agents get their certificates: the answering side of `starling.enrol.v1`.
//!
//! Comes in: a token and keys to certify, from anybody who can reach the port.
//! Goes out: certificates for the node that the API server says the token's pod
//! is on. Believes nothing that the caller says of itself, and can answer only
//! where the ledger holds the authority.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use starling_engine::ledger::{self, Ledger};
use starling_keys::{Authority, Node, Role, check_node};
use starling_kube::token::{self as reviews, Bound, TOKEN_BYTES_MAX, review};
use starling_proto::enrol::enrol_service_server::EnrolService;
use starling_proto::enrol::{CertifyRequest, CertifyResponse};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, async_trait};

use crate::{Error, Settings, token};

/// How long an agent's certificate is valid; it is renewed at two thirds.
pub const LIFETIME: Duration = Duration::from_hours(24);
/// More callers at once are sent to another agent.
pub const CERTIFICATES_AT_ONCE_MAX: usize = 8;
/// Strangers can make this agent ask the API server this often in a row, and
/// this many times a second in the long run; others are sent elsewhere.
const BURST: f64 = 64.0;
const PER_SECOND: f64 = 16.0;
/// A request for a certificate with a P-256 key has about 200 bytes.
const REQUEST_BYTES_MAX: usize = 4 << 10;

/// Answers for one agent.
pub struct Desk {
    settings: Settings,
    cluster_id: String,
    /// The directory of this agent's own keys: the ring in it goes out too.
    keys: PathBuf,
    ledger: Arc<RwLock<Ledger>>,
    lifetime: Duration,
    turns: Semaphore,
    rate: Mutex<Rate>,
}

impl Desk {
    pub fn new(
        settings: Settings,
        cluster_id: String,
        keys: PathBuf,
        ledger: Arc<RwLock<Ledger>>,
    ) -> Desk {
        Desk {
            settings,
            cluster_id,
            keys,
            ledger,
            lifetime: LIFETIME,
            turns: Semaphore::new(CERTIFICATES_AT_ONCE_MAX),
            rate: Mutex::new(Rate::full(Instant::now())),
        }
    }

    /// With certificates that are valid for another time.
    #[must_use]
    pub fn with_lifetime(self, lifetime: Duration) -> Desk {
        Desk { lifetime, ..self }
    }

    fn authority(&self) -> Result<ledger::Authority, Status> {
        let ledger = self.ledger.read().unwrap_or_else(PoisonError::into_inner);
        ledger.authority.clone().ok_or_else(|| {
            Status::failed_precondition(
                "this agent can't certify anybody: its ledger holds no authority (yet); ask \
                 another agent",
            )
        })
    }

    /// The node that the caller's pod is on.
    async fn prove(&self, token: &str) -> Result<Bound, Status> {
        let account = token::own_account(&self.settings)
            .await
            .map_err(|why| Status::unavailable(with_source(&why)))?;
        let audience = self.settings.audience();
        let bearer = review(&self.settings.connection.client, token, &audience)
            .await
            .map_err(|error| match error {
                reviews::Error::Refused(_) => Status::unauthenticated(error.to_string()),
                reviews::Error::Away(_) => Status::unavailable(error.to_string()),
            })?;
        if bearer.account != account {
            return Err(Status::permission_denied(format!(
                "the token is of {}, but agents are {account}",
                bearer.account
            )));
        }
        let bound = bearer.bound.ok_or_else(|| {
            Status::permission_denied(
                "the token is bound to no pod on a node: it must be a projected one, as the \
                 DaemonSet mounts it",
            )
        })?;
        check_node(&bound.node).map_err(|why| Status::permission_denied(why.to_string()))?;
        Ok(bound)
    }

    fn sign(
        &self,
        authority: &ledger::Authority,
        bound: &Bound,
        request: &CertifyRequest,
    ) -> Result<CertifyResponse, Status> {
        let internal = |why: starling_keys::Error| Status::internal(why.to_string());
        let signer =
            Authority::restore(&authority.certificate, &authority.key).map_err(internal)?;
        let node = Node {
            name: bound.node.clone(),
            hosts: Vec::new(),
        };
        let certify = |key: &[u8], role| {
            signer
                .certify(key, role, self.lifetime)
                .map_err(|why| match why {
                    starling_keys::Error::Request(_) => Status::invalid_argument(why.to_string()),
                    why => internal(why),
                })
        };
        Ok(CertifyResponse {
            agent_certificate: certify(&request.agent_request, Role::Node(&node))?,
            user_certificate: certify(&request.user_request, Role::Client)?,
            authority: authority.certificate.clone(),
            gossip_keys: starling_keys::ring_text(&self.keys).map_err(internal)?,
        })
    }

    fn check(&self, request: &CertifyRequest) -> Result<(), Status> {
        if request.cluster_id != self.cluster_id {
            return Err(Status::failed_precondition(format!(
                "this agent is of the cluster with the id {}: the cluster object has changed; \
                 read it again",
                self.cluster_id
            )));
        }
        if request.token.is_empty() || request.token.len() > TOKEN_BYTES_MAX {
            return Err(Status::invalid_argument(format!(
                "a token has 1 to {TOKEN_BYTES_MAX} bytes"
            )));
        }
        let requests = [&request.agent_request, &request.user_request];
        if requests.iter().any(|one| one.len() > REQUEST_BYTES_MAX) {
            return Err(Status::invalid_argument(format!(
                "a request for a certificate has at most {REQUEST_BYTES_MAX} bytes"
            )));
        }
        Ok(())
    }

    fn take_turn(&self) -> bool {
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        rate.take(Instant::now())
    }
}

#[async_trait]
impl EnrolService for Desk {
    async fn certify(
        &self,
        request: Request<CertifyRequest>,
    ) -> Result<Response<CertifyResponse>, Status> {
        let busy = || Status::resource_exhausted("too many ask at once; ask another agent");
        let _turn = self.turns.try_acquire().map_err(|_| busy())?;
        let caller = request.remote_addr();
        let request = request.into_inner();
        self.check(&request)?;
        let authority = self.authority()?;
        if !self.take_turn() {
            return Err(busy());
        }
        let bound = match self.prove(&request.token).await {
            Ok(bound) => bound,
            Err(status) => {
                let why = status.message();
                let by = caller.map_or_else(|| "somebody".to_owned(), |it| it.to_string());
                tracing::warn!(by, why, "a caller was not certified");
                return Err(status);
            }
        };
        let answer = self.sign(&authority, &bound, &request)?;
        tracing::info!(node = bound.node, pod = bound.pod, "certified an agent");
        Ok(Response::new(answer))
    }
}

fn with_source(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error} ({source})"),
        None => error.to_string(),
    }
}

/// A bucket that holds [`BURST`] and gains [`PER_SECOND`].
struct Rate {
    left: f64,
    at: Instant,
}

impl Rate {
    fn full(at: Instant) -> Rate {
        Rate { left: BURST, at }
    }

    fn take(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * PER_SECOND;
        self.left = (self.left + gained).min(BURST);
        self.at = now;
        let may = self.left >= 1.0;
        if may {
            self.left -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        let begin = Instant::now();
        let mut rate = Rate::full(begin);
        let passed = (0..1_000).filter(|_| rate.take(begin)).count();
        assert_eq!(passed, 64);
        let later = begin + Duration::from_secs(1);
        let passed = (0..1_000).filter(|_| rate.take(later)).count();
        assert_eq!(passed, 16);
    }
}
