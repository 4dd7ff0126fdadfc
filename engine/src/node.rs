//! One agent's behaviour without its I/O: routes every input, keeps what was
//! heard, and, while this agent leads, plans a pass over all policies each second
//! and on news.
//!
//! Comes in: an [`Input`], the time and the ledger. Goes out: [`Output`]s for the
//! host to carry out. Never does I/O; a host that repeats or loses an output
//! does no harm, the next pass plans from what is.

mod entry;
mod orphans;
mod pass;
mod placement;
pub mod platform;
mod poll;
mod summaries;
mod sums;
pub mod watch;

pub use poll::asks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::decide::reason::clip;
use crate::decide::{Decision, Reading};
use crate::demand::pods::Sums;
use crate::demand::recent::{Reach, Recent};
use crate::demand::{Sample, Summary};
use crate::ledger::{Command, Ledger};
use crate::policy::{self, Target, Trigger};
use crate::unit::{Ms, NodeId};
use platform::{Failure, Observation, Patch, Patching, Scale};
use poll::Polls;
use summaries::Summaries;
use watch::Watch;

/// All that can happen to an agent.
#[derive(Debug, Clone)]
pub enum Input {
    /// Time has passed; due at `Node::next_tick` at the latest, and soon after the ledger
    /// has changed.
    Tick,
    /// This node was measured.
    Sampled(Sample),
    /// Another node's summary came in.
    Heard(Summary),
    /// An external trigger was asked; its answer, or why there is none.
    Polled {
        policy: policy::Name,
        trigger: String,
        /// For so long the answer has been known.
        age_ms: u64,
        result: Result<Answer, String>,
    },
    /// The sources of these triggers, by policy, say by themselves that something has
    /// changed there.
    Pushed(BTreeSet<(policy::Name, String)>),
    /// Whether the platform of scaled workloads can be read and written just now.
    Platform(bool),
    /// What else scales workloads, by workload, in words such as
    /// `HorizontalPodAutoscaler shop/web`: all that is known of it, in place of what
    /// was known before. The host bounds it.
    Rivals(BTreeMap<Target, String>),
    /// What the platform says of a scaled workload.
    Observed {
        target: Target,
        observation: Observation,
    },
    /// What became of an [`Output::Patch`].
    Patched {
        target: Target,
        result: Result<Scale, Failure>,
    },
    /// The nodes that gossip believes alive; this one always is.
    Alive(BTreeSet<NodeId>),
    /// The term in which this agent leads and may act.
    Leads(Option<u64>),
    /// The last [`Output::Propose`] is done with, whatever became of it.
    Proposed,
}

/// What an external trigger says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// One value, and what is held against the activation, in milli-units.
    Value { milli: i64, activity_milli: i64 },
    /// A value of each replica: all that there are, sorted and summed.
    Pods(Sums),
}

impl Answer {
    /// One number that says all.
    pub fn value(milli: i64) -> Answer {
        Answer::Value {
            milli,
            activity_milli: milli,
        }
    }
}

/// All that an agent may be asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "the host consumes it at once; there are a few a second"
)]
pub enum Output {
    /// Tell the other nodes.
    Publish(Summary),
    /// Ask an external trigger and come back with [`Input::Polled`].
    Poll {
        policy: policy::Name,
        trigger: Trigger,
        /// After an [`Input::Pushed`]: an answer from before that says nothing.
        pushed: bool,
    },
    /// Write a scaled workload's size and come back with [`Input::Patched`].
    Patch(Patch),
    /// Propose to the log and come back with [`Input::Proposed`].
    Propose(Command),
    /// This node's ledger differs from the majority's: stop acting, say so (I7).
    Halt(String),
}

