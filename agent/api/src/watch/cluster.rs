//! `WatchCluster`: one look at the cluster a second, shared by all streams.
//!
//! While anybody watches, a task takes a picture each second and keeps the last
//! differences in a ring. A stream is a position in that ring.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::Message;
use starling_kept::again;
use starling_proto::v1;
use starling_proto::v1::watch_cluster_response::Event;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::picture::Picture;
use super::{HEARTBEAT, Outlet, TICK, forgotten};
use crate::refuse;

/// Differences that are kept, so about as many seconds in which a cut stream
/// can be taken up. Also how long the task goes on unwatched.
pub const DIFFERENCES_MAX: usize = 64;
/// All of them together; the oldest go first.
pub const BYTES_MAX: usize = 8 << 20;

type Look = Box<dyn Fn() -> Picture + Send + Sync>;

/// Takes the pictures.
pub struct Hub {
    look: Look,
    state: Mutex<State>,
    /// The sequence number of the last difference.
    news: watch::Sender<u64>,
    ending: CancellationToken,
}

#[derive(Default)]
struct State {
    /// Set while the task runs: what revisions begin with. A new start forgets all.
    epoch: Option<String>,
    picture: Picture,
    differences: VecDeque<Difference>,
    bytes: usize,
}

struct Difference {
    sequence: u64,
    bytes: usize,
    header: v1::ReplyHeader,
    parts: Arc<Vec<v1::ClusterUpdate>>,
}

/// A stream's own position.
pub struct Subscription {
    hub: Arc<Hub>,
    news: watch::Receiver<u64>,
    epoch: String,
    seen: u64,
    /// Only policies of this one; empty means all.
    namespace: String,
    /// Sent first, unless the stream was taken up.
    snapshot: Option<Picture>,
}

impl Hub {
    pub fn new(look: Look, ending: CancellationToken) -> Hub {
        Hub {
            look,
            state: Mutex::default(),
            news: watch::Sender::new(0),
            ending,
        }
    }

    /// Begins with a snapshot, or after `resume` where that isn't empty.
    pub fn subscribe(
        self: &Arc<Hub>,
        resume: &str,
        namespace: &str,
    ) -> Result<Subscription, Status> {
        let mut state = self.lock();
        let epoch = match &state.epoch {
            Some(epoch) => epoch.clone(),
            None => self.start(&mut state),
        };
        let news = self.news.subscribe();
        let newest = *news.borrow();
        let (seen, snapshot) = if resume.is_empty() {
            (newest, Some(state.picture.clone()))
        } else {
            let seen = resume
                .strip_prefix(epoch.as_str())
                .and_then(|rest| rest.strip_prefix('-')?.parse().ok())
                .filter(|seen| *seen <= newest)
                .ok_or_else(|| forgotten("the revision is another agent's, or too old"))?;
            (seen, None)
        };
        let subscription = Subscription {
            hub: self.clone(),
            news,
            epoch,
            seen,
            namespace: namespace.to_owned(),
            snapshot,
        };
        if state.after(seen).is_none() {
            return Err(forgotten("what came after the revision is forgotten"));
        }
        Ok(subscription)
    }

    /// Takes the first picture and starts the task.
    fn start(self: &Arc<Hub>, state: &mut State) -> String {
        let picture = (self.look)();
        let header = &picture.header;
        let started = header
            .answer_time
            .as_ref()
            .map_or(0, |at| starling_proto::view::ms(at).0);
        let epoch = format!("{}-{started:x}", header.node_id);
        // Sequence numbers go on rising: streams of an earlier epoch, if any is
        // left, notice the epoch.
        *state = State {
            epoch: Some(epoch.clone()),
            picture,
            ..State::default()
        };
        let hub = self.clone();
        tokio::spawn(again("the look at the cluster for streams", move || {
            hub.clone().run()
        }));
        epoch
    }

