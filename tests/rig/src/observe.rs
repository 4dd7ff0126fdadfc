//! What the agents answer when asked over their public API, as any user could ask.
//!
//! Comes in: the agents' addresses and a user's keys. Goes out: who leads, what
//! was decided, and whether their ledgers agree. Knows nothing of how it came about.

pub mod digests;
pub mod failover;

use std::time::Duration;

use starling_consensus::Tls;
use starling_engine::policy::Name;
use starling_keys::PEER;
use starling_proto::v1::starling_service_client::StarlingServiceClient;
use starling_proto::v1::{self, ReplyHeader};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

const CONNECT_WITHIN: Duration = Duration::from_millis(500);
/// An agent that takes longer counts as silent.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Changes of size read at a time: more than a second can bring.
const DECISIONS_PAGE: i32 = 100;

/// Asks every agent of one cluster. Connects when first asked, and again when
/// an agent comes back.
#[derive(Debug, Clone)]
pub struct Observer {
    agents: Vec<StarlingServiceClient<Channel>>,
}

#[derive(Debug, thiserror::Error)]
#[error("the agents' API address {address} can't be used")]
pub struct Error {
    address: String,
    #[source]
    source: tonic::transport::Error,
}

/// One agent's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    pub node_id: u64,
    pub name: String,
    pub term: u64,
    pub leader_id: Option<u64>,
    pub leader_name: String,
    pub applied_index: u64,
    /// Log indexes, which are others than ledger indexes.
    pub last_log_index: u64,
    pub committed_index: u64,
    pub voters: usize,
    pub members: u32,
    pub members_alive: u32,
    pub checkpoints: Vec<digests::Checkpoint>,
    /// Why the agent stopped acting; empty while it hasn't.
    pub halted: String,
    /// It leads and its quorum answers.
    pub acting: bool,
    /// What an operator should know, in words.
    pub warnings: Vec<String>,
}

/// A committed change of size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub index: u64,
    pub policy: String,
    pub from: u32,
    pub to: u32,
    /// The leader that decided.
    pub by: u64,
    pub by_name: String,
    /// One line of prose.
    pub reason: String,
}

impl Observer {
    /// `addresses` are the agents' API listeners, `host:port`; `user` is somebody
    /// that the cluster lets in.
    pub fn new(addresses: &[String], user: &Tls) -> Result<Observer, Error> {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&user.ca))
            .identity(Identity::from_pem(&user.certificate, &user.key))
            .domain_name(PEER);
        let client = |address: &String| {
            let endpoint = Endpoint::from_shared(format!("https://{address}"))
                .and_then(|endpoint| endpoint.tls_config(tls.clone()))
                .map_err(|source| Error {
                    address: address.clone(),
                    source,
                })?;
            let endpoint = endpoint
                .connect_timeout(CONNECT_WITHIN)
                .timeout(ANSWER_WITHIN);
            Ok(StarlingServiceClient::new(endpoint.connect_lazy()))
        };
        Ok(Observer {
            agents: addresses.iter().map(client).collect::<Result<_, _>>()?,
        })
    }

    /// How many agents there are to ask.
    pub fn agents(&self) -> usize {
        self.agents.len()
    }

    /// Asks the agent at `position` in the list of addresses.
    pub async fn status(&self, position: usize) -> Result<Status, tonic::Status> {
        let request = v1::GetClusterStatusRequest {
            consistency: v1::Consistency::Stale.into(),
        };
        let answer = self.agents[position]
            .clone()
            .get_cluster_status(request)
            .await?
            .into_inner();
        let header = answer.header.unwrap_or_default();
        Ok(status(header, answer.status.unwrap_or_default()))
    }

    /// Asks all agents at once; `None` for each that doesn't answer.
    pub async fn statuses(&self) -> Vec<Option<Status>> {
        let asked: Vec<_> = (0..self.agents.len())
            .map(|position| {
                let observer = self.clone();
                tokio::spawn(async move { observer.status(position).await.ok() })
            })
            .collect();
        let mut answers = Vec::with_capacity(asked.len());
        for answer in asked {
            answers.push(answer.await.ok().flatten());
        }
        answers
    }

    /// The latest changes of size that an agent knows of, newest first.
    pub async fn decisions(&self, position: usize) -> Result<Vec<Decision>, tonic::Status> {
        self.latest_decisions(position, DECISIONS_PAGE).await
    }

    async fn latest_decisions(
        &self,
        position: usize,
        page_size: i32,
    ) -> Result<Vec<Decision>, tonic::Status> {
        let request = v1::ListDecisionsRequest {
            page_size,
            ..Default::default()
        };
        let answer = self.agents[position]
            .clone()
            .list_decisions(request)
            .await?
            .into_inner();
        Ok(answer.decisions.into_iter().map(Decision::from).collect())
    }

    /// The size that the log has granted to a policy's workload.
    pub async fn granted(&self, position: usize, policy: &str) -> Result<u32, tonic::Status> {
        Ok(self.policy(position, policy).await?.size)
    }

    /// How many of a policy's replicas an agent has fresh word of.
    pub async fn running(&self, position: usize, policy: &str) -> Result<u32, tonic::Status> {
        Ok(self.policy(position, policy).await?.running)
    }

    async fn policy(&self, position: usize, policy: &str) -> Result<v1::Policy, tonic::Status> {
        let name = Name::from(policy);
        let request = v1::GetPolicyRequest {
            namespace: name.namespace,
            name: name.name,
            ..Default::default()
        };
        let answer = self.agents[position]
            .clone()
            .get_policy(request)
            .await?
            .into_inner();
        Ok(answer.policy.unwrap_or_default())
    }
}

fn status(header: ReplyHeader, status: v1::ClusterStatus) -> Status {
    Status {
        node_id: header.node_id,
        name: header.node_name,
        term: status.term,
        leader_id: status.leader_id,
        leader_name: status.leader_name,
        applied_index: status.applied_index,
        last_log_index: status.last_log_index,
        committed_index: status.committed_index,
        voters: status.voter_ids.len(),
        members: status.members,
        members_alive: status.members_alive,
        checkpoints: status
            .checkpoints
            .into_iter()
            .map(digests::Checkpoint::from)
            .collect(),
        halted: status.halted_reason,
        acting: header.leading,
        warnings: (status.warnings.into_iter())
            .map(|warning| format!("{}: {}", warning.subject, warning.text))
            .collect(),
    }
}

impl From<v1::Decision> for Decision {
    fn from(decision: v1::Decision) -> Decision {
        Decision {
            index: decision.index,
            policy: Name::new(decision.namespace, decision.policy).to_string(),
            from: decision.previous_size,
            to: decision.size,
            by: decision.node_id,
            by_name: decision.node_name,
            reason: decision.reason,
        }
    }
}
