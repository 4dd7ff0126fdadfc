//! Objects that come, change and go, against a ledger that others write to as well.

use serde_json::{Value, json};
use starling_engine::decide::reason::Status;
use starling_engine::ledger::{Entry, Why};

use super::*;

/// A cluster's ledger and one leader's view of the objects.
struct Bench {
    ledger: Ledger,
    objects: Objects,
    rivals: Rivals,
    now: Ms,
}

fn spec(target: &str, max: u32) -> Value {
    json!({
        "scaleTargetRef": { "name": target },
        "minReplicaCount": 1,
        "maxReplicaCount": max,
        "triggers": [
            { "type": "cpu", "metricType": "Utilization", "metadata": { "value": "70" } },
        ],
    })
}

fn object(name: &str, generation: i64, spec: &Value) -> Object {
    let written = Written {
        namespace: "shop",
        name,
        annotations: &BTreeMap::new(),
        spec,
    };
    Object {
        uid: format!("uid of {name}"),
        generation,
        created: "2026-01-01T00:00:00Z".to_owned(),
        wish: read(written).map(Arc::new),
    }
}

fn named(name: &str) -> Name {
    Name::new("shop", name)
}

fn target(name: &str) -> Target {
    Target {
        group: "apps".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: "shop".to_owned(),
        name: name.to_owned(),
    }
}

impl Bench {
    /// Everything is listed and nothing is there.
    fn new() -> Bench {
        let mut objects = Objects::default();
        objects.replace(BTreeMap::new());
        Bench {
            ledger: Ledger::default(),
            objects,
            rivals: Rivals {
                known: true,
                ..Rivals::default()
            },
            now: Ms(1_000_000),
        }
    }

    fn write(&mut self, name: &str, generation: i64, spec: &Value) {
        let object = object(name, generation, spec);
        self.objects.put(named(name), object);
    }

    fn plan(&mut self) -> Vec<Command> {
        self.now = self.now.plus(100);
        self.objects.plan(&self.ledger, &self.rivals, self.now)
    }

    fn commit(&mut self, command: &Command) -> Outcome {
        let entry = Entry {
            at: self.now,
            command: command.clone(),
        };
        self.ledger.apply(self.ledger.index + 1, &entry)
    }

    /// Proposes and commits until nothing is left to propose; how many commands
    /// that took.
    fn settle(&mut self) -> usize {
        let mut count = 0;
        loop {
            let plan = self.plan();
            if plan.is_empty() {
                return count;
            }
            count += plan.len();
            for command in plan {
                let outcome = self.commit(&command);
                self.objects.answered(&command, &outcome);
            }
        }
    }

    fn max(&self, name: &str) -> Option<u32> {
        let put = self.ledger.policies.get(&named(name));
        put.map(|put| put.policy.replicas_max)
    }

    fn standing(&self, name: &str) -> &Standing {
        &self.objects.standings()[&named(name)]
    }
}

#[test]
fn an_object_is_put_once_for_each_of_its_changes_and_removed_with_it() {
    let mut bench = Bench::new();
    bench.write("web", 1, &spec("web", 5));
    let plan = bench.plan();
    let [Command::PutPolicy { policy, source }] = plan.as_slice() else {
        panic!("{plan:?}");
    };
    assert_eq!(policy.target, target("web"));
    assert_eq!(policy.target_version, "v1");
    assert_eq!(source, "kubernetes: shop/web generation 1");
    assert!(owns(source));
    assert_eq!(bench.standing("web").ready(), Status::Unknown);
    assert_eq!(bench.plan(), [], "it is under way");
    let outcome = bench.commit(&plan[0]);
    bench.objects.answered(&plan[0], &outcome);
    assert_eq!(bench.plan(), []);
    assert_eq!(*bench.standing("web"), Standing::InForce);

    bench.write("web", 2, &spec("web", 9));
    assert_eq!(bench.settle(), 1);
    assert_eq!(bench.max("web"), Some(9));
    // A change that means nothing.
    bench.write("web", 3, &spec("web", 9));
    assert_eq!(bench.settle(), 0);

    bench.objects.remove(&named("web"));
    assert_eq!(bench.settle(), 1);
    assert_eq!(bench.max("web"), None);
}

