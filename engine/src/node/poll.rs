//! External triggers, which a leader has its host ask: when each is due, and what it
//! answered last.
//!
//! Comes in: the policies in force, the time, and which sources say by themselves that
//! something has changed. Goes out: what to ask now. Never takes silence for an answer, nor
//! a push: what counts is what the source says when it is asked.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::{Node, Output, POLL_PATIENCE_MS, PUSH_GAP_MS};
use crate::decide::Reading;
use crate::ledger::{InForce, Ledger};
use crate::policy::{Name, Policy, Trigger};
use crate::unit::Ms;

/// One policy's. A list, since nearly all have one: the smallest map takes the room of
/// eleven.
pub(super) type Polls = Vec<Poll>;

#[derive(Debug)]
pub(super) struct Poll {
    pub trigger: String,
    /// What it asks, in short, and the policy's revision that this was last compared with.
    asks: u64,
    revision: u64,
    pub asked_at: Ms,
    pub waiting: bool,
    /// Its source has said that something has changed, and wasn't asked since.
    pub pushed: bool,
    /// What it asks, whoever it is for, in short.
    source: u64,
    /// A value that isn't above it is of nothing to do.
    activation_milli: i64,
    /// So long the last answer took.
    pub took_ms: u64,
    pub reading: Reading,
    /// The policy's, when it was last looked at.
    interval_ms: u64,
    /// The next question comes so much earlier.
    early_ms: u64,
}

/// Further triggers that are asked for the first time at once are spread over their
/// interval from the second time on: a new leader finds all of them due, and whoever is asked
/// by thousands together answers some too late, and the same ones each time.
const TOGETHER_MAX: usize = 64;

impl Node {
    pub(super) fn due_polls(&mut self, now: Ms, ledger: &Ledger) -> Vec<Output> {
        let Some(lead) = &mut self.lead else {
            return Vec::new();
        };
        lead.polls.retain(|name, polls| {
            let Some(in_force) = ledger.policies.get(name) else {
                return false;
            };
            let triggers = &in_force.policy.triggers;
            // One that isn't polled any more would be due for ever, and what a trigger answered
            // that asked something else says nothing of this one.
            polls.retain_mut(|poll| {
                let of = |it: &&Trigger| it.source.is_polled() && it.name == poll.trigger;
                let Some(trigger) = triggers.iter().find(of) else {
                    return false;
                };
                let same = poll.revision == in_force.revision
                    || poll.asks == asks(&in_force.policy, trigger);
                poll.revision = in_force.revision;
                same
            });
            true
        });
        let mut found = Due::default();
        for in_force in ledger.policies.values() {
            let policy = &in_force.policy;
            if !policy.triggers.iter().any(|t| t.source.is_polled()) {
                continue;
            }
            // Looked up by reference: this runs for every policy at every tick.
            if !lead.polls.contains_key(&policy.name) {
                lead.polls
                    .insert(policy.name.clone(), Polls::with_capacity(1));
            }
            if let Some(polls) = lead.polls.get_mut(&policy.name) {
                found.look(polls, now, in_force);
            }
        }
        let polls = lead.polls.values().flatten();
        lead.next_poll = polls.map(Poll::next).min();
        found.outputs
    }

    /// All count that ask the same, whoever they are for: of those one alone may be known to
    /// who listens. Not those that fail, which would fail more often by it; one that is asked
    /// just now may not. Whether there are any.
    pub(super) fn pushed(&mut self, triggers: &BTreeSet<(Name, String)>) -> bool {
        let Some(lead) = &mut self.lead else {
            return false;
        };
        let source = |(policy, trigger): &(Name, String)| {
            let polls = lead.polls.get(policy)?;
            let poll = polls.iter().find(|poll| poll.trigger == *trigger)?;
            Some(poll.source)
        };
        let sources: BTreeSet<u64> = triggers.iter().filter_map(source).collect();
        let mut any = false;
        for poll in lead.polls.values_mut().flatten() {
            let fails = matches!(poll.reading, Reading::Failed { .. } | Reading::Kept { .. });
            if (!fails || poll.waiting) && sources.contains(&poll.source) {
                poll.pushed = true;
                any = true;
            }
        }
        any
    }
}

/// What is to be asked now.
#[derive(Default)]
struct Due {
    /// How many of them for the first time.
    first: usize,
    outputs: Vec<Output>,
}

