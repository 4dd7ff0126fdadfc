//! How an agent without an id gets one.
//!
//! It asks the seeds; where one belongs to a cluster of the right name, it asks
//! that cluster's leader to let it in. Only where no seed does, and only if it
//! is told to, it founds a cluster. It never founds one beside a log that was
//! moved aside.

use std::time::Duration;

use starling_proto::raft::{self as wire, IdentifyReply, IdentifyRequest, JoinRequest};

use crate::Error;
use crate::core::Core;
use crate::net::client::Lane;
use crate::net::identity::shorten;
use crate::steward::{FIRST_GENERATION, FOUNDER_ID};
use crate::store::Disk;
use crate::store::keys::{self, Admission, Identity};
use crate::store::open::Opened;

const CALL_DEADLINE: Duration = Duration::from_secs(2);
/// An admission waits for a commit.
const JOIN_DEADLINE: Duration = Duration::from_secs(6);
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A seed that is only just starting gets this many chances to answer.
const ROUNDS_BEFORE_FOUNDING: u32 = 3;
/// It is said once in so many rounds what is being waited for.
const ROUNDS_PER_WORD: u32 = 10;

/// Returns when this agent belongs to a cluster, and that is on disk.
pub async fn identity(core: &Core, opened: &Opened) -> Result<Identity, Error> {
    if let Some(identity) = &opened.identity {
        return Ok(identity.clone());
    }
    let config = &core.config;
    let founds = config.bootstrap && opened.moved_aside.is_none();
    let mut admission = opened.admission.clone();
    let mut seeds = config.seeds.clone();
    let mut pause = PAUSE_FIRST;
    let mut round = 0_u32;
    loop {
        let found = ask_seeds(core, &opened.disk, &mut admission).await;
        round = round.saturating_add(1);
        let waiting = match found {
            Found::Identity(identity) => return keep(opened, identity).await,
            Found::Nobody(_) if founds && round >= ROUNDS_BEFORE_FOUNDING => {
                tracing::info!(cluster = %config.cluster, "founding a new cluster");
                let identity = Identity {
                    cluster: config.cluster.clone(),
                    generation: FIRST_GENERATION,
                    id: FOUNDER_ID,
                    founder: true,
                };
                return keep(opened, identity).await;
            }
            Found::Nobody(Some(why)) | Found::Refused(why) => why,
            Found::Nobody(None) => "no seed belongs to the cluster yet".to_owned(),
        };
        if round % ROUNDS_PER_WORD == 1 {
            tracing::info!(
                cluster = %config.cluster, seeds = config.seeds.now().join(", "),
                "waiting to join: {waiting}{}", beside(config.bootstrap, opened)
            );
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
            () = seeds.changed() => pause = PAUSE_FIRST,
        }
    }
}

fn beside(bootstrap: bool, opened: &Opened) -> String {
    match &opened.moved_aside {
        Some(path) if bootstrap => format!(
            "; no cluster is founded beside the damaged log in {}: remove that to found a new one",
            path.display()
        ),
        _ => String::new(),
    }
}

async fn keep(opened: &Opened, identity: Identity) -> Result<Identity, Error> {
    opened
        .keep(&identity)
        .await
        .map_err(|e| Error::Unknown(format!("this agent's id can't be written: {e}")))?;
    Ok(identity)
}

enum Found {
    Identity(Identity),
    /// There is a cluster, but it hasn't let this agent in.
    Refused(String),
    /// No seed is of this cluster; one may be of another.
    Nobody(Option<String>),
}

async fn ask_seeds(core: &Core, disk: &Disk, admission: &mut Option<Admission>) -> Found {
    let (mut refused, mut foreign) = (None, None);
    for seed in core.config.seeds.now() {
        let answer = match identify(core, &seed).await {
            Ok(answer) => answer,
            Err(why) => {
                tracing::debug!(seed, why, "a seed doesn't answer");
                continue;
            }
        };
        if answer.cluster != core.config.cluster {
            foreign = Some(format!(
                "seed {seed} belongs to cluster {}: check the seeds and the cluster's name",
                shorten(&answer.cluster)
            ));
            continue;
        }
        if answer.id == 0 {
            continue;
        }
        let leader = answer.leader.map_or_else(|| seed.clone(), |l| l.address);
        match join(core, disk, admission, &leader).await {
            Ok(identity) => return Found::Identity(identity),
            Err(why) => refused = Some(format!("{leader}: {why}")),
        }
    }
    refused.map_or(Found::Nobody(foreign), Found::Refused)
}

pub async fn identify(core: &Core, address: &str) -> Result<IdentifyReply, String> {
    let mut client = core
        .peers
        .client(address, Lane::Bulk)
        .map_err(|e| e.to_string())?;
    let answer = tokio::time::timeout(CALL_DEADLINE, client.identify(IdentifyRequest {})).await;
    match answer {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_) => Err("no answer in time".into()),
    }
}

async fn join(
    core: &Core,
    disk: &Disk,
    admission: &mut Option<Admission>,
    leader: &str,
) -> Result<Identity, String> {
    let nonce = nonce(&core.config.cluster, disk, admission).await?;
    let mut client = core
        .peers
        .client(leader, Lane::Bulk)
        .map_err(|e| e.to_string())?;
    let request = JoinRequest {
        cluster: core.config.cluster.clone(),
        nonce,
        member: Some(wire_member(core)),
    };
    let answer = tokio::time::timeout(JOIN_DEADLINE, client.join(request)).await;
    match answer {
        Ok(Ok(answer)) => {
            let answer = answer.into_inner();
            if answer.id == 0 {
                return Err("it doesn't lead the cluster".into());
            }
            Ok(Identity {
                cluster: core.config.cluster.clone(),
                generation: answer.generation,
                id: answer.id,
                founder: false,
            })
        }
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_) => Err("no answer in time".into()),
    }
}

/// Of the shape that [`nonce`] makes.
pub fn is_nonce(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// What this data directory asks with; on disk before it is used, so that
/// asking again after a crash gives the same id.
async fn nonce(
    cluster: &str,
    disk: &Disk,
    admission: &mut Option<Admission>,
) -> Result<String, String> {
    if let Some(admission) = admission {
        return Ok(admission.nonce.clone());
    }
    let new = Admission {
        cluster: cluster.to_owned(),
        nonce: format!("{:032x}", rand::random::<u128>()),
    };
    disk.put(keys::ADMISSION, &new)
        .await
        .map_err(|e| e.to_string())?;
    Ok(admission.insert(new).nonce.clone())
}

pub fn wire_member(core: &Core) -> wire::Member {
    let member = core.config.member.clone();
    wire::Member {
        name: member.name,
        peer_address: member.peer_address,
        gossip_address: member.gossip_address,
        api_address: member.api_address,
    }
}
