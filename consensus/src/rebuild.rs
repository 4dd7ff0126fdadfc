//! Makes a data directory from which a cluster goes on that lost most of its voters,
//! or that is to be what a saved snapshot holds. The agent mustn't run meanwhile.
//!
//! Comes in: what one agent has on its disk, or a sealed snapshot. Goes out: a log of a
//! later generation in which this agent votes alone. The former log lies aside. Never
//! asks whether a majority is there: whoever calls it does, with [`ask`].

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use openraft::storage::RaftLogStorage as _;
use openraft::{EntryPayload, Membership, RaftLogReader as _, Vote};
use starling_engine::ledger::version::HIGHEST;
use starling_engine::ledger::{Command, Entry, Ledger, Member};
use starling_engine::unit::NodeId;
use starling_proto::raft::{IdentifyReply, IdentifyRequest, LogPlace};

use crate::net::client::{Lane, Peers};
use crate::net::identity::shorten;
use crate::peers::Holder;
use crate::steward;
use crate::store::keys::{self, Admission, Identity};
use crate::store::open::{self, Opened};
use crate::store::snapshots::Image;
use crate::store::{LogStore, marker};
use crate::types::{LogId, Peer, StoredMembership};
use crate::version::RELEASE;
use crate::{Credentials, Error, Past, Timing, past};

/// Who doesn't answer by then counts as gone.
const CALL_DEADLINE: Duration = Duration::from_secs(3);
/// The new log is made here, and takes the former one's place once it is whole.
const DRAFT: &str = "rebuilt";

/// What one agent's disk knows of its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub cluster: String,
    pub cluster_id: String,
    pub generation: u64,
    pub id: u64,
    /// Term and index of its log's last entry.
    pub last: Option<(u64, u64)>,
    /// Who has a copy of the log.
    pub holders: Vec<Holder>,
}

/// What an agent says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    pub name: String,
    /// 0 while it belongs to no cluster.
    pub id: u64,
    pub cluster_id: String,
    pub generation: u64,
    /// A leader that a majority answers stands behind it.
    pub led: bool,
    /// Term and index of its log's last entry.
    pub last: Option<(u64, u64)>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub generation: u64,
    /// Commands whose outcome it holds.
    pub index: u64,
}

/// Looks into a data directory whose agent doesn't run. A rebuilding that was broken off
/// after the former log was moved aside is ended first: there is no other log to look at.
pub async fn look(data_dir: &Path, cluster: &str) -> Result<Known, Error> {
    if drafted(data_dir).is_some() {
        exchange(data_dir).await?;
    }
    let opened = opened(data_dir, cluster).await?;
    let own = identity(&opened)?;
    let past = replay(&opened).await.map_err(|e| unusable(data_dir, e))?;
    let membership = past.membership.membership();
    let holder = |(id, peer): (&u64, &Peer)| Holder {
        id: NodeId(*id),
        name: peer.name.clone(),
        address: peer.address.clone(),
        leads: false,
        votes: membership.voter_ids().any(|voter| voter == *id),
        index: None,
    };
    Ok(Known {
        cluster: own.cluster,
        cluster_id: own.cluster_id,
        generation: own.generation,
        id: own.id,
        last: past.last.map(|last| (last.leader_id.term, last.index)),
        holders: membership.nodes().map(holder).collect(),
    })
}

/// What the agent at `address` says; `None` where none answers.
pub async fn ask(address: &str, credentials: &Credentials) -> Option<Said> {
    let peers = Peers::new(credentials.connector(), Timing::default());
    let mut client = peers.client(address, Lane::Bulk).ok()?;
    let asked = client.identify(IdentifyRequest::default());
    let answer = tokio::time::timeout(CALL_DEADLINE, asked).await;
    let answer = answer.ok()?.ok()?.into_inner();
    let IdentifyReply {
        name,
        id,
        cluster_id,
        generation,
        led,
        last,
        ..
    } = answer;
    Some(Said {
        name: shorten(&name),
        id,
        cluster_id,
        generation,
        led,
        last: last.map(|LogPlace { term, index, .. }| (term, index)),
    })
}

