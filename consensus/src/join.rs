//! How an agent without an id gets one.
//!
//! It asks the seeds; where one belongs to a cluster of the right name, it asks
//! that cluster's leader to let it in. Only where no seed does, and only if it
//! is told to, it founds a cluster: a seed that is silent may belong to one, so
//! it waits for its answer. It never founds one beside a log that was moved aside.

use std::time::{Duration, Instant};

use starling_proto::raft::{self as wire, IdentifyReply, IdentifyRequest, JoinRequest};

use crate::core::Core;
use crate::net::client::Lane;
use crate::net::identity::shorten;
use crate::steward::{FIRST_GENERATION, FOUNDER_ID};
use crate::store::Disk;
use crate::store::keys::{self, Admission, Identity};
use crate::store::open::Opened;
use crate::{Error, Founding};

const CALL_DEADLINE: Duration = Duration::from_secs(2);
/// An admission waits for a commit.
const JOIN_DEADLINE: Duration = Duration::from_secs(6);
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// It is said once in so many rounds what is being waited for.
const ROUNDS_PER_WORD: u32 = 10;

/// Returns when this agent belongs to a cluster, and that is on disk.
pub async fn identity(core: &Core, opened: &Opened) -> Result<Identity, Error> {
    if let Some(identity) = &opened.identity {
        return check_id(core, identity);
    }
    let config = &core.config;
    let founds = core.may_found;
    let mut admission = opened.admission.clone();
    if let Some(carried) = &opened.carried {
        let kept = opened.disk.put(keys::ADMISSION, carried).await;
        kept.map_err(|e| Error::Unknown(format!("this agent's nonce can't be written: {e}")))?;
        admission = Some(carried.clone());
    }
    let mut seeds = config.seeds.clone();
    let mut pause = PAUSE_FIRST;
    let mut patience = Patience::new(config.founding);
    let mut round = 0_u32;
    loop {
        let found = ask_seeds(core, &opened.disk, &mut admission).await;
        let waiting = match found {
            Found::Identity(identity) => return keep(opened, identity).await,
            Found::Refused(why) => why,
            Found::Nobody(nobody) => match patience.wait(&nobody) {
                None if founds => return keep(opened, found_anew(core, &nobody)).await,
                Some(why) if founds => why,
                _ => nobody
                    .foreign
                    .unwrap_or_else(|| "no seed belongs to the cluster yet".to_owned()),
            },
        };
        if round.is_multiple_of(ROUNDS_PER_WORD) {
            tracing::info!(
                cluster = %config.cluster, seeds = config.seeds.now().join(", "),
                "waiting to join: {waiting}{}", beside(config.bootstrap, opened)
            );
        }
        round = round.wrapping_add(1);
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
            () = seeds.changed() => pause = PAUSE_FIRST,
        }
    }
}

/// What is on disk must be of the cluster that is meant.
fn check_id(core: &Core, identity: &Identity) -> Result<Identity, Error> {
    match &core.config.cluster_id {
        Some(wanted) if *wanted != identity.cluster_id => Err(Error::OtherCluster {
            found: format!("{} with id {}", identity.cluster, identity.cluster_id),
            wanted: format!("{} with id {wanted}", core.config.cluster),
        }),
        _ => Ok(identity.clone()),
    }
}

fn found_anew(core: &Core, nobody: &Nobody) -> Identity {
    let cluster_id = match &core.config.cluster_id {
        Some(id) => id.clone(),
        None => format!("{:032x}", rand::random::<u128>()),
    };
    if !nobody.silent.is_empty() {
        tracing::warn!(
            seeds = nobody.silent.join(", "),
            "these seeds have not answered; whatever cluster they belong to is another one from now on"
        );
    }
    tracing::info!(cluster = %core.config.cluster, id = cluster_id, "founding a new cluster");
    Identity {
        cluster: core.config.cluster.clone(),
        cluster_id,
        generation: FIRST_GENERATION,
        id: FOUNDER_ID,
        founder: true,
    }
}

/// How long a founder goes on looking for a cluster.
struct Patience {
    limits: Founding,
    begin: Instant,
    /// Since when each seed has answered that it belongs to none.
    all_new: Option<Instant>,
}

impl Patience {
    fn new(limits: Founding) -> Patience {
        Patience {
            limits,
            begin: Instant::now(),
            all_new: None,
        }
    }

