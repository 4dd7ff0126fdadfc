//! An agent's part in policies as objects, without the agent: a real API server, a ledger that
//! all share, and a workload whose size nobody but the test carries out.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use starling_engine::ledger::{Command, Entry, FOUNDER, Ledger, Member, Outcome};
use starling_engine::node::platform::{Observation, Scale};
use starling_engine::node::{Answer, Input, Node, Output};
use starling_engine::policy::{Name, Target};
use starling_engine::unit::{Ms, NodeId};
use starling_kube::client::{self, Connection};
use starling_kube::crd;
use starling_kube::policies::{Dated, Policies, Reads};
use starling_kubernetes_rig::Cluster;
use tokio::sync::mpsc;

pub const LIMIT: Duration = Duration::from_mins(1);

/// One agent's part of it: leads or follows, over a ledger that all share.
pub struct Agent {
    pub connection: Connection,
    pub policies: Policies,
    pub news: mpsc::Receiver<Dated>,
    pub node: Node,
}

pub struct World {
    pub cluster: Cluster,
    pub ledger: Ledger,
    /// The workload's size, which nobody but this test carries out.
    pub scale: Option<Scale>,
    pub queue_milli: i64,
}

pub async fn agent(kubeconfig: &Path) -> Agent {
    let reads = Reads {
        policies: true,
        scaled_objects: false,
    };
    agent_that(kubeconfig, reads).await
}

pub async fn agent_that(kubeconfig: &Path, reads: Reads) -> Agent {
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

pub fn now() -> Ms {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Ms(now.expect("after 1970").as_millis() as u64)
}

pub fn web() -> Name {
    Name::new("default", "web")
}

pub fn target() -> Target {
    Target {
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: "default".into(),
        name: "web".into(),
    }
}

pub fn policy(max: i64) -> Value {
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

impl World {
    pub fn new() -> World {
        let cluster = Cluster::start(0).expect("a cluster");
        cluster
            .apply(&crd::yaml().expect("the CRD"))
            .expect("it is taken");
        cluster
            .await_established("scalingpolicies.starling.sh")
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

    pub fn commit(&mut self, command: &Command) -> Outcome {
        let entry = Entry {
            at: now(),
            command: command.clone(),
        };
        self.ledger.apply(self.ledger.index + 1, &entry)
    }

    pub fn deploy(&mut self) {
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

    pub fn step(&mut self, agent: &mut Agent, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for output in agent.node.step(now(), input, &self.ledger) {
                match output {
                    Output::Propose(command) => {
                        self.commit(&command);
                        inputs.push(Input::Proposed);
                    }
                    Output::Poll {
                        policy, trigger, ..
                    } => inputs.push(Input::Polled {
                        policy,
                        trigger: trigger.name,
                        age_ms: 0,
                        result: Ok(Answer::value(self.queue_milli)),
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
    pub async fn turn(&mut self, agent: &mut Agent) {
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
    pub async fn until<T>(
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

    pub fn status(&self) -> Result<Value, String> {
        let object = self.cluster.get(["sp", "web"]);
        object
            .map(|it| it["status"].clone())
            .map_err(|e| e.to_string())
    }

    pub fn condition(&self, kind: &str) -> Result<(String, String), String> {
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

    pub fn is(&self, kind: &str, status: &str, reason: &str) -> Result<(), String> {
        let found = self.condition(kind)?;
        if (found.0.as_str(), found.1.as_str()) == (status, reason) {
            Ok(())
        } else {
            Err(format!("{kind} is {found:?}"))
        }
    }

    /// Events by the kind that they are about, with reason and count.
    pub fn events(&self) -> Vec<String> {
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

pub fn prepare() {
    // A second one in the same process has nothing left to do.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
