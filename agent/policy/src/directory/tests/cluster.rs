//! What the rest of the cluster wishes, and what it makes of this directory's wishes.

use starling_engine::ledger::{COPIES_MAX, Why};

use super::*;

#[test]
fn without_memory_a_difference_is_reported_until_the_file_says_something_else() {
    let mut bench = Bench::settled();
    bench.interfere("web", 8);
    bench.write("api.yaml", &policy("api", "api", 2));
    fs::remove_file(memory::path(bench.data.path())).unwrap();
    bench.restart();
    let expected = [(
        "policy web",
        "differs from the one in force, put there by n2:/other.yaml; to apply it, change what it \
         says, or take the file away and, once this is gone, put it back",
    )];
    for _ in 0..2 {
        let scan = bench.agree();
        problems(&scan, &bench, &expected);
        assert_eq!((bench.max("web"), bench.max("api")), (Some(8), Some(2)));
        bench.restart();
    }
    // Whatever copies, restores or checks out files touches them.
    bench.touch("web.yaml");
    let scan = bench.agree();
    assert_eq!(bench.max("web"), Some(8));
    problems(&scan, &bench, &expected);
    bench.remove("web.yaml");
    problems(&bench.agree(), &bench, &[]);
    assert_eq!(bench.max("web"), Some(8));
    bench.write("web.yaml", &policy("web", "web", 5));
    problems(&bench.agree(), &bench, &[]);
    assert_eq!(bench.max("web"), Some(5), "taken away and put back");
}

#[test]
fn a_change_by_somebody_else_stands_until_the_file_changes() {
    let mut bench = Bench::settled();
    bench.interfere("web", 8);
    let scan = bench.agree();
    assert_eq!(bench.max("web"), Some(8));
    assert!(
        scan.problems["policy web"].starts_with("differs from the one in force, put there by n2")
    );
    bench.write("web.yaml", &policy("web", "web", 6));
    bench.agree();
    assert_eq!(bench.max("web"), Some(6));

    bench.delete("web");
    let scan = bench.agree();
    assert_eq!(bench.max("web"), None);
    assert!(scan.problems["policy web"].starts_with("was removed from the cluster"));
    bench.touch("web.yaml");
    bench.agree();
    assert_eq!(bench.max("web"), None, "it was only touched");
    bench.write("web.yaml", &policy("web", "web", 7));
    bench.agree();
    assert_eq!(bench.max("web"), Some(7));
}

#[test]
fn an_equal_file_is_noted_and_its_deletion_changes_nothing() {
    let first = Bench::settled().ledger.policies[&"web".into()]
        .policy
        .clone();
    let mut bench = Bench::new();
    bench.put(first, "n2:/web.yaml");
    let revision = bench.ledger.policies[&"web".into()].revision;
    bench.write("web.yaml", &policy("web", "web", 5));
    problems(&bench.agree(), &bench, &[]);
    assert_eq!(bench.sources("web"), ["n2:/web.yaml", "n1:web.yaml"]);
    bench.remove("web.yaml");
    bench.agree();
    assert_eq!(bench.sources("web"), ["n2:/web.yaml"]);
    let put = &bench.ledger.policies[&"web".into()];
    assert_eq!(put.revision, revision, "nothing else has changed");
}

#[test]
fn a_deleted_file_hands_its_policy_to_an_equal_one_elsewhere() {
    let mut bench = Bench::settled();
    let same = bench.ledger.policies[&"web".into()].policy.clone();
    bench.put(same, "n2:/web.yaml");
    bench.remove("web.yaml");
    bench.agree();
    assert_eq!(bench.sources("web"), ["n2:/web.yaml"]);
    assert_eq!(bench.max("web"), Some(5));
    // A file that says something else inherits nothing.
    let mut bench = Bench::settled();
    bench.interfere("web", 8);
    bench.write("web.yaml", &policy("web", "web", 6));
    bench.agree();
    assert_eq!(bench.sources("web"), ["n1:web.yaml"]);
    bench.remove("web.yaml");
    bench.agree();
    assert_eq!(bench.max("web"), None);
}

#[test]
fn of_more_equal_files_than_can_be_noted_the_others_wait() {
    let mut bench = Bench::settled();
    let same = bench.ledger.policies[&"web".into()].policy.clone();
    bench.put(same.clone(), "n0:/web.yaml");
    bench.delete("web");
    for n in 0..=COPIES_MAX {
        bench.put(same.clone(), &format!("m{n}:/web.yaml"));
    }
    for _ in 0..5 {
        assert_eq!(bench.scan().proposals, []);
    }
    bench.apply(Command::RemovePolicy {
        name: "web".into(),
        source: Some("m3:/web.yaml".into()),
    });
    bench.agree();
    assert!(bench.sources("web").contains(&"n1:web.yaml".to_owned()));
}

#[test]
fn deleting_a_file_does_not_remove_somebody_elses_version() {
    let mut bench = Bench::settled();
    bench.interfere("web", 8);
    bench.agree();
    bench.remove("web.yaml");
    bench.agree();
    assert_eq!(bench.max("web"), Some(8));
}

#[test]
fn of_two_wishes_at_once_the_later_in_the_log_stands() {
    let mut bench = Bench::settled();
    bench.write("web.yaml", &policy("web", "web", 6));
    let scan = bench.scan();
    bench.grant(&scan.proposals[0]);
    bench.interfere("web", 8);
    for _ in 0..10 {
        assert_eq!(bench.scan().proposals, []);
    }
    assert!(bench.scan().problems["policy web"].starts_with("differs from the one in force"));
}