    async fn run(self: Arc<Hub>) {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + TICK, TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unwatched = 0;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.ending.cancelled() => return,
            }
            unwatched = if self.news.receiver_count() == 0 {
                unwatched + 1
            } else {
                0
            };
            let picture = (self.look)();
            let mut state = self.lock();
            // Under the lock, so that nobody subscribes to a task that has ended.
            if unwatched > DIFFERENCES_MAX && self.news.receiver_count() == 0 {
                *state = State::default();
                return;
            }
            let sequence = *self.news.borrow() + 1;
            if state.advance(sequence, picture) {
                self.news.send_replace(sequence);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether anything changed.
    fn advance(&mut self, sequence: u64, picture: Picture) -> bool {
        let parts = picture.since(&self.picture);
        let header = picture.header.clone();
        self.picture = picture;
        if parts.is_empty() {
            return false;
        }
        let bytes = parts.iter().map(Message::encoded_len).sum();
        self.bytes += bytes;
        self.differences.push_back(Difference {
            sequence,
            bytes,
            header,
            parts: parts.into(),
        });
        while self.differences.len() > DIFFERENCES_MAX || self.bytes > BYTES_MAX {
            match self.differences.pop_front() {
                Some(oldest) => self.bytes -= oldest.bytes,
                None => break,
            }
        }
        true
    }

    /// The differences after `seen`; `None` where some are forgotten.
    fn after(&self, seen: u64) -> Option<impl Iterator<Item = &Difference>> {
        let complete = self
            .differences
            .front()
            .is_none_or(|oldest| oldest.sequence <= seen + 1);
        complete.then(|| self.differences.iter().filter(move |d| d.sequence > seen))
    }
}

/// What a stream of `namespace` has of an update. Machines belong to all.
fn within(mut update: v1::ClusterUpdate, namespace: &str) -> v1::ClusterUpdate {
    if !namespace.is_empty() {
        update.policies.retain(|it| it.namespace == namespace);
        update
            .removed_policies
            .retain(|it| it.namespace == namespace);
    }
    update
}

impl Subscription {
    /// Sends until something fails.
    pub async fn pump(mut self, outlet: Outlet<v1::WatchClusterResponse>) -> Status {
        loop {
            if let Err(end) = self.send_news(&outlet).await {
                return end;
            }
            match tokio::time::timeout(HEARTBEAT, self.news.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => {
                    let words = "the stream's source has ended; take it up at another agent";
                    return refuse::with(Code::Unavailable, refuse::ENDING, words);
                }
                Err(_) => {
                    let header = self.hub.lock().picture.header.clone();
                    let beat = self.message(header, Event::Heartbeat(v1::Heartbeat {}));
                    if let Err(end) = outlet.send(beat).await {
                        return end;
                    }
                }
            }
        }
    }

    async fn send_news(&mut self, outlet: &Outlet<v1::WatchClusterResponse>) -> Result<(), Status> {
        if let Some(picture) = self.snapshot.take() {
            for (n, part) in picture.whole().into_iter().enumerate() {
                let part = within(part, &self.namespace);
                let event = if n == 0 {
                    Event::Snapshot(part)
                } else {
                    Event::Update(part)
                };
                outlet
                    .send(self.message(picture.header.clone(), event))
                    .await?;
            }
        }
        for (sequence, header, parts) in self.missed()? {
            self.seen = sequence;
            for part in parts.iter() {
                let part = within(part.clone(), &self.namespace);
                if part == v1::ClusterUpdate::default() {
                    continue;
                }
                let update = Event::Update(part);
                outlet.send(self.message(header.clone(), update)).await?;
            }
        }
        Ok(())
    }

    #[expect(clippy::type_complexity, reason = "private, and used once")]
    fn missed(
        &mut self,
    ) -> Result<Vec<(u64, v1::ReplyHeader, Arc<Vec<v1::ClusterUpdate>>)>, Status> {
        self.news.mark_unchanged();
        let state = self.hub.lock();
        let missed = (state.epoch.as_ref() == Some(&self.epoch))
            .then(|| state.after(self.seen))
            .flatten()
            .ok_or_else(|| forgotten("the client reads too slowly and has missed something"))?;
        Ok(missed
            .map(|d| (d.sequence, d.header.clone(), d.parts.clone()))
            .collect())
    }

    fn message(&self, header: v1::ReplyHeader, event: Event) -> v1::WatchClusterResponse {
        v1::WatchClusterResponse {
            header: Some(header),
            revision: format!("{}-{}", self.epoch, self.seen),
            event: Some(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_look_that_goes_wrong_is_followed_by_others_and_streams_go_on() {
        let looks = AtomicU64::new(0);
        let look = move || {
            let looks = looks.fetch_add(1, Ordering::Relaxed);
            assert!(looks != 1, "a defect in the second look");
            Picture {
                status: v1::ClusterStatus {
                    term: looks,
                    ..v1::ClusterStatus::default()
                },
                ..Picture::default()
            }
        };
        let hub = Arc::new(Hub::new(Box::new(look), CancellationToken::new()));
        let mut stream = hub.subscribe("", "").unwrap();
        let news = tokio::time::timeout(Duration::from_secs(30), stream.news.changed());
        assert!(news.await.is_ok_and(|changed| changed.is_ok()));
        assert_eq!(stream.missed().unwrap().len(), 1);
    }
}
