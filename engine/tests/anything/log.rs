//! The log: what becomes of proposals, and what must hold of the ledger after
//! every entry.

use serde::Serialize;
use serde::de::DeserializeOwned;
use starling_engine::ledger::{Command, Entry, Ledger, Outcome};
use starling_engine::node::Input;
use starling_engine::unit::{Ms, NodeId};

use super::{World, model};

/// What is `Eq` all through holds no float, because floats aren't: none can
/// reach the log or the ledger.
const fn has_no_float<T: Eq>() {}
const _: () = has_no_float::<Entry>();
const _: () = has_no_float::<Ledger>();

/// Encoded and decoded.
pub fn through<T: Serialize + DeserializeOwned>(value: &T) -> T {
    let bytes = postcard::to_allocvec(value).expect("it encodes");
    postcard::from_bytes(&bytes).expect("it decodes")
}

/// What becomes of a proposal.
#[derive(Clone, Copy)]
pub enum Fate {
    Granted,
    Lost,
    /// Applied some seconds later.
    Late,
    /// Applied, and the proposer never hears of it.
    Unheard,
}

impl World<'_> {
    pub fn propose(&mut self, id: NodeId, command: Command) {
        assert!(self.nodes[&id].leads, "node {id} proposes without leading");
        self.mix(&command);
        match self.fate {
            Fate::Granted => {
                let outcome = self.grant(id, command);
                assert_eq!(outcome.refused, [], "a plan from this state is granted");
                self.step(id, Input::Proposed);
            }
            Fate::Lost => self.step(id, Input::Proposed),
            Fate::Late => self.late.push((id, command)),
            Fate::Unheard => {
                self.grant(id, command);
            }
        }
    }

    /// Applies what a leader has proposed, at its clock's time.
    pub fn grant(&mut self, id: NodeId, command: Command) -> Outcome {
        let planned = command.clone();
        let learned = model::lessons(&planned, &self.ledger);
        let outcome = self.apply(self.clock(id), command);
        self.model.granted(&planned, &outcome, &self.ledger);
        for (policy, target, learned) in learned {
            let refused = outcome
                .refused
                .iter()
                .any(|no| no.subject == policy.to_string());
            let known = &self.ledger.workloads[&target].history.objective;
            assert!(refused || *known == learned, "I6: {policy} learned more");
        }
        outcome
    }

    /// Applies a command to both replicas and checks what must hold then (I5).
    pub fn apply(&mut self, at: Ms, command: Command) -> Outcome {
        self.steps += 1;
        let (index, before) = (self.ledger.index + 1, self.ledger.time);
        let entry = Entry { at, command };
        let outcome = self.ledger.apply(index, &entry);
        let decoded = (self.ways.entry)(&entry);
        assert_eq!(decoded, entry);
        assert_eq!(self.replica.apply(index, &decoded), outcome);
        self.model.applied(&entry.command, &self.ledger);
        let ledger = &self.ledger;
        assert_eq!(ledger.checkpoints.back(), self.replica.checkpoints.back());
        assert_eq!(ledger.halted, None);
        assert!(ledger.time >= before, "log time went back");
        for in_force in ledger.policies.values() {
            let policy = &in_force.policy;
            let workload = &ledger.workloads[&policy.target];
            assert_eq!(workload.policy.as_ref(), Some(&policy.name));
            if !policy.bounds().contains(&workload.size) {
                self.model.check_size(in_force, ledger);
            }
            let placed: u64 = workload.shares.values().map(|n| u64::from(*n)).sum();
            assert!(placed <= u64::from(workload.size), "{workload:?}");
        }
        if let Some(checkpoint) = ledger.checkpoints.back().copied() {
            self.mix(&checkpoint);
        }
        outcome
    }

    /// Goes on from what a snapshot would bring.
    pub fn restore(&mut self) {
        self.replica = (self.ways.ledger)(&self.ledger);
        assert_eq!(self.replica, self.ledger);
        // Of the one every change was noted, the other is hashed in whole.
        assert_eq!(self.replica.digest(), self.ledger.digest());
    }
}
