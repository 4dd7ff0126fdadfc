//! External triggers, which a leader has its host ask: when each is due, and what it
//! answered last.
//!
//! Comes in: the policies in force and the time. Goes out: what to ask now. Never
//! takes silence for an answer.

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
}

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
                due(polls, now, policy, &mut outputs);
            }
        }
        let polls = lead.polls.values().flatten();
        lead.next_poll = polls.map(Poll::next).min();
        outputs
    }
}

fn due(polls: &mut Polls, now: Ms, policy: &Policy, outputs: &mut Vec<Output>) {
    for trigger in policy.triggers.iter().filter(|t| t.source.is_polled()) {
        let known = polls.iter().position(|poll| poll.trigger == trigger.name);
        let at = known.unwrap_or_else(|| {
            polls.push(Poll::new(&trigger.name));
            polls.len() - 1
        });
        if polls[at].is_due(now, policy.polling_interval_ms) {
            outputs.push(Output::Poll {
                policy: policy.name.clone(),
                trigger: trigger.clone(),
            });
        }
    }
}

impl Poll {
    fn new(trigger: &str) -> Poll {
        Poll {
            trigger: trigger.to_owned(),
            asked_at: Ms::default(),
            waiting: false,
            reading: Reading::None,
            interval_ms: 0,
        }
    }

    /// When there is something to do about it, if nothing is heard before.
    pub fn next(&self) -> Ms {
        let patience_ms = if self.waiting { POLL_PATIENCE_MS } else { 0 };
        self.asked_at.plus(self.interval_ms).plus(patience_ms)
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
        let due = !self.waiting && waited_ms >= interval_ms;
        if due {
            self.asked_at = now;
            self.waiting = true;
        }
        due
    }
}
