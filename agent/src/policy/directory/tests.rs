use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, UNIX_EPOCH};

use starling_engine::ledger::{InForce, Refusal, Why};
use tempfile::TempDir;

use super::*;

/// A directory, a data directory, a ledger and a clock.
struct Bench {
    policies: TempDir,
    data: TempDir,
    ledger: Ledger,
    directory: Directory,
    now: Ms,
}

fn policy(name: &str, target: &str, max: u32) -> String {
    format!(
        "apiVersion: starling.sh/v1alpha1\nkind: ScalingPolicy\nmetadata:\n  name: {name}\nspec:\n  \
         scaleTargetRef: {{kind: Process, name: {target}}}\n  maxReplicaCount: {max}\n  triggers:\n    \
         - type: cpu\n      metricType: Utilization\n      metadata: {{value: 70}}\n"
    )
}

fn process(name: &str, command: &str) -> String {
    format!(
        "apiVersion: starling.sh/v1alpha1\nkind: Process\nmetadata:\n  name: {name}\nspec:\n  \
         command: [{command}]\n"
    )
}

impl Bench {
    fn new() -> Bench {
        let policies = tempfile::tempdir().unwrap();
        let data = tempfile::tempdir().unwrap();
        let directory = Directory::open(policies.path(), data.path(), "n1").unwrap();
        let now = Ms(1_700_000_000_000);
        Bench {
            policies,
            data,
            ledger: Ledger::default(),
            directory,
            now,
        }
    }

    /// With `web.yaml` applied.
    fn settled() -> Bench {
        let mut bench = Bench::new();
        bench.write("web.yaml", &policy("web", "web", 5));
        bench.agree();
        assert_eq!(bench.max("web"), Some(5));
        bench
    }

    fn path(&self, file: &str) -> PathBuf {
        self.policies.path().join(file)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).unwrap();
        self.touch(file);
    }

    /// Sets the file's time to the bench's, so that no two edits look the same.
    fn touch(&self, file: &str) {
        let time = UNIX_EPOCH + Duration::from_millis(self.now.0);
        File::options()
            .append(true)
            .open(self.path(file))
            .unwrap()
            .set_modified(time)
            .unwrap();
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.path(file)).unwrap();
    }

    fn restart(&mut self) {
        self.directory = Directory::open(self.policies.path(), self.data.path(), "n1").unwrap();
    }

    /// A second later.
    fn scan(&mut self) -> Scan {
        self.now = self.now.plus(1_000);
        let offered = BTreeSet::from([target("web"), target("api")]);
        self.directory.scan(&self.ledger, &offered, self.now)
    }

    /// Scans often enough for anything to settle, and grants what is proposed.
    fn agree(&mut self) -> Scan {
        let mut scan = self.scan();
        for _ in 0..3 {
            for command in std::mem::take(&mut scan.proposals) {
                self.grant(&command);
            }
            scan = self.scan();
        }
        assert_eq!(scan.proposals, []);
        scan
    }

    fn grant(&mut self, command: &Command) {
        match command {
            Command::PutPolicy { policy, source } => self.put(policy.clone(), source),
            Command::RemovePolicy { name } => _ = self.ledger.policies.remove(name),
            other => panic!("unexpected {other:?}"),
        }
        self.directory.answered(command, &Outcome::default());
    }

    fn put(&mut self, policy: starling_engine::policy::Policy, source: &str) {
        let in_force = InForce {
            policy,
            revision: 1,
            created_at: self.now,
            source: source.to_owned(),
        };
        self.ledger
            .policies
            .insert(in_force.policy.name.clone(), in_force);
    }

    /// Somebody else changes the maximum of a policy that is in force.
    fn interfere(&mut self, name: &str, max: u32) {
        let mut policy = self.ledger.policies[name].policy.clone();
        policy.replicas_max = max;
        self.put(policy, "n2:/other.yaml");
    }

    fn max(&self, name: &str) -> Option<u32> {
        self.ledger
            .policies
            .get(name)
            .map(|in_force| in_force.policy.replicas_max)
    }
}

fn target(name: &str) -> Target {
    Target {
        kind: "Process".to_owned(),
        name: name.to_owned(),
    }
}