#[test]
fn i8_nothing_is_removed_before_all_objects_are_known() {
    let mut bench = Bench::new();
    bench.write("web", 1, &spec("web", 5));
    bench.settle();
    // The agent restarts while the API server is away.
    bench.objects = Objects::default();
    assert_eq!(bench.settle(), 0);
    assert_eq!(bench.max("web"), Some(5));
    assert!(bench.objects.standings().is_empty());
    // It comes back, and the object is gone.
    bench.objects.replace(BTreeMap::new());
    assert_eq!(bench.settle(), 1);
    assert_eq!(bench.max("web"), None);
}

#[test]
fn a_list_removes_no_policy_that_a_file_put() {
    let mut bench = Bench::new();
    let from_file = object("web", 1, &spec("web", 5)).wish.unwrap();
    bench.commit(&Command::PutPolicy {
        policy: Policy::clone(&from_file),
        source: "n1:/etc/starling/policies/web.yaml".to_owned(),
    });
    bench.objects.replace(BTreeMap::new());
    assert_eq!(bench.settle(), 0);
    assert_eq!(bench.max("web"), Some(5));
}

#[test]
fn a_policy_that_a_file_has_is_refused_to_an_object_until_the_file_is_gone() {
    let mut bench = Bench::new();
    let from_file = object("web", 1, &spec("web", 5)).wish.unwrap();
    bench.commit(&Command::PutPolicy {
        policy: Policy::clone(&from_file),
        source: "n1:/etc/starling/policies/web.yaml".to_owned(),
    });
    bench.write("web", 1, &spec("web", 7));
    assert_eq!(bench.settle(), 0);
    assert_eq!(bench.standing("web").code(), "NameTaken");
    assert!(bench.standing("web").words().contains("web.yaml"));
    bench.commit(&Command::RemovePolicy {
        name: named("web"),
        source: None,
    });
    assert_eq!(bench.settle(), 1);
    assert_eq!(bench.max("web"), Some(7));
}

#[test]
fn an_invalid_version_leaves_the_last_good_one_in_force_and_says_all_that_is_wrong() {
    let mut bench = Bench::new();
    bench.write("web", 1, &spec("web", 5));
    bench.settle();
    let mut wrong = spec("web", 6);
    wrong["pollingInterval"] = json!(0);
    wrong["cooldownPeriod"] = json!(-1);
    bench.write("web", 2, &wrong);
    assert_eq!(bench.settle(), 0);
    assert_eq!(bench.max("web"), Some(5));
    assert_eq!(bench.standing("web").ready(), Status::False);
    assert_eq!(
        bench.standing("web").words(),
        "spec.pollingInterval: must be 1 to 604800, is 0; spec.cooldownPeriod: must be 0 to \
         604800, is -1; the last good version stays in force"
    );
    wrong["newField"] = json!(1);
    bench.write("new", 1, &wrong);
    bench.plan();
    let words = bench.standing("new").words();
    for all in [
        "spec.newField: unknown field `newField`; allowed: scaleTargetRef",
        "spec.pollingInterval: must be 1 to 604800, is 0",
        "spec.cooldownPeriod: must be 0 to 604800, is -1",
    ] {
        assert!(words.contains(all), "{words}");
    }
    assert!(!words.contains("last good"), "there is none: {words}");
}

#[test]
fn of_two_that_want_one_workload_the_older_has_it_until_it_goes() {
    let mut bench = Bench::new();
    bench.write("a", 1, &spec("web", 5));
    let mut older = object("b", 1, &spec("web", 6));
    older.created = "2025-12-31T00:00:00Z".to_owned();
    bench.objects.put(named("b"), older);
    assert_eq!(bench.settle(), 1);
    assert_eq!((bench.max("a"), bench.max("b")), (None, Some(6)));
    assert_eq!(bench.standing("a").code(), "TargetTaken");
    assert!(
        bench
            .standing("a")
            .words()
            .starts_with("policy shop/b scales Deployment shop/web already")
    );
    bench.objects.remove(&named("b"));
    assert_eq!(bench.settle(), 2, "one goes, one comes");
    assert_eq!((bench.max("a"), bench.max("b")), (Some(5), None));
}

