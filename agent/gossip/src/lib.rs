//! The room of gossip: who is alive, and what every node measured, known to all
//! within seconds.
//!
//! Comes in: this node's summaries, the ledger's members, sealed datagrams from
//! other agents. Goes out: [`Event`]s and sealed datagrams.
//!
//! Never decides anything about workloads, never waits for the log, and believes
//! no datagram that a key of this cluster didn't seal. Everyone who holds a key
//! is believed, whatever node it says it is.
//!
//! What a datagram holds is defined in `proto`; what a node says of itself
//! (`engine::demand::Summary`) travels without a change here. Another way to
//! find or doubt members goes beside `membership` and `detector`, another way to
//! spread samples beside `samples`; `task` is the one loop that calls them.

mod address;
mod detector;
mod events;
mod health;
mod inbox;
mod membership;
mod outgoing;
mod replay;
mod runtime;
mod samples;
mod seal;
mod stats;
mod task;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use starling_engine::demand::Summary;
use starling_engine::unit::{Ms, NodeId};
use starling_kept::Pauses;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

pub use stats::Stats;

use inbox::Inbox;
use seal::Seal;
use stats::Counters;

/// Membership datagrams are never larger, sealed: they fit one Ethernet frame.
pub const MEMBERSHIP_BYTES_MAX: usize = 1_400;
/// Sample datagrams are never larger, sealed.
pub const SAMPLES_BYTES_MAX: usize = 8_192;
/// Nodes that are kept track of. What concerns further ones is dropped and counted.
pub const NODES_MAX: usize = 1_024;

/// Bytes in a [`Key`].
pub const KEY_BYTES: usize = 32;

/// Seals and opens datagrams. Stays out of logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(pub [u8; KEY_BYTES]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// How this agent gossips.
#[derive(Debug, Clone)]
pub struct Config {
    pub node: NodeId,
    /// For logs.
    pub name: String,
    /// The cluster's id. Datagrams of other clusters, and of other generations, don't open.
    pub cluster: String,
    pub generation: u64,
    /// The first one seals, all of them open; at least one.
    pub keys: Vec<Key>,
    /// `host:port` that others use.
    pub advertise: String,
    pub timing: Timing,
    /// Which start of this node it is: higher each time, whatever the machine's clock
    /// says, and at least [`LIFE_SPAN`] higher than the last one.
    pub life: u64,
    pub clock: Clock,
}

/// So far apart are the lives of one node: within one it renews itself, counts its
/// datagrams, and begins anew where it broke off.
pub const LIFE_SPAN: u64 = 1 << 40;
/// Of a life's span, what each new beginning takes: more datagrams than are sent in
/// half a year at a thousand a second.
const BEGINNING_SPAN: u64 = 1 << 34;

/// The one clock that summaries' times are on, at the agent and here. Ages travel
/// between nodes, never times.
#[derive(Clone)]
pub struct Clock(pub Arc<dyn Fn() -> Ms + Send + Sync>);

impl Clock {
    fn now(&self) -> Ms {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock(..)")
    }
}

/// Everything that is periodic. The defaults find a dead agent within about 3 s
/// on a busy machine, and need 1.6 s of silence to call a live one dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Summaries are sent to a few nodes this often.
    pub push_ms: u64,
    /// One member is probed this often.
    pub probe_ms: u64,
    /// A probe that wasn't answered for this long is tried through others.
    pub answer_ms: u64,
    /// A member that is suspected for this long, and not heard of, is down.
    pub suspect_ms: u64,
    /// Members of the ledger that aren't alive are called this often.
    pub contact_ms: u64,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            push_ms: 200,
            probe_ms: 400,
            answer_ms: 150,
            suspect_ms: 1_200,
            contact_ms: 500,
        }
    }
}

