//! Asking another agent for a certificate: the pod's token for proof, and a new
//! key that stays here.

use std::time::Duration;

use rand::seq::SliceRandom as _;
use starling_consensus::tls::Connector;
use starling_engine::ledger;
use starling_keys::{Authority, Node, Role, unsigned};
use starling_kube::cluster::Cluster;
use starling_proto::enrol::CertifyRequest;
use starling_proto::enrol::enrol_service_client::EnrolServiceClient;
use tonic::transport::Endpoint;

use crate::store::Papers;
use crate::{Error, LIFETIME, Settings, token};

const CONNECT: Duration = Duration::from_secs(1);
/// The answerer asks the API server meanwhile, which has three seconds.
const ANSWER: Duration = Duration::from_secs(6);
/// A larger answer is refused.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Agents that are asked one after the other, before a pause.
pub const ASKED_MAX: usize = 8;

/// Asks the agents at `addresses` (`host:port` of their APIs) until one
/// certifies; the error is the one that says most.
pub async fn ask_any(
    settings: &Settings,
    cluster: &Cluster,
    addresses: &[String],
) -> Result<Papers, Error> {
    let mut failed = Error::NotCertified {
        address: "no other agent".into(),
        why: "is known yet".into(),
    };
    let mut answered = false;
    for address in addresses.iter().take(ASKED_MAX) {
        match ask(settings, cluster, address).await {
            Ok(papers) => return Ok(papers),
            Err(Asked::Here(error)) => return Err(error),
            Err(Asked::There { why, heard }) => {
                tracing::debug!(address, why, "an agent doesn't certify this one");
                // A refusal says more than a connection that failed.
                if heard || !answered {
                    let address = address.clone();
                    failed = Error::NotCertified { address, why };
                }
                answered |= heard;
            }
        }
    }
    Err(failed)
}

/// The same, in any order: the load is spread.
pub fn shuffle(addresses: &mut [String]) {
    addresses.shuffle(&mut rand::rng());
}

enum Asked {
    /// Nobody could help.
    Here(Error),
    There {
        why: String,
        /// It gave an answer.
        heard: bool,
    },
}

impl<E: Into<Error>> From<E> for Asked {
    fn from(error: E) -> Asked {
        Asked::Here(error.into())
    }
}

async fn ask(settings: &Settings, cluster: &Cluster, address: &str) -> Result<Papers, Asked> {
    let token = token::read(settings).await?;
    let (agent, user) = (unsigned()?, unsigned()?);
    let there = |heard: bool| move |why: String| Asked::There { why, heard };
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|why| there(false)(why.to_string()))?
        .connect_timeout(CONNECT)
        .timeout(ANSWER);
    let connector = Connector::anonymous(&cluster.authority)?;
    let channel = endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|why| there(false)(words(&why)))?;
    let request = CertifyRequest {
        cluster_id: cluster.id.clone(),
        token,
        agent_request: agent.request,
        user_request: user.request,
    };
    let answer = EnrolServiceClient::new(channel)
        .max_decoding_message_size(ANSWER_BYTES_MAX)
        .certify(request)
        .await
        .map_err(|status| there(true)(status.message().to_owned()))?
        .into_inner();
    // It was verified by the authority of the cluster object; another one in the
    // answer is a mistake.
    if answer.authority.trim() != cluster.authority.trim() {
        return Err(there(true)("it answers with another authority".into()));
    }
    Ok(Papers {
        authority: answer.authority,
        certificate: answer.agent_certificate,
        key: agent.key,
        user_certificate: answer.user_certificate,
        user_key: user.key,
        gossip: answer.gossip_keys,
    })
}

/// The deepest cause says most: "connection refused", "certificate expired".
fn words(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// What an agent that holds the authority gives itself: a founder at first, and
/// whoever holds the log where nobody else can be asked.
pub fn certify_self(
    settings: &Settings,
    authority: &ledger::Authority,
    gossip: &str,
) -> Result<Papers, Error> {
    let (agent, user) = (unsigned()?, unsigned()?);
    let signer = Authority::restore(&authority.certificate, &authority.key)?;
    let node = Node {
        name: settings.node.clone(),
        hosts: Vec::new(),
    };
    Ok(Papers {
        authority: authority.certificate.clone(),
        certificate: signer.certify(&agent.request, Role::Node(&node), LIFETIME)?,
        key: agent.key,
        user_certificate: signer.certify(&user.request, Role::Client, LIFETIME)?,
        user_key: user.key,
        gossip: gossip.to_owned(),
    })
}