/// A pass each second, and whenever a trigger has answered or a node measured
/// something else than before.
pub const PASS_EVERY_MS: u64 = 1_000;
/// Answers that follow each other share a pass: passes are at least so far
/// apart. A trigger's first answer in a term doesn't wait, but for [`HURRIED_MAX`].
pub const PASS_GAP_MS: u64 = 250;
/// First answers in a second that don't wait for that.
pub const HURRIED_MAX: u32 = 8;
/// A summary that is older speaks for nothing: its replicas count as missing.
pub const FRESH_MS: u64 = 5_000;
/// A node's replicas are placed elsewhere once it has not been alive for this
/// long while this agent led.
pub const LOST_AFTER_MS: u64 = 5_000;
/// A proposal without an answer is given up after this; the next pass plans
/// from what was applied.
pub const PROPOSAL_PATIENCE_MS: u64 = 5_000;
/// An external trigger that hasn't answered for its polling interval and this
/// much more has failed.
pub const POLL_PATIENCE_MS: u64 = 10_000;
/// However often its source pushes, a trigger is asked at most once in so long, and where there
/// is work at most twice in its interval.
pub const PUSH_GAP_MS: u64 = 250;
/// At most so many workloads without a policy are moved in one entry; the next pass sees
/// to the rest.
pub const PASS_MOVES_MAX: usize = 100;
/// At most so many policies change in one entry; the next pass begins with the rest.
pub const PASS_ITEMS_MAX: usize = 500;
/// At most so many bytes, by [`weight`](crate::weight), so that one entry
/// takes all of it. More is cut as above; an item alone is below it by the bounds
/// on what a policy may hold.
pub const PASS_BYTES_MAX: usize = 768 << 10;

/// The state of one agent.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    /// The newest summary of every member, this node included.
    summaries: Summaries,
    /// Of this node alone.
    recent: Recent,
    alive: BTreeSet<NodeId>,
    /// What the platform last said of each scaled workload. Whoever keeps the log
    /// is told, so that a new leader knows it.
    observations: Arc<BTreeMap<Target, Observation>>,
    /// Workloads that something else scales, and what does. They are left alone.
    rivals: BTreeMap<Target, String>,
    /// The platform can be read and written just now.
    platform: bool,
    lead: Option<Lead>,
    /// Rises with each summary, across restarts too: see [`Node::in_life`].
    sequence: u64,
    halted: bool,
}

/// What only a leader keeps; gone with the lead.
#[derive(Debug, Default)]
struct Lead {
    term: u64,
    next_pass: Ms,
    /// The first policy that had no place in the last pass.
    left_out: Option<policy::Name>,
    /// The host's clock at the last pass.
    planned_at: Ms,
    /// Log time of the last pass.
    passed_at: Option<Ms>,
    proposed_at: Option<Ms>,
    /// By policy and trigger.
    polls: BTreeMap<policy::Name, Polls>,
    /// When the first of them is due.
    next_poll: Option<Ms>,
    /// Writes that are under way or failed, by workload.
    patches: BTreeMap<Target, Patching>,
    /// Since when a member has not been alive.
    missed_since: BTreeMap<NodeId, Ms>,
    /// What the last pass decided, by policy.
    decisions: Arc<BTreeMap<policy::Name, Decision>>,
    /// What is seen of the workloads under strategy `objective`, by policy.
    watches: BTreeMap<policy::Name, Watch>,
    next_look: Ms,
    /// First answers that didn't wait, and since when they are counted.
    hurried: (u32, Ms),
}

impl Lead {
    /// At most [`HURRIED_MAX`] times a second: a new leader hears first answers by the
    /// thousand, and a pass looks at every policy.
    fn may_hurry(&mut self, now: Ms) -> bool {
        let (count, since) = &mut self.hurried;
        if *count == 0 || now.since(*since) >= PASS_EVERY_MS {
            (*count, *since) = (0, now);
        }
        *count += 1;
        *count <= HURRIED_MAX
    }
}

impl Node {
    pub fn new(id: NodeId) -> Self {
        Node {
            id,
            summaries: Summaries::default(),
            recent: Recent::default(),
            alive: BTreeSet::from([id]),
            observations: Arc::default(),
            rivals: BTreeMap::new(),
            platform: false,
            lead: None,
            sequence: 0,
            halted: false,
        }
    }

    /// The node's summaries are newer than those of any lower life, whatever the clock
    /// says: a host states a higher one at each start, further apart than a life has
    /// summaries.
    #[must_use]
    pub fn in_life(self, life: u64) -> Self {
        Node {
            sequence: life,
            ..self
        }
    }

    /// The newest summary of every member. Shared, as are observations and
    /// decisions: a host that shows them copies none.
    pub fn summaries(&self) -> &BTreeMap<NodeId, Arc<Summary>> {
        self.summaries.by_node()
    }