#[test]
fn a_workload_that_something_else_scales_is_never_fought_over() {
    let mut bench = Bench::new();
    let rival = || "HorizontalPodAutoscaler shop/web".to_owned();
    bench.rivals.by_target.insert(target("web"), rival());
    bench.write("web", 1, &spec("web", 5));
    assert_eq!(bench.settle(), 0);
    assert_eq!(bench.standing("web").code(), "AlreadyScaled");
    assert!(bench.standing("web").words().starts_with(&rival()));
    // A dry run writes nothing, so it may stand beside it.
    let mut dry = spec("web", 5);
    dry["dryRun"] = json!(true);
    bench.write("web", 2, &dry);
    assert_eq!(bench.settle(), 1);
    assert_eq!(*bench.standing("web"), Standing::InForce);
    // The other one goes: the policy comes into force by itself.
    bench.write("web", 3, &spec("web", 6));
    assert_eq!(bench.settle(), 0);
    assert_eq!(bench.max("web"), Some(5), "the dry run goes on");
    assert_eq!(bench.standing("web").code(), "AlreadyScaled");
    bench.rivals.by_target.clear();
    assert_eq!(bench.settle(), 1);
    assert_eq!(bench.max("web"), Some(6));
    // Another one comes: the policy steps back.
    bench.rivals.by_target.insert(target("web"), rival());
    assert_eq!(bench.settle(), 1);
    assert_eq!(bench.max("web"), None);
    assert_eq!(bench.standing("web").code(), "AlreadyScaled");
}

#[test]
fn nothing_comes_into_force_before_it_is_known_who_else_scales() {
    let mut bench = Bench::new();
    bench.rivals.known = false;
    bench.write("web", 1, &spec("web", 5));
    assert_eq!(bench.settle(), 0);
    assert_eq!(bench.standing("web").ready(), Status::Unknown);
    bench.rivals.known = true;
    assert_eq!(bench.settle(), 1);
    // What is in force already stays.
    bench.rivals.known = false;
    assert_eq!(bench.settle(), 0);
    assert_eq!(*bench.standing("web"), Standing::InForce);
}

#[test]
fn what_the_ledger_refuses_is_said_and_tried_again_later() {
    let mut bench = Bench::new();
    bench.write("web", 1, &spec("web", 5));
    let plan = bench.plan();
    let outcome = Outcome {
        refused: vec![starling_engine::ledger::Refusal {
            subject: "shop/web".to_owned(),
            why: Why::Full(10_000),
        }],
        ..Outcome::default()
    };
    bench.objects.answered(&plan[0], &outcome);
    assert_eq!(bench.plan(), []);
    assert_eq!(bench.standing("web").code(), "Refused");
    bench.now = bench.now.plus(REFUSED_RETRY_MS);
    assert_eq!(bench.settle(), 1);
    assert_eq!(*bench.standing("web"), Standing::InForce);
}

#[test]
fn a_proposal_whose_outcome_never_comes_is_made_again() {
    let mut bench = Bench::new();
    bench.write("web", 1, &spec("web", 5));
    assert_eq!(bench.plan().len(), 1);
    assert_eq!(bench.plan().len(), 0);
    bench.now = bench.now.plus(RETRY_MS);
    assert_eq!(bench.plan().len(), 1);
}

#[test]
fn many_objects_are_proposed_in_parts() {
    let mut bench = Bench::new();
    for n in 0..=PROPOSALS_MAX {
        bench.write(&format!("web-{n}"), 1, &spec(&format!("web-{n}"), 5));
    }
    assert_eq!(bench.plan().len(), PROPOSALS_MAX);
    assert_eq!(bench.plan().len(), 1);
}

#[test]
fn amounts_and_texts_of_an_object_are_read_as_those_of_a_file() {
    let mut odd = spec("web", 5);
    odd["metrics"] = json!([{
        "type": "External",
        "external": {
            "metric": { "name": "jobs \"waiting\" – ö" },
            "target": { "type": "Value", "value": 30 },
        },
    }]);
    odd["behavior"] = json!({ "scaleUp": { "tolerance": "50m" } });
    let policy = object("web", 1, &odd).wish.unwrap();
    let triggers: Vec<_> = policy.triggers.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(triggers, ["cpu", "jobs--waiting"]);
    assert_eq!(
        policy.behavior.as_ref().unwrap().up.tolerance_ppm,
        Some(50_000)
    );
}
