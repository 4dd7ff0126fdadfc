//! The ledger's rules: what is granted, what is refused, and that every node
//! comes to the same state.
#![allow(clippy::expect_used)] // A helper that finds nothing has failed its test.

use std::collections::BTreeMap;

use proptest::prelude::*;
use starling_engine::decide::objective::state;
use starling_engine::history::Change;
use starling_engine::ledger::{
    Became, CHECKPOINT_EVERY, COPIES_MAX, Cause, Command, Entry, FOUNDER, Item, Ledger, Member,
    Outcome, Why, Workload,
};
use starling_engine::policy::{
    Goal, Objective, Policy, Resource, Source, Strategy as Sizing, Target, Trigger,
};
use starling_engine::unit::{Ms, NodeId};

fn policy(name: &str, target: &str, min: u32, max: u32) -> Policy {
    Policy {
        name: name.into(),
        target: Target::process(target),
        replicas_min: min,
        replicas_max: max,
        triggers: vec![Trigger {
            name: "cpu".into(),
            source: Source::Resource(Resource::Cpu),
            goal: Goal::Utilization { percent: 70 },
            activation_milli: 0,
            window_ms: None,
        }],
        ..Policy::default()
    }
}

fn member(name: &str) -> Member {
    Member {
        name: name.into(),
        ..Member::default()
    }
}

fn put(policy: Policy) -> Command {
    Command::PutPolicy {
        policy,
        source: "a:/policies/web.yaml".into(),
    }
}

fn item(policy: &str, revision: u64, from: u32, to: u32) -> Item {
    Item {
        policy: policy.into(),
        revision,
        from,
        to,
        shares: None,
        seen: None,
        changes: Vec::new(),
        report: None,
    }
}

/// The same with all of it on node 1.
fn placed(policy: &str, revision: u64, from: u32, to: u32) -> Item {
    Item {
        shares: Some([(NodeId(1), to)].into()),
        ..item(policy, revision, from, to)
    }
}

fn pass(item: Item) -> Command {
    Command::Pass {
        by: NodeId(1),
        items: vec![item],
        moves: Vec::new(),
    }
}

/// A ledger with three members (1, 3 and 4) and policy `web` (revision 5, 2 to 10).
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
        let found = Command::Found {
            cluster: "c".into(),
            generation: 1,
            authority: None,
        };
        fixture.grant(found);
        for (nonce, name) in [(FOUNDER, "a"), ("n2", "b"), ("n3", "c")] {
            fixture.grant(Command::Admit {
                nonce: nonce.into(),
                member: member(name),
            });
        }
        fixture.grant(put(policy("web", "web", 2, 10)));
        fixture
    }

    fn apply(&mut self, command: Command) -> Outcome {
        self.index += 1;
        let at = Ms(self.index * 1_000);
        self.ledger.apply(self.index, &Entry { at, command })
    }

    fn grant(&mut self, command: Command) -> Outcome {
        let outcome = self.apply(command);
        assert_eq!(outcome.refused, []);
        outcome
    }

    /// The reason for the refusal, having checked that nothing else changed.
    fn refuse(&mut self, command: Command) -> Why {
        let before = self.ledger.clone();
        let mut outcome = self.apply(command);
        let after = self.ledger.clone();
        assert_eq!(before.workloads, after.workloads);
        assert_eq!(before.policies, after.policies);
        assert_eq!(before.members, after.members);
        outcome.refused.pop().expect("refused").why
    }

    fn size(&self) -> u32 {
        self.ledger
            .workloads
            .values()
            .next()
            .expect("a workload")
            .size
    }
}

#[test]
fn ids_are_log_indexes_and_a_repeated_admission_gives_the_same_one() {
    let mut fixture = Fixture::new();
    let ids: Vec<u64> = fixture.ledger.members.keys().map(|id| id.0).collect();
    assert_eq!(ids, [1, 3, 4]);
    let again = fixture.grant(Command::Admit {
        nonce: "n2".into(),
        member: member("b"),
    });
    assert_eq!(again.admitted, Some(NodeId(3)));
}

#[test]
fn a_member_that_lost_its_disk_gets_a_new_id_and_the_old_one_is_gone() {
    let mut fixture = Fixture::new();
    let outcome = fixture.grant(Command::Admit {
        nonce: "another".into(),
        member: member("b"),
    });
    assert_eq!(outcome.admitted, Some(NodeId(6)));
    let ids: Vec<u64> = fixture.ledger.members.keys().map(|id| id.0).collect();
    assert_eq!(ids, [1, 4, 6]);
}

