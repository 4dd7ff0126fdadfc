//! Policies as objects of a real API server: put into force, told of, refused,
//! removed, with a ledger and a node of this process in place of a whole agent.
#![allow(clippy::expect_used)] // A cluster that doesn't start has failed its test.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use starling_engine::ledger::{Command, Entry, FOUNDER, Ledger, Member, Outcome};
use starling_engine::node::platform::{Observation, Scale};
use starling_engine::node::{Answer, Input, Node, Output};
use starling_engine::policy::{Name, Target};
use starling_engine::unit::{Ms, NodeId};
use starling_kube::client::calls::Verb;
use starling_kube::client::{self, Connection};
use starling_kube::crd;
use starling_kube::policies::{Dated, Policies, Reads};
use starling_kubernetes_rig::{Cluster, turn};
use tokio::sync::mpsc;

const LIMIT: Duration = Duration::from_mins(1);

/// One agent's part of it: leads or follows, over a ledger that all share.
struct Agent {
    connection: Connection,
    policies: Policies,
    news: mpsc::Receiver<Dated>,
    node: Node,
}

struct World {
    cluster: Cluster,
    ledger: Ledger,
    /// The workload's size, which nobody but this test carries out.
    scale: Option<Scale>,
    queue_milli: i64,
}

async fn agent(kubeconfig: &Path) -> Agent {
    let reads = Reads {
        policies: true,
        scaled_objects: false,
    };
    agent_that(kubeconfig, reads).await
}

async fn agent_that(kubeconfig: &Path, reads: Reads) -> Agent {
    let source = client::Source::Kubeconfig {
        file: Some(kubeconfig.to_owned()),
        context: None,
    };
    let connection = client::connect(&source).await.expect("a connection");
    let (mut policies, news) = Policies::new(&connection, "n1", reads);
    policies.watch(true);
    let mut node = Node::new(NodeId(1));
    node.step(now(), Input::Leads(Some(1)), &Ledger::default());
    node.step(now(), Input::Platform(true), &Ledger::default());
    Agent {
        connection,
        policies,
        news,
        node,
    }
}

fn now() -> Ms {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Ms(now.expect("after 1970").as_millis() as u64)
}

fn web() -> Name {
    Name::new("default", "web")
}

fn target() -> Target {
    Target {
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: "default".into(),
        name: "web".into(),
    }
}

fn policy(max: i64) -> Value {
    json!({
        "apiVersion": "starling.sh/v1alpha1",
        "kind": "ScalingPolicy",
        "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "scaleTargetRef": { "name": "web" },
            "minReplicaCount": 1,
            "maxReplicaCount": max,
            "triggers": [{
                "type": "metrics-api",
                "name": "queue",
                "metadata": { "url": "http://q/x", "valueLocation": "a", "targetValue": "10" },
            }],
        },
    })
}

const HPA: &str = "
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: other, namespace: default}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  maxReplicas: 3
";

impl World {
    fn new() -> World {
        let cluster = Cluster::start(0).expect("a cluster");
        cluster
            .apply(&crd::yaml().expect("the CRD"))
            .expect("it is taken");
        cluster
            .kubectl([
                "wait",
                "--for=condition=Established",
                "--timeout=30s",
                "crd/scalingpolicies.starling.sh",
            ])
            .expect("it is served");
        let mut world = World {
            cluster,
            ledger: Ledger::default(),
            scale: None,
            queue_milli: 20_000,
        };
        let member = Member {
            name: "n1".into(),
            ..Member::default()
        };
        world.commit(&Command::Found {
            cluster: "c".into(),
            generation: 1,
            authority: None,
        });
        world.commit(&Command::Admit {
            nonce: FOUNDER.into(),
            member,
        });
        world
    }

    fn commit(&mut self, command: &Command) -> Outcome {
        let entry = Entry {
            at: now(),
            command: command.clone(),
        };
        self.ledger.apply(self.ledger.index + 1, &entry)
    }

    fn deploy(&mut self) {
        let yaml = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: none}]}