    pub fn alive(&self) -> &BTreeSet<NodeId> {
        &self.alive
    }

    /// What the last pass decided, by policy; `None` unless this agent leads.
    pub fn decisions(&self) -> Option<&Arc<BTreeMap<policy::Name, Decision>>> {
        self.lead.as_ref().map(|lead| &lead.decisions)
    }

    /// When the last pass was made, by the host's clock; `None` unless this
    /// agent leads.
    pub fn planned_at(&self) -> Option<Ms> {
        self.lead.as_ref().map(|lead| lead.planned_at)
    }

    /// Takes one input and says what to do. `now` is the host's clock.
    pub fn step(&mut self, now: Ms, input: Input, ledger: &Ledger) -> Vec<Output> {
        match input {
            Input::Tick => self.tick(now, ledger),
            Input::Sampled(sample) => self.sampled(now, sample, ledger),
            Input::Heard(summary) => self.heard(summary, ledger),
            Input::Polled {
                policy,
                trigger,
                age_ms,
                result,
            } => self.polled(now, &policy, &trigger, age_ms, result),
            Input::Pushed(triggers) => {
                if self.pushed(&triggers) {
                    self.due_polls(now, ledger)
                } else {
                    Vec::new()
                }
            }
            Input::Platform(reachable) => {
                self.platform = reachable;
                Vec::new()
            }
            Input::Rivals(rivals) => {
                self.rivals = rivals;
                Vec::new()
            }
            Input::Observed {
                target,
                observation,
            } => {
                self.observe(&target, observation, ledger);
                self.due_patch(now, &target, ledger)
            }
            Input::Patched { target, result } => {
                self.patched(now, &target, result, ledger);
                self.due_patch(now, &target, ledger)
            }
            Input::Alive(alive) => {
                self.alive = alive;
                self.alive.insert(self.id);
                Vec::new()
            }
            Input::Leads(term) => self.leads(term),
            Input::Proposed => {
                if let Some(lead) = &mut self.lead {
                    lead.proposed_at = None;
                }
                self.due_patches(now, ledger)
            }
        }
    }

    /// When [`Input::Tick`] is due for anything, if nothing else happens before: a pass, a
    /// question to a trigger, a write that is tried again. Never later than a second.
    pub fn next_tick(&self, now: Ms) -> Ms {
        let polls = self.lead.as_ref().and_then(|lead| lead.next_poll);
        let patches = self.lead.iter().flat_map(|lead| lead.patches.values());
        // One whose time has come was seen to by the last tick.
        let patches = patches.map(Patching::until).filter(|until| *until > now);
        let soonest = polls.into_iter().chain(patches).min();
        let latest = self.wakeup(now).min(now.plus(PASS_EVERY_MS));
        soonest.map_or(latest, |at| at.clamp(now, latest))
    }

    /// When a pass is due, if nothing else happens before.
    pub fn wakeup(&self, now: Ms) -> Ms {
        match &self.lead {
            // No pass is made while a proposal is under way.
            Some(lead) => match lead.proposed_at {
                Some(at) => lead.next_pass.max(at.plus(PROPOSAL_PATIENCE_MS)).max(now),
                None => lead.next_pass.max(now),
            },
            None => now.plus(PASS_EVERY_MS),
        }
    }

    fn sampled(&mut self, now: Ms, mut sample: Sample, ledger: &Ledger) -> Vec<Output> {
        self.sequence = self.sequence.saturating_add(1);
        let checkpoint = ledger.checkpoints.back().copied();
        let part = ledger.part(self.id);
        self.recent.extend(now, &mut sample, &Reach::of(&part));
        let summary = Summary::of(self.id, self.sequence, now, &sample, checkpoint, &part);
        let news = self.summaries.insert(summary.clone());
        self.stir(news);
        vec![Output::Publish(summary)]
    }

    fn heard(&mut self, summary: Summary, ledger: &Ledger) -> Vec<Output> {
        let known = self.summaries.get(summary.node);
        let newer = known.is_none_or(|k| summary.sequence > k.sequence);
        if newer && summary.node != self.id && ledger.members.contains_key(&summary.node) {
            let news = self.summaries.insert(summary);
            self.stir(news);
        }
        Vec::new()
    }

