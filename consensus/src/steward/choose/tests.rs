//! Scenarios of the pure choice, and what is chosen.

use super::*;

const FORGET_MS: u64 = 1_000_000;
const NOW: Ms = Ms(50_000_000);

/// Members with their zones, and what is seen of them. Who is named in none of the
/// lists is a learner that isn't ready.
#[derive(Default)]
struct Scenario<'a> {
    admitted: &'a [u64],
    /// By member; the rest states none.
    zones: &'a [(u64, &'a str)],
    voters: &'a [u64],
    learners: &'a [u64],
    /// Steady too.
    ready: &'a [u64],
    young: bool,
    dead: &'a [u64],
    /// Away for so long.
    away: &'a [(u64, u64)],
    lost: &'a [u64],
    answering: &'a [u64],
    halted: bool,
    rebuilt: bool,
    voters_max: Option<usize>,
    own: Option<u64>,
}

fn set(ids: &[u64]) -> BTreeSet<u64> {
    ids.iter().copied().collect()
}

fn member(scenario: &Scenario<'_>, id: u64) -> Admitted {
    let zone = scenario.zones.iter().find(|(of, _)| *of == id);
    let away = scenario.away.iter().find(|(of, _)| *of == id);
    Admitted {
        nonce: format!("n{id}"),
        member: Member {
            name: format!("agent-{id}"),
            peer_address: format!("host-{id}:1"),
            zone: zone.map_or(String::new(), |(_, zone)| (*zone).to_owned()),
            ..Member::default()
        },
        away_since: away.map(|(_, ms)| NOW.minus(*ms)),
    }
}

