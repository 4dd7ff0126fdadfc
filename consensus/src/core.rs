//! What this agent's tasks and its peer server share.
//!
//! Comes in: commands and reads, from here or forwarded. Goes out: their
//! outcome at the leader, or who leads. Forwards once and no further.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use openraft::error::{CheckIsLeaderError, RaftError};
use starling_engine::ledger::version::FIRST;
use starling_engine::ledger::{Command, Ledger, Outcome};
use starling_engine::unit::NodeId;
use starling_proto::log;
use starling_proto::raft::{
    Leader, ProposeRequest, ReadIndexRequest, propose_reply, read_index_reply,
};
use tokio::sync::{mpsc, oneshot, watch};
use tonic::{ConnectError, Status};

use crate::acks::Acks;
use crate::clock::Clock;
use crate::failed::Failed;
use crate::hand_over::{self, Part};
use crate::join::identify;
use crate::letters::Letters;
use crate::meet::Met;
use crate::net::client::{Lane, Peers};
use crate::net::identity::envelope;
use crate::net::owner::Vouched;
use crate::peers::{self, Holder};
use crate::propose::Proposal;
use crate::recall::{self, Recall};
use crate::stand::Standing;
use crate::stats::Tally;
use crate::store::keys::Identity;
use crate::types::{LogId, Metrics, Raft};
use crate::version::{self, Versions};
use crate::{Config, Error, Leadership, codec, leadership, propose};

/// A caller waits no longer for a command or a read; then its outcome is unknown.
pub const CALL_DEADLINE: Duration = Duration::from_secs(5);

pub struct Core {
    pub config: Config,
    pub peers: Arc<Peers>,
    pub acks: Arc<Acks>,
    pub ledger: Arc<RwLock<Ledger>>,
    pub clock: Arc<Clock>,
    pub applied: watch::Receiver<u64>,
    pub leadership: watch::Receiver<Leadership>,
    pub tally: Arc<Tally>,
    /// Less than the whole where this agent is ending.
    pub part: watch::Sender<Part>,
    pub failed: Failed,
    /// Open to every proposal until it is answered; whoever hands the lead over
    /// closes it, and those that come meanwhile find another leader behind it.
    pub gate: tokio::sync::RwLock<()>,
    /// Where it finds no cluster, it founds one.
    pub may_found: bool,
    /// Unset until this agent has an id.
    pub own: OnceLock<Arc<Identity>>,
    /// Unset until the log runs.
    pub member: OnceLock<Membership>,
    pub vouched: Vouched,
    pub met: Met,
    /// The cluster goes on in a later generation than this agent's; in words.
    pub later: watch::Sender<Option<String>>,
    /// What it knows of others' logs.
    pub recall: Arc<Recall>,
    pub standing: Standing,
    /// What others support.
    pub versions: Arc<Versions>,
    pub letters: Letters,
}

/// This agent as a member.
pub struct Membership {
    pub own: Arc<Identity>,
    pub raft: Raft,
    pub proposals: mpsc::Sender<Proposal>,
}

impl Membership {
    pub fn metrics(&self) -> Metrics {
        self.raft.metrics().borrow().clone()
    }

    pub fn leads(&self) -> bool {
        self.raft.metrics().borrow().state.is_leader()
    }
}

impl Core {
    fn membership(&self) -> Result<&Membership, Error> {
        self.member.get().ok_or(Error::NotLeader { leader: None })
    }

    /// Ends this agent's part in the log for good, with nothing more written.
    pub fn stop(&self, why: String) {
        recall::close(&self.recall);
        self.failed.tell(why);
        if let Some(membership) = self.member.get() {
            let raft = membership.raft.clone();
            // Its end is of no interest: the reason is told.
            tokio::spawn(async move { raft.shutdown().await });
        }
    }

    /// Refuses an agent that supports the ledger up to that version (0 where it doesn't
    /// say so) if a higher one is in force.
    pub fn check_version(&self, supports: u32) -> Result<(), log::Error> {
        let ledger = self.ledger.read().unwrap_or_else(PoisonError::into_inner);
        version::check(ledger.raised.as_ref(), supports.max(FIRST))
    }

    /// Who leads, as far as this agent knows, and where.
    pub fn leader(&self) -> Option<Leader> {
        let metrics = self.member.get()?.metrics();
        let id = metrics.current_leader?;
        let peer = metrics.membership_config.membership().get_node(&id)?;
        Some(Leader {
            id,
            address: self.peers.book.find(id, &peer.address),
        })
    }

