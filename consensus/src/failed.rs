//! The end of this agent's part in the log: whatever must not end is kept here, and
//! the first that does end is told, with why. Nothing is started again: who owns the
//! log ends with that message, and a supervisor starts the process anew.

use std::future::{Future, pending};

use tokio::sync::watch;

/// `None` while all is well; see [`crate::Log::failed`].
#[derive(Clone, Default)]
pub struct Failed(watch::Sender<Option<String>>);

impl Failed {
    /// The first reason stays.
    pub fn tell(&self, why: String) {
        self.0.send_if_modified(|told| {
            let first = told.is_none();
            if first {
                tracing::error!("{why}");
                *told = Some(why);
            }
            first
        });
    }

    pub fn subscribe(&self) -> watch::Receiver<Option<String>> {
        self.0.subscribe()
    }

    /// Runs a part that goes on for as long as the log does. Where it ends or panics
    /// before the log is shut down, that is told; `work` says why it ended.
    pub fn keep(&self, part: &'static str, work: impl Future<Output = String> + Send + 'static) {
        let failed = self.clone();
        tokio::spawn(async move {
            let why = match tokio::spawn(work).await {
                Ok(why) => why,
                Err(panicked) => panicked.to_string(),
            };
            failed.tell(format!("{part} ended: {why}"));
        });
    }

    /// As [`keep`](Self::keep), for a part that ends only where its work is done or
    /// openraft has ended, which is told where openraft is looked after: of such a part
    /// only a panic is told.
    pub fn keep_beside(&self, part: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.keep(part, async move {
            work.await;
            pending().await
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(failed: &Failed) -> String {
        let mut told = failed.subscribe();
        let told = told.wait_for(Option::is_some).await.unwrap();
        told.clone().unwrap()
    }

    #[tokio::test]
    async fn a_part_that_ends_or_panics_is_told_once_and_one_that_goes_on_is_not() {
        let failed = Failed::default();
        failed.keep("a part that goes on", pending());
        failed.keep("this part", async { "no port".to_owned() });
        assert_eq!(told(&failed).await, "this part ended: no port");
        failed.tell("later".to_owned());
        assert_eq!(told(&failed).await, "this part ended: no port");
    }

    /// Otherwise "the care for the voters ended" is told where a disk is full.
    #[tokio::test]
    async fn a_part_that_ends_with_openraft_leaves_the_reason_to_it() {
        let failed = Failed::default();
        let (done, ended) = tokio::sync::oneshot::channel();
        failed.keep_beside("a part beside it", async {
            let _ = done.send(());
        });
        ended.await.unwrap();
        tokio::task::yield_now().await;
        failed.keep("raft", async { "the disk is full".to_owned() });
        assert_eq!(told(&failed).await, "raft ended: the disk is full");

        let failed = Failed::default();
        failed.keep_beside("a part beside it", async { panic!("by a bug") });
        let told = told(&failed).await;
        assert!(
            told.starts_with("a part beside it ended: ") && told.contains("by a bug"),
            "{told}"
        );
    }
}