/// Goes on from the log that this agent has, as `generation`: every entry in it counts,
/// for any may have been acknowledged. One that was broken off begins anew, or is ended where
/// the former log was moved aside already.
pub async fn recover(data_dir: &Path, cluster: &str, generation: u64) -> Result<Made, Error> {
    let failed = |e| unusable(data_dir, e);
    if drafted(data_dir) == Some(generation) {
        exchange(data_dir).await?;
        let past = replay(&opened(data_dir, cluster).await?).await;
        let past = past.map_err(failed)?;
        return Ok(Made {
            generation,
            index: past.ledger.index,
        });
    }
    let opened = opened(data_dir, cluster).await?;
    let own = identity(&opened)?;
    let past = replay(&opened).await.map_err(failed)?;
    if own.generation == generation {
        let index = past.ledger.index;
        return Ok(Made { generation, index });
    }
    if own.generation > generation {
        return Err(Error::NotRebuilt(format!(
            "this agent's log is of generation {} already",
            own.generation
        )));
    }
    let vote = opened.state.vote.unwrap_or_default();
    let me = past.membership.membership().get_node(&own.id).cloned();
    let Some(me) = me else {
        return Err(Error::NotRebuilt(format!(
            "agent {} has no part in the log by what it holds itself; recover from another agent",
            own.id
        )));
    };
    let draft = Draft {
        identity: Identity {
            generation,
            founder: false,
            ..own
        },
        admission: opened.admission.clone(),
        ledger: past.ledger,
        peer: me,
        term: vote.leader_id().get_term(),
        last: past.last,
    };
    drop(opened);
    make(data_dir, draft).await
}

/// Goes on from a saved snapshot, on a machine without a log. It is a cluster of its own
/// from then on: agents with logs of the former one never mix with it.
pub async fn restore(
    data_dir: &Path,
    member: &Member,
    cluster: &str,
    sealed: &[u8],
) -> Result<Made, Error> {
    if past(data_dir)? != Past::Nothing {
        return Err(Error::Config {
            field: "dataDir",
            why: format!(
                "{} holds a log already, or one that was moved aside: restore on a machine whose \
                 data directory is empty, or move it away first",
                data_dir.display()
            ),
        });
    }
    let image = Image::decode(sealed).and_then(|image| {
        image.check(HIGHEST)?;
        Ok(image)
    });
    let image = image.map_err(|e| Error::NotRebuilt(e.to_string()))?;
    let (mut ledger, last) = (image.ledger, image.applied);
    if ledger.cluster != cluster {
        return Err(Error::NotRebuilt(format!(
            "it is of cluster {}, and this agent is configured for {cluster}",
            shorten(&ledger.cluster)
        )));
    }
    let generation = ledger.generation.saturating_add(1);
    let nonce = format!("{:032x}", rand::random::<u128>());
    let entry = Entry {
        at: ledger.time,
        command: Command::Admit {
            nonce: nonce.clone(),
            member: member.clone(),
        },
    };
    let outcome = ledger.apply(ledger.index + 1, &entry);
    let Some(id) = outcome.admitted else {
        let why = outcome.refused.first().map(ToString::to_string);
        return Err(Error::NotRebuilt(why.unwrap_or_default()));
    };
    let draft = Draft {
        identity: Identity {
            cluster: cluster.to_owned(),
            cluster_id: format!("{:032x}", rand::random::<u128>()),
            generation,
            id: id.0,
            founder: false,
        },
        admission: Some(Admission {
            cluster: cluster.to_owned(),
            nonce,
            after: 0,
        }),
        ledger,
        peer: steward::peer(member),
        term: 0,
        last,
    };
    make(data_dir, draft).await
}

/// What a new log is made of.
struct Draft {
    identity: Identity,
    admission: Option<Admission>,
    /// As it was.
    ledger: Ledger,
    /// This agent's place in the log.
    peer: Peer,
    /// The highest that this agent knows of.
    term: u64,
    last: Option<LogId>,
}

