//! `WatchDecisions`: changes of size as this agent applies them.
//!
//! A revision is the ledger's generation and an index, so it means the same at
//! every agent.

use starling_engine::ledger::DECISIONS_MAX;
use starling_engine::unit::Stamp;
use starling_proto::v1;
use starling_proto::v1::watch_decisions_response::Event;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::{HEARTBEAT, Outlet, TICK, forgotten};
use crate::answer::{Filter, Sight};
use crate::refuse;
use crate::see::see;
use crate::view::View;

/// Decisions that a stream begins with.
pub const SNAPSHOT_MAX: usize = 100;

/// A stream's own position.
pub struct Subscription {
    view: View,
    filter: Filter,
    /// All decisions up to this one were sent.
    seen: Stamp,
    fresh: bool,
}

/// Begins with the latest decisions, or after the request's revision.
pub fn subscribe(view: &View, request: v1::WatchDecisionsRequest) -> Result<Subscription, Status> {
    let v1::WatchDecisionsRequest {
        policy,
        resume_revision,
        namespace,
    } = request;
    let filter = Filter::new(&namespace, &policy);
    let fresh = resume_revision.is_empty();
    let seen = see(view, |sight| -> Result<Stamp, Status> {
        sight.check_filter(&filter)?;
        if fresh {
            return Ok(present(&sight));
        }
        let seen = parse(&resume_revision)?;
        check(&sight, seen)?;
        Ok(seen)
    })?;
    Ok(Subscription {
        view: view.clone(),
        filter,
        seen,
        fresh,
    })
}

impl Subscription {
    /// Sends until something fails.
    pub async fn pump(mut self, outlet: Outlet<v1::WatchDecisionsResponse>) -> Status {
        let mut applied = self.view.log.applied();
        let mut last = Instant::now();
        if self.fresh
            && let Err(end) = outlet.send(self.snapshot()).await
        {
            return end;
        }
        loop {
            applied.mark_unchanged();
            let silent = last.elapsed() >= HEARTBEAT;
            match self.news(silent) {
                Ok(None) => {}
                Ok(Some(message)) => {
                    if let Err(end) = outlet.send(message).await {
                        return end;
                    }
                    last = Instant::now();
                    tokio::time::sleep(TICK).await;
                }
                Err(end) => return end,
            }
            let heartbeat = tokio::time::sleep_until(last + HEARTBEAT);
            tokio::select! {
                changed = applied.changed() => if changed.is_err() {
                    let words = "the log has ended; ask another agent";
                    return refuse::with(Code::Unavailable, refuse::ENDING, words);
                },
                () = heartbeat => {}
            }
        }
    }

    fn snapshot(&mut self) -> v1::WatchDecisionsResponse {
        see(&self.view.clone(), |sight| {
            self.seen = present(&sight);
            let mut decisions = sight.decisions_after(0, &self.filter);
            decisions.drain(..decisions.len().saturating_sub(SNAPSHOT_MAX));
            self.message(&sight, Event::Snapshot(v1::DecisionsUpdate { decisions }))
        })
    }

    /// What came in since, or a heartbeat where that is due.
    fn news(&mut self, silent: bool) -> Result<Option<v1::WatchDecisionsResponse>, Status> {
        see(&self.view.clone(), |sight| {
            check(&sight, self.seen)?;
            let decisions = sight.decisions_after(self.seen.index, &self.filter);
            // An agent that trails the one that gave the revision keeps it.
            self.seen = self.seen.max(present(&sight));
            Ok(if !decisions.is_empty() {
                Some(self.message(&sight, Event::Update(v1::DecisionsUpdate { decisions })))
            } else if silent {
                Some(self.message(&sight, Event::Heartbeat(v1::Heartbeat {})))
            } else {
                None
            })
        })
    }

    fn message(&self, sight: &Sight<'_>, event: Event) -> v1::WatchDecisionsResponse {
        v1::WatchDecisionsResponse {
            header: Some(sight.header(v1::Consistency::Stale)),
            revision: self.seen.to_string(),
            event: Some(event),
        }
    }
}

fn present(sight: &Sight<'_>) -> Stamp {
    Stamp {
        generation: sight.ledger.generation,
        index: sight.ledger.index,
    }
}

fn parse(revision: &str) -> Result<Stamp, Status> {
    let stamp = revision.split_once('/').and_then(|(generation, index)| {
        Some(Stamp {
            generation: generation.parse().ok()?,
            index: index.parse().ok()?,
        })
    });
    stamp.ok_or_else(|| {
        refuse::invalid(
            "resume_revision: not one that WatchDecisions gave; leave it empty to start anew",
        )
    })
}

/// Whether all that came after `seen` is still remembered.
fn check(sight: &Sight<'_>, seen: Stamp) -> Result<(), Status> {
    if seen.generation != sight.ledger.generation {
        return Err(forgotten("the cluster was rebuilt since that revision"));
    }
    let decisions = &sight.ledger.decisions;
    let complete = decisions.len() < DECISIONS_MAX
        || decisions
            .front()
            .is_none_or(|oldest| oldest.index <= seen.index);
    if complete {
        Ok(())
    } else {
        Err(forgotten("what came after the revision is forgotten"))
    }
}