#[test]
fn a_new_workload_starts_at_its_minimum_and_is_resized_by_a_pass() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.size(), 2);
    let shares = BTreeMap::from([(NodeId(1), 2), (NodeId(3), 2)]);
    let mut resize = item("web", 5, 2, 4);
    resize.shares = Some(shares.clone());
    fixture.grant(pass(resize));
    let workload = fixture.ledger.workloads.values().next().expect("workload");
    assert_eq!((workload.size, workload.stamp.index), (4, 6));
    assert_eq!(workload.shares, shares);
    let record = fixture.ledger.decisions.back().expect("a record");
    assert_eq!((record.index, record.from, record.to), (6, 2, 4));
    assert!(matches!(record.cause, Cause::Decided { by: NodeId(1), .. }));
}

#[test]
fn i5_a_size_outside_the_bounds_is_refused() {
    let mut fixture = Fixture::new();
    let why = fixture.refuse(pass(item("web", 5, 2, 11)));
    let (to, floor, cap) = (11, 2, 10);
    assert_eq!(why, Why::OutOfBounds { to, floor, cap });
    let why = fixture.refuse(pass(item("web", 5, 2, 1)));
    assert!(matches!(why, Why::OutOfBounds { to: 1, .. }));
}

#[test]
fn i5_a_policy_whose_bounds_exclude_the_size_moves_it_at_once() {
    let mut fixture = Fixture::new();
    let mut resize = item("web", 5, 2, 9);
    resize.shares = Some(BTreeMap::from([(NodeId(1), 5), (NodeId(3), 4)]));
    fixture.grant(pass(resize));
    fixture.grant(put(policy("web", "web", 1, 4)));
    assert_eq!(fixture.size(), 4);
    let workload = fixture.ledger.workloads.values().next().expect("workload");
    assert_eq!(workload.shares.values().sum::<u32>(), 4);
    let record = fixture.ledger.decisions.back().expect("a record");
    assert_eq!(record.cause, Cause::Bounds { floor: 1, cap: 4 });
}

#[test]
fn i1_what_was_decided_on_an_older_size_or_policy_is_refused() {
    let mut fixture = Fixture::new();
    fixture.grant(pass(item("web", 5, 2, 3)));
    let why = fixture.refuse(pass(item("web", 5, 2, 4)));
    assert_eq!(why, Why::StaleSize { decided: 2, now: 3 });
    fixture.grant(put(policy("web", "web", 1, 10)));
    let why = fixture.refuse(pass(item("web", 5, 3, 4)));
    assert_eq!(why, Why::StaleRevision { decided: 5, now: 8 });
}

#[test]
fn shares_of_strangers_and_more_shares_than_replicas_are_refused() {
    let mut fixture = Fixture::new();
    let mut resize = item("web", 5, 2, 3);
    resize.shares = Some(BTreeMap::from([(NodeId(9), 1)]));
    let why = fixture.refuse(pass(resize.clone()));
    assert_eq!(why, Why::ShareOfStranger(NodeId(9)));
    resize.shares = Some(BTreeMap::from([(NodeId(1), 4)]));
    let why = fixture.refuse(pass(resize));
    assert_eq!(why, Why::TooManyShares { sum: 4, size: 3 });
}

#[test]
fn a_workload_has_one_policy() {
    let mut fixture = Fixture::new();
    let why = fixture.refuse(put(policy("web2", "web", 1, 5)));
    assert_eq!(
        why.to_string(),
        "policy web sizes Process web already; a workload has one policy"
    );
}

#[test]
fn an_unsound_policy_is_refused_whoever_proposes_it() {
    let mut fixture = Fixture::new();
    let why = fixture.refuse(put(policy("bad", "bad", 5, 3)));
    assert!(why.to_string().contains("minReplicaCount"), "{why}");
}

#[test]
fn putting_the_same_policy_again_changes_nothing() {
    let mut fixture = Fixture::new();
    fixture.grant(put(policy("web", "web", 2, 10)));
    assert_eq!(fixture.ledger.policies[&"web".into()].revision, 5);
}

#[test]
fn i8_a_removed_policy_leaves_its_workload_at_its_size() {
    let mut fixture = Fixture::new();
    fixture.grant(pass(placed("web", 5, 2, 7)));
    fixture.grant(Command::RemovePolicy {
        name: "web".into(),
        source: None,
    });
    assert_eq!(fixture.size(), 7);
    fixture.grant(put(policy("web", "web", 2, 10)));
    assert_eq!(fixture.size(), 7);
}