/// What gossip tells the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Another node's summary, newer than the last one told; `at` is on this
    /// agent's clock, [`Config::clock`].
    Heard(Summary),
    /// The nodes that are believed alive, in order, this one included. Told at
    /// the start and whenever it changes.
    Alive(Vec<NodeId>),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("gossip needs a key: `gossip.keys` is empty")]
    NoKey,
    #[error("gossip's timing: {0}")]
    Timing(&'static str),
    #[error("others can't reach gossip at {0:?}: `advertise` must be host:port")]
    Advertise(String),
    #[error("gossip can't use its socket")]
    Socket(#[from] std::io::Error),
}

/// A running gossip. Dropping it ends it at once, without a word to the others.
#[derive(Debug)]
pub struct Gossip {
    inbox: Arc<Inbox>,
    counters: Arc<Counters>,
    ring: Ring,
    task: JoinHandle<()>,
}

/// The keys of a running gossip.
#[derive(Clone)]
pub struct Ring(Arc<Seal>);

impl Ring {
    /// From the next datagram on these keys hold: the first one seals, all of them open.
    /// An empty ring is refused, and all stays as it was.
    pub fn replace(&self, keys: &[Key]) -> Result<(), Error> {
        if keys.is_empty() {
            return Err(Error::NoKey);
        }
        self.0.replace(keys);
        Ok(())
    }

    /// Names of the keys, in their order; they say nothing about the keys.
    pub fn names(&self) -> Vec<String> {
        self.0.names()
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ring").field(&self.names()).finish()
    }
}

/// A gossip's counters.
#[derive(Debug, Clone)]
pub struct Meter(Arc<Counters>);

impl Meter {
    pub fn read(&self) -> Stats {
        self.0.read()
    }
}

/// Starts gossiping on `socket`, within a tokio runtime.
///
/// When `events` is full nothing waits and nothing old is kept: of each node's
/// summaries, and of who is alive, the newest is told as soon as there is room.
pub fn start(
    config: Config,
    socket: std::net::UdpSocket,
    events: mpsc::Sender<Event>,
) -> Result<Gossip, Error> {
    check(&config)?;
    socket.set_nonblocking(true)?;
    let socket = Arc::new(UdpSocket::from_std(socket)?);
    let inbox = Arc::new(Inbox::default());
    let counters = Arc::new(Counters::default());
    let seal = Arc::new(Seal::new(&config.keys, &config.cluster, config.generation));
    let kept = keep(
        config,
        socket,
        seal.clone(),
        events,
        inbox.clone(),
        counters.clone(),
    );
    Ok(Gossip {
        inbox,
        counters,
        ring: Ring(seal),
        task: tokio::spawn(kept),
    })
}

/// Gossips until it leaves. Where the task panics, another one begins after a pause,
/// as a later life of this node that knows nothing but the ledger's members.
async fn keep(
    config: Config,
    socket: Arc<UdpSocket>,
    seal: Arc<Seal>,
    events: mpsc::Sender<Event>,
    inbox: Arc<Inbox>,
    counters: Arc<Counters>,
) {
    let (mut pauses, mut beginnings) = (Pauses::default(), 0);
    loop {
        let beginning = BEGINNING_SPAN.saturating_mul(beginnings);
        let config = Config {
            life: config.life.saturating_add(beginning),
            ..config.clone()
        };
        let task = task::Task::new(
            config,
            socket.clone(),
            seal.clone(),
            events.clone(),
            inbox.clone(),
            counters.clone(),
        );
        // Ends with this one.
        let mut task = JoinSet::from_iter([task.run()]);
        let begun = Instant::now();
        let Some(Err(why)) = task.join_next().await else {
            return;
        };
        let pause = pauses.after_run(begun.elapsed());
        starling_kept::told("gossip", &why, pause);
        tokio::time::sleep(pause).await;
        beginnings = (beginnings + 1).min(LIFE_SPAN / BEGINNING_SPAN - 1);
        inbox.tell_again();
    }
}

impl Gossip {
    /// Tells the others. The newest one replaces any that hasn't been sent yet.
    pub fn publish(&self, summary: Summary) {
        self.inbox.put_summary(summary);
    }

    /// The ledger's members and their gossip addresses: they are called until
    /// they are alive. Replaces what was said before.
    pub fn know(&self, members: Vec<(NodeId, String)>) {
        self.inbox.put_members(members);
    }

    pub fn stats(&self) -> Stats {
        self.counters.read()
    }

    /// Whoever holds it can replace the keys as long as it likes.
    pub fn ring(&self) -> Ring {
        self.ring.clone()
    }

    /// Whoever holds it can read the counters as long as it likes.
    pub fn meter(&self) -> Meter {
        Meter(self.counters.clone())
    }

    /// Says goodbye, so that the others need not find out, and ends; within a second.
    pub async fn leave(mut self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        self.inbox.leave();
        // At worst the others find out by themselves.
        let _ = tokio::time::timeout(PATIENCE, &mut self.task).await;
    }
}

impl Drop for Gossip {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn check(config: &Config) -> Result<(), Error> {
    let timing = &config.timing;
    if config.keys.is_empty() {
        return Err(Error::NoKey);
    }
    if timing.push_ms == 0 || timing.contact_ms == 0 || timing.suspect_ms == 0 {
        return Err(Error::Timing("every interval must be above 0"));
    }
    if timing.answer_ms == 0 || timing.answer_ms >= timing.probe_ms {
        return Err(Error::Timing(
            "answer_ms must be above 0 and below probe_ms",
        ));
    }
    if !address::is_sound(&config.advertise) {
        return Err(Error::Advertise(config.advertise.clone()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
