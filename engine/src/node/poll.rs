//! External triggers, which a leader has its host ask: when each is due, and what it
//! answered last.
//!
//! Comes in: the policies in force and the time. Goes out: what to ask now. Never
//! takes silence for an answer.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::{Node, Output, POLL_PATIENCE_MS};
use crate::decide::Reading;
use crate::ledger::Ledger;
use crate::policy::{Policy, Trigger};
use crate::unit::Ms;

/// One policy's. A list, since nearly all have one: the smallest map takes the room of
/// eleven.
pub(super) type Polls = Vec<Poll>;

#[derive(Debug)]
pub(super) struct Poll {
    pub trigger: String,
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
            // One that isn't polled any more would be due for ever.
            let asks = |poll: &Poll, of: &Trigger| of.source.is_polled() && of.name == poll.trigger;
            polls.retain(|poll| triggers.iter().any(|trigger| asks(poll, trigger)));
            true
        });
        let mut outputs = Vec::new();
        let mut first = 0;
        for policy in ledger.policies.values().map(|p| &p.policy) {
            if !policy.triggers.iter().any(|t| t.source.is_polled()) {
                continue;
            }
            // Looked up by reference: this runs for every policy at every tick.
            if !lead.polls.contains_key(&policy.name) {
                lead.polls
                    .insert(policy.name.clone(), Polls::with_capacity(1));
            }
            if let Some(polls) = lead.polls.get_mut(&policy.name) {
                due(polls, now, policy, &mut first, &mut outputs);
            }
        }
        let polls = lead.polls.values().flatten();
        lead.next_poll = polls.map(Poll::next).min();
        outputs
    }
}

/// `first` counts those that are asked for the first time.
fn due(polls: &mut Polls, now: Ms, policy: &Policy, first: &mut usize, outputs: &mut Vec<Output>) {
    for trigger in policy.triggers.iter().filter(|t| t.source.is_polled()) {
        let known = polls.iter().position(|poll| poll.trigger == trigger.name);
        let at = known.unwrap_or_else(|| {
            polls.push(Poll::new(&trigger.name));
            polls.len() - 1
        });
        if polls[at].is_due(now, policy.polling_interval_ms) {
            *first += usize::from(known.is_none());
            if known.is_none() && *first > TOGETHER_MAX {
                polls[at].early_ms = share(policy, trigger);
            }
            outputs.push(Output::Poll {
                policy: policy.name.clone(),
                trigger: trigger.clone(),
            });
        }
    }
}

/// Of the interval, as good as by chance.
fn share(policy: &Policy, trigger: &Trigger) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&policy.name, &trigger.name).hash(&mut hasher);
    hasher.finish() % policy.polling_interval_ms.max(1)
}

impl Poll {
    fn new(trigger: &str) -> Poll {
        Poll {
            trigger: trigger.to_owned(),
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
            self.reading = Reading::Failed { why, at: now };
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
    use std::collections::BTreeMap;

    use super::*;
    use crate::policy::{Goal, Name, Source};

    #[test]
    fn thousands_that_are_due_together_are_asked_one_after_the_other_from_then_on() {
        let interval_ms = 5_000;
        let policies = (0..1_000).map(|n| Policy {
            name: Name::new("shop", format!("web-{n}")),
            polling_interval_ms: interval_ms,
            triggers: vec![Trigger {
                name: "queue".to_owned(),
                source: Source::External {
                    kind: "redis".to_owned(),
                    metadata: BTreeMap::new(),
                },
                goal: Goal::AverageValue { milli: 1_000 },
                activation_milli: 0,
                window_ms: None,
            }],
            ..Policy::default()
        });
        let mut all: Vec<(Policy, Polls)> = policies.map(|policy| (policy, Vec::new())).collect();
        let begin = Ms(100_000);
        let mut asked = Vec::new();
        for step in 0..=100 {
            let now = begin.plus(step * 100);
            let (mut first, mut outputs) = (0, Vec::new());
            for (policy, polls) in &mut all {
                due(polls, now, policy, &mut first, &mut outputs);
                // It is answered at once.
                polls[0].waiting = false;
            }
            asked.push(outputs.len());
        }
        assert_eq!(
            asked[0], 1_000,
            "all at once at first: nobody knows anything"
        );
        let (second, third) = (&asked[1..=50], &asked[51..=100]);
        // Some nineteen each, and those that stay together.
        let even = |counts: &[usize]| counts[..49].iter().all(|count| (4..=40).contains(count));
        assert!(even(second) && even(third), "{asked:?}");
        assert!(asked[50] >= TOGETHER_MAX, "{asked:?}");
        for counts in [second, third] {
            assert_eq!(
                counts.iter().sum::<usize>(),
                1_000,
                "each once in an interval"
            );
        }
    }
}