#[test]
fn a_workload_that_never_ran_leaves_nothing() {
    let mut fixture = Fixture::new();
    fixture.grant(pass(placed("web", 5, 2, 7)));
    // By mistake, to a name that nobody can run, and back.
    fixture.grant(put(policy("web", "wbe", 2, 10)));
    fixture.grant(put(policy("web", "web", 2, 10)));
    let left: Vec<String> = fixture
        .ledger
        .workloads
        .keys()
        .map(ToString::to_string)
        .collect();
    assert_eq!((left, fixture.size()), (vec!["Process web".to_owned()], 7));
    fixture.grant(put(policy("db", "db", 3, 10)));
    fixture.grant(Command::RemovePolicy {
        name: "db".into(),
        source: None,
    });
    assert_eq!(fixture.ledger.workloads.len(), 1);
}

#[test]
fn time_never_goes_back() {
    let mut fixture = Fixture::new();
    let before = fixture.ledger.time;
    let command = Command::RemovePolicy {
        name: "?".into(),
        source: None,
    };
    let at = Ms(1);
    fixture.ledger.apply(6, &Entry { at, command });
    assert_eq!(fixture.ledger.time, before);
}

#[test]
fn the_whole_state_survives_encoding() {
    let mut fixture = Fixture::new();
    fixture.grant(pass(item("web", 5, 2, 7)));
    let bytes = postcard::to_allocvec(&fixture.ledger).expect("encodes");
    let back: Ledger = postcard::from_bytes(&bytes).expect("decodes");
    assert_eq!(back, fixture.ledger);
    assert_ne!(fixture.ledger.digest(), [0; 16]);
}

fn commands() -> impl Strategy<Value = Command> {
    let name = prop_oneof![Just("web"), Just("db"), Just("")];
    let small = || 0_u32..12;
    let shares = prop::collection::btree_map((0_u64..6).prop_map(NodeId), small(), 0..4);
    let passes = (
        name.clone(),
        0_u64..30,
        small(),
        small(),
        prop::option::of(shares),
    );
    prop_oneof![
        4 => passes.prop_map(|(name, revision, from, to, shares)| {
            let mut item = item(name, revision, from, to);
            item.shares = shares;
            pass(item)
        }),
        2 => (name.clone(), name.clone(), small(), small(), any::<bool>())
            .prop_map(|(name, target, min, max, dry_run)| put(Policy {
                dry_run,
                ..policy(name, target, min, max)
            })),
        1 => name.clone().prop_map(|name| Command::RemovePolicy { name: name.into(), source: None }),
        1 => ("[ab]", "[abc]").prop_map(|(nonce, name)| Command::Admit {
            nonce,
            member: member(&name)
        }),
        1 => (1_u64..6).prop_map(|n| Command::Remove { node: NodeId(n) }),
        1 => (1_u64..6, any::<bool>()).prop_map(|(n, away)| Command::Away { node: NodeId(n), away }),
        1 => Just(Command::Found { cluster: "x".into(), generation: 7, authority: None }),
    ]
}

proptest! {
    /// I5, I7: whatever is proposed, in bounds and the same everywhere.
    #[test]
    fn any_sequence_of_entries_keeps_the_invariants_and_gives_equal_digests(
        commands in prop::collection::vec((commands(), 0_u64..100_000), 1..80)
    ) {
        let (mut one, mut other) = (Fixture::new(), Fixture::new());
        for (command, at) in commands {
            one.index += 1;
            let entry = Entry { at: Ms(at), command };
            one.ledger.apply(one.index, &entry);
            let bytes = postcard::to_allocvec(&entry).expect("encodes");
            let entry: Entry = postcard::from_bytes(&bytes).expect("decodes");
            other.ledger.apply(one.index, &entry);
            prop_assert_eq!(&one.ledger.halted, &None);
            for in_force in one.ledger.policies.values() {
                let workload = &one.ledger.workloads[&in_force.policy.target];
                let bounded = in_force.policy.bounds().contains(&workload.size);
                prop_assert!(bounded || in_force.policy.dry_run);
                prop_assert!(!workload.is_ungranted() || workload.shares.is_empty());
                let placed: u32 = workload.shares.values().sum();
                prop_assert!(placed <= workload.size);
            }
        }
        prop_assert_eq!(one.ledger.digest(), other.ledger.digest());
        let bytes = postcard::to_allocvec(&one.ledger).expect("encodes");
        let read: Ledger = postcard::from_bytes(&bytes).expect("decodes");
        prop_assert_eq!(one.ledger.digest(), read.digest(), "hashed in whole");
        prop_assert_eq!(&one.ledger.checkpoints, &other.ledger.checkpoints);
        let due = one.index / CHECKPOINT_EVERY;
        prop_assert_eq!(one.ledger.checkpoints.len() as u64, due);
    }
}