";
        self.cluster.apply(yaml).expect("a workload");
        let seen = self.cluster.get(["deploy", "web"]).expect("it is there");
        self.scale = Some(Scale {
            uid: seen["metadata"]["uid"].as_str().expect("a uid").to_owned(),
            resource_version: "1".into(),
            replicas: 2,
            running: 2,
            ..Scale::default()
        });
    }

    fn step(&mut self, agent: &mut Agent, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for output in agent.node.step(now(), input, &self.ledger) {
                match output {
                    Output::Propose(command) => {
                        self.commit(&command);
                        inputs.push(Input::Proposed);
                    }
                    Output::Poll { policy, trigger } => inputs.push(Input::Polled {
                        policy,
                        trigger: trigger.name,
                        result: Ok(Answer::Value(self.queue_milli)),
                    }),
                    Output::Patch(patch) => {
                        let Some(scale) = &mut self.scale else {
                            continue;
                        };
                        (scale.replicas, scale.running) = (patch.to, patch.to);
                        inputs.push(Input::Patched {
                            target: patch.target,
                            result: Ok(scale.clone()),
                        });
                    }
                    _ => {}
                }
            }
        }
    }

    /// What an agent's loop does until nothing comes for a moment.
    async fn turn(&mut self, agent: &mut Agent) {
        if let Some(scale) = self.scale.clone() {
            let observation = Observation::Scale(scale);
            let target = target();
            self.step(
                agent,
                Input::Observed {
                    target,
                    observation,
                },
            );
        }
        self.step(agent, Input::Tick);
        for command in agent.policies.lead(&self.ledger, &agent.node, now()) {
            let outcome = self.commit(&command);
            agent.policies.answered(&command, &outcome);
        }
        let moment = Duration::from_millis(100);
        while let Ok(Some(news)) = tokio::time::timeout(moment, agent.news.recv()).await {
            if let Some(rivals) = agent.policies.take(news) {
                self.step(agent, Input::Rivals(rivals));
            }
        }
    }

    /// Turns until `found` gives something.
    async fn until<T>(
        &mut self,
        agent: &mut Agent,
        what: &str,
        found: impl Fn(&World) -> Result<T, String>,
    ) -> T {
        let begun = std::time::Instant::now();
        loop {
            self.turn(agent).await;
            match found(self) {
                Ok(it) => return it,
                Err(why) => assert!(begun.elapsed() < LIMIT, "{what}: {why}"),
            }
        }
    }

    fn status(&self) -> Result<Value, String> {
        let object = self.cluster.get(["sp", "web"]);
        object
            .map(|it| it["status"].clone())
            .map_err(|e| e.to_string())
    }

    fn condition(&self, kind: &str) -> Result<(String, String), String> {
        let status = self.status()?;
        let found = status["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|it| it["type"] == kind);
        let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
        found
            .map(|it| (text(&it["status"]), text(&it["reason"])))
            .ok_or_else(|| format!("no condition {kind} in {status}"))
    }

    fn is(&self, kind: &str, status: &str, reason: &str) -> Result<(), String> {
        let found = self.condition(kind)?;
        if (found.0.as_str(), found.1.as_str()) == (status, reason) {
            Ok(())
        } else {
            Err(format!("{kind} is {found:?}"))
        }
    }

    /// Events by the kind that they are about, with reason and count.
    fn events(&self) -> Vec<String> {
        let events = self
            .cluster
            .get(["events.events.k8s.io", "-n", "default"])
            .expect("events");
        let mut told: Vec<String> = events["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|it| it["reportingController"] == "starling.sh/agent")
            .map(|it| {
                let count = it["series"]["count"].as_i64().unwrap_or(1);
                let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
                format!(
                    "{} {} {count}",
                    text(&it["regarding"]["kind"]),
                    text(&it["reason"])
                )
            })
            .collect();
        told.sort();
        told
    }
}

fn prepare() {
    // A second one in the same process has nothing left to do.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_put_into_force_told_of_and_left_alone_at_rest() {
    let Some(_turn) = turn::beside() else { return };
    prepare();
    let mut world = World::new();
    world.deploy();
    let mut agent = agent(world.cluster.kubeconfig()).await;
    world
        .cluster
        .apply(&policy(9).to_string())
        .expect("a policy");
    world
        .until(&mut agent, "in force", |it| {
            it.is("Ready", "True", "InForce")
        })
        .await;
    let source = &world.ledger.policies[&web()].source;
    assert_eq!(source, "kubernetes: default/web generation 1");

    world.queue_milli = 40_000;
    world
        .until(&mut agent, "grown", |it| match &it.status()? {
            status if status["size"] == 4 && status["currentReplicas"] == 4 => Ok(()),
            status => Err(status.to_string()),
        })
        .await;
    let table = world.cluster.kubectl(["get", "sp"]).expect("a table");
    let row = table.lines().nth(1).unwrap_or_default();
    let words: Vec<&str> = row.split_whitespace().take(9).collect();
    let expected = ["web", "web", "1", "9", "4", "4", "True", "True", "False"];
    assert_eq!(words, expected, "{table}");
    let rescaled = [
        "Deployment SuccessfulRescale 1",
        "ScalingPolicy SuccessfulRescale 1",
    ];
    let told = |it: &World| {
        let events = it.events();
        (events == rescaled)
            .then_some(())
            .ok_or_else(|| format!("{events:?}"))
    };
    world.until(&mut agent, "told", told).await;

    // At rest nothing is written, whatever the age of what was measured.
    world
        .until(&mut agent, "settled", |it| {
            it.is("AbleToScale", "True", "ReadyForNewScale")
        })
        .await;
    let writes = |agent: &Agent| {
        let tally = |verb| agent.connection.calls.tally(verb).calls;
        (tally(Verb::Patch), tally(Verb::Create), tally(Verb::Update))
    };
    let before = writes(&agent);
    for _ in 0..100 {
        world.turn(&mut agent).await;
    }
    assert_eq!(writes(&agent), before);

    // Another leader, which knows nothing, repeats nothing.
    agent = self::agent(world.cluster.kubeconfig()).await;
    for _ in 0..50 {
        world.turn(&mut agent).await;
    }
    assert_eq!(world.events(), rescaled);
    world.is("Ready", "True", "InForce").expect("as it was");

    // What happens again is counted: somebody sets 2, and 4 are still wanted.
    if let Some(scale) = &mut world.scale {
        (scale.replicas, scale.running) = (2, 2);
    }
    world
        .until(&mut agent, "counted", |it| {
            let events = it.events();
            let again = "Deployment SuccessfulRescale 2".to_owned();
            let by_hand = "ScalingPolicy ScaledByHand 1".to_owned();
            (events.contains(&again) && events.contains(&by_hand))
                .then_some(())
                .ok_or_else(|| format!("{events:?}"))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_in_force_says_why_and_comes_by_itself_once_it_can() {
    let Some(_turn) = turn::beside() else { return };
    prepare();
    let mut world = World::new();
    world.deploy();
    let mut agent = agent(world.cluster.kubeconfig()).await;
    world.cluster.apply(HPA).expect("an HPA");
    world
        .cluster
        .apply(&policy(9).to_string())
        .expect("a policy");
    world
        .until(&mut agent, "refused", |it| {
            it.is("Ready", "False", "AlreadyScaled")
        })
        .await;
    assert_eq!(*world.ledger.policies, BTreeMap::new());
    let problems = agent.policies.problems();
    let why = &problems["policy web"];
    assert!(
        why.starts_with("HorizontalPodAutoscaler default/other scales Deployment web"),
        "{why}"
    );
    world
        .cluster
        .kubectl(["delete", "hpa", "other"])
        .expect("it goes");
    world
        .until(&mut agent, "in force", |it| {
            it.is("Ready", "True", "InForce")
        })
        .await;
    world.cluster.apply(HPA).expect("an HPA");
    world
        .until(&mut agent, "stepped back", |it| {
            it.is("Ready", "False", "AlreadyScaled")
        })
        .await;
    assert_eq!(*world.ledger.policies, BTreeMap::new());
    world
        .cluster
        .kubectl(["delete", "hpa", "other"])
        .expect("it goes");
    world
        .until(&mut agent, "in force", |it| {
            it.is("Ready", "True", "InForce")
        })
        .await;

    // What the rules of the CRD can't see: an annotation.
    let annotate = "autoscaling.keda.sh/paused-replicas=20";
    world
        .cluster
        .kubectl(["annotate", "sp", "web", annotate])
        .expect("an annotation");
    world
        .until(&mut agent, "invalid", |it| {
            it.is("Ready", "False", "Invalid")
        })
        .await;
    assert!(
        world.ledger.policies.contains_key(&web()),
        "the last good one"
    );
    // A second policy for the same workload.
    let mut second = policy(9);
    second["metadata"]["name"] = json!("second");
    world.cluster.apply(&second.to_string()).expect("a policy");
    world
        .until(&mut agent, "taken", |it| {
            let object = it
                .cluster
                .get(["sp", "second"])
                .map_err(|e| e.to_string())?;
            let ready = &object["status"]["conditions"][0];
            (ready["reason"] == "TargetTaken")
                .then_some(())
                .ok_or_else(|| object["status"].to_string())
        })
        .await;
    world
        .until(&mut agent, "warned", |it| {
            let events = it.events();
            let all = ["AlreadyScaled 2", "Invalid 1", "TargetTaken 1"]
                .map(|it| format!("ScalingPolicy {it}"));
            all.iter()
                .all(|it| events.contains(it))
                .then_some(())
                .ok_or_else(|| format!("{events:?}"))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_an_api_server_that_is_away_removes_nothing_and_what_went_meanwhile_goes() {
    let Some(_turn) = turn::beside() else { return };
    prepare();
    let mut world = World::new();
    world.deploy();
    let mut agent = agent(world.cluster.kubeconfig()).await;
    let mut second = policy(9);
    second["metadata"]["name"] = json!("second");
    second["spec"]["scaleTargetRef"]["name"] = json!("second");
    for it in [policy(9), second] {
        world.cluster.apply(&it.to_string()).expect("a policy");
    }
    let count = |wanted: usize| {
        move |it: &World| {
            let found = it.ledger.policies.len();
            (found == wanted)
                .then_some(())
                .ok_or_else(|| format!("{found} policies"))
        }
    };
    world.until(&mut agent, "both in force", count(2)).await;
    world.cluster.kill_api_server().expect("it dies");
    for _ in 0..30 {
        world.turn(&mut agent).await;
        assert_eq!(world.ledger.policies.len(), 2);
    }
    assert!(!agent.policies.problems().is_empty(), "that is said");
    world.cluster.resume_api_server().expect("it comes back");
    world
        .until(&mut agent, "well again", |_| Ok::<(), String>(()))
        .await;
    // Nobody watches while an object goes: an agent that starts finds it missing.
    drop(agent);
    world
        .cluster
        .kubectl(["delete", "sp", "second"])
        .expect("it goes");
    let mut agent = self::agent(world.cluster.kubeconfig()).await;
    world.until(&mut agent, "one is left", count(1)).await;
    assert!(world.ledger.policies.contains_key(&web()));
    world
        .cluster
        .kubectl(["delete", "sp", "web"])
        .expect("it goes");
    world.until(&mut agent, "none is left", count(0)).await;
}

/// KEDA's object for the same workload.
fn scaled_object(trigger: &Value) -> String {
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "scaleTargetRef": { "name": "web" },
            "minReplicaCount": 1,
            "maxReplicaCount": 9,
            "triggers": [trigger],
        },
    })
    .to_string()
}

/// A condition of it: status, reason and message.
fn of_keda(world: &World, kind: &str) -> Result<[String; 3], String> {
    let object = world.cluster.get(["so", "web"]);
    let status = object.map_err(|e| e.to_string())?["status"].clone();
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    let found = conditions.find(|it| it["type"] == kind);
    let found = found.ok_or_else(|| format!("no condition {kind} in {status}"))?;
    Ok(["status", "reason", "message"].map(|key| found[key].as_str().unwrap_or_default().into()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scaled_object_is_decided_for_as_it_is_and_given_back() {
    let Some(_turn) = turn::beside() else { return };
    prepare();
    let mut world = World::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../daemonset/components/keda");
    let definition = std::fs::read_to_string(folder.join("scaledobjects.yaml")).expect("the CRD");
    world.cluster.apply(&definition).expect("it is taken");
    let there = "crd/scaledobjects.keda.sh";
    let wait = [
        "wait",
        "--for=condition=Established",
        "--timeout=30s",
        there,
    ];
    world.cluster.kubectl(wait).expect("it is served");
    world.deploy();
    let adopts = Reads {
        policies: true,
        scaled_objects: true,
    };
    let mut agent = agent_that(world.cluster.kubeconfig(), adopts).await;
    let known = json!({
        "type": "metrics-api",
        "metadata": { "url": "http://q/x", "valueLocation": "a.b", "targetValue": "10" },
    });
    world
        .cluster
        .apply(&scaled_object(&known))
        .expect("it is taken");
    let is = |kind: &'static str, status: &'static str, reason: &'static str| {
        move |it: &World| {
            let found = of_keda(it, kind)?;
            let right = found[0] == status && found[1] == reason;
            right
                .then_some(())
                .ok_or_else(|| format!("{kind} is {found:?}"))
        }
    };
    let ready = is("Ready", "True", "ScaledObjectReady");
    world.until(&mut agent, "in force", ready).await;
    let name = Name::new("default", "web.scaledobject");
    assert!(world.ledger.policies.contains_key(&name));

    world.queue_milli = 40_000;
    world
        .until(&mut agent, "grown", |it| match &it.scale {
            Some(scale) if scale.replicas == 4 => Ok(()),
            scale => Err(format!("{scale:?}")),
        })
        .await;
    let active = is("Active", "True", "ScalerActive");
    world.until(&mut agent, "active", active).await;
    let status = world.cluster.get(["so", "web"]).expect("it is there")["status"].clone();
    assert_eq!(status["externalMetricNames"], json!(["s0-metric-api-a-b"]));
    assert!(status["lastActiveTime"].is_string(), "{status}");
    assert!(
        world
            .events()
            .contains(&"ScaledObject SuccessfulRescale 1".to_owned()),
        "{:?}",
        world.events()
    );

    // At rest nothing is written.
    for _ in 0..20 {
        world.turn(&mut agent).await;
    }
    let patches = |agent: &Agent| agent.connection.calls.tally(Verb::Patch).calls;
    let before = patches(&agent);
    for _ in 0..50 {
        world.turn(&mut agent).await;
    }
    assert_eq!(patches(&agent), before);

    // A type of trigger that isn't known is a condition, and what was in force stays.
    let kafka = json!({ "type": "kafka", "metadata": { "topic": "a" } });
    world
        .cluster
        .apply(&scaled_object(&kafka))
        .expect("it is taken");
    let refused = is("Ready", "False", "ScaledObjectCheckFailed");
    world.until(&mut agent, "refused", refused).await;
    let [_, _, message] = of_keda(&world, "Ready").expect("it is there");
    assert!(
        message.contains("`kafka` isn't a type of trigger"),
        "{message}"
    );
    assert!(world.ledger.policies.contains_key(&name));
    world
        .cluster
        .apply(&scaled_object(&known))
        .expect("it is taken");
    world.until(&mut agent, "in force again", ready).await;

    // Agents that don't adopt leave the object, its workload and its size to KEDA.
    let mut agent = self::agent(world.cluster.kubeconfig()).await;
    let given = |it: &World| {
        let none = it.ledger.policies.is_empty();
        none.then_some(())
            .ok_or_else(|| "it is in force".to_owned())
    };
    world.until(&mut agent, "given back", given).await;
    assert_eq!(world.scale.as_ref().map(|scale| scale.replicas), Some(4));
}