impl Due {
    fn look(&mut self, polls: &mut Polls, now: Ms, in_force: &InForce) {
        let policy = &in_force.policy;
        for trigger in policy.triggers.iter().filter(|t| t.source.is_polled()) {
            let known = polls.iter().position(|poll| poll.trigger == trigger.name);
            let at = known.unwrap_or_else(|| {
                polls.push(Poll::new(in_force, trigger));
                polls.len() - 1
            });
            polls[at].activation_milli = trigger.activation_milli;
            if polls[at].is_due(now, policy.polling_interval_ms) {
                let pushed = std::mem::take(&mut polls[at].pushed);
                self.first += usize::from(known.is_none());
                if known.is_none() && self.first > TOGETHER_MAX {
                    polls[at].early_ms = share(policy, trigger);
                }
                self.outputs.push(Output::Poll {
                    policy: policy.name.clone(),
                    trigger: trigger.clone(),
                    pushed,
                });
            }
        }
    }
}

/// Another number for another source, or for another workload that is sized by it: what an
/// answer goes by.
pub fn asks(policy: &Policy, trigger: &Trigger) -> u64 {
    let mut hasher = DefaultHasher::new();
    source(trigger).hash(&mut hasher);
    (&policy.target, policy.formula().is_some()).hash(&mut hasher);
    hasher.finish()
}

/// The same number for all that have one source.
fn source(trigger: &Trigger) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{:?}", trigger.source).hash(&mut hasher);
    hasher.finish()
}

/// Of the interval, as good as by chance.
fn share(policy: &Policy, trigger: &Trigger) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&policy.name, &trigger.name).hash(&mut hasher);
    hasher.finish() % policy.polling_interval_ms.max(1)
}

impl Poll {
    fn new(in_force: &InForce, trigger: &Trigger) -> Poll {
        Poll {
            trigger: trigger.name.clone(),
            asks: asks(&in_force.policy, trigger),
            revision: in_force.revision,
            asked_at: Ms::default(),
            waiting: false,
            pushed: false,
            source: source(trigger),
            activation_milli: 0,
            took_ms: 0,
            reading: Reading::None,
            interval_ms: 0,
            early_ms: 0,
        }
    }

    /// When there is something to do about it, if nothing is heard before.
    pub fn next(&self) -> Ms {
        let after_ms = if self.waiting {
            self.interval_ms + POLL_PATIENCE_MS
        } else {
            self.pause_ms(self.interval_ms)
        };
        self.asked_at.plus(after_ms)
    }

    /// From one question to the next. What is pushed is seen to at once where nothing was to
    /// do. Where there is work it has a source asked twice as often as its interval says,
    /// and one that takes long no more than half of the time.
    fn pause_ms(&self, interval_ms: u64) -> u64 {
        let pause_ms = interval_ms.saturating_sub(self.early_ms);
        if !self.pushed {
            return pause_ms;
        }
        let gap_ms = match self.reading {
            Reading::Value { activity_milli, .. } if activity_milli > self.activation_milli => {
                interval_ms / 2
            }
            _ => 0,
        };
        pause_ms.min(gap_ms.max(PUSH_GAP_MS).max(self.took_ms * 2))
    }