#[test]
fn what_an_objective_learned_goes_when_its_settings_change_and_not_before() {
    let with = |wait_ms, max| {
        let mut web = policy("web", "web", 1, max);
        web.strategy = Sizing::Objective(Box::new(Objective {
            wait_ms,
            miss_ppm: 30_000,
            slots: Some(1),
            ..Objective::default()
        }));
        put(web)
    };
    let mut ledger = Ledger::default();
    let mut apply = |index, command| {
        let entry = Entry {
            at: Ms(index * 1_000),
            command,
        };
        assert_eq!(ledger.apply(index, &entry).refused, []);
        let mut workloads = ledger.workloads.values();
        let learned = workloads.find_map(|w| w.history.objective.clone());
        learned.map(|state| state.starts_ms)
    };
    let learn = |revision| {
        let mut item = item("web", revision, 1, 1);
        let started = state::Change::Started(vec![1_500]);
        item.changes = vec![Change::Objective(started)];
        pass(item)
    };
    apply(1, with(250, 5));
    assert_eq!(apply(2, learn(1)), Some(vec![1_500]));
    assert_eq!(apply(3, with(250, 6)), Some(vec![1_500]), "other bounds");
    assert_eq!(apply(4, with(500, 6)), None, "another wait");
    assert_eq!(apply(5, learn(4)), Some(vec![1_500]));
    assert_eq!(apply(6, put(policy("web", "web", 1, 6))), None);
    assert_eq!(apply(7, learn(6)), None, "another strategy learns nothing");
    apply(8, with(500, 6));
    apply(9, learn(8));
    apply(
        10,
        Command::RemovePolicy {
            name: "web".into(),
            source: None,
        },
    );
    assert_eq!(apply(11, with(500, 6)), None, "another policy");
}

fn dry(target: &str, min: u32, max: u32) -> Policy {
    Policy {
        dry_run: true,
        ..policy("web", target, min, max)
    }
}

fn counts(ledger: &Ledger) -> Vec<u32> {
    let part = ledger.part(NodeId(1));
    part.shares.values().map(|share| share.count).collect()
}

#[test]
fn a_dry_run_grants_nothing_and_leaves_nothing_behind() {
    let mut fixture = Fixture::new();
    fixture.grant(Command::RemovePolicy {
        name: "web".into(),
        source: None,
    });
    fixture.grant(put(dry("web", 3, 10)));
    let revision = fixture.index;
    assert_eq!(fixture.size(), 3, "what it begins with");
    let granted = fixture.ledger.workloads.values().map(Workload::granted);
    assert_eq!(granted.sum::<u32>(), 0);
    // Whoever proposes it: neither a size nor a place.
    let why = fixture.refuse(pass(item("web", revision, 3, 4)));
    assert_eq!(why, Why::DryRun);
    let why = fixture.refuse(pass(placed("web", revision, 3, 3)));
    assert_eq!(why, Why::DryRun);
    fixture.grant(Command::RemovePolicy {
        name: "web".into(),
        source: None,
    });
    assert_eq!(counts(&fixture.ledger), Vec::<u32>::new());
    assert_eq!(fixture.ledger.workloads.len(), 0);
    // Nor where it goes to another target.
    fixture.grant(put(dry("web", 3, 10)));
    fixture.grant(put(dry("api", 3, 10)));
    assert_eq!(fixture.ledger.workloads.len(), 1);
}

#[test]
fn a_dry_run_over_what_runs_leaves_it_as_it_was_granted() {
    let mut fixture = Fixture::new();
    fixture.grant(pass(placed("web", 5, 2, 7)));
    let before = fixture.ledger.workloads.values().next().cloned();
    // Bounds that would have it shrink.
    fixture.grant(put(dry("web", 1, 4)));
    fixture.grant(pass(item("web", fixture.index, 7, 7)));
    assert_eq!(fixture.ledger.workloads.values().next().cloned(), before);
    fixture.grant(Command::RemovePolicy {
        name: "web".into(),
        source: None,
    });
    assert_eq!(counts(&fixture.ledger), [7]);
    fixture.grant(put(policy("web", "web", 1, 4)));
    assert_eq!((fixture.size(), counts(&fixture.ledger)), (4, vec![4]));
}

