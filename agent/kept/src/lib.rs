//! The room of what must not end: tasks that the agent's work depends on.
//!
//! Comes in: how to begin a task. Goes out: the same task, begun anew after a growing
//! pause wherever it panicked, and an error in the log for each time.
//!
//! Never begins what ended in order, and never hides how often something broke off. A
//! part that can't begin anew ends the agent instead (`Log::failed`, `run::start`).
//!
//! What waits for something else than a task takes its pauses from [`Pauses`]. A retry of
//! a call that failed is no matter of this room: that is the caller's.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// After what went well for long.
pub const PAUSE: Duration = Duration::from_secs(1);
/// Pauses double up to this. What went well for longer than this has no failures behind it.
pub const PAUSE_MAX: Duration = Duration::from_mins(1);

/// How long to wait before something that broke off begins anew.
#[derive(Debug, Clone)]
pub struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Pauses {
        Pauses(PAUSE)
    }
}

impl Pauses {
    /// The pause after one more failure; twice as long each time.
    pub fn after_failure(&mut self) -> Duration {
        let doubled = (self.0 * 2).min(PAUSE_MAX);
        std::mem::replace(&mut self.0, doubled)
    }

    /// The same for what ran for so long before it broke off.
    pub fn after_run(&mut self, ran: Duration) -> Duration {
        if ran > PAUSE_MAX {
            self.reset();
        }
        self.after_failure()
    }

    /// It went well.
    pub fn reset(&mut self) {
        self.0 = PAUSE;
    }
}

/// Runs the task that `make` makes until one ends in order. Where it panics another begins after a
/// pause, and that is said. The task ends with this future.
pub async fn again<F>(what: &str, make: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut pauses = Pauses::default();
    loop {
        let begun = Instant::now();
        let mut task = JoinSet::from_iter([make()]);
        let Some(Err(why)) = task.join_next().await else {
            return;
        };
        let pause = pauses.after_run(begun.elapsed());
        told(what, &why, pause);
        tokio::time::sleep(pause).await;
    }
}

/// Says that something broke off.
pub fn told(what: &str, why: &impl Display, pause: Duration) {
    let seconds = pause.as_secs();
    tracing::error!(%why, "{what} broke off; it begins anew in {seconds} s");
}

/// A queue that outlives whoever takes from it: what waits in it is the next one's.
pub struct Queue<T>(Arc<Mutex<mpsc::Receiver<T>>>);

impl<T> Queue<T> {
    pub fn new(receiver: mpsc::Receiver<T>) -> Queue<T> {
        Queue(Arc::new(Mutex::new(receiver)))
    }

    /// The next one; `None` once nobody puts in any more.
    pub async fn recv(&self) -> Option<T> {
        self.0.lock().await.recv().await
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Queue<T> {
        Queue(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_panics_begins_anew_after_a_pause_until_it_ends_in_order() {
        let begun = Arc::new(AtomicU32::new(0));
        let count = begun.clone();
        let at = Instant::now();
        again("a test", move || {
            let times = count.fetch_add(1, Ordering::Relaxed);
            async move { assert!(times > 0, "the first time") }
        })
        .await;
        assert_eq!(begun.load(Ordering::Relaxed), 2);
        assert!(at.elapsed() >= PAUSE);
    }

    #[test]
    fn pauses_have_a_bound_and_are_short_again_after_what_went_well() {
        let mut pauses = Pauses::default();
        let seconds: Vec<u64> = (0..9).map(|_| pauses.after_failure().as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pauses.after_run(PAUSE_MAX), PAUSE_MAX);
        assert_eq!(pauses.after_run(PAUSE_MAX * 2), PAUSE);
        pauses.reset();
        assert_eq!(pauses.after_failure(), PAUSE);
    }

    #[tokio::test]
    async fn what_waits_in_a_queue_is_the_next_ones() {
        let (sender, receiver) = mpsc::channel(8);
        let (told, mut seen) = mpsc::channel(8);
        let queue = Queue::new(receiver);
        for n in 1..=3 {
            sender.send(n).await.unwrap();
        }
        drop(sender);
        again("a test", move || {
            let (queue, told) = (queue.clone(), told.clone());
            async move {
                while let Some(n) = queue.recv().await {
                    assert!(n != 1, "the first one");
                    told.send(n).await.unwrap();
                }
            }
        })
        .await;
        assert_eq!((seen.recv().await, seen.recv().await), (Some(2), Some(3)));
    }

    #[tokio::test]
    async fn a_task_ends_with_who_keeps_it() {
        let (sender, mut receiver) = mpsc::channel::<()>(1);
        let keeper = tokio::spawn(again("a test", move || {
            let sender = sender.clone();
            async move { sender.closed().await }
        }));
        tokio::task::yield_now().await;
        keeper.abort();
        assert_eq!(receiver.recv().await, None);
    }
}