/// Writes a log that begins with a snapshot of the ledger, and then puts it in place.
async fn make(data_dir: &Path, draft: Draft) -> Result<Made, Error> {
    let failed = |e| unusable(data_dir, e);
    let Draft {
        identity,
        admission,
        mut ledger,
        peer,
        term,
        last,
    } = draft;
    ledger.rebuild(identity.generation, RELEASE);
    let made = Made {
        generation: ledger.generation,
        index: ledger.index,
    };
    let aside = data_dir.join(DRAFT);
    match std::fs::remove_dir_all(&aside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let opened = opened(&aside, &identity.cluster).await?;
    let last = last.unwrap_or_default();
    let term = term.max(last.leader_id.term) + 1;
    let nodes = BTreeMap::from([(identity.id, peer)]);
    let membership = Membership::new(vec![[identity.id].into()], nodes);
    let image = Image {
        applied: Some(last),
        membership: StoredMembership::new(Some(last), membership),
        ledger,
    };
    let sealed = tokio::task::spawn_blocking(move || image.encode()).await;
    let sealed = sealed.map_err(io::Error::other).flatten().map_err(failed)?;
    let stored = opened.snapshots.put(&opened.disk, Some(last), sealed).await;
    stored.map_err(failed)?;
    if let Some(admission) = &admission {
        let stored = opened.disk.put(keys::ADMISSION, admission).await;
        stored.map_err(failed)?;
    }
    let mut log = LogStore::new(opened.disk.clone(), opened.state.clone());
    let stored = async {
        log.purge(last).await?;
        log.save_vote(&Vote::new(term, identity.id)).await
    };
    stored.await.map_err(|e| Error::NotRebuilt(e.to_string()))?;
    // Last: with it the draft is whole.
    opened.keep(&identity).await.map_err(failed)?;
    drop((log, opened));
    exchange(data_dir).await?;
    Ok(made)
}

/// The generation of a whole draft that only waits to be put in the place of the former
/// log, which was moved aside already. Beside a log that is still there a draft may be of
/// long ago, and that log may hold more: such a draft counts for nothing.
fn drafted(data_dir: &Path) -> Option<u64> {
    if marker::is_there(&data_dir.join("raft")) {
        return None;
    }
    let drafted = marker::read(&data_dir.join(DRAFT).join("raft"));
    let drafted = drafted.ok().flatten();
    drafted.map(|drafted| drafted.generation)
}

/// Puts the draft in the former log's place, which is moved aside.
async fn exchange(data_dir: &Path) -> Result<(), Error> {
    let dir = data_dir.to_owned();
    let work = move || -> Result<(), Error> {
        // Threads let go of a directory a moment after it was dropped.
        let _former = open::lock(&dir)?;
        let aside = dir.join(DRAFT);
        drop(open::lock(&aside)?);
        let failed = |e| unusable(&dir, e);
        let former = dir.join("raft");
        if former.exists() {
            let moved = open::move_aside(&dir, &former).map_err(failed)?;
            tracing::info!(moved_to = %moved.display(), "the former log was moved aside");
        }
        std::fs::rename(aside.join("raft"), &former).map_err(failed)?;
        let synced = std::fs::File::open(&dir).and_then(|dir| dir.sync_all());
        synced.map_err(failed)?;
        std::fs::remove_dir_all(&aside).map_err(failed)
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Error::NotRebuilt(format!("putting the new log in place broke off: {e}")))?
}

/// Everything that a log holds.
#[derive(Default)]
struct Whole {
    ledger: Ledger,
    membership: StoredMembership,
    last: Option<LogId>,
}

async fn replay(opened: &Opened) -> io::Result<Whole> {
    let mut whole = match opened.snapshots.current().await? {
        Some(sealed) => {
            let (image, _) = Image::decode_aside(sealed).await?;
            Whole {
                ledger: image.ledger,
                membership: image.membership,
                last: image.applied,
            }
        }
        None => Whole::default(),
    };
    let mut log = LogStore::new(opened.disk.clone(), opened.state.clone());
    let from = whole.last.map_or(0, |last| last.index + 1);
    let entries = log.try_get_log_entries(from..).await;
    for entry in entries.map_err(io::Error::other)? {
        whole.last = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(it) => {
                whole.membership = StoredMembership::new(Some(entry.log_id), it);
            }
            EntryPayload::Normal(batch) => {
                for command in &batch.entries {
                    let index = whole.ledger.index + 1;
                    whole.ledger.apply(index, command);
                }
            }
        }
    }
    Ok(whole)
}

async fn opened(data_dir: &Path, cluster: &str) -> Result<Opened, Error> {
    let (data_dir, cluster): (PathBuf, String) = (data_dir.to_owned(), cluster.to_owned());
    tokio::task::spawn_blocking(move || open::open(&data_dir, &cluster, HIGHEST))
        .await
        .map_err(|e| Error::NotRebuilt(format!("opening broke off: {e}")))?
}

fn identity(opened: &Opened) -> Result<Identity, Error> {
    opened.identity.clone().ok_or_else(|| {
        Error::NotRebuilt(
            "this data directory holds no log of a cluster that could be gone on with; recover \
             from another agent"
                .into(),
        )
    })
}

fn unusable(data_dir: &Path, source: io::Error) -> Error {
    Error::DataDir {
        path: data_dir.to_owned(),
        source,
    }
}