    /// Whether it is to be asked now, in which case it counts as asked. One that
    /// hasn't answered for long has failed.
    fn is_due(&mut self, now: Ms, interval_ms: u64) -> bool {
        self.interval_ms = interval_ms;
        let waited_ms = now.since(self.asked_at);
        if self.waiting && waited_ms >= interval_ms + POLL_PATIENCE_MS {
            let why = format!("no answer for {} s", waited_ms / 1_000);
            self.reading.fail(why, now);
            self.waiting = false;
        }
        let due = !self.waiting && waited_ms >= self.pause_ms(interval_ms);
        if due {
            // What a source pushes before doesn't bring those together that were spread.
            if waited_ms >= interval_ms.saturating_sub(self.early_ms) {
                self.early_ms = 0;
            }
            self.asked_at = now;
            self.waiting = true;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::policy::{Goal, Source};

    fn put(n: u32, interval_ms: u64, kind: &str) -> InForce {
        let policy = Policy {
            name: Name::new("shop", format!("web-{n}")),
            polling_interval_ms: interval_ms,
            triggers: vec![Trigger {
                name: "queue".to_owned(),
                source: Source::External {
                    kind: kind.to_owned(),
                    metadata: BTreeMap::new(),
                },
                goal: Goal::AverageValue { milli: 1_000 },
                activation_milli: 0,
                window_ms: None,
            }],
            ..Policy::default()
        };
        InForce {
            policy,
            revision: 1,
            created_at: Ms(0),
            source: String::new(),
            copies: BTreeSet::new(),
        }
    }

    #[test]
    fn thousands_that_are_due_together_are_asked_one_after_the_other_from_then_on() {
        let all = (0..1_000).map(|n| (put(n, 5_000, "redis"), Polls::new()));
        let mut all: Vec<(InForce, Polls)> = all.collect();
        let begin = Ms(100_000);
        let mut asked = Vec::new();
        for step in 0..=100 {
            let now = begin.plus(step * 100);
            let mut found = Due::default();
            for (in_force, polls) in &mut all {
                found.look(polls, now, in_force);
                // It is answered at once.
                polls[0].waiting = false;
            }
            asked.push(found.outputs.len());
        }
        assert_eq!(asked[0], 1_000, "nobody knows anything");
        let (second, third) = (&asked[1..=50], &asked[51..=100]);
        // Some nineteen each, and those that stay together.
        let even = |counts: &[usize]| counts[..49].iter().all(|count| (4..=40).contains(count));
        assert!(even(second) && even(third), "{asked:?}");
        assert!(asked[50] >= TOGETHER_MAX, "{asked:?}");
        for counts in [second, third] {
            assert_eq!(counts.iter().sum::<usize>(), 1_000, "once in an interval");
        }
    }

    #[test]
    fn what_a_source_pushes_is_asked_for_at_once_by_all_who_ask_the_same() {
        let mut ledger = Ledger::default();
        let mut node = Node::new(crate::unit::NodeId(1));
        node.leads(Some(1));
        // Two ask the same, and one something else; which is due goes by the interval.
        for (n, kind) in [(1, "redis"), (2, "redis"), (3, "mysql")] {
            let in_force = put(n, 60_000, kind);
            let name = in_force.policy.name.clone();
            ledger.policies.insert(name, in_force);
        }
        let name = |n: u32| Name::new("shop", format!("web-{n}"));
        let begin = Ms(100_000);
        let asked = |outputs: Vec<Output>| -> Vec<(Name, bool)> {
            let asked = outputs.into_iter().map(|output| match output {
                Output::Poll { policy, pushed, .. } => (policy, pushed),
                other => unreachable!("{other:?}"),
            });
            asked.collect()
        };
        let first = [1, 2, 3].map(|n| (name(n), false));
        assert_eq!(asked(node.due_polls(begin, &ledger)), first);
        let answer = |node: &mut Node, n: u32, milli: i64, at: Ms| {
            let answer = Ok(super::super::Answer::value(milli));
            node.polled(at, &name(n), "queue", 0, answer);
        };
        answer(&mut node, 1, 0, begin);
        let push = |node: &mut Node, at: Ms, ledger: &Ledger| {
            let of = BTreeSet::from([(name(1), "queue".to_owned())]);
            asked(node.step(at, crate::node::Input::Pushed(of), ledger))
        };
        let soon = begin.plus(PUSH_GAP_MS - 1);
        assert_eq!(push(&mut node, soon, &ledger), []);
        let due = begin.plus(PUSH_GAP_MS);
        assert_eq!(node.lead.as_ref().unwrap().next_poll, Some(due));
        assert_eq!(asked(node.due_polls(due, &ledger)), [(name(1), true)]);
        assert_eq!(asked(node.due_polls(due.plus(9_000), &ledger)), []);
        // What was under way when it came may have missed it.
        answer(&mut node, 2, 0, due);
        let later = begin.plus(2 * PUSH_GAP_MS);
        assert_eq!(asked(node.due_polls(later, &ledger)), [(name(2), true)]);
        // Of what isn't known nothing comes.
        let unknown = BTreeSet::from([(name(9), "queue".to_owned()), (name(3), "q".to_owned())]);
        assert!(!node.pushed(&unknown));
        answer(&mut node, 3, 0, later);
        assert_eq!(asked(node.due_polls(later.plus(1_000), &ledger)), []);

        // Where there is work it goes by the interval.
        answer(&mut node, 1, 0, later);
        answer(&mut node, 2, 1_000, later);
        let half = later.plus(30_000);
        let before = later.plus(29_999);
        assert_eq!(push(&mut node, before, &ledger), [(name(1), true)]);
        assert_eq!(asked(node.due_polls(half, &ledger)), [(name(2), true)]);
        // An answer that took long is waited for as long again.
        answer(&mut node, 1, 0, before.plus(5_000));
        assert_eq!(push(&mut node, before.plus(9_999), &ledger), []);
        let slow = before.plus(10_000);
        assert_eq!(push(&mut node, slow, &ledger), [(name(1), true)]);
        // One that fails isn't asked more often for that.
        let fail = |node: &mut Node, at: Ms| {
            node.polled(at, &name(1), "queue", 0, Err("refused".to_owned()));
        };
        assert_eq!(push(&mut node, slow, &ledger), []);
        fail(&mut node, slow);
        let early = push(&mut node, slow.plus(59_999), &ledger);
        assert!(
            early.iter().all(|(name, _)| name.name != "web-1"),
            "{early:?}"
        );
        let again = slow.plus(60_000);
        assert_eq!(asked(node.due_polls(again, &ledger))[0], (name(1), false));
        // Where the question that is under way is answered it counts.
        assert_eq!(push(&mut node, again, &ledger), []);
        answer(&mut node, 1, 0, again);
        let soon = again.plus(PUSH_GAP_MS);
        assert!(asked(node.due_polls(soon, &ledger)).contains(&(name(1), true)));
    }

    #[test]
    fn what_is_pushed_neither_undoes_nor_outruns_the_spread() {
        let mut poll = Poll::new(
            &put(1, 60_000, "redis"),
            &put(1, 1, "redis").policy.triggers[0],
        );
        let begin = Ms(100_000);
        assert!(poll.is_due(begin, 60_000));
        let heard = |poll: &mut Poll, at: Ms| {
            (poll.waiting, poll.pushed) = (false, true);
            poll.reading = Reading::value(1_000, at);
        };
        // It is asked again after three seconds, and then each half a minute at most.
        poll.early_ms = 57_000;
        heard(&mut poll, begin);
        for (after_ms, is_due) in [
            (2_999, false),
            (3_000, true),
            (32_999, false),
            (33_000, true),
        ] {
            let at = begin.plus(after_ms);
            assert_eq!(poll.is_due(at, 60_000), is_due, "{after_ms}");
            if is_due {
                heard(&mut poll, at);
            }
        }
        // One that comes before leaves it.
        (poll.early_ms, poll.reading) = (57_000, Reading::value(0, begin));
        let at = begin.plus(33_000 + PUSH_GAP_MS);
        assert!(poll.is_due(at, 60_000));
        assert_eq!(poll.early_ms, 57_000);
    }

    #[test]
    fn what_a_policy_asked_before_says_nothing_of_what_it_asks_now() {
        let mut ledger = Ledger::default();
        let mut node = Node::new(crate::unit::NodeId(1));
        node.leads(Some(1));
        let (now, name) = (Ms(100_000), Name::new("shop", "web-1"));
        let mut in_force = put(1, 5_000, "redis");
        let mut asked = |node: &mut Node, in_force: &InForce, at: Ms| {
            ledger.policies.insert(name.clone(), in_force.clone());
            node.due_polls(at, &ledger).len()
        };
        assert_eq!(asked(&mut node, &in_force, now), 1);
        let answer = Ok(super::super::Answer::value(7_000));
        node.polled(now, &in_force.policy.name, "queue", 0, answer);
        let reading = |node: &Node| {
            let lead = node.lead.as_ref().unwrap();
            lead.polls[&Name::new("shop", "web-1")][0].reading.clone()
        };
        // Bounds are another matter.
        in_force.revision = 2;
        in_force.policy.replicas_max = 9;
        assert_eq!(asked(&mut node, &in_force, now.plus(1)), 0);
        assert!(matches!(
            reading(&node),
            Reading::Value { milli: 7_000, .. }
        ));

        in_force.revision = 3;
        in_force.policy.triggers = put(1, 5_000, "mysql").policy.triggers;
        assert_eq!(asked(&mut node, &in_force, now.plus(2)), 1);
        assert!(matches!(reading(&node), Reading::None));
    }
}
