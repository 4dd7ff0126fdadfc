//! The demo's course: agents start, load comes and goes, the leader dies
//! half-way and comes back, and everything is looked at from outside meanwhile.
//!
//! Comes in: [`Settings`]. Goes out: what was [`Seen`], on the screen as it
//! happens. Decides nothing about sizes.

mod leader;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use starling_rig::cluster::Cluster;
use starling_rig::cluster::process::Process;
use starling_rig::load::Arrivals;
use starling_rig::observe::{Decision, Observer, Status};
use starling_rig::queue::http::Server;
use starling_rig::workload::{self, Workload};
use tokio::task::JoinSet;

use self::leader::Leader;
use super::summary::Seen;
use super::view::screen::Screen;
use super::view::{Agent, Point, State, Usage};

/// How often workers are counted; agents are asked once a second.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often arrivals are offered.
const OFFER_EVERY: Duration = Duration::from_millis(50);
/// After the load has ended, on a machine so busy that it takes longer: for the
/// queue to empty, the workers to be as few as they may, and all agents to tell
/// a common digest.
const SETTLED_WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug, Clone)]
pub struct Settings {
    pub binary: PathBuf,
    pub agents: usize,
    /// Of the load.
    pub duration: Duration,
    pub seed: u64,
}

/// A demo under way.
pub struct Play {
    pub cluster: Cluster,
    pub seen: Seen,
    settings: Settings,
    queue: Arc<Server>,
    state: State,
    leader: Leader,
    offered_before: u64,
    /// The load; ends with the play.
    tasks: JoinSet<()>,
}

impl Play {
    /// Makes files and the queue; starts no process yet.
    pub async fn new(settings: Settings) -> anyhow::Result<Play> {
        let cluster = Cluster::new(&settings.binary, settings.agents)?;
        let queue = Server::start()
            .await
            .context("the demo's queue can't listen on loopback")?;
        let names = cluster.names();
        let agent = |name: &String| Agent {
            name: name.clone(),
            usage: None,
        };
        let state = State {
            duration_s: settings.duration.as_secs(),
            agents: names.iter().map(agent).collect(),
            ..State::default()
        };
        Ok(Play {
            seen: Seen::new(names.len()),
            leader: Leader::new(settings.duration),
            cluster,
            settings,
            queue: Arc::new(queue),
            state,
            offered_before: 0,
            tasks: JoinSet::new(),
        })
    }

    /// Starts the agents and waits for the first worker.
    pub async fn start(&mut self) -> anyhow::Result<Observer> {
        // Short demos shrink faster: there must be time to get back to one.
        let down_window_s = (self.settings.duration.as_secs() / 15).clamp(2, 6);
        let documents = workload::documents(&Workload {
            binary: &self.settings.binary,
            queue: &self.queue.url(),
            stats: &self.queue.stats_url(),
            by_cpu: true,
            down_window_s,
        });
        let observer = self.cluster.start(&documents).await?;
        self.cluster.working().await?;
        Ok(observer)
    }

    /// The whole course, from the first job to the last.
    pub async fn run(&mut self, observer: &Observer, screen: &mut Screen) -> anyhow::Result<()> {
        let start = Instant::now();
        self.offer_from(start);
        let mut shown_s = None;
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            let elapsed = start.elapsed();
            self.state.elapsed_s = elapsed.as_secs();
            self.cluster.check()?;
            let sample = self.cluster.sample();
            self.seen.workers(sample.workers.len() as u32);
            self.seen.stats = self.queue.stats();
            if shown_s.replace(elapsed.as_secs()) != Some(elapsed.as_secs()) {
                self.use_of_machine(&sample.agents);
                let statuses = observer.statuses().await;
                self.ask(observer, &statuses, sample.workers.len() as u32)
                    .await;
                screen.show(&self.state)?;
            }
            let happened = self
                .leader
                .act(elapsed, &mut self.cluster, observer, &mut self.seen);
            for text in happened.await? {
                self.state.happened(text);
            }
            let over = elapsed >= self.settings.duration;
            let patience_ended = elapsed >= self.settings.duration + SETTLED_WITHIN;
            let settled = self.is_settled(sample.workers.len());
            if over && (settled || patience_ended) {
                return Ok(());
            }
        }
    }

    /// The queue's last count.
    pub fn count(&mut self) {
        self.seen.stats = self.queue.stats();
    }

    fn is_settled(&self, workers: usize) -> bool {
        let stats = &self.seen.stats;
        stats.waiting + stats.leased == 0
            && self.seen.digests.told_by(self.seen.agents).is_some()
            && self.leader.is_done()
            && workers <= workload::REPLICAS_MIN as usize
    }

    fn offer_from(&mut self, start: Instant) {
        let queue = self.queue.clone();
        let duration = self.settings.duration;
        let mut arrivals = Arrivals::new(duration.as_secs_f64(), self.settings.seed);
        self.tasks.spawn(async move {
            let mut every = tokio::time::interval(OFFER_EVERY);
            while start.elapsed() < duration {
                every.tick().await;
                queue.offer(arrivals.until(start.elapsed().as_secs_f64()));
            }
        });
    }

    fn use_of_machine(&mut self, agents: &[Option<Process>]) {
        let now = Instant::now();
        for (shown, process) in self.state.agents.iter_mut().zip(agents) {
            shown.usage = process.as_ref().map(|process| Usage {
                cpu_percent: self.seen.agent(process, now),
                rss_mib: process.rss_bytes as f64 / 1_048_576.0,
            });
        }
    }

    /// What the agents answer, once a second.
    async fn ask(&mut self, observer: &Observer, statuses: &[Option<Status>], running: u32) {
        for checkpoint in statuses
            .iter()
            .flatten()
            .flat_map(|status| &status.checkpoints)
        {
            self.seen.digests.note(checkpoint);
        }
        let mut wanted = None;
        if let Some((position, status)) = newest(statuses) {
            self.follow_leader(status);
            wanted = observer.granted(position, workload::NAME).await.ok();
            let decisions = observer.decisions(position).await.unwrap_or_default();
            for decision in decisions.iter().rev() {
                if self.seen.decision(decision.index) {
                    self.state.happened(decided(decision));
                }
            }
        }
        let stats = &self.seen.stats;
        self.state.done = stats.done;
        self.state.point(Point {
            arrivals: stats.offered - self.offered_before,
            waiting: stats.waiting,
            wanted,
            running,
        });
        self.offered_before = stats.offered;
    }

    fn follow_leader(&mut self, status: &Status) {
        let leader = status.leader_id.map(|_| status.leader_name.clone());
        if leader != self.state.leader || status.term != self.state.term {
            let text = match &leader {
                Some(leader) => format!("{leader} leads in term {}", status.term),
                None => format!("nobody leads in term {} yet", status.term),
            };
            self.state.happened(text);
        }
        (self.state.leader, self.state.term) = (leader, status.term);
        if !status.halted.is_empty() {
            self.state.happened(format!(
                "{} has stopped acting: {}",
                status.name, status.halted
            ));
        }
    }
}

fn decided(decision: &Decision) -> String {
    let Decision {
        from,
        to,
        by_name,
        reason,
        ..
    } = decision;
    let because = if reason.is_empty() { "" } else { ": " };
    format!("{by_name} decides {from} → {to}{because}{reason}")
}

/// The answer that knows most, and its agent's position.
fn newest(statuses: &[Option<Status>]) -> Option<(usize, &Status)> {
    let answered = statuses.iter().enumerate();
    let answered = answered.filter_map(|(position, status)| Some((position, status.as_ref()?)));
    answered.max_by_key(|(_, status)| (status.term, status.applied_index))
}
