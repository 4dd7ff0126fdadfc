//! `ScalingPolicy` objects of all namespaces, and what else scales workloads.
//!
//! Comes in: the objects, each read by the path that files take; the ledger; what
//! the node decided. Goes out: commands to propose, what else scales workloads, and,
//! written by the leader alone, each object's status and events. Every voter watches
//! them, so that a new leader has them. Takes an API server that is away for no news
//! at all.

pub mod keeper;
mod objects;
mod rivals;

use std::collections::BTreeMap;
use std::sync::Arc;

use starling_engine::ledger::{Command, Ledger, Outcome};
use starling_engine::node::Node;
use starling_engine::policy::{Name, Target};
use starling_engine::unit::Ms;
use starling_kept::again;
use starling_policy::objects::{Object, Rivals};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::client::{Connection, Failure};
use crate::events::Teller;
use crate::status::Status;
use crate::status::desk::WRITES_MAX;
use crate::status::keda::About;
use crate::status::write::{write, write_adopted};
use keeper::{Keeper, World};
pub(crate) use objects::resource;

/// One object as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub object: Object,
    /// As it stands in the object; the default where nothing does, or nothing that
    /// could be read.
    pub status: Status,
    /// Of a `ScaledObject`.
    pub adopted: Option<Arc<About>>,
}

/// What kind of objects policies are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    Policies,
    ScaledObjects,
}

/// Which kinds are read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reads {
    pub policies: bool,
    /// `ScaledObject`s as they are, in KEDA's place.
    pub scaled_objects: bool,
}

impl Reads {
    fn origins(self) -> impl Iterator<Item = Origin> {
        let read = [
            (Origin::Policies, self.policies),
            (Origin::ScaledObjects, self.scaled_objects),
        ];
        read.into_iter()
            .filter_map(|(origin, reads)| reads.then_some(origin))
    }
}

/// What the API server says.
#[derive(Debug)]
pub enum News {
    /// Every object that there is of a kind.
    Listed(Origin, BTreeMap<Name, Seen>),
    /// One object came or changed.
    Put(Name, Box<Seen>),
    /// One object was deleted.
    Gone(Name),
    /// What else scales workloads, whenever that changes.
    Rivals(Rivals),
    /// A status was written; `None` where that failed.
    Written(Name, Option<Box<Status>>),
    /// Why a stream is broken, by what it is a stream of; `None` once it is well.
    Trouble(&'static str, Option<String>),
}

/// News that wait to be taken; the streams wait beyond that.
pub const NEWS_MAX: usize = 256;

/// News, and which beginning of the streams it is of.
#[derive(Debug)]
pub struct Dated {
    epoch: u64,
    news: News,
}

/// Where streams put their news. Refused only while the agent ends.
#[derive(Clone)]
struct Outbox {
    epoch: u64,
    sender: mpsc::Sender<Dated>,
}

impl Outbox {
    async fn send(&self, news: News) -> Result<(), mpsc::error::SendError<Dated>> {
        let epoch = self.epoch;
        self.sender.send(Dated { epoch, news }).await
    }
}

/// Without anything new, statuses are looked through this often.
const TURN_EVERY: std::time::Duration = std::time::Duration::from_secs(1);
/// Between two turns through all objects, for each of them: a turn costs the more the
/// more there are, and thousands must not keep the agent from everything else. With
/// 5,000 there is a turn each second.
const TURN_PAUSE: std::time::Duration = std::time::Duration::from_micros(200);
/// That events were left out is logged so often at most.
const REMIND_EVERY: std::time::Duration = std::time::Duration::from_mins(10);

/// The agent's end of it. The tasks end when it is dropped.
pub struct Policies {
    /// Which objects are read; what else scales workloads is watched either way, for
    /// policies in files.
    reads: Reads,
    keeper: Keeper,
    connection: Connection,
    teller: Teller,
    outbox: Outbox,
    /// `None` while nothing is watched.
    streams: Option<JoinSet<()>>,
    writes: JoinSet<()>,
    /// Something came since the last turn.
    stirred: bool,
    /// Writes that ended since statuses were last looked at.
    ended: usize,
    turned: Option<(Instant, u64)>,
    left_out: u64,
    reminded: Option<Instant>,
}

impl Policies {
    /// `node` is this agent's name; `reads`: which objects are policies. What is received
    /// goes to [`Policies::take`].
    pub fn new(
        connection: &Connection,
        node: &str,
        reads: Reads,
    ) -> (Policies, mpsc::Receiver<Dated>) {
        let (sender, receiver) = mpsc::channel(NEWS_MAX);
        let policies = Policies {
            reads,
            keeper: Keeper::new(reads.origins().count()),
            connection: connection.clone(),
            teller: Teller::start(connection, node),
            outbox: Outbox { epoch: 0, sender },
            streams: None,
            writes: JoinSet::new(),
            stirred: false,
            ended: 0,
            turned: None,
            left_out: 0,
            reminded: None,
        };
        (policies, receiver)
    }

    /// Watches from now on, or no longer: then nothing is known of any object, as
    /// at the beginning.
    pub fn watch(&mut self, watches: bool) {
        match (&self.streams, watches) {
            (None, true) => {
                let mut streams = JoinSet::new();
                let client = &self.connection.client;
                for origin in self.reads.origins() {
                    let (client, outbox) = (client.clone(), self.outbox.clone());
                    streams.spawn(again("the watch over policies", move || {
                        objects::watch(origin, client.clone(), outbox.clone())
                    }));
                }
                let (client, outbox) = (client.clone(), self.outbox.clone());
                let adopts = self.reads.scaled_objects;
                streams.spawn(again("the watch over what else scales", move || {
                    rivals::watch(client.clone(), outbox.clone(), adopts)
                }));
                self.streams = Some(streams);
            }
            (Some(_), false) => {
                self.streams = None;
                self.outbox.epoch += 1;
                self.keeper = Keeper::new(self.reads.origins().count());
            }
            _ => {}
        }
    }