    /// Whether a leader that a majority answers stands behind what this agent knows.
    pub fn led(&self) -> bool {
        let Some(membership) = self.member.get() else {
            return false;
        };
        let within = leadership::led_within(self.config.timing);
        let (seen, own) = (self.leadership.borrow(), NodeId(membership.own.id));
        let backing = self.tally.backing(&seen, own, within, Instant::now());
        backing.led
    }

    fn not_leader(&self) -> Error {
        Error::NotLeader {
            leader: self.leader().map(|leader| NodeId(leader.id)),
        }
    }

    /// Only if this agent leads.
    pub async fn propose_here(&self, command: Command) -> Result<Outcome, Error> {
        let membership = self.membership()?;
        let (reply, answered) = oneshot::channel();
        let wait = async {
            let _open = self.gate.read().await;
            if !membership.leads() {
                return Err(self.not_leader());
            }
            self.check_in_force(&command)?;
            let proposal = Proposal::new(command, reply)?;
            membership
                .proposals
                .send(proposal)
                .await
                .map_err(|_| Error::Unknown("this agent is shutting down".into()))?;
            answered
                .await
                .unwrap_or_else(|_| Err(Error::Unknown("this agent is shutting down".into())))
        };
        tokio::time::timeout(CALL_DEADLINE, wait)
            .await
            .unwrap_or_else(|_| Err(no_answer()))
    }

    /// Nothing of a version is proposed before that is in force.
    fn check_in_force(&self, command: &Command) -> Result<(), Error> {
        let ledger = self.ledger.read().unwrap_or_else(PoisonError::into_inner);
        let (needs, in_force) = (command.version(), ledger.version());
        if needs > in_force {
            return Err(Error::TooEarly { needs, in_force });
        }
        Ok(())
    }

    /// At the leader, wherever it is.
    pub async fn propose(&self, command: Command) -> Result<Outcome, Error> {
        let membership = self.membership()?;
        if membership.leads() {
            return self.propose_here(command).await;
        }
        // The leader would say the same, but only in words.
        self.check_in_force(&command)?;
        let Some(leader) = self.other_leader(&membership.own) else {
            return Err(Error::NotLeader { leader: None });
        };
        let body = codec::encode(&command).map_err(|e| Error::Unfit(e.to_string()))?;
        propose::check_size(body.len())?;
        let request = ProposeRequest {
            envelope: Some(envelope(&membership.own, leader.id)),
            command: body,
        };
        let mut client = self
            .peers
            .client(&leader.address, Lane::Bulk)
            .map_err(|e| Error::Unknown(e.to_string()))?;
        let answer = tokio::time::timeout(CALL_DEADLINE, client.propose(request))
            .await
            .map_err(|_| no_answer())?
            .map_err(|status| failed(&leader, &status))?;
        match answer.into_inner().result {
            Some(propose_reply::Result::Outcome(body)) => {
                codec::decode(&body).map_err(|e| Error::Unknown(e.to_string()))
            }
            Some(propose_reply::Result::NotLeader(leader)) => Err(not_leader(&leader)),
            Some(propose_reply::Result::Unknown(why)) => Err(Error::Unknown(why)),
            None => Err(Error::Unknown("the leader's answer is empty".into())),
        }
    }

