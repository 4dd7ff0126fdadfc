//! External triggers, which a leader has its host ask: when each is due, and what it
//! answered last.
//!
//! Comes in: the policies in force and the time. Goes out: what to ask now. Never
//! takes silence for an answer.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::{Node, Output, POLL_PATIENCE_MS};
use crate::decide::Reading;
use crate::ledger::{InForce, Ledger};
use crate::policy::{Policy, Trigger};
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
            if polls[at].is_due(now, policy.polling_interval_ms) {
                self.first += usize::from(known.is_none());
                if known.is_none() && self.first > TOGETHER_MAX {
                    polls[at].early_ms = share(policy, trigger);
                }
                self.outputs.push(Output::Poll {
                    policy: policy.name.clone(),
                    trigger: trigger.clone(),
                });
            }
        }
    }
}

/// Another number for another source, or for another workload that is sized by it: what an
/// answer goes by.
pub fn asks(policy: &Policy, trigger: &Trigger) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{:?}", trigger.source).hash(&mut hasher);
    (&policy.target, policy.formula().is_some()).hash(&mut hasher);
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
            self.interval_ms - self.early_ms.min(self.interval_ms)
        };
        self.asked_at.plus(after_ms)
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
        let due = !self.waiting && waited_ms >= interval_ms.saturating_sub(self.early_ms);
        if due {
            self.early_ms = 0;
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
    use crate::policy::{Goal, Name, Source};

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