    /// Takes news in; what else scales workloads, where that is the news.
    pub fn take(&mut self, dated: Dated) -> Option<BTreeMap<Target, String>> {
        if dated.epoch != self.outbox.epoch {
            return None;
        }
        let rivals = match &dated.news {
            News::Rivals(rivals) => Some(rivals.by_target.clone()),
            _ => None,
        };
        self.stirred = true;
        self.ended += usize::from(matches!(dated.news, News::Written(..)));
        self.keeper.take(dated.news);
        rivals
    }

    /// Whether so many writes have ended that a leader shouldn't wait for its next
    /// tick before it begins others: by ticks alone thousands of new policies would
    /// take minutes.
    pub fn is_due(&self) -> bool {
        self.ended >= WRITES_MAX / 2
    }

    /// Whether a leader has more to do for objects at its next tick, though nothing comes.
    pub fn goes_on(&self) -> bool {
        self.stirred || self.keeper.is_open()
    }

    /// What became of a proposal.
    pub fn answered(&mut self, command: &Command, outcome: &Outcome) {
        self.stirred = true;
        self.keeper.answered(command, outcome);
    }

    /// What is wrong, by what it is wrong with.
    pub fn problems(&self) -> BTreeMap<String, String> {
        self.keeper.problems()
    }

    /// This agent doesn't lead.
    pub fn follow(&mut self) {
        self.keeper.follow();
    }

    /// This agent leads and may act: what it is to propose now. Call it often; it
    /// returns at once where nothing can have changed. Writes and tells by itself.
    pub fn lead(&mut self, ledger: &Ledger, node: &Node, now: Ms) -> Vec<Command> {
        let instant = Instant::now();
        self.ended = 0;
        let whole = self.is_whole_due(ledger.index, instant);
        if whole {
            self.stirred = false;
            self.turned = Some((instant, ledger.index));
        } else if !self.keeper.is_open() {
            return Vec::new();
        }
        while self.writes.try_join_next().is_some() {}
        let world = World {
            ledger,
            node,
            now,
            instant: instant.into_std(),
        };
        let turn = self.keeper.lead(&world, whole);
        for happening in turn.happenings {
            if happening.warning {
                let policy = format!("{}/{}", happening.of.namespace, happening.of.name);
                warn!(%policy, reason = %happening.reason, "{}", happening.note);
            }
            self.teller.tell(happening);
        }
        for (name, status) in turn.statuses {
            self.write(name, status);
        }
        for command in &turn.proposals {
            log(command);
        }
        self.remind(instant);
        turn.proposals
    }

    /// Whether all objects are to be looked through: something may have changed, and
    /// the last time is long enough ago.
    fn is_whole_due(&self, index: u64, now: Instant) -> bool {
        let Some((at, seen)) = self.turned else {
            return true;
        };
        let since = now.duration_since(at);
        let objects = u32::try_from(self.keeper.count()).unwrap_or(u32::MAX);
        let changed = self.stirred || index != seen;
        since >= TURN_PAUSE.saturating_mul(objects) && (changed || since >= TURN_EVERY)
    }

    fn write(&mut self, name: Name, status: Status) {
        let (client, outbox) = (self.connection.client.clone(), self.outbox.clone());
        let adopted = self.keeper.adopted(&name).cloned();
        self.writes.spawn(async move {
            let (of, writes) = (name.clone(), status.clone());
            // One that breaks off has to be told too, or no other would be begun.
            let mut writing = JoinSet::from_iter([async move {
                match &adopted {
                    Some(about) => write_adopted(client, about, &writes).await,
                    None => write(client, &of, &writes).await,
                }
            }]);
            let written = match writing.join_next().await {
                Some(Ok(Ok(()))) => Some(Box::new(status)),
                // An API server that is away is said by its streams.
                Some(Ok(Err(Failure::Unreachable(_) | Failure::Late(_)))) | None => None,
                Some(Ok(Err(failure))) => {
                    warn!(policy = %name, "its status could not be written: {failure}");
                    None
                }
                Some(Err(why)) => {
                    error!(policy = %name, %why, "the writing of its status broke off");
                    None
                }
            };
            // Refused only while the agent ends.
            let _ = outbox.send(News::Written(name, written)).await;
        });
    }

    fn remind(&mut self, now: Instant) {
        let left_out = self.teller.left_out();
        let due = self
            .reminded
            .is_none_or(|at| now.duration_since(at) >= REMIND_EVERY);
        if left_out > self.left_out && due {
            let count = left_out - self.left_out;
            warn!(
                count,
                "events were left out, since too many waited to be written"
            );
            (self.left_out, self.reminded) = (left_out, Some(now));
        }
    }
}

fn log(command: &Command) {
    match command {
        Command::PutPolicy { policy, source } => {
            info!(policy = %policy.name, target = %policy.target, "is put into force, as {source} asks");
        }
        Command::RemovePolicy { name, .. } => {
            info!(policy = %name, "is removed: its object is gone, or its workload another's");
        }
        _ => {}
    }
}

/// Tells trouble of a stream once, and its end once.
struct Health {
    of: &'static str,
    told: Option<String>,
}

impl Health {
    fn of(of: &'static str) -> Health {
        // Of one that broke off before this one something else may be told still.
        let told = Some(String::new());
        Health { of, told }
    }

    async fn tell(&mut self, news: &Outbox, trouble: Option<String>) {
        if self.told != trouble {
            self.told.clone_from(&trouble);
            // Refused only while the agent ends.
            let _ = news.send(News::Trouble(self.of, trouble)).await;
        }
    }
}
