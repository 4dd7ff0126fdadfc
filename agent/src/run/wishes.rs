//! From what users write, in files and as objects, to proposals: the part of the
//! loop that keeps the ledger's policies as they are wished.
//!
//! Comes in: the policy directory, the policies' objects, the ledger. Goes out:
//! commands to the log, and what became of each to whoever wished it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use starling_consensus::Error;
use starling_engine::ledger::{Command, Outcome, Refusal, Why};
use starling_engine::policy::Policy;
use starling_policy::{Looked, Saved};
use tracing::{error, warn};

use super::ask::wall;
use super::{Agent, Event, PROPOSAL_TIMEOUT, edits, read};

/// A look that takes longer is told of: the directory is on a disk that hangs.
const LOOK_MAX: Duration = Duration::from_secs(5);

impl Agent {
    /// Begins to read what has changed in the policy directory, off the loop: it may be
    /// a mount that hangs.
    pub(super) fn scan_directory(&mut self) {
        // Before that, a policy that the ledger doesn't show may just not have
        // been replayed yet.
        if !self.caught_up {
            return;
        }
        let Some(directory) = &mut self.directory else {
            return;
        };
        // The files' times are on the machine's clock.
        if let Some(look) = directory.look(wall()) {
            self.looking_since = Some(Instant::now());
            self.aside(move || look.run(), Event::Looked);
            return;
        }
        let hangs = self.looking_since.filter(|at| at.elapsed() > LOOK_MAX);
        let words = || {
            let words = format!(
                "the policy directory hasn't answered for more than {} s; what was read from it \
                 before stays in force",
                LOOK_MAX.as_secs()
            );
            ("the policy directory".to_owned(), words)
        };
        self.told
            .warn("disk", hangs.map(|_| words()).into_iter().collect());
    }

    /// Proposes what has changed in the policy directory.
    pub(super) fn looked(&mut self, looked: Result<Looked, String>) {
        self.looking_since = None;
        self.told.warn("disk", BTreeMap::new());
        let Some(directory) = &mut self.directory else {
            return;
        };
        let looked = match looked {
            Ok(looked) => looked,
            Err(why) => {
                error!(%why, "reading the policy directory broke off; it begins anew");
                return directory.broke_off();
            }
        };
        let offered: BTreeSet<_> = self
            .node
            .summaries()
            .values()
            .flat_map(|s| s.workloads.keys().cloned())
            .collect();
        let ledger = self.log.ledger();
        let rivals = self.node.rivals();
        let scan = directory.scan(looked, &read(&ledger), &offered, rivals);
        let save = directory.save();
        self.told.warn("policies", scan.problems);
        self.supervisor.offer(scan.processes);
        for command in scan.proposals {
            self.edit(command);
        }
        if let Some(save) = save {
            let saved = |done: Result<Result<Saved, String>, String>| {
                Event::Saved(done.unwrap_or_else(Err))
            };
            self.aside(move || save.run(), saved);
        }
    }

    /// Proposes what the policies' objects ask for, while this agent leads.
    pub(super) fn keep_objects(&mut self) {
        let Some(policies) = self.policies.as_mut().filter(|_| self.caught_up) else {
            return;
        };
        if !self.leads {
            policies.follow();
            self.told.warn("objects", policies.problems());
            return;
        }
        let ledger = self.log.ledger();
        let proposals = policies.lead(&read(&ledger), &self.node, self.clock.now());
        self.told.warn("objects", policies.problems());
        for command in proposals {
            self.edit(command);
        }
    }

    pub(super) fn edit(&self, command: Command) {
        let (events, log) = (self.events.clone(), self.log.clone());
        let former = match &command {
            Command::PutPolicy { policy, .. } => {
                let ledger = self.log.ledger();
                let ledger = read(&ledger);
                let in_force = ledger.policies.get(&policy.name);
                in_force.map(|in_force| in_force.policy.clone())
            }
            _ => None,
        };
        tokio::spawn(async move {
            let proposal = log.propose(command.clone());
            let result = match tokio::time::timeout(PROPOSAL_TIMEOUT, proposal).await {
                Ok(result) => result,
                Err(_) => Err(starling_consensus::Error::Unknown("no answer".into())),
            };
            let edited = Event::Edited {
                command,
                former,
                result,
            };
            let _ = events.send(edited).await;
        });
    }

    pub(super) fn edited(
        &mut self,
        command: &Command,
        former: Option<&Policy>,
        result: Result<Outcome, starling_consensus::Error>,
    ) {
        let outcome = match result {
            Ok(outcome) => outcome,
            Err(why) => {
                let Some(refused) = refused(command, &why) else {
                    warn!(%why, "a change of policy was not committed; it is tried again");
                    return;
                };
                refused
            }
        };
        edits::tell(command, former, &outcome, self.health.metrics());
        // Each knows its own proposals.
        if let Some(directory) = &mut self.directory {
            directory.answered(command, &outcome);
        }
        if let Some(policies) = &mut self.policies {
            policies.answered(command, &outcome);
        }
    }
}

/// What the log can never take is refused, as by the ledger: another try wouldn't help.
fn refused(command: &Command, why: &Error) -> Option<Outcome> {
    let words = match why {
        Error::TooLarge { bytes, bytes_max } => format!(
            "it has {bytes} bytes as the cluster keeps it, more than the {bytes_max} that one may \
             have; give it fewer or shorter triggers"
        ),
        Error::Unfit(why) => format!("the cluster can't keep it: {why}"),
        _ => return None,
    };
    let Command::PutPolicy { policy, .. } = command else {
        return None;
    };
    Some(Outcome {
        refused: vec![Refusal {
            subject: policy.name.to_string(),
            why: Why::Unsound(words),
        }],
        ..Outcome::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_log_can_never_take_is_refused_and_what_it_could_not_now_is_tried_again() {
        let put = Command::PutPolicy {
            policy: Policy {
                name: "web".into(),
                ..Policy::default()
            },
            source: "a:/web.yaml".into(),
        };
        let large = Error::TooLarge {
            bytes: 1_100_000,
            bytes_max: 1_048_576,
        };
        let outcome = refused(&put, &large).unwrap();
        let words = outcome.refused[0].to_string();
        assert!(
            words.contains("1100000 bytes") && words.contains("1048576"),
            "{words}"
        );
        assert!(refused(&put, &Error::Unfit("too many".into())).is_some());
        assert_eq!(refused(&put, &Error::Unknown("no quorum".into())), None);
        assert_eq!(refused(&put, &Error::NotLeader { leader: None }), None);
    }
}