    /// Why not to found yet.
    fn wait(&mut self, nobody: &Nobody) -> Option<String> {
        if let Some(rival) = &nobody.rival {
            self.all_new = None;
            return Some(format!("{rival} may found the cluster too, and goes first"));
        }
        let (since, limit, words) = if nobody.silent.is_empty() {
            let since = *self.all_new.get_or_insert_with(Instant::now);
            let limit = match nobody.asked {
                0 => Duration::ZERO,
                _ => self.limits.all_new,
            };
            (since, limit, "no seed belongs to a cluster".to_owned())
        } else {
            self.all_new = None;
            let words = format!(
                "{} may belong to the cluster and must answer first (remove from the seeds what \
                 isn't there yet)",
                nobody.silent.join(", ")
            );
            (self.begin, self.limits.silent, words)
        };
        let left = limit.saturating_sub(since.elapsed());
        (!left.is_zero()).then(|| format!("founding a cluster in {} s: {words}", left.as_secs()))
    }
}

fn beside(bootstrap: bool, opened: &Opened) -> String {
    match &opened.moved_aside {
        Some(path) if bootstrap => format!(
            "; no cluster is founded beside the damaged log in {}: name the other agents in \
             `seeds`, or, where there are none, remove it to found a new one",
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
    Nobody(Nobody),
}

/// No seed is of the cluster, as far as they answer.
#[derive(Default)]
struct Nobody {
    /// How many seeds there are beside this agent itself.
    asked: usize,
    silent: Vec<String>,
    /// One may be of another cluster.
    foreign: Option<String>,
    /// An agent that founds a cluster too, and has the better right.
    rival: Option<String>,
}

async fn ask_seeds(core: &Core, disk: &Disk, admission: &mut Option<Admission>) -> Found {
    let config = &core.config;
    let mut refused = None;
    let mut nobody = Nobody::default();
    for seed in config.seeds.now() {
        if seed == config.member.peer_address {
            continue;
        }
        nobody.asked += 1;
        let answer = match identify(core, &seed).await {
            Ok(answer) => answer,
            Err(why) => {
                tracing::debug!(seed, why, "a seed doesn't answer");
                nobody.silent.push(seed);
                continue;
            }
        };
        if answer.cluster != config.cluster {
            nobody.foreign = Some(format!(
                "seed {seed} belongs to cluster {}: check the seeds and the cluster's name",
                shorten(&answer.cluster)
            ));
            continue;
        }
        if answer.id == 0 {
            // Of several founders the first by name founds, the others join it.
            if answer.founds && answer.name < config.member.name {
                nobody.rival = Some(format!("agent {} at {seed}", shorten(&answer.name)));
            }
            continue;
        }
        let leader = answer.leader.map_or_else(|| seed.clone(), |l| l.address);
        match join(core, disk, admission, &leader).await {
            Ok(identity) => return Found::Identity(identity),
            Err(why) => refused = Some(format!("{leader}: {why}")),
        }
    }
    refused.map_or(Found::Nobody(nobody), Found::Refused)
}

pub async fn identify(core: &Core, address: &str) -> Result<IdentifyReply, String> {
    let mut client = core
        .peers
        .client(address, Lane::Bulk)
        .map_err(|e| e.to_string())?;
    let request = core.own.get().map_or_else(IdentifyRequest::default, |own| {
        let members = u32::try_from(core.members()).unwrap_or(u32::MAX);
        IdentifyRequest {
            cluster: own.cluster.clone(),
            cluster_id: own.cluster_id.clone(),
            name: core.config.member.name.clone(),
            members,
            generation: own.generation,
        }
    });
    let answer = tokio::time::timeout(CALL_DEADLINE, client.identify(request)).await;
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
        cluster_id: core.config.cluster_id.clone().unwrap_or_default(),
        ledger_version: core.config.ledger_version,
    };
    let answer = tokio::time::timeout(JOIN_DEADLINE, client.join(request)).await;
    match answer {
        Ok(Ok(answer)) => {
            let answer = answer.into_inner();
            if answer.id == 0 {
                return Err("it doesn't lead the cluster".into());
            }
            let after = admission.as_ref().map_or(0, |admission| admission.after);
            if answer.generation <= after {
                return Err(format!(
                    "it is of generation {}, and this agent has left {after} for a later one",
                    answer.generation
                ));
            }
            Ok(Identity {
                cluster: core.config.cluster.clone(),
                cluster_id: answer.cluster_id,
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
        after: 0,
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
        zone: member.zone,
    }
}
