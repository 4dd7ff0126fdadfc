//! The policy directory as an editor of the ledger, over real files.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, UNIX_EPOCH};

use starling_engine::ledger::{Entry, Refusal};
use tempfile::TempDir;

use super::*;

/// A directory, a data directory, a ledger and a clock.
struct Bench {
    policies: TempDir,
    data: TempDir,
    ledger: Ledger,
    directory: Directory,
    /// What else scales workloads.
    rivals: BTreeMap<Target, String>,
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
            rivals: BTreeMap::new(),
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

    /// Written just before the next scan, which is too soon to read it.
    fn write_later(&mut self, file: &str, text: &str) {
        self.now = self.now.plus(900);
        self.write(file, text);
        self.now = self.now.minus(900);
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
        self.scan_with(&BTreeSet::from([target("web"), target("api")]))
    }

    /// As the agent does it, one thing after the other.
    fn scan_with(&mut self, offered: &BTreeSet<Target>) -> Scan {
        let looked = self.directory.look(self.now).unwrap().run();
        let scan = (self.directory).scan(looked, &self.ledger, offered, &self.rivals);
        if let Some(save) = self.directory.save() {
            self.directory.saved(save.run());
        }
        scan
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
        let outcome = self.apply(command.clone());
        self.directory.answered(command, &outcome);
    }

    fn apply(&mut self, command: Command) -> Outcome {
        let at = self.now;
        self.ledger
            .apply(self.ledger.index + 1, &Entry { at, command })
    }

    fn put(&mut self, policy: starling_engine::policy::Policy, source: &str) {
        let source = source.to_owned();
        let outcome = self.apply(Command::PutPolicy { policy, source });
        assert_eq!(outcome.refused, []);
    }

    /// Somebody removes a policy, whomever it belongs to.
    fn delete(&mut self, name: &str) {
        let (name, source) = (name.into(), None);
        self.apply(Command::RemovePolicy { name, source });
    }

    /// Who asks for a policy: whom it belongs to, then the others.
    fn sources(&self, name: &str) -> Vec<String> {
        let in_force = &self.ledger.policies[&name.into()];
        let root = format!("{}/", self.policies.path().display());
        in_force.sources().map(|it| it.replace(&root, "")).collect()
    }

    /// Somebody else changes the maximum of a policy that is in force.
    fn interfere(&mut self, name: &str, max: u32) {
        let mut policy = self.ledger.policies[&name.into()].policy.clone();
        policy.replicas_max = max;
        self.put(policy, "n2:/other.yaml");
    }

    fn max(&self, name: &str) -> Option<u32> {
        self.ledger
            .policies
            .get(&name.into())
            .map(|in_force| in_force.policy.replicas_max)
    }
}

fn target(name: &str) -> Target {
    Target::process(name)
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

mod cluster;
mod disk;

#[test]
fn a_new_policy_is_put_with_its_source_and_then_left_alone() {
    let mut bench = Bench::new();
    bench.write("web.yaml", &policy("web", "web", 5));
    let scan = bench.scan();
    let [Command::PutPolicy { policy, source }] = scan.proposals.as_slice() else {
        panic!("{:?}", scan.proposals)
    };
    assert_eq!((policy.name.name.as_str(), policy.replicas_max), ("web", 5));
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
    let [Command::RemovePolicy { name, source }] = scan.proposals.as_slice() else {
        panic!("{:?}", scan.proposals)
    };
    assert_eq!(*name, "web");
    let file = format!("n1:{}", bench.path("web.yaml").display());
    assert_eq!(*source, Some(file));
    bench.grant(&scan.proposals[0]);
    bench.agree();
    assert_eq!(bench.max("web"), None);
}

#[test]
fn a_policy_that_moves_to_another_file_stays() {
    let mut bench = Bench::settled();
    fs::rename(bench.path("web.yaml"), bench.path("all.yaml")).unwrap();
    let revision = bench.ledger.policies[&"web".into()].revision;
    bench.agree();
    assert_eq!(bench.sources("web"), ["n1:all.yaml"]);
    assert_eq!(bench.ledger.policies[&"web".into()].revision, revision);
}

#[test]
fn a_renamed_policy_takes_its_target_along() {
    let mut bench = Bench::settled();
    bench.write("web.yaml", &policy("web2", "web", 5));
    let scan = bench.scan();
    let names: Vec<_> = scan
        .proposals
        .iter()
        .map(|command| name_of(command).unwrap().clone())
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
