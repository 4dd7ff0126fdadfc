//! Targets followed on a real API server: what they are, what blocks them, and what
//! an outage does to that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use starling_engine::node::platform::{Failure, Observation, Scale};
use starling_engine::policy::Target;
use starling_kept::Queue;
use starling_kube::client::Connection;
use starling_kube::client::calls::Verb;
use starling_kube::patches::{self, Patch};
use starling_kube::scale::Scales;
use starling_kube::target::Reference;
use starling_kube::targets::{self, Event};
use starling_kubernetes_rig::{Cluster, turn};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::rig::{self, LIMIT, connect, namespace, reference, workload};

const WORKER: &str = "
apiVersion: example.com/v1
kind: Worker
metadata: {name: crunch, namespace: shop}
spec: {replicas: 3}
status: {replicas: 2, selector: app=crunch}
";

fn quota(namespace: &str, pods: u32) -> String {
    format!(
        "
apiVersion: v1
kind: ResourceQuota
metadata: {{name: small, namespace: {namespace}}}
spec: {{hard: {{pods: {pods}}}}}
---"
    )
}

/// A follower and what it has told so far.
struct Follower {
    connection: Connection,
    followed: watch::Sender<Arc<BTreeSet<Reference>>>,
    patches: mpsc::Sender<Patch>,
    _fence: watch::Sender<bool>,
    events: mpsc::Receiver<Event>,
    patched: Vec<Result<u32, Failure>>,
    told: BTreeMap<Target, Observation>,
    platform: Option<bool>,
}

impl Follower {
    fn start(connection: &Connection, targets: &[&Reference]) -> Follower {
        let targets: BTreeSet<_> = targets.iter().map(|of| (*of).clone()).collect();
        let (followed, following) = watch::channel(Arc::new(targets));
        let (out, events) = mpsc::channel(8);
        let scales = Scales::new(connection.clone());
        let (found, finding) = mpsc::channel(8);
        let (patches, inbox) = mpsc::channel(8);
        let (fence, fenced) = watch::channel(true);
        tokio::spawn(patches::run(
            scales.clone(),
            Queue::new(inbox),
            fenced,
            found,
        ));
        let connection_too = connection.clone();
        tokio::spawn(targets::follow(
            connection_too,
            scales,
            following,
            Queue::new(finding),
            out,
        ));
        Follower {
            connection: connection.clone(),
            followed,
            patches,
            _fence: fence,
            events,
            patched: Vec::new(),
            told: BTreeMap::new(),
            platform: None,
        }
    }

    async fn take(&mut self) -> bool {
        let next = tokio::time::timeout(Duration::from_millis(200), self.events.recv()).await;
        match next {
            Ok(Some(Event::Platform(reachable))) => self.platform = Some(reachable),
            Ok(Some(Event::Observed {
                target,
                observation,
            })) => {
                self.told.insert(target, observation);
            }
            Ok(Some(Event::Patched { result, .. })) => {
                self.patched.push(result.map(|scale| scale.replicas));
            }
            Ok(None) => panic!("the follower has ended"),
            Err(_) => return false,
        }
        true
    }

    /// Has a size written as the engine would, over what was told last.
    async fn patch(&mut self, of: &Reference, to: u32) {
        let seen = self.scale(of).unwrap();
        let patch = Patch {
            reference: of.clone(),
            uid: seen.uid.clone(),
            resource_version: seen.resource_version.clone(),
            from: seen.replicas,
            to,
        };
        self.patches.send(patch).await.unwrap();
    }

    async fn until(&mut self, what: &str, wanted: impl Fn(&Follower) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !wanted(self) {
            assert!(
                Instant::now() < deadline,
                "{what}: {:#?}, platform {:?}",
                self.told,
                self.platform
            );
            self.take().await;
        }
    }

    /// Whether the platform counts as there for longer than it may be silent.
    async fn stays_reachable(&mut self) -> bool {
        let reachable = |f: &Follower| f.platform == Some(true);
        self.until("the server is there", reachable).await;
        let until = Instant::now() + targets::AWAY_AFTER + Duration::from_secs(2);
        while reachable(self) && Instant::now() < until {
            self.take().await;
        }
        reachable(self)
    }

    fn scale(&self, of: &Reference) -> Option<&Scale> {
        match self.told.get(&of.target) {
            Some(Observation::Scale(scale)) => Some(scale),
            _ => None,
        }
    }

    fn replicas(&self, of: &Reference) -> Option<u32> {
        self.scale(of).map(|scale| scale.replicas)
    }

    fn gone(&self, of: &Reference) -> Option<&str> {
        match self.told.get(&of.target) {
            Some(Observation::Gone(why)) => Some(why),
            _ => None,
        }
    }

    fn blocked(&self, of: &Reference) -> Option<&str> {
        self.scale(of).and_then(|scale| scale.blocked.as_deref())
    }

    async fn blocks(&mut self, of: &Reference, words: &str) {
        let blocks = |f: &Follower| f.blocked(of).is_some_and(|why| why.contains(words));
        self.until(words, blocks).await;
    }

