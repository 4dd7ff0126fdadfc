//! Members that come and go, as the ledger has it, and what becomes of what they ran.
#![allow(clippy::expect_used)] // A helper that finds nothing has failed its test.

use std::collections::BTreeMap;

use starling_engine::ledger::{
    Command, Entry, FOUNDER, Item, Ledger, Member, Move, Outcome, Refusal, Why, Workload,
};
use starling_engine::policy::{Goal, Policy, Resource, Source, Target, Trigger};
use starling_engine::unit::{Ms, NodeId, Stamp};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(3);
const C: NodeId = NodeId(4);

fn web() -> Target {
    Target::process("web")
}

fn shares(of: &[(NodeId, u32)]) -> BTreeMap<NodeId, u32> {
    of.iter().copied().collect()
}

fn admit(nonce: &str, name: &str) -> Command {
    Command::Admit {
        nonce: nonce.into(),
        member: Member {
            name: name.into(),
            ..Member::default()
        },
    }
}

/// Members a (1), b (3) and c (4), and six replicas of `web`, two on each.
struct Fixture {
    ledger: Ledger,
    index: u64,
}

impl Fixture {
    fn new() -> Self {
        let mut fixture = Fixture {
            ledger: Ledger::default(),
            index: 0,
        };
        fixture.grant(Command::Found {
            cluster: "c".into(),
            generation: 1,
            authority: None,
        });
        for (nonce, name) in [(FOUNDER, "a"), ("n2", "b"), ("n3", "c")] {
            fixture.grant(admit(nonce, name));
        }
        fixture.grant(Command::PutPolicy {
            policy: Policy {
                name: "web".into(),
                target: web(),
                replicas_min: 1,
                replicas_max: 10,
                triggers: vec![Trigger {
                    name: "cpu".into(),
                    source: Source::Resource(Resource::Cpu),
                    goal: Goal::Utilization { percent: 70 },
                    activation_milli: 0,
                    window_ms: None,
                }],
                ..Policy::default()
            },
            source: "a:/web.yaml".into(),
        });
        let revision = fixture.index;
        fixture.grant(Command::Pass {
            by: A,
            items: vec![Item {
                policy: "web".into(),
                revision,
                from: 1,
                to: 6,
                shares: Some(shares(&[(A, 2), (B, 2), (C, 2)])),
                seen: None,
                changes: Vec::new(),
                report: None,
            }],
            moves: Vec::new(),
        });
        fixture
    }

    /// One whose policy is gone.
    fn orphaned() -> Self {
        let mut fixture = Fixture::new();
        fixture.grant(Command::RemovePolicy {
            name: "web".into(),
            source: None,
        });
        fixture
    }

    fn apply(&mut self, command: Command) -> Outcome {
        self.index += 1;
        let at = Ms(self.index * 1_000);
        self.ledger.apply(self.index, &Entry { at, command })
    }

    fn grant(&mut self, command: Command) {
        assert_eq!(self.apply(command).refused, []);
    }

    fn refuse(&mut self, command: Command) -> Why {
        let before = self.ledger.clone();
        let mut outcome = self.apply(command);
        assert_eq!(before.workloads, self.ledger.workloads);
        assert_eq!(before.members, self.ledger.members);
        outcome.refused.pop().expect("refused").why
    }

    fn web(&self) -> &Workload {
        &self.ledger.workloads[&web()]
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            generation: 1,
            index: self.index,
        }
    }

    fn moves(&self, to: &[(NodeId, u32)]) -> Command {
        Command::Pass {
            by: A,
            items: Vec::new(),
            moves: vec![Move {
                target: web(),
                stamp: self.web().stamp,
                shares: shares(to),
            }],
        }
    }
}

#[test]
fn a_removed_member_has_no_share_and_a_workload_keeps_its_size() {
    let mut fixture = Fixture::new();
    fixture.grant(Command::Remove { node: C });
    assert_eq!(fixture.ledger.members.keys().collect::<Vec<_>>(), [&A, &B]);
    let workload = fixture.web();
    assert_eq!(workload.shares, shares(&[(A, 2), (B, 2)]));
    assert_eq!(workload.size, 6);
    // By a grant of its own: the one that was removed ends what it ran.
    assert_eq!(workload.stamp, fixture.stamp());
    let gone = fixture.ledger.part(C).shares[&web()];
    assert_eq!((gone.count, gone.stamp), (0, fixture.stamp()));
}