fn step(scenario: &Scenario<'_>) -> Option<Step> {
    let admitted = scenario.admitted.iter();
    let admitted = admitted
        .map(|id| (NodeId(*id), member(scenario, *id)))
        .collect();
    let nodes = scenario.voters.iter().chain(scenario.learners);
    let nodes = nodes.map(|id| (*id, peer(&member(scenario, *id).member)));
    next_step(&View {
        own: scenario.own.unwrap_or(1),
        founded: true,
        halted: scenario.halted,
        rebuilt: scenario.rebuilt,
        admitted: &admitted,
        configs: &[set(scenario.voters)],
        nodes: nodes.collect(),
        ready: set(scenario.ready),
        steady: if scenario.young {
            BTreeSet::new()
        } else {
            set(scenario.ready)
        },
        answering: set(scenario.answering),
        dead: set(scenario.dead),
        lost: set(scenario.lost),
        now: NOW,
        voters_max: scenario.voters_max.unwrap_or(5),
        forget_after_ms: FORGET_MS,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "so that scenarios read well")]
fn check(scenario: &Scenario<'_>, expected: Option<Step>) {
    assert_eq!(step(scenario), expected);
}

#[expect(clippy::unnecessary_wraps, reason = "as it is expected")]
fn promote(ids: &[u64]) -> Option<Step> {
    Some(Step::Promote(set(ids)))
}

fn all(count: u64) -> Vec<u64> {
    (1..=count).collect()
}

#[test]
fn voters_grow_from_one_to_three_to_five_in_single_changes_of_at_most_two() {
    let check = |members: u64, voters: u64, ready: &[u64], expected| {
        let scenario = Scenario {
            admitted: &all(members),
            voters: &all(voters),
            learners: &(voters + 1..=members).collect::<Vec<_>>(),
            ready,
            ..Scenario::default()
        };
        check(&scenario, expected);
    };
    check(1, 1, &[], None);
    check(2, 1, &[2], None);
    check(3, 1, &[2], None);
    check(3, 1, &[2, 3], promote(&[2, 3]));
    check(6, 3, &[4, 5, 6], None);
    check(7, 3, &[4, 6, 7], promote(&[4, 6]));
    check(9, 5, &[6, 7, 8, 9], None);
    check(7, 3, &[4], None);
    check(7, 4, &[6, 7], promote(&[6]));
    // Many at once come in one after the other.
    check(9, 1, &[2, 3, 4, 5, 6, 7], promote(&[2, 3]));
    let young = Scenario {
        admitted: &all(7),
        voters: &all(3),
        learners: &[4, 5, 6, 7],
        ready: &[4, 5],
        young: true,
        ..Scenario::default()
    };
    super::tests::check(&young, None);
}

#[test]
fn seven_vote_only_where_that_is_chosen_and_two_can_stand_by() {
    let check = |members: u64, most: usize, expected| {
        let scenario = Scenario {
            admitted: &all(members),
            voters: &all(5),
            learners: &(6..=members).collect::<Vec<_>>(),
            ready: &(6..=members).collect::<Vec<_>>(),
            voters_max: Some(most),
            ..Scenario::default()
        };
        super::tests::check(&scenario, expected);
    };
    check(9, 5, None);
    check(8, 7, None);
    check(9, 7, promote(&[6, 7]));
    let fewer = Scenario {
        admitted: &all(7),
        voters: &all(5),
        learners: &[6, 7],
        voters_max: Some(3),
        ..Scenario::default()
    };
    super::tests::check(&fewer, Some(Step::Dismiss(5)));
}

#[test]
fn a_dead_voter_is_taken_out_before_another_comes_in_and_only_if_one_can() {
    let check = |voters: &[u64], learners: &[u64], steady: &[u64], dead: &[u64], expected| {
        let mut admitted: Vec<u64> = voters.iter().chain(learners).copied().collect();
        admitted.sort_unstable();
        let scenario = Scenario {
            admitted: &admitted,
            voters,
            learners,
            ready: steady,
            dead,
            away: &dead.iter().map(|id| (*id, 1)).collect::<Vec<_>>(),
            ..Scenario::default()
        };
        super::tests::check(&scenario, expected);
    };
    let replace = |id| Some(Step::Replace(id));
    check(&[1, 2, 3], &[4, 5], &[4, 5], &[3], replace(3));
    check(&[1, 2], &[3, 4, 5], &[4, 5], &[], promote(&[4]));
    // Nobody can stand in.
    check(&[1, 2, 3], &[], &[], &[3], None);
    check(&[1, 2, 3], &[4], &[], &[3], None);
    // Of two that are dead one after the other.
    let voters = [1, 2, 3, 4, 5];
    check(&voters, &[6, 7], &[6, 7], &[2, 5], replace(2));
    check(&[1, 3, 4, 5], &[2, 6, 7], &[6, 7], &[5], promote(&[6]));
    // The living would not be a majority of those that are left.
    check(&voters, &[6, 7], &[6, 7], &[2, 3, 4, 5], None);
}

#[test]
fn members_that_are_gone_leave_fewer_voters_and_this_agent_keeps_its_vote() {
    let check = |voters: &[u64], dead: &[u64], expected| {
        let scenario = Scenario {
            admitted: voters,
            voters,
            dead,
            away: &dead.iter().map(|id| (*id, 1)).collect::<Vec<_>>(),
            ..Scenario::default()
        };
        super::tests::check(&scenario, expected);
    };
    check(&[1, 2], &[], Some(Step::Dismiss(2)));
    check(&[1, 2, 3, 4], &[], Some(Step::Dismiss(4)));
    check(&[1, 2, 3, 4], &[2], Some(Step::Dismiss(2)));
}

const ZONES: [(u64, &str); 9] = [
    (1, "x"),
    (2, "x"),
    (3, "x"),
    (4, "y"),
    (5, "y"),
    (6, "y"),
    (7, "z"),
    (8, "z"),
    (9, "z"),
];

#[test]
fn voters_come_from_as_many_zones_as_there_are() {
    let check = |voters: &[u64], ready: &[u64], expected| {
        let learners: Vec<u64> = (1..=9).filter(|id| !voters.contains(id)).collect();
        let scenario = Scenario {
            admitted: &all(9),
            zones: &ZONES,
            voters,
            learners: &learners,
            ready,
            ..Scenario::default()
        };
        super::tests::check(&scenario, expected);
    };
    let others = [2, 3, 4, 5, 6, 7, 8, 9];
    check(&[1], &others, promote(&[4, 7]));
    check(&[1, 4, 7], &[2, 3, 5, 6, 8, 9], promote(&[2, 5]));
    check(&[1, 2, 4, 5, 7], &[3, 6, 8, 9], None);
    // They all came from one zone at first: one comes in elsewhere, then one goes.
    check(&[1, 2, 3, 4, 7], &[5, 6, 8, 9], promote(&[5]));
    check(&[1, 2, 3, 4, 5], &[6, 7, 8, 9], promote(&[7]));
    check(&[1, 2, 3, 4, 5, 7], &[6, 8, 9], Some(Step::Dismiss(3)));
    check(&[1, 2, 4, 5, 7], &[3, 6, 8, 9], None);
}

#[test]
fn three_voters_of_one_zone_give_way_until_each_has_one() {
    let mut voters = set(&[1, 2, 3]);
    let mut steps = 0;
    loop {
        let learners: Vec<u64> = (1..=6).filter(|id| !voters.contains(id)).collect();
        let scenario = Scenario {
            admitted: &all(6),
            zones: &[(1, "x"), (2, "x"), (3, "x"), (4, "y"), (5, "z"), (6, "z")],
            voters: &voters.iter().copied().collect::<Vec<_>>(),
            learners: &learners,
            ready: &learners,
            ..Scenario::default()
        };
        match step(&scenario) {
            Some(Step::Promote(ids)) => voters.extend(ids),
            Some(Step::Dismiss(id)) => assert!(voters.remove(&id)),
            None => break,
            other => panic!("{other:?}"),
        }
        steps += 1;
        assert!(steps < 20, "it never comes to rest: {voters:?}");
    }
    assert_eq!(voters, set(&[1, 4, 5]));
}

#[test]
fn where_no_zone_is_named_nobody_gives_way() {
    let scenario = Scenario {
        admitted: &all(6),
        zones: &[(5, "y")],
        voters: &[1, 2, 3],
        learners: &[4, 5, 6],
        ready: &[4, 5, 6],
        ..Scenario::default()
    };
    check(&scenario, None);
}

#[test]
fn who_is_silent_is_noted_once_and_noted_back_when_it_answers() {
    let silent = Scenario {
        admitted: &all(3),
        voters: &all(3),
        dead: &[3],
        ..Scenario::default()
    };
    check(&silent, Some(Step::Away(3, true)));
    let noted = Scenario {
        away: &[(3, 5_000)],
        ..silent
    };
    check(&noted, None);
    let back = Scenario {
        dead: &[],
        answering: &[1, 2, 3],
        ..noted
    };
    check(&back, Some(Step::Away(3, false)));
    let halted = Scenario {
        halted: true,
        ..back
    };
    check(&halted, None);
}

#[test]
fn a_member_is_forgotten_after_the_stated_time_if_this_leader_waited_for_it_too() {
    let gone = |away_ms, lost: &'static [u64], expected| {
        let scenario = Scenario {
            admitted: &all(3),
            voters: &all(3),
            dead: &[3],
            away: &[(3, away_ms)],
            lost,
            ..Scenario::default()
        };
        check(&scenario, expected);
    };
    gone(FORGET_MS - 1, &[3], None);
    gone(FORGET_MS, &[3], Some(Step::Forget(3, "agent-3".into())));
    // All were off: it may be starting just now.
    gone(FORGET_MS * 10, &[], None);
}