    fn calls(&self, verb: Verb) -> u64 {
        self.connection.calls.tally(verb).calls
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_are_followed_through_all_that_happens_to_them() {
    let Some(_turn) = turn::beside() else { return };
    rig::prepare();
    let cluster = Cluster::start(0).unwrap();
    let connection = connect(cluster.kubeconfig()).await.unwrap();
    let web = reference("apps", "Deployment", "shop", "web");
    let crunch = reference("example.com", "Worker", "shop", "crunch");
    let missing = reference("apps", "Deployment", "shop", "missing");
    cluster
        .apply(&(namespace("shop") + &workload("Deployment", "shop", "web", 2)))
        .unwrap();

    // What is there, what isn't, and a kind that nobody knows yet.
    let mut follower = Follower::start(&connection, &[&web, &crunch, &missing]);
    follower
        .until("the first observations", |f| {
            f.platform == Some(true)
                && f.replicas(&web) == Some(2)
                && f.gone(&missing).is_some()
                && f.gone(&crunch)
                    .is_some_and(|why| why.contains("knows no kind Worker"))
        })
        .await;
    assert_eq!(
        follower.gone(&missing),
        Some("there is no Deployment `missing` in namespace `shop`")
    );
    cluster.apply(rig::WORKERS).unwrap();
    rig::until("the worker is made", async || {
        cluster.apply(WORKER).map_err(|e| e.to_string())
    })
    .await;
    let is_there = |f: &Follower| {
        f.scale(&crunch)
            .is_some_and(|s| (s.replicas, s.running) == (3, 2))
    };
    follower.until("the worker is seen", is_there).await;
    let patch = r#"{"spec":{"replicas":7}}"#;
    cluster
        .kubectl([
            "patch",
            "worker",
            "crunch",
            "-n",
            "shop",
            "--type=merge",
            "-p",
            patch,
        ])
        .unwrap();
    follower
        .until("the worker's size", |f| f.replicas(&crunch) == Some(7))
        .await;

    // By hand, gone, and made anew.
    let by_hand = ["scale", "deployment", "web", "-n", "shop", "--replicas=3"];
    cluster.kubectl(by_hand).unwrap();
    follower
        .until("the size by hand", |f| f.replicas(&web) == Some(3))
        .await;
    let uid = follower.scale(&web).unwrap().uid.clone();
    cluster
        .kubectl(["delete", "deployment", "web", "-n", "shop"])
        .unwrap();
    follower
        .until("the deletion", |f| f.gone(&web).is_some())
        .await;
    cluster
        .apply(&workload("Deployment", "shop", "web", 1))
        .unwrap();
    let anew = |f: &Follower| {
        f.scale(&web)
            .is_some_and(|s| s.uid != uid && s.replicas == 1)
    };
    follower.until("the successor", anew).await;
    cluster
        .kubectl(["delete", "worker", "crunch", "-n", "shop"])
        .unwrap();
    follower
        .until("the worker's end", |f| f.gone(&crunch).is_some())
        .await;

    a_write_is_answered_before_what_it_led_to(&mut follower, &web).await;
    blocked_targets_say_why(&cluster, &mut follower).await;
    nothing_is_asked_at_rest(&mut follower).await;
    an_outage_is_told_and_nothing_is_missed(&cluster, &web).await;
}

async fn a_write_is_answered_before_what_it_led_to(follower: &mut Follower, web: &Reference) {
    let mut sizes = Vec::new();
    for to in [4, 2, 5, 1] {
        follower.patched.clear();
        follower.patch(web, to).await;
        let deadline = Instant::now() + LIMIT;
        while follower.patched.is_empty() || follower.replicas(web) != Some(to) {
            assert!(Instant::now() < deadline, "{to}: {:?}", follower.told);
            follower.take().await;
            sizes.extend(follower.replicas(web));
        }
        assert_eq!(follower.patched, [Ok(to)]);
    }
    while follower.take().await {
        sizes.extend(follower.replicas(web));
    }
    // Watch and answers overtake each other; what is told never goes back.
    sizes.dedup();
    let from = usize::from(sizes[0] == 1);
    assert_eq!(sizes[from..], [4, 2, 5, 1]);
}

async fn blocked_targets_say_why(cluster: &Cluster, follower: &mut Follower) {
    // There are no nodes, so every pod waits for one.
    let web = reference("apps", "Deployment", "shop", "web");
    follower.blocks(&web, "pods can't be scheduled: ").await;
    let none = ["scale", "deployment", "web", "-n", "shop", "--replicas=0"];
    cluster.kubectl(none).unwrap();
    follower
        .until("nothing waits any more", |f| {
            f.replicas(&web) == Some(0) && f.blocked(&web).is_none()
        })
        .await;

    let kinds = ["Deployment", "StatefulSet", "ReplicaSet"];
    let (mut places, mut objects) = (String::new(), String::new());
    let mut targets: BTreeSet<Reference> = (**follower.followed.borrow()).clone();
    let narrow: Vec<_> = kinds
        .iter()
        .map(|kind| {
            let place = format!("narrow-{}", kind.to_lowercase());
            places += &(namespace(&place) + &quota(&place, 1));
            objects += &workload(kind, &place, "set", 3);
            reference("apps", kind, &place, "set")
        })
        .collect();
    targets.extend(narrow.iter().cloned());
    cluster.apply(&places).unwrap();
    for of in &narrow {
        // A quota whose status nobody has written yet refuses nothing.
        let of = ["quota", "small", "-n", &of.target.namespace];
        let wait = ["wait", "--for=jsonpath={.status.hard.pods}=1"];
        cluster.kubectl([&wait[..], &of].concat()).unwrap();
    }
    cluster.apply(&objects).unwrap();
    follower.followed.send_replace(Arc::new(targets));
    for of in &narrow {
        follower
            .blocks(of, "pods can't be created: exceeded quota: small")
            .await;
        // No name of a single pod, which would change with every try.
        assert!(!follower.blocked(of).unwrap().contains("set-"));
    }
    // With room in the quota it is only the nodes that are missing.
    for of in &narrow {
        cluster.apply(&quota(&of.target.namespace, 10)).unwrap();
        // Controllers wait for long between tries; a new size makes them try now.
        let Target {
            kind, namespace, ..
        } = &of.target;
        cluster
            .kubectl(["scale", kind, "set", "-n", namespace, "--replicas=4"])
            .unwrap();
    }
    for of in &narrow {
        follower.blocks(of, "pods can't be scheduled: ").await;
    }
}

/// Long enough for several questions whether the server is there.
const REST: Duration = Duration::from_secs(20);

async fn nothing_is_asked_at_rest(follower: &mut Follower) {
    while follower.take().await {}
    let verbs = [Verb::Get, Verb::List, Verb::Watch];
    let before = verbs.map(|verb| follower.calls(verb));
    let rest = Instant::now() + REST;
    while Instant::now() < rest {
        follower.take().await;
    }
    let [gets, lists, watches] = verbs.map(|verb| follower.calls(verb));
    eprintln!(
        "at rest for {REST:?}: {} gets, {} lists, {} watches",
        gets - before[0],
        lists - before[1],
        watches - before[2]
    );
    assert_eq!((lists, watches), (before[1], before[2]));
    assert!(gets - before[0] <= 5, "{} reads at rest", gets - before[0]);
}

async fn an_outage_is_told_and_nothing_is_missed(cluster: &Cluster, web: &Reference) {
    let connection = connect(cluster.kubeconfig_through_proxy()).await.unwrap();
    let lasting = reference("apps", "Deployment", "shop", "lasting");
    let brief = reference("apps", "Deployment", "shop", "brief");
    let two =
        workload("Deployment", "shop", "lasting", 0) + &workload("Deployment", "shop", "brief", 0);
    cluster.apply(&two).unwrap();
    let mut follower = Follower::start(&connection, &[web, &lasting, &brief]);
    let all = |f: &Follower| {
        [web, &lasting, &brief]
            .iter()
            .all(|of| f.scale(of).is_some())
    };
    follower.until("all are seen", all).await;

    // No answers any more, on connections that stay open; meanwhile much happens.
    cluster.slow_api_server(Duration::from_hours(1));
    follower
        .until("the outage is told", |f| f.platform == Some(false))
        .await;
    assert_eq!(follower.replicas(&lasting), Some(0), "nothing else is told");
    cluster
        .kubectl(["delete", "deployment", "brief", "-n", "shop"])
        .unwrap();
    let grow = [
        "scale",
        "deployment",
        "lasting",
        "-n",
        "shop",
        "--replicas=2",
    ];
    cluster.kubectl(grow).unwrap();
    cluster.slow_api_server(Duration::ZERO);
    cluster.break_connections();
    let caught_up = |f: &Follower| {
        f.platform == Some(true) && f.replicas(&lasting) == Some(2) && f.gone(&brief).is_some()
    };
    follower.until("what happened meanwhile", caught_up).await;

    // The server dies and starts anew.
    cluster.kill_api_server().unwrap();
    follower
        .until("its death is told", |f| f.platform == Some(false))
        .await;
    cluster.resume_api_server().unwrap();
    let grow = [
        "scale",
        "deployment",
        "lasting",
        "-n",
        "shop",
        "--replicas=3",
    ];
    cluster.kubectl(grow).unwrap();
    follower
        .until("it goes on", |f| {
            f.platform == Some(true) && f.replicas(&lasting) == Some(3)
        })
        .await;

    // Two seconds a call: slow, but there. A busy machine may hold an answer back for longer,
    // though not each time.
    cluster.slow_api_server(Duration::from_secs(2));
    let mut tries = 0;
    while !follower.stays_reachable().await {
        tries += 1;
        assert!(tries < 3, "a slow server is no outage");
    }
    let grow = [
        "scale",
        "deployment",
        "lasting",
        "-n",
        "shop",
        "--replicas=4",
    ];
    cluster.kubectl(grow).unwrap();
    follower
        .until("seen slowly", |f| f.replicas(&lasting) == Some(4))
        .await;
    cluster.slow_api_server(Duration::ZERO);
}
