//! The leader's death half-way, its successor's first act, and its return.

use std::time::{Duration, Instant};

use starling_rig::cluster::Cluster;
use starling_rig::observe::failover::{self, Before, Failover};
use starling_rig::observe::{Observer, Status};
use tokio::task::JoinHandle;

use crate::summary::Seen;

/// Half-way through the load.
const KILL_AT: f64 = 0.5;
/// How long the killed agent stays dead.
const DEAD_FOR: Duration = Duration::from_secs(3);
/// For the survivors' next decision.
const FAILOVER_WITHIN: Duration = Duration::from_secs(15);
/// For the restarted agent to catch up, and for a leader to be there to be killed.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(15);

/// How far the story has come.
pub(super) struct Leader {
    kill_at: Duration,
    chapter: Chapter,
    watch: Option<JoinHandle<Option<Failover>>>,
}

enum Chapter {
    Alive,
    Dead {
        position: usize,
        since: Instant,
    },
    Back {
        position: usize,
        since: Instant,
        goal: u64,
    },
    Over,
}

impl Leader {
    pub fn new(duration: Duration) -> Leader {
        Leader {
            kill_at: duration.mul_f64(KILL_AT),
            chapter: Chapter::Alive,
            watch: None,
        }
    }

    /// Nothing more is to come.
    pub fn is_done(&self) -> bool {
        matches!(self.chapter, Chapter::Over) && self.watch.is_none()
    }

    /// Does what is due and says what happened. `elapsed` counts from the
    /// load's start.
    pub async fn act(
        &mut self,
        elapsed: Duration,
        cluster: &mut Cluster,
        observer: &Observer,
        seen: &mut Seen,
    ) -> anyhow::Result<Vec<String>> {
        let mut happened = Vec::new();
        if self.watch.as_ref().is_some_and(JoinHandle::is_finished)
            && let Some(watch) = self.watch.take()
        {
            seen.failover = watch.await?;
            happened.push(told(seen.failover.as_ref()));
        }
        let names = cluster.names();
        match self.chapter {
            Chapter::Alive if elapsed >= self.kill_at => {
                let statuses = observer.statuses().await;
                if let Some((position, before)) = leader(&statuses) {
                    let killed_at = cluster.kill(position).await;
                    seen.leader_kills += 1;
                    happened.push(format!(
                        "{} leads and is killed with SIGKILL",
                        names[position]
                    ));
                    self.watch = Some(watch(observer, position, before, killed_at));
                    self.chapter = Chapter::Dead {
                        position,
                        since: killed_at,
                    };
                } else if elapsed >= self.kill_at + CAUGHT_UP_WITHIN {
                    happened.push("no leader was there to be killed".into());
                    self.chapter = Chapter::Over;
                }
            }
            Chapter::Dead { position, since } if since.elapsed() >= DEAD_FOR => {
                let goal = highest_applied(&observer.statuses().await);
                cluster.restart(position)?;
                happened.push(format!(
                    "{} is started again on its own data",
                    names[position]
                ));
                self.chapter = Chapter::Back {
                    position,
                    since: Instant::now(),
                    goal,
                };
            }
            Chapter::Back {
                position,
                since,
                goal,
            } => {
                let status = observer.status(position).await;
                if status.is_ok_and(|it| it.applied_index >= goal && it.leader_id.is_some()) {
                    let took = since.elapsed();
                    seen.caught_up = Some(took);
                    let ms = took.as_millis();
                    happened.push(format!("{} has caught up after {ms} ms", names[position]));
                    self.chapter = Chapter::Over;
                } else if since.elapsed() >= CAUGHT_UP_WITHIN {
                    happened.push(format!("{} doesn't catch up", names[position]));
                    self.chapter = Chapter::Over;
                }
            }
            Chapter::Alive | Chapter::Dead { .. } | Chapter::Over => (),
        }
        Ok(happened)
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
    }
}

fn leader(statuses: &[Option<Status>]) -> Option<(usize, Before)> {
    let before = Before::from(statuses)?;
    let leads = |status: &Option<Status>| {
        status
            .as_ref()
            .is_some_and(|status| status.node_id == before.leader_id)
    };
    Some((statuses.iter().position(leads)?, before))
}

fn watch(
    observer: &Observer,
    killed: usize,
    before: Before,
    killed_at: Instant,
) -> JoinHandle<Option<Failover>> {
    let observer = observer.clone();
    tokio::spawn(async move {
        let survivors: Vec<usize> = (0..observer.agents()).filter(|it| *it != killed).collect();
        let deadline = killed_at + FAILOVER_WITHIN;
        failover::watch(&observer, &survivors, before, killed_at, deadline).await
    })
}

fn told(failover: Option<&Failover>) -> String {
    let Some(Failover {
        after,
        decision,
        leader,
        ..
    }) = failover
    else {
        return format!("nobody took over within {} s", FAILOVER_WITHIN.as_secs());
    };
    let ms = after.as_millis();
    match decision {
        Some(decision) => format!(
            "{leader} took over: its first decision, {} → {}, was committed {ms} ms after the kill",
            decision.from, decision.to
        ),
        None => format!("{leader} took over and could decide {ms} ms after the kill"),
    }
}

fn highest_applied(statuses: &[Option<Status>]) -> u64 {
    statuses
        .iter()
        .flatten()
        .map(|status| status.applied_index)
        .max()
        .unwrap_or_default()
}
