//! What becomes of the policies whose file was on a machine that is no member any more.
//!
//! Comes in: the ledger, at the leader. Goes out: proposals that forget that machine's
//! files, where another member's file says the same: the policy then belongs to that one.
//! A policy that no member's file says is left as it is, and users are shown that it has
//! no owner: nothing is removed because a machine has died.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use starling_engine::ledger::{Command, Ledger, node_of};

use super::{Agent, read};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Of one look; the rest waits for the next.
const PROPOSALS_MAX: usize = 50;

impl Agent {
    pub(super) fn hand_policies_over(&mut self) {
        let looked = self
            .heirs_looked
            .is_some_and(|at| at.elapsed() < LOOK_EVERY);
        if looked || !self.leads || !self.caught_up {
            return;
        }
        self.heirs_looked = Some(Instant::now());
        let ledger = self.log.ledger();
        let proposals = proposals(&read(&ledger));
        for command in proposals {
            self.edit(command);
        }
    }
}

fn proposals(ledger: &Ledger) -> Vec<Command> {
    let members: BTreeSet<&str> = (ledger.members.values())
        .map(|admitted| admitted.member.name.as_str())
        .collect();
    let gone = |source: &str| node_of(source).is_some_and(|node| !members.contains(node));
    let mut proposals = Vec::new();
    for (name, in_force) in &ledger.policies {
        let mut forget = |source: &str| {
            proposals.push(Command::RemovePolicy {
                name: name.clone(),
                source: Some(source.to_owned()),
            });
        };
        let mut copies = in_force.copies.iter();
        if let Some(copy) = copies.find(|copy| gone(copy)) {
            // Else it could inherit.
            forget(copy);
        } else if gone(&in_force.source) && !in_force.copies.is_empty() {
            forget(&in_force.source);
        }
        if proposals.len() >= PROPOSALS_MAX {
            break;
        }
    }
    proposals
}

#[cfg(test)]
mod tests {
    use starling_engine::ledger::{Admitted, InForce, Member, OBJECT};
    use starling_engine::policy::Policy;
    use starling_engine::unit::{Ms, NodeId};

    use super::*;

    /// Members a and b, and a policy with these places.
    fn ledger(source: &str, copies: &[&str]) -> Ledger {
        let member = |(id, name): (u64, &str)| {
            let admitted = Admitted {
                nonce: String::new(),
                member: Member {
                    name: name.into(),
                    ..Member::default()
                },
                away_since: None,
            };
            (NodeId(id), admitted)
        };
        let put = InForce {
            policy: Policy {
                name: "web".into(),
                ..Policy::default()
            },
            revision: 3,
            created_at: Ms(1),
            source: source.into(),
            copies: copies.iter().map(|copy| (*copy).to_owned()).collect(),
        };
        Ledger {
            members: [(1, "a"), (7, "b")].map(member).into(),
            policies: [("web".into(), put)].into(),
            ..Ledger::default()
        }
    }

    /// Whose file is forgotten.
    fn forgotten(source: &str, copies: &[&str]) -> Option<String> {
        let proposals = proposals(&ledger(source, copies));
        assert!(proposals.len() < 2, "{proposals:?}");
        proposals.into_iter().next().map(|command| match command {
            Command::RemovePolicy {
                source: Some(source),
                ..
            } => source,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_gone_machines_policy_goes_to_a_members_equal_file_and_is_never_removed() {
        let (a, b, gone, other) = ("a:/web.yaml", "b:/web.yaml", "c:/web.yaml", "d:/web.yaml");
        assert_eq!(forgotten(gone, &[b]).as_deref(), Some(gone));
        assert_eq!(forgotten(gone, &[]), None, "nobody else says it");
        assert_eq!(forgotten(a, &[b]), None);
        // First those go that could inherit though they are gone too.
        assert_eq!(forgotten(gone, &[b, other]).as_deref(), Some(other));
        assert_eq!(forgotten(gone, &[other]).as_deref(), Some(other));
        assert_eq!(forgotten(a, &[gone]).as_deref(), Some(gone));
        let object = format!("{OBJECT}ScalingPolicy default/web");
        assert_eq!(forgotten(&object, &[]), None, "an object is on no machine");
    }
}