#[test]
fn the_membership_follows_the_ledger_one_step_at_a_time() {
    let check = |admitted: &[u64], voters: &[u64], learners: &[u64], expected| {
        let scenario = Scenario {
            admitted,
            voters,
            learners,
            ..Scenario::default()
        };
        super::tests::check(&scenario, Some(expected));
    };
    check(&[], &[1], &[], Step::AdmitFounder);
    let third = Peer {
        name: "agent-3".into(),
        address: "host-3:1".into(),
    };
    check(&[1, 3, 4], &[1], &[], Step::AddLearner(3, third));
    check(&[1, 3], &[1], &[3, 4], Step::Remove(4));
    check(&[1, 3, 5], &[1, 3, 4], &[5], Step::Demote(4));
}

#[test]
fn who_was_removed_keeps_its_vote_while_the_living_could_not_go_on_without_it() {
    let scenario = Scenario {
        admitted: &[1, 3, 4],
        voters: &[1, 2, 3],
        learners: &[4],
        dead: &[3],
        away: &[(3, 5_000)],
        ..Scenario::default()
    };
    check(&scenario, None);
    // Where fewer are enough, the dead one goes first, and then it can.
    let fewer = Scenario {
        admitted: &[1, 3],
        learners: &[],
        ..scenario
    };
    check(&fewer, Some(Step::Dismiss(3)));
    let then = Scenario {
        voters: &[1, 2],
        learners: &[3],
        ..fewer
    };
    check(&then, Some(Step::Demote(2)));
    // Of two that were removed the dead one goes first.
    let two = Scenario {
        admitted: &[1, 2, 3],
        voters: &[1, 2, 3, 4, 5],
        dead: &[5],
        ..Scenario::default()
    };
    check(&two, Some(Step::Demote(5)));
}

#[test]
fn a_leader_that_was_removed_gives_the_lead_away() {
    let scenario = Scenario {
        admitted: &[2, 3],
        voters: &[1, 2, 3],
        ..Scenario::default()
    };
    check(&scenario, Some(Step::HandOver));
    let alone = Scenario {
        voters: &[1],
        learners: &[2, 3],
        ..scenario
    };
    check(&alone, None);
    let next = Scenario {
        admitted: &[2, 3],
        voters: &[1, 2, 3],
        own: Some(2),
        ..Scenario::default()
    };
    check(&next, Some(Step::Demote(1)));
}

#[test]
fn whoever_leads_a_rebuilt_cluster_first_looks_around_before_all_else() {
    let alone = Scenario {
        admitted: &all(3),
        voters: &[1],
        rebuilt: true,
        ..Scenario::default()
    };
    check(&alone, Some(Step::LookAround));
    let halted = Scenario {
        halted: true,
        ..alone
    };
    assert!(matches!(step(&halted), Some(Step::AddLearner(2, _))));
}

#[test]
fn a_half_done_change_is_settled_before_anything_else() {
    let view = View {
        own: 1,
        founded: false,
        halted: false,
        rebuilt: true,
        admitted: &BTreeMap::new(),
        configs: &[set(&[1]), set(&[1, 2, 3])],
        nodes: BTreeMap::new(),
        ready: BTreeSet::new(),
        steady: BTreeSet::new(),
        answering: BTreeSet::new(),
        dead: BTreeSet::new(),
        lost: BTreeSet::new(),
        now: NOW,
        voters_max: 5,
        forget_after_ms: FORGET_MS,
    };
    assert_eq!(next_step(&view), Some(Step::Settle(set(&[1, 2, 3]))));
}