#[test]
fn an_accepted_proposal_that_this_ledger_does_not_show_yet_is_no_problem() {
    let mut bench = Bench::settled();
    bench.write("web.yaml", &policy("web", "web", 6));
    let scan = bench.scan();
    bench
        .directory
        .answered(&scan.proposals[0], &Outcome::default());
    let scan = bench.scan();
    assert_eq!(scan.proposals, []);
    problems(&scan, &bench, &[]);
}

#[test]
fn a_proposal_without_an_answer_is_made_again_after_a_while() {
    let mut bench = Bench::new();
    bench.write("web.yaml", &policy("web", "web", 5));
    let made: Vec<usize> = (0..11).map(|_| bench.scan().proposals.len()).collect();
    assert_eq!(made, [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
}

#[test]
fn a_refused_proposal_is_reported_and_waits_for_an_edit() {
    let mut bench = Bench::new();
    bench.write("web.yaml", &policy("web", "web", 5));
    let scan = bench.scan();
    let refusal = Refusal {
        subject: "web".to_owned(),
        why: Why::Full(9),
    };
    let outcome = Outcome {
        refused: vec![refusal],
        ..Outcome::default()
    };
    bench.directory.answered(&scan.proposals[0], &outcome);
    for _ in 0..10 {
        let scan = bench.scan();
        assert_eq!(scan.proposals, []);
        problems(
            &scan,
            &bench,
            &[(
                "policy web",
                "was refused by the cluster (web: the ledger holds 9 of them, which is its limit); edit the file to try again",
            )],
        );
    }
    bench.touch("web.yaml");
    assert_eq!(bench.scan().proposals.len(), 1);
}

#[test]
fn a_policy_that_an_object_has_is_neither_overruled_nor_removed_by_a_file() {
    let first = Bench::settled().ledger.policies[&"web".into()]
        .policy
        .clone();
    let mut bench = Bench::new();
    bench.put(first, "kubernetes: default/web generation 1");
    // The very same policy: it is the object's all the same.
    bench.write("web.yaml", &policy("web", "web", 5));
    let scan = bench.agree();
    let why = scan.problems.get("policy web").cloned().unwrap_or_default();
    assert!(
        why.contains("put there by kubernetes: default/web"),
        "{why}"
    );
    bench.write("web.yaml", &policy("web", "web", 7));
    bench.agree();
    assert_eq!(bench.max("web"), Some(5));
    bench.remove("web.yaml");
    bench.agree();
    assert_eq!(bench.max("web"), Some(5));
}

#[test]
fn workloads_of_kubernetes_wait_for_an_agent_that_has_one() {
    let deployment = policy("web", "web", 5).replace("kind: Process", "kind: Deployment");
    let mut bench = Bench::new();
    bench.write("web.yaml", &deployment);
    let scan = bench.agree();
    let why = scan.problems.get("policy web").cloned().unwrap_or_default();
    assert!(
        why.contains("Deployment web is a workload of Kubernetes"),
        "{why}"
    );
    assert_eq!(bench.max("web"), None);
    let open = Directory::open(bench.policies.path(), bench.data.path(), "n1");
    bench.directory = open.unwrap().on_kubernetes();
    let scan = bench.agree();
    assert_eq!(bench.max("web"), Some(5));
    assert_eq!(scan.problems, BTreeMap::new());
    // It stays in force where something else scales the workload, and that is said:
    // the leader leaves such a workload alone.
    let target = bench.ledger.policies[&"web".into()].policy.target.clone();
    let rival = "HorizontalPodAutoscaler default/web".to_owned();
    bench.rivals.insert(target, rival);
    let scan = bench.agree();
    assert_eq!(bench.max("web"), Some(5));
    let why = scan.problems.get("policy web").cloned().unwrap_or_default();
    assert!(
        why.starts_with("sizes nothing for now: HorizontalPodAutoscaler default/web scales"),
        "{why}"
    );
    bench.rivals.clear();
    assert_eq!(bench.agree().problems, BTreeMap::new());
}

#[test]
fn a_second_policy_for_a_target_names_the_first_and_waits_for_its_end() {
    let first = Bench::settled().ledger.policies[&"web".into()]
        .policy
        .clone();
    let mut bench = Bench::new();
    bench.put(first, "n2:/other.yaml");
    bench.write("mine.yaml", &policy("mine", "web", 3));
    let scan = bench.agree();
    problems(
        &scan,
        &bench,
        &[(
            "policy mine",
            "is not applied: policy web (put there by n2:/other.yaml) already scales Process web, and \
         a workload can have one policy; remove one of the two, or change scaleTargetRef",
        )],
    );
    bench.delete("web");
    bench.agree();
    assert_eq!(
        bench.max("mine"),
        Some(3),
        "it takes over once the other is gone"
    );
}

#[test]
fn a_policy_whose_target_nobody_can_run_is_applied_and_reported() {
    let mut bench = Bench::new();
    bench.write("x.yaml", &policy("x", "lonely", 5));
    let scan = bench.agree();
    assert_eq!(bench.max("x"), Some(5));
    problems(
        &scan,
        &bench,
        &[(
            "policy x",
            "no live node can run Process lonely; write a `kind: Process` document named lonely on \
         the machines that should",
        )],
    );
    bench.write("y.yaml", &process("lonely", "a"));
    problems(&bench.agree(), &bench, &[]);
}

#[test]
fn without_memory_a_file_that_is_read_late_is_only_compared_too() {
    let mut bench = Bench::settled();
    bench.interfere("web", 8);
    fs::remove_file(memory::path(bench.data.path())).unwrap();
    bench.restart();
    bench.write_later("web.yaml", &policy("web", "web", 5));
    bench.agree();
    assert_eq!(bench.max("web"), Some(8));
}