#[test]
fn what_a_dry_run_recommended_counts_for_nothing_once_it_acts() {
    let mut fixture = Fixture::new();
    fixture.grant(Command::RemovePolicy {
        name: "web".into(),
        source: None,
    });
    fixture.grant(put(dry("web", 3, 50)));
    let mut told = item("web", fixture.index, 3, 3);
    told.changes = vec![Change::Recommended {
        replicas: 50,
        until: None,
    }];
    fixture.grant(pass(told));
    fixture.grant(put(policy("web", "web", 2, 50)));
    let workload = fixture.ledger.workloads.values().next().expect("there");
    assert_eq!(workload.history.recommendations, []);
    assert_eq!((workload.size, workload.granted()), (2, 2));
}

fn became(outcome: Outcome) -> Became {
    outcome.became.expect("something became of it")
}

fn from(source: &str) -> Command {
    Command::PutPolicy {
        policy: policy("web", "web", 2, 10),
        source: source.into(),
    }
}

fn gone_from(source: Option<&str>) -> Command {
    Command::RemovePolicy {
        name: "web".into(),
        source: source.map(str::to_owned),
    }
}

#[test]
fn a_policy_belongs_to_who_put_it_and_is_inherited_by_who_says_the_same() {
    let mut fixture = Fixture::new();
    let owner = "a:/policies/web.yaml";
    assert_eq!(became(fixture.grant(from("b:/web.yaml"))), Became::Copied);
    assert_eq!(became(fixture.grant(from("c:/web.yaml"))), Became::Copied);
    assert_eq!(became(fixture.grant(from("c:/web.yaml"))), Became::Same);
    let by = owner.to_owned();
    let kept = became(fixture.grant(gone_from(Some("b:/web.yaml"))));
    assert_eq!(kept, Became::Kept { by: by.clone() });
    let kept = became(fixture.grant(gone_from(Some("d:/never.yaml"))));
    assert_eq!(kept, Became::Kept { by });
    let to = "c:/web.yaml".to_owned();
    let handed = became(fixture.grant(gone_from(Some(owner))));
    assert_eq!(handed, Became::Handed { to });
    let put = &fixture.ledger.policies[&"web".into()];
    assert_eq!((put.source.as_str(), put.revision), ("c:/web.yaml", 5));
    let removed = became(fixture.grant(gone_from(Some("c:/web.yaml"))));
    assert_eq!(removed, Became::Removed);
    assert_eq!(fixture.ledger.policies.len(), 0);
}

#[test]
fn another_version_makes_the_others_no_copies_any_more() {
    let mut fixture = Fixture::new();
    fixture.grant(from("b:/web.yaml"));
    fixture.grant(put(policy("web", "web", 3, 10)));
    let put = &fixture.ledger.policies[&"web".into()];
    assert_eq!(put.sources().collect::<Vec<_>>(), ["a:/policies/web.yaml"]);
    assert_eq!(became(fixture.grant(gone_from(None))), Became::Removed);
}

#[test]
fn copies_beyond_the_limit_are_not_noted() {
    let mut fixture = Fixture::new();
    for n in 0..COPIES_MAX + 3 {
        fixture.grant(from(&format!("n{n}:/web.yaml")));
    }
    let put = &fixture.ledger.policies[&"web".into()];
    assert_eq!(put.copies.len(), COPIES_MAX);
    // Whoever deletes it says so once for all.
    assert_eq!(became(fixture.grant(gone_from(None))), Became::Removed);
}

#[test]
fn only_a_workload_that_no_policy_sizes_can_be_deleted() {
    let mut fixture = Fixture::new();
    fixture.grant(pass(placed("web", 5, 2, 3)));
    let delete = || Command::DeleteWorkload {
        target: Target::process("web"),
    };
    let by = Box::new("web".into());
    assert_eq!(fixture.refuse(delete()), Why::Sized { by });
    fixture.grant(gone_from(None));
    assert_eq!(counts(&fixture.ledger), [3]);
    fixture.grant(delete());
    assert_eq!(fixture.ledger.workloads.len(), 0);
    assert_eq!(fixture.refuse(delete()), Why::UnknownWorkload);
}
