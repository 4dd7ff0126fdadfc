//! Runs what a policy's own words are tried against an answer with, away from the
//! threads that everything else of the agent waits for.
//!
//! Comes in: a piece of work that only computes. Goes out: what it gave. How many run
//! at once and how long somebody waits for one is bounded. Never ends one: what it is
//! given must end by itself, which the checks of the settings see to.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::Reason;

/// At once; more wait. An agent's log and loop need the other cores.
const READS_MAX: usize = 2;
/// Whoever has waited for so long has no answer.
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Reads {
    slots: Arc<Semaphore>,
    deadline: Duration,
}

impl Default for Reads {
    fn default() -> Reads {
        Reads {
            slots: Arc::new(Semaphore::new(READS_MAX)),
            deadline: DEADLINE,
        }
    }
}

impl Reads {
    /// The place is given back when the work ends, not when nobody waits for it any more.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Reason> {
        let run = async {
            // The slots are never closed.
            let slot = self.slots.clone().acquire_owned().await.ok();
            let work = move || {
                let _slot = slot;
                work()
            };
            let done = tokio::task::spawn_blocking(work).await;
            done.map_err(|why| Reason::Unread(why.to_string()))
        };
        let late = || Reason::Unread(format!("it took more than {:?}", self.deadline));
        let done = tokio::time::timeout(self.deadline, run).await;
        done.unwrap_or_else(|_| Err(late()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn what_takes_long_holds_up_nobody_but_those_who_wait_for_it() {
        let reads = Reads::default();
        let (end, ended) = mpsc::channel::<()>();
        let long = reads.run(move || ended.recv().is_ok());
        // On one thread: this one runs only if the work is elsewhere.
        let meanwhile = async { end.send(()).is_ok() };
        let (long, meanwhile) = tokio::join!(long, meanwhile);
        assert!(long.is_ok_and(|done| done) && meanwhile);
    }

    #[tokio::test]
    async fn work_beyond_the_bound_waits_and_is_given_up() {
        let reads = Reads {
            deadline: Duration::from_millis(20),
            ..Reads::default()
        };
        let slots = reads.slots.clone();
        let _all = slots.acquire_many(READS_MAX as u32).await;
        let late = reads.run(|| ()).await;
        assert!(matches!(late, Err(Reason::Unread(why)) if why == "it took more than 20ms"));
    }

    #[tokio::test]
    async fn work_that_panics_is_an_answer_too() {
        let reads = Reads::default();
        let broken = reads.run(|| assert!(std::hint::black_box(false))).await;
        assert!(matches!(broken, Err(Reason::Unread(_))));
        assert!(reads.run(|| ()).await.is_ok(), "its place is free again");
    }
}
