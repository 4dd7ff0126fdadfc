//! Streams: a snapshot with a revision, then what changed, at most once a second.
//!
//! A stream that was cut can be taken up again at its last revision while that
//! is remembered. A client that reads too slowly loses its stream, never
//! anybody else's.

mod cluster;
mod decisions;
mod picture;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use starling_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::see::see;
use super::{STREAMS_MAX, refuse};
use crate::view::View;

pub type Stream<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

/// The least time between two messages of a stream, a snapshot's parts aside.
pub const TICK: Duration = Duration::from_secs(1);
/// Silence never lasts longer.
pub const HEARTBEAT: Duration = Duration::from_secs(5);
/// Messages that wait for a client. The next one waits in the stream's own
/// task, and what happens meanwhile is merged or, at the ring's end, lost.
const QUEUE: usize = 2;
/// A client that takes no message for this long loses its stream.
const STALL: Duration = Duration::from_secs(30);

/// All streams of this agent.
pub struct Streams {
    view: View,
    hub: Arc<cluster::Hub>,
    slots: Arc<Semaphore>,
    ending: CancellationToken,
}

impl Streams {
    pub fn new(view: View, ending: CancellationToken) -> Streams {
        let looked_at = view.clone();
        let look = move || see(&looked_at, |sight| picture::Picture::of(&sight));
        Streams {
            view,
            hub: Arc::new(cluster::Hub::new(Box::new(look), ending.clone())),
            slots: Arc::new(Semaphore::new(STREAMS_MAX)),
            ending,
        }
    }

    pub fn cluster(
        &self,
        request: &v1::WatchClusterRequest,
    ) -> Result<Stream<v1::WatchClusterResponse>, Status> {
        let slot = self.slot()?;
        let subscription =
            cluster::Hub::subscribe(&self.hub, &request.resume_revision, &request.namespace)?;
        Ok(self.spawn(slot, |outlet| subscription.pump(outlet)))
    }

    pub fn decisions(
        &self,
        request: v1::WatchDecisionsRequest,
    ) -> Result<Stream<v1::WatchDecisionsResponse>, Status> {
        let slot = self.slot()?;
        let subscription = decisions::subscribe(&self.view, request)?;
        Ok(self.spawn(slot, |outlet| subscription.pump(outlet)))
    }

    /// What `ask` says, at once and then whenever it says something else. While it says
    /// nothing, neither does the stream, which ends with this agent or its client.
    pub fn changes<T, F>(
        &self,
        slot: OwnedSemaphorePermit,
        ask: impl Fn() -> F + Send + Sync + 'static,
    ) -> Stream<T>
    where
        T: Clone + PartialEq + Send + 'static,
        F: Future<Output = Option<T>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let ending = self.ending.clone();
        tokio::spawn(async move {
            let _slot = slot;
            let told = async {
                let mut last = None;
                loop {
                    let now = ask().await;
                    if let Some(now) = now.filter(|now| last.as_ref() != Some(now)) {
                        last = Some(now.clone());
                        if sender.send_timeout(Ok(now), STALL).await.is_err() {
                            return;
                        }
                    }
                    tokio::time::sleep(TICK).await;
                }
            };
            tokio::select! {
                () = told => {}
                () = sender.closed() => {}
                () = ending.cancelled() => {}
            }
        });
        Box::pin(ReceiverStream::new(receiver))
    }

    fn slot(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.slots.clone().try_acquire_owned().map_err(|_| {
            let words =
                format!("this agent serves {STREAMS_MAX} streams; end one, or ask another agent");
            refuse::with(Code::ResourceExhausted, refuse::FULL, words)
        })
    }

    /// Runs a stream in a task of its own until it fails, its client is gone, or
    /// the server ends.
    fn spawn<T, F>(
        &self,
        slot: OwnedSemaphorePermit,
        pump: impl FnOnce(Outlet<T>) -> F,
    ) -> Stream<T>
    where
        T: Send + 'static,
        F: Future<Output = Status> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let pump = pump(Outlet {
            sender: sender.clone(),
        });
        let ending = self.ending.clone();
        tokio::spawn(async move {
            let _slot = slot;
            let end = tokio::select! {
                end = pump => end,
                () = sender.closed() => return,
                () = ending.cancelled() => refuse::with(
                    Code::Unavailable,
                    refuse::ENDING,
                    "this agent is shutting down; take the stream up at another one",
                ),
            };
            // Whoever doesn't take this either has lost nothing by it.
            let _ = sender.send_timeout(Err(end), STALL).await;
        });
        Box::pin(ReceiverStream::new(receiver))
    }
}

/// Where a stream's messages go.
struct Outlet<T> {
    sender: mpsc::Sender<Result<T, Status>>,
}

impl<T> Outlet<T> {
    /// Waits for the client, up to [`STALL`].
    async fn send(&self, message: T) -> Result<(), Status> {
        self.sender
            .send_timeout(Ok(message), STALL)
            .await
            .map_err(|_| {
                let words = format!(
                    "the client took no message for {} s; take the stream up again",
                    STALL.as_secs()
                );
                refuse::with(Code::ResourceExhausted, refuse::SLOW, words)
            })
    }
}

/// Why a stream can't go on from a revision.
fn forgotten(why: &str) -> Status {
    let words = format!("{why}; start anew without resume_revision");
    refuse::with(Code::OutOfRange, refuse::FORGOTTEN, words)
}
