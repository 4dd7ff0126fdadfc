//! Puts the commands that wait at the leader into one log entry.
//!
//! While one batch is being replicated, the next one gathers: that is what lets
//! many proposers share a sync and a round of replication.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use openraft::error::{ClientWriteError, RaftError};
use prost::Message as _;
use starling_engine::ledger::version::Raised;
use starling_engine::ledger::{Command, Entry, Ledger, Outcome};
use starling_engine::unit::Ms;
use tokio::sync::{mpsc, oneshot};

use crate::Error;
use crate::clock::Clock;
use crate::core::CALL_DEADLINE;
use crate::form::Form as _;
use crate::types::{Batch, Raft};

/// A larger command is refused: an append message must hold it.
pub const COMMAND_BYTES_MAX: usize = 1 << 20;
/// Commands that wait; whoever adds one more waits before.
pub const PROPOSALS_MAX: usize = 1_024;
const BATCH_COMMANDS_MAX: usize = 256;
/// With one more command a batch is below 2 MiB, half a message.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Longer than callers wait: then none of a batch's callers is left.
const BATCH_DEADLINE: Duration = CALL_DEADLINE;

pub struct Proposal {
    command: Command,
    bytes: usize,
    reply: oneshot::Sender<Result<Outcome, Error>>,
}

impl Proposal {
    pub fn new(
        command: Command,
        reply: oneshot::Sender<Result<Outcome, Error>>,
    ) -> Result<Proposal, Error> {
        let message = command.out().map_err(|e| Error::Unfit(e.to_string()))?;
        let bytes = message.encoded_len();
        check_size(bytes)?;
        Ok(Proposal {
            command,
            bytes,
            reply,
        })
    }
}

pub fn check_size(bytes: usize) -> Result<(), Error> {
    if bytes > COMMAND_BYTES_MAX {
        return Err(Error::TooLarge {
            bytes,
            bytes_max: COMMAND_BYTES_MAX,
        });
    }
    Ok(())
}

/// Runs until the queue's last sender has gone.
pub async fn run(
    raft: Raft,
    clock: Arc<Clock>,
    ledger: Arc<RwLock<Ledger>>,
    mut queue: mpsc::Receiver<Proposal>,
) {
    while let Some(first) = queue.recv().await {
        let mut bytes = first.bytes;
        let mut proposals = vec![first];
        while proposals.len() < BATCH_COMMANDS_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(next) = queue.try_recv() else { break };
            bytes += next.bytes;
            proposals.push(next);
        }
        // Whoever has stopped waiting was told "unknown", and this is the
        // better of the two.
        proposals.retain(|proposal| !proposal.reply.is_closed());
        if !proposals.is_empty() {
            let raised = {
                let ledger = ledger.read().unwrap_or_else(PoisonError::into_inner);
                ledger.raised.clone()
            };
            commit(&raft, clock.now(), raised, proposals).await;
        }
    }
}

/// Whoever can't take what comes after the ledger's version was raised can't take the
/// command that raises it either.
fn needs(raised: Option<Raised>, entries: &[Entry]) -> Option<Raised> {
    let asked_for = entries.iter().filter_map(|entry| match &entry.command {
        Command::Raise(raised) => Some(raised.clone()),
        _ => None,
    });
    raised
        .into_iter()
        .chain(asked_for)
        .max_by_key(|it| it.version)
}

async fn commit(raft: &Raft, at: Ms, raised: Option<Raised>, proposals: Vec<Proposal>) {
    let (entries, replies): (Vec<_>, Vec<_>) = proposals
        .into_iter()
        .map(|Proposal { command, reply, .. }| (Entry { at, command }, reply))
        .unzip();
    let needs = needs(raised, &entries);
    let batch = Batch { entries, needs };
    let written = tokio::time::timeout(BATCH_DEADLINE, raft.client_write(batch)).await;
    match written {
        Ok(Ok(written)) => {
            for (reply, outcome) in replies.into_iter().zip(written.data) {
                // The caller may have stopped waiting; the command stands.
                let _ = reply.send(Ok(outcome));
            }
        }
        Ok(Err(e)) => refuse(replies, &why(&e)),
        Err(_) => refuse(replies, "no quorum has confirmed it in time"),
    }
}

fn refuse(replies: Vec<oneshot::Sender<Result<Outcome, Error>>>, why: &str) {
    for reply in replies {
        let _ = reply.send(Err(Error::Unknown(why.to_owned())));
    }
}

/// "Not the leader" comes also for an entry that was appended and then cut off
/// by another leader, and such an entry may still be committed from a third
/// agent's log. So it is unknown here, though often it was never appended.
fn why(error: &RaftError<u64, ClientWriteError<u64, crate::types::Peer>>) -> String {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => {
            "the leader has changed meanwhile".into()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use starling_engine::decide::reason::{Failure, Input, Outcome as Said, Pods, Report};
    use starling_engine::history::{Change, Health};
    use starling_engine::ledger::Item;
    use starling_engine::node::PASS_BYTES_MAX;
    use starling_engine::policy::Goal;
    use starling_engine::unit::NodeId;
    use starling_engine::weight;

    use super::*;

    fn item(triggers: usize) -> Item {
        let names = (0..triggers).map(|n| format!("a-trigger-of-usual-length-{n}"));
        let input = |trigger| Input {
            trigger,
            source: "prometheus".into(),
            goal: Goal::AverageValue { milli: i64::MAX },
            value: Some(i64::MIN),
            age_ms: Some(u64::MAX),
            pods: Some(Pods::default()),
            band: Some((1, u32::MAX)),
            outcome: Said::Failed {
                reason: Failure::Source("x".repeat(200)),
                failures: 3,
                kept: None,
            },
        };
        let answered = |trigger| Change::Answered {
            trigger,
            health: Health::default(),
        };
        Item {
            policy: "shop/web".into(),
            revision: u64::MAX,
            from: 1,
            to: 2,
            shares: Some((1..100).map(|n| (NodeId(n), 1)).collect()),
            seen: None,
            changes: names.clone().map(answered).collect(),
            report: Some(Report {
                inputs: names.map(input).collect(),
                ..Report::default()
            }),
        }
    }

    /// The engine cuts a pass by its own measure, so that it need not know this format.
    #[test]
    fn a_pass_as_heavy_as_may_be_is_small_enough_to_be_proposed() {
        let mut items = Vec::new();
        let mut bytes = 0;
        for triggers in (1..=100).cycle() {
            let item = item(triggers);
            let weight = weight::bytes_max(&item);
            assert!(
                starling_proto::log::encode(&item).unwrap().len() <= weight,
                "{triggers}"
            );
            if bytes + weight > PASS_BYTES_MAX {
                break;
            }
            bytes += weight;
            items.push(item);
        }
        let by = NodeId(u64::MAX);
        let moves = Vec::new();
        let encoded = starling_proto::log::encode(&Command::Pass { by, items, moves }).unwrap();
        assert!(encoded.len() > PASS_BYTES_MAX / 3, "{}", encoded.len());
        assert!(check_size(encoded.len()).is_ok(), "{}", encoded.len());
    }
}