    /// The ledger index that holds all that was committed before the call; only
    /// if this agent leads.
    pub async fn read_index_here(&self) -> Result<u64, Error> {
        let membership = self.membership()?;
        let read = tokio::time::timeout(CALL_DEADLINE, membership.raft.ensure_linearizable())
            .await
            .map_err(|_| no_answer())?;
        match read {
            // All up to the read's entry is applied here by now.
            Ok(_) => Ok(*self.applied.borrow()),
            Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(_))) => {
                Err(self.not_leader())
            }
            Err(e) => Err(Error::Unknown(e.to_string())),
        }
    }

    /// Returns when this agent has applied all that was committed before the call.
    pub async fn barrier(&self) -> Result<u64, Error> {
        let membership = self.membership()?;
        if membership.leads() {
            return self.read_index_here().await;
        }
        let Some(leader) = self.other_leader(&membership.own) else {
            return Err(Error::NotLeader { leader: None });
        };
        let request = ReadIndexRequest {
            envelope: Some(envelope(&membership.own, leader.id)),
        };
        let mut client = self
            .peers
            .client(&leader.address, Lane::Bulk)
            .map_err(|e| Error::Unknown(e.to_string()))?;
        let begin = Instant::now();
        let answer = tokio::time::timeout(CALL_DEADLINE, client.read_index(request))
            .await
            .map_err(|_| no_answer())?
            .map_err(|status| failed(&leader, &status))?;
        let index = match answer.into_inner().result {
            Some(read_index_reply::Result::Index(index)) => index,
            Some(read_index_reply::Result::NotLeader(leader)) => return Err(not_leader(&leader)),
            Some(read_index_reply::Result::Unknown(why)) => return Err(Error::Unknown(why)),
            None => return Err(Error::Unknown("the leader's answer is empty".into())),
        };
        let mut applied = self.applied.clone();
        let left = CALL_DEADLINE.saturating_sub(begin.elapsed());
        match tokio::time::timeout(left, applied.wait_for(|applied| *applied >= index)).await {
            Ok(Ok(applied)) => Ok(*applied),
            _ => Err(Error::Unknown(format!(
                "entry {index} has not arrived here yet"
            ))),
        }
    }

    /// See [`hand_over`].
    pub async fn hand_over(&self) -> Result<Option<NodeId>, Error> {
        let membership = self.membership()?;
        hand_over::hand_over(self, membership)
            .await
            .map_err(Error::LeadKept)
    }

    /// See [`hand_over::transfer`].
    pub async fn transfer(&self, to: Option<NodeId>) -> Result<NodeId, Error> {
        let membership = self.membership()?;
        if !membership.leads() {
            return Err(self.not_leader());
        }
        hand_over::transfer(self, membership, to.map(|to| to.0))
            .await
            .map_err(Error::LeadKept)
    }

    /// How each member's copy of the log stands.
    pub fn peers(&self) -> Vec<Holder> {
        let Some(membership) = self.member.get() else {
            return Vec::new();
        };
        peers::of(&membership.raft.metrics().borrow())
    }

    /// See [`hand_over::stand_again`].
    pub fn stand_again(&self) {
        hand_over::stand_again(self);
    }

    /// Writes a snapshot of all that is applied by now, and says up to where it goes.
    pub async fn snapshot(&self) -> Result<Option<LogId>, Error> {
        let raft = &self.membership()?.raft;
        let Some(applied) = raft.metrics().borrow().last_applied else {
            return Ok(None);
        };
        raft.trigger().snapshot().await.map_err(|e| unsaved(&e))?;
        raft.wait(Some(CALL_DEADLINE))
            .metrics(|m| m.snapshot >= Some(applied), "a snapshot is written")
            .await
            .map_err(|e| unsaved(&e))?;
        Ok(Some(applied))
    }

    /// Writes a snapshot and purges what it holds.
    pub async fn compact(&self) -> Result<(), Error> {
        let Some(applied) = self.snapshot().await? else {
            return Ok(());
        };
        let raft = &self.membership()?.raft;
        raft.trigger()
            .purge_log(applied.index)
            .await
            .map_err(|e| unsaved(&e))?;
        raft.wait(Some(CALL_DEADLINE))
            .metrics(|m| m.purged >= Some(applied), "entries are purged")
            .await
            .map_err(|e| unsaved(&e))?;
        Ok(())
    }

    /// Whether an agent answers under this id where it is known to be.
    pub async fn answers(&self, id: NodeId) -> bool {
        let (Some(membership), Some(address)) = (self.member.get(), self.address(id)) else {
            return false;
        };
        if id.0 == membership.own.id {
            return true;
        }
        identify(self, &address)
            .await
            .is_ok_and(|answer| answer.cluster_id == membership.own.cluster_id && answer.id == id.0)
    }

    /// Where a member listens for others.
    pub fn address(&self, NodeId(id): NodeId) -> Option<String> {
        let ledger = self.ledger.read().unwrap_or_else(PoisonError::into_inner);
        let admitted = ledger.members.get(&NodeId(id))?;
        Some(self.peers.book.find(id, &admitted.member.peer_address))
    }

    fn other_leader(&self, own: &Identity) -> Option<Leader> {
        self.leader().filter(|leader| leader.id != own.id)
    }
}

fn unsaved(why: &dyn std::fmt::Display) -> Error {
    Error::Unknown(format!("no snapshot: {why}"))
}

fn no_answer() -> Error {
    Error::Unknown(format!("no answer within {} s", CALL_DEADLINE.as_secs()))
}

fn not_leader(leader: &Leader) -> Error {
    Error::NotLeader {
        leader: (leader.id != 0).then_some(NodeId(leader.id)),
    }
}

/// A call that never reached the leader has done nothing; any other may have.
fn failed(leader: &Leader, status: &Status) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(status);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return not_leader(leader);
        }
        cause = error.source();
    }
    Error::Unknown(format!(
        "agent {} at {}: {}",
        leader.id,
        leader.address,
        status.message()
    ))
}