    /// What may change a decision doesn't wait for the next second.
    fn stir(&mut self, news: bool) {
        if let Some(lead) = self.lead.as_mut().filter(|_| news) {
            lead.next_pass = lead.next_pass.min(lead.planned_at.plus(PASS_GAP_MS));
        }
    }

    fn polled(
        &mut self,
        now: Ms,
        policy: &policy::Name,
        trigger: &str,
        age_ms: u64,
        result: Result<Answer, String>,
    ) -> Vec<Output> {
        let Some(lead) = &mut self.lead else {
            return Vec::new();
        };
        let polls = lead.polls.get_mut(policy);
        let mut polls = polls.into_iter().flatten();
        let Some(poll) = polls.find(|poll| poll.trigger == trigger) else {
            return Vec::new();
        };
        let first = matches!(poll.reading, Reading::None);
        poll.waiting = false;
        poll.took_ms = now.since(poll.asked_at);
        poll.pushed &= result.is_ok();
        let at = Ms(now.0.saturating_sub(age_ms));
        match result {
            Ok(Answer::Value {
                milli,
                activity_milli,
            }) => {
                poll.reading = Reading::Value {
                    milli,
                    activity_milli,
                    at,
                };
            }
            Ok(Answer::Pods(sums)) => poll.reading = Reading::Answered { sums, at },
            Err(why) => poll.reading.fail(clip(&why), now),
        }
        let next = poll.next();
        lead.next_poll = Some(lead.next_poll.map_or(next, |at| at.min(next)));
        let hurries = first && lead.may_hurry(now);
        let gap_ms = if hurries { 0 } else { PASS_GAP_MS };
        lead.next_pass = lead.next_pass.min(lead.planned_at.plus(gap_ms));
        Vec::new()
    }

    /// A new term starts from what is replicated and from fresh answers, so
    /// nothing of a former lead is kept.
    fn leads(&mut self, term: Option<u64>) -> Vec<Output> {
        if self.lead.as_ref().map(|lead| lead.term) != term {
            self.lead = term.map(|term| Lead {
                term,
                ..Lead::default()
            });
        }
        Vec::new()
    }

    fn tick(&mut self, now: Ms, ledger: &Ledger) -> Vec<Output> {
        let me = self.id;
        self.summaries
            .retain(|node| ledger.members.contains_key(&node) || node == me);
        let stranger = |target: &Target| !ledger.workloads.contains_key(target);
        if self.observations.keys().any(stranger) {
            Arc::make_mut(&mut self.observations).retain(|target, _| !stranger(target));
        }
        if let Some(why) = self.differs(ledger) {
            let first = !self.halted;
            self.halted = true;
            self.lead = None;
            return if first {
                vec![Output::Halt(why)]
            } else {
                Vec::new()
            };
        }
        let mut outputs = self.due_polls(now, ledger);
        self.look(now, ledger);
        outputs.extend(self.due_pass(now, ledger));
        outputs.extend(self.due_patches(now, ledger));
        outputs
    }

    /// Whether more nodes than not have another digest at one index than this
    /// one has (I7).
    fn differs(&self, ledger: &Ledger) -> Option<String> {
        ledger.checkpoints.iter().rev().find_map(|mine| {
            let others = self.summaries.by_node().values();
            let others = others.filter(|s| s.node != self.id);
            let same_index = others
                .filter_map(|s| s.checkpoint)
                .filter(|c| c.index == mine.index);
            let (equal, different): (Vec<_>, Vec<_>) =
                same_index.partition(|c| c.digest == mine.digest);
            (different.len() > equal.len() + 1).then(|| {
                format!(
                    "at index {} this node's ledger differs from {} others'",
                    mine.index,
                    different.len()
                )
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_answers_by_the_thousand_share_passes() {
        let mut lead = Lead::default();
        let mut hurried = |at: u64| (0..1_000).filter(|_| lead.may_hurry(Ms(at))).count();
        assert_eq!(hurried(5_000), HURRIED_MAX as usize);
        assert_eq!(hurried(5_999), 0);
        assert_eq!(hurried(6_000), HURRIED_MAX as usize);
    }
}