#[test]
fn a_member_whose_name_comes_back_under_a_new_id_leaves_no_share_to_a_stranger() {
    let mut fixture = Fixture::new();
    fixture.grant(admit("another", "c"));
    let new = NodeId(fixture.index);
    assert!(!fixture.ledger.members.contains_key(&C));
    assert!(fixture.ledger.members.contains_key(&new));
    assert_eq!(fixture.web().shares, shares(&[(A, 2), (B, 2)]));
}

#[test]
fn a_removed_member_that_asks_to_join_is_a_new_one() {
    let mut fixture = Fixture::new();
    fixture.grant(Command::Remove { node: C });
    let outcome = fixture.apply(admit("n3", "c"));
    assert_eq!(outcome.admitted, Some(NodeId(fixture.index)));
}

#[test]
fn who_is_no_member_and_who_is_the_last_one_is_not_removed() {
    let mut fixture = Fixture::new();
    let stranger = Command::Remove { node: NodeId(9) };
    assert_eq!(fixture.refuse(stranger), Why::UnknownMember);
    fixture.grant(Command::Remove { node: A });
    fixture.grant(Command::Remove { node: B });
    assert_eq!(fixture.refuse(Command::Remove { node: C }), Why::LastMember);
}

#[test]
fn a_member_is_away_from_the_first_word_on_until_it_is_back() {
    let mut fixture = Fixture::new();
    let away = |node, away| Command::Away { node, away };
    let since = |fixture: &Fixture| fixture.ledger.members[&B].away_since;
    fixture.grant(away(B, true));
    let first = Some(fixture.ledger.time);
    fixture.grant(away(B, true));
    assert_eq!(since(&fixture), first);
    fixture.grant(away(B, false));
    assert_eq!(since(&fixture), None);
    fixture.grant(away(B, true));
    fixture.grant(admit("n2", "b"));
    assert_eq!(since(&fixture), None, "it asks to be let in again");
    assert_eq!(fixture.refuse(away(NodeId(9), true)), Why::UnknownMember);
}

#[test]
fn what_no_policy_sizes_moves_and_keeps_its_size() {
    let mut fixture = Fixture::orphaned();
    let moves = fixture.moves(&[(A, 3), (B, 3)]);
    fixture.grant(moves);
    let workload = fixture.web();
    assert_eq!(workload.shares, shares(&[(A, 3), (B, 3)]));
    assert_eq!((workload.size, workload.stamp), (6, fixture.stamp()));
}

#[test]
fn moves_that_are_late_too_many_or_of_what_a_policy_sizes_are_refused() {
    let mut fixture = Fixture::new();
    let sized = fixture.moves(&[(A, 6)]);
    let by = Box::new("web".into());
    assert_eq!(fixture.refuse(sized), Why::Sized { by });

    let mut fixture = Fixture::orphaned();
    let late = fixture.moves(&[(A, 6)]);
    fixture.grant(Command::Remove { node: C });
    assert_eq!(fixture.refuse(late), Why::StaleShares);
    let many = fixture.moves(&[(A, 7)]);
    let too_many = Why::TooManyShares { sum: 7, size: 6 };
    assert_eq!(fixture.refuse(many), too_many);
    let stranger = fixture.moves(&[(A, 2), (C, 2)]);
    assert_eq!(fixture.refuse(stranger), Why::ShareOfStranger(C));
    let unknown = Command::Pass {
        by: A,
        items: Vec::new(),
        moves: vec![Move {
            target: Target::process("none"),
            stamp: Stamp::default(),
            shares: BTreeMap::new(),
        }],
    };
    assert_eq!(fixture.refuse(unknown), Why::UnknownWorkload);
    let words = Refusal {
        subject: "b".into(),
        why: Why::LastMember,
    };
    assert!(words.to_string().starts_with("b: it is the last member"));
}