/// Subjects without the temporary directory's path.
#[track_caller]
fn problems(scan: &Scan, bench: &Bench, expected: &[(&str, &str)]) {
    let root = format!("{}/", bench.policies.path().display());
    let found: BTreeMap<String, String> = scan
        .problems
        .iter()
        .map(|(subject, words)| (subject.replace(&root, ""), words.replace(&root, "")))
        .collect();
    let found: Vec<(&str, &str)> = found
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_new_policy_is_put_with_its_source_and_then_left_alone() {
    let mut bench = Bench::new();
    bench.write("web.yaml", &policy("web", "web", 5));
    let scan = bench.scan();
    let [Command::PutPolicy { policy, source }] = scan.proposals.as_slice() else {
        panic!("{:?}", scan.proposals)
    };
    assert_eq!((policy.name.as_str(), policy.replicas_max), ("web", 5));
    assert_eq!(*source, format!("n1:{}", bench.path("web.yaml").display()));
    bench.grant(&scan.proposals[0]);
    for _ in 0..10 {
        let scan = bench.scan();
        assert_eq!(scan.proposals, []);
        problems(&scan, &bench, &[]);
    }
}

#[test]
fn an_edit_is_put_and_a_comment_changes_nothing() {
    let mut bench = Bench::settled();
    bench.write("web.yaml", &policy("web", "web", 7));
    bench.agree();
    assert_eq!(bench.max("web"), Some(7));
    bench.write("web.yaml", &format!("# why\n{}", policy("web", "web", 7)));
    for _ in 0..3 {
        assert_eq!(bench.scan().proposals, []);
    }
}

#[test]
fn a_deleted_file_removes_its_policy_once_the_deletion_has_lasted() {
    let mut bench = Bench::settled();
    bench.remove("web.yaml");
    assert_eq!(bench.scan().proposals, [], "an editor may be replacing it");
    let scan = bench.scan();
    let [Command::RemovePolicy { name }] = scan.proposals.as_slice() else {
        panic!("{:?}", scan.proposals)
    };
    assert_eq!(name, "web");
    bench.grant(&scan.proposals[0]);
    bench.agree();
    assert_eq!(bench.max("web"), None);
}

#[test]
fn a_file_that_is_replaced_by_way_of_a_backup_is_never_absent() {
    let mut bench = Bench::settled();
    let text = fs::read_to_string(bench.path("web.yaml")).unwrap();
    fs::rename(bench.path("web.yaml"), bench.path("web.yaml~")).unwrap();
    assert_eq!(bench.scan().proposals, []);
    bench.write("web.yaml", &text);
    for _ in 0..3 {
        assert_eq!(bench.scan().proposals, []);
    }
}

#[test]
fn a_policy_that_moves_to_another_file_stays() {
    let mut bench = Bench::settled();
    fs::rename(bench.path("web.yaml"), bench.path("all.yaml")).unwrap();
    for _ in 0..4 {
        assert_eq!(bench.scan().proposals, []);
    }
}

#[test]
fn a_renamed_policy_takes_its_target_along() {
    let mut bench = Bench::settled();
    bench.write("web.yaml", &policy("web2", "web", 5));
    let scan = bench.scan();
    let names: Vec<_> = scan
        .proposals
        .iter()
        .map(|command| name_of(command).unwrap())
        .collect();
    assert_eq!(names, ["web", "web2"], "the removal comes first");
    problems(&scan, &bench, &[]);
}

#[test]
fn a_broken_edit_keeps_what_was_in_force() {
    let mut bench = Bench::new();
    bench.write(
        "web.yaml",
        &format!("{}---\n{}", policy("web", "web", 5), process("web", "a")),
    );
    bench.agree();
    let misspelt = format!(
        "{}---\n{}",
        policy("web", "web", 6).replace("spec:", "spce:"),
        process("web", "b").replace("command:", "comand:")
    );
    let cases = [
        ("not: [yaml", "web.yaml:1:6"),
        ("- nothing\n- known\n", "web.yaml:1:1"),
        (misspelt.as_str(), "web.yaml:5:1"),
    ];
    for (broken, subject) in cases {
        bench.write("web.yaml", broken);
        for _ in 0..3 {
            let scan = bench.scan();
            assert_eq!(scan.proposals, [], "{broken}");
            assert_eq!(scan.processes["web"].command, ["a"], "{broken}");
            let root = format!("{}/", bench.policies.path().display());
            assert!(
                scan.problems.contains_key(&format!("{root}{subject}")),
                "{:?}",
                scan.problems
            );
        }
        assert_eq!(bench.max("web"), Some(5));
    }
    bench.restart();
    let scan = bench.agree();
    assert_eq!(scan.processes["web"].command, ["a"], "over a restart too");
    bench.write(
        "web.yaml",
        &format!("{}---\n{}", policy("web", "web", 6), process("web", "b")),
    );
    let scan = bench.agree();
    assert_eq!(
        (bench.max("web"), scan.processes["web"].command[0].as_str()),
        (Some(6), "b")
    );
    problems(&scan, &bench, &[]);
}

#[test]
fn a_wrong_document_holds_back_only_itself() {
    let mut bench = Bench::settled();
    let wrong = policy("web", "web", 6).replace("maxReplicaCount: 6", "maxReplicaCount: 0");
    bench.write(
        "web.yaml",
        &format!("{wrong}---\n{}", policy("api", "api", 3)),
    );
    let scan = bench.agree();
    assert_eq!((bench.max("web"), bench.max("api")), (Some(5), Some(3)));
    problems(
        &scan,
        &bench,
        &[
            (
                "web.yaml:6:3",
                "spec.minReplicaCount: is 1, more than spec.maxReplicaCount, 0",
            ),
            ("web.yaml:7:20", "spec.maxReplicaCount: must be at least 1"),
        ],
    );
}

#[test]
fn a_file_is_not_read_while_it_is_being_written() {
    let mut bench = Bench::settled();
    let text = policy("web", "web", 9);
    for end in (text.len() - 20)..text.len() {
        bench.write("web.yaml", &text[..end]);
        let offered = BTreeSet::new();
        bench.now = bench.now.plus(100);
        let scan = bench.directory.scan(&bench.ledger, &offered, bench.now);
        assert_eq!(scan.proposals, []);
        assert!(
            !scan
                .problems
                .keys()
                .any(|subject| subject.contains("web.yaml"))
        );
    }
    bench.write("web.yaml", &text);
    bench.agree();
    assert_eq!(bench.max("web"), Some(9));
}

#[test]
fn a_restart_remembers_what_was_applied() {
    let mut bench = Bench::settled();
    bench.restart();
    bench.write("api.yaml", &policy("api", "api", 2));
    bench.agree();
    assert_eq!(bench.max("api"), Some(2));
    bench.remove("web.yaml");
    bench.restart();
    bench.agree();
    assert_eq!(
        (bench.max("web"), bench.max("api")),
        (None, Some(2)),
        "deleted while it was down"
    );
    bench.write("api.yaml", &policy("api", "api", 4));
    bench.restart();
    bench.agree();
    assert_eq!(bench.max("api"), Some(4), "edited while it was down");
}

#[test]
fn without_memory_a_difference_is_reported_until_the_file_is_touched() {
    let mut bench = Bench::settled();
    bench.interfere("web", 8);
    bench.write("api.yaml", &policy("api", "api", 2));
    fs::remove_file(memory::path(bench.data.path())).unwrap();
    bench.restart();
    let expected = [(
        "policy web",
        "differs from the one in force, put there by n2:/other.yaml; edit or touch the file to \
         apply it",
    )];
    for _ in 0..2 {
        let scan = bench.agree();
        problems(&scan, &bench, &expected);
        assert_eq!((bench.max("web"), bench.max("api")), (Some(8), Some(2)));
        bench.restart();
    }
    bench.touch("web.yaml");
    let scan = bench.agree();
    assert_eq!(bench.max("web"), Some(5));
    problems(&scan, &bench, &[]);
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

    bench.ledger.policies.clear();
    let scan = bench.agree();
    assert_eq!(bench.max("web"), None);
    assert!(scan.problems["policy web"].starts_with("was removed from the cluster"));
    bench.touch("web.yaml");
    bench.agree();
    assert_eq!(bench.max("web"), Some(6));
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
fn a_second_policy_for_a_target_names_the_first() {
    let mut bench = Bench::settled();
    let first = bench.ledger.policies["web"].policy.clone();
    bench.remove("web.yaml");
    bench.agree();
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
    bench.ledger.policies.clear();
    bench.agree();
    assert_eq!(
        bench.max("mine"),
        Some(3),
        "it takes over once the other is gone"
    );
}

#[test]
fn what_is_written_twice_changes_nothing_and_names_both_places() {
    let mut bench = Bench::settled();
    bench.write("again.yaml", &policy("web", "web", 9));
    let scan = bench.agree();
    assert_eq!(bench.max("web"), Some(5));
    problems(
        &scan,
        &bench,
        &[(
            "policy web",
            "this policy is written more than once: again.yaml:2:7 and web.yaml:2:7; none of them is \
         applied, and what was in force stays. Remove all but one",
        )],
    );
    bench.write("again.yaml", &policy("again", "web", 9));
    let scan = bench.agree();
    assert_eq!((bench.max("web"), bench.max("again")), (Some(5), None));
    let words = "a policy for Process web is written more than once: again.yaml:2:7 and \
                 web.yaml:2:7; none of them is applied, and what was in force stays. Remove all \
                 but one";
    problems(
        &scan,
        &bench,
        &[("policy again", words), ("policy web", words)],
    );
}

#[test]
fn of_a_process_written_twice_the_last_good_one_goes_on() {
    let mut bench = Bench::new();
    bench.write("a.yaml", &process("web", "a"));
    assert_eq!(bench.agree().processes["web"].command, ["a"]);
    bench.write("b.yaml", &process("web", "b"));
    let scan = bench.agree();
    assert_eq!(scan.processes["web"].command, ["a"]);
    assert!(scan.problems.contains_key("process web"));
    bench.remove("a.yaml");
    assert_eq!(bench.agree().processes["web"].command, ["b"]);
    bench.remove("b.yaml");
    assert!(bench.agree().processes.is_empty());
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
fn a_vanished_directory_removes_nothing() {
    let mut bench = Bench::new();
    bench.write(
        "web.yaml",
        &format!("{}---\n{}", policy("web", "web", 5), process("web", "a")),
    );
    bench.agree();
    let aside = bench.policies.path().with_extension("aside");
    fs::rename(bench.policies.path(), &aside).unwrap();
    for round in 0..2 {
        let scan = bench.agree();
        assert_eq!(bench.max("web"), Some(5));
        assert_eq!(scan.processes["web"].command, ["a"], "round {round}");
        let words = &scan.problems[&bench.policies.path().display().to_string()];
        assert!(
            words.starts_with("can't be listed: No such file or directory"),
            "{words}"
        );
        bench.restart();
    }
    fs::rename(&aside, bench.policies.path()).unwrap();
    problems(&bench.agree(), &bench, &[]);
}

#[test]
fn files_that_can_not_be_read_remove_nothing() {
    let mut bench = Bench::settled();
    let cases: [(&str, &[u8]); 2] = [
        ("is not UTF-8 text at byte 2", b"a:\xff"),
        ("is longer than 1024 KiB", &[b'#'; (1 << 20) + 1]),
    ];
    for (words, bytes) in cases {
        fs::write(bench.path("web.yaml"), bytes).unwrap();
        bench.touch("web.yaml");
        let scan = bench.agree();
        problems(
            &scan,
            &bench,
            &[
                (
                    "policy web",
                    "is in no file any more; stays in force until web.yaml can be read, which may hold it",
                ),
                ("web.yaml", words),
            ],
        );
        assert_eq!(bench.max("web"), Some(5));
    }
}

#[test]
fn pipes_and_directories_and_dangling_links_are_survived() {
    let mut bench = Bench::settled();
    let pipe = bench.path("pipe.yaml");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    fs::create_dir(bench.path("dir.yaml")).unwrap();
    std::os::unix::fs::symlink("nowhere", bench.path("link.yaml")).unwrap();
    bench.write(".hidden.yaml", "not: [yaml");
    bench.write("notes.txt", "not: [yaml");
    let scan = bench.agree();
    problems(&scan, &bench, &[("pipe.yaml", "is not a regular file")]);
    assert_eq!(bench.max("web"), Some(5));
}

#[test]
fn files_beyond_the_limit_are_reported_and_nothing_counts_as_absent() {
    let mut bench = Bench::settled();
    for number in 0..FILES_MAX {
        fs::write(bench.path(&format!("a{number:04}.yaml")), "# empty\n").unwrap();
    }
    let scan = bench.agree();
    assert_eq!(bench.max("web"), Some(5));
    let words = &scan.problems[&bench.policies.path().display().to_string()];
    assert_eq!(
        words,
        "holds more than 1000 YAML files; the last 1 by name are not read"
    );
}

#[test]
fn a_broken_memory_is_put_aside_and_nothing_is_overruled() {
    let mut bench = Bench::settled();
    bench.interfere("web", 8);
    fs::write(memory::path(bench.data.path()), "{").unwrap();
    bench.restart();
    let scan = bench.agree();
    assert_eq!(bench.max("web"), Some(8));
    assert!(
        scan.problems
            .values()
            .any(|words| words.contains("moved to")),
        "{:?}",
        scan.problems
    );
    bench.restart();
    let scan = bench.agree();
    assert_eq!(scan.problems.len(), 1, "{:?}", scan.problems);
}

#[test]
fn a_memory_that_can_not_be_written_is_reported() {
    let mut bench = Bench::new();
    let gone = bench.data.path().join("gone");
    bench.directory = Directory::open(bench.policies.path(), &gone, "n1").unwrap();
    let scan = bench.agree();
    let words = &scan.problems[&memory::path(&gone).display().to_string()];
    assert!(
        words.starts_with("can't be written (No such file"),
        "{words}"
    );
}

#[test]
fn an_unreadable_file_is_read_once_it_may_be() {
    let mut bench = Bench::settled();
    bench.write("api.yaml", &policy("api", "api", 2));
    fs::set_permissions(bench.path("api.yaml"), fs::Permissions::from_mode(0o000)).unwrap();
    if File::open(bench.path("api.yaml")).is_ok() {
        // Running as root, whom no mode keeps out.
        return;
    }
    let scan = bench.agree();
    problems(
        &scan,
        &bench,
        &[("api.yaml", "can't be read: Permission denied (os error 13)")],
    );
    fs::set_permissions(bench.path("api.yaml"), fs::Permissions::from_mode(0o600)).unwrap();
    bench.agree();
    assert_eq!(bench.max("api"), Some(2));
}
