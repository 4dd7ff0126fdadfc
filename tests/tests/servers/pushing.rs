//! What real servers say by themselves, and agents that hear it.

use std::future::pending;
use std::time::Duration;

use serde_json::json;
use starling_rig::cluster::Cluster;
use starling_rig::cluster::files::Documents;
use starling_sources::Reason;
use starling_sources::push::{self, GAP};
use starling_tests::servers::{External, PostgreSql, Redis, RedisCluster, Watched};
use starling_tests::sleepers::{PROCESS, workers};
use starling_tests::{binary, until};
use tokio::sync::Notify;

use super::{Question, certificate, postgresql, redis, redis_cluster, redis_sentinel};

const REDIS: &[(&str, &str)] = &[("password", "marigold"), ("sentinelPassword", "foxglove")];
/// Generous: what is pushed comes at once.
const PATIENCE: Duration = Duration::from_mins(1);

impl Question {
    /// What `then` makes of the signs, while the source is heard; why it can't be heard where
    /// it ends before.
    async fn heard<T>(&self, then: impl AsyncFnOnce(Signs<'_>) -> T) -> Result<T, String> {
        assert!(push::pushes(&self.trigger), "{:?}", self.trigger);
        let signs = Notify::new();
        let listened = async {
            loop {
                let why = self
                    .poller
                    .listen(&self.trigger, self.asked(), &signs)
                    .await;
                // On a busy machine it takes another try to begin.
                if !matches!(why.reason, Reason::TimedOut { .. }) {
                    return why.to_string();
                }
            }
        };
        tokio::select! {
            why = listened => Err(why),
            said = then(Signs(&signs)) => Ok(said),
        }
    }

    /// Why it can't be heard, or not any more once `end` has happened.
    async fn unheard(&self, end: impl FnOnce()) -> String {
        let heard = self.heard(async |signs: Signs<'_>| {
            signs.sign().await;
            end();
            pending::<()>().await;
        });
        let heard = tokio::time::timeout(PATIENCE, heard).await;
        heard.unwrap().unwrap_err()
    }
}

struct Signs<'a>(&'a Notify);

impl Signs<'_> {
    async fn sign(&self) {
        // It comes.
        tokio::time::timeout(PATIENCE, self.0.notified())
            .await
            .unwrap();
    }

    /// None for longer than two may be apart.
    async fn none(&self) {
        let sign = tokio::time::timeout(3 * GAP, self.0.notified()).await;
        assert!(sign.is_err(), "nothing has changed");
    }
}

#[tokio::test]
async fn a_redis_says_when_a_key_has_changed_and_when_it_ends() {
    let Some(mut server) = Redis::start(None) else {
        return;
    };
    let at = server.address();
    let of = |kind: &str, settings: &str| redis::question(&at, kind, settings, REDIS);
    let jobs = of("redis", "listName: jobs");
    let heard = jobs.heard(async |signs: Signs<'_>| {
        // What came before is asked for too.
        signs.sign().await;
        signs.none().await;
        for command in [
            &["RPUSH", "jobs", "a"][..],
            &["LPUSH", "jobs", "b"],
            &["LREM", "jobs", "0", "a"],
            &["RENAME", "jobs", "jabs"],
            &["RENAME", "jabs", "jobs"],
        ] {
            server.tell(command);
            signs.sign().await;
        }
        // Another key is another matter.
        server.tell(&["RPUSH", "others", "a"]);
        signs.none().await;
    });
    heard.await.unwrap();
    for (kind, settings, change) in [
        ("redis", "listName: set", &["SADD", "set", "a"][..]),
        ("redis", "listName: sorted", &["ZADD", "sorted", "1", "a"]),
        ("redis", "listName: hash", &["HSET", "hash", "a", "1"]),
        (
            "redis",
            "listName: jobs, databaseIndex: '3'",
            &["-n", "3", "RPUSH", "jobs", "a"],
        ),
        (
            "redis-streams",
            "stream: mails, streamLength: '5'",
            &["XADD", "mails", "*", "to", "ann"],
        ),
        (
            "redis-streams",
            "stream: mails, consumerGroup: new, lagCount: '5'",
            &["XADD", "mails", "*", "to", "bob"],
        ),
    ] {
        let asked = of(kind, settings);
        let heard = asked.heard(async |signs: Signs<'_>| {
            signs.sign().await;
            server.tell(change);
            signs.sign().await;
        });
        heard.await.unwrap();
    }

    let end = || server.tell(&["CLIENT", "KILL", "TYPE", "normal"]);
    let why = jobs.unheard(|| _ = end()).await;
    assert!(why.contains("it closed the connection"), "{why}");
    // Who may not hear it is told so, and may ask all the same.
    let rules = ["on", ">marigold", "~*", "+@read", "+auth", "+hello"];
    server.tell(&[&["ACL", "SETUSER", "ann"][..], &rules].concat());
    let ann = of("redis", "listName: jobs, username: ann");
    let why = ann.unheard(|| {}).await;
    assert!(why.contains("NOPERM"), "{why}");
    let wrong = redis::question(&at, "redis", "listName: jobs", &[("password", "larkspur")]);
    let why = wrong.unheard(|| {}).await;
    assert!(
        why.contains("refused") && !why.contains("larkspur"),
        "{why}"
    );
    server.processes.stop();
    let why = jobs.unheard(|| {}).await;
    assert!(why.contains("can't connect"), "{why}");
}

#[tokio::test]
async fn of_a_cluster_and_behind_sentinels_the_one_that_has_the_key_is_heard() {
    if let Some(cluster) = RedisCluster::start(None) {
        let all = cluster.addresses();
        for (node, (key, _)) in cluster.nodes.iter().zip(redis_cluster::KEYS) {
            let settings = format!("listName: {key}");
            let heard = redis_cluster::of("redis-cluster", &all, &settings, REDIS);
            let heard = heard.heard(async |signs: Signs<'_>| {
                signs.sign().await;
                node.tell(&["RPUSH", key, "1"]);
                signs.sign().await;
            });
            heard.await.unwrap();
        }
    }
    let Some(watched) = Watched::start() else {
        return;
    };
    let all = watched.addresses();
    let settings = "sentinelMaster: queue, stream: mails";
    let mails = redis_sentinel::question(&all, "redis-sentinel-streams", settings, REDIS);
    let heard = mails.heard(async |signs: Signs<'_>| {
        signs.sign().await;
        watched.master.tell(&["XADD", "mails", "*", "to", "ann"]);
        signs.sign().await;
    });
    heard.await.unwrap();
}

#[tokio::test]
async fn a_postgresql_says_when_somebody_notifies_the_trigger_s_channel() {
    let (cert, key) = certificate();
    let Some(mut server) = PostgreSql::start((&cert, &key)) else {
        return;
    };
    server.tell("CREATE TABLE jobs (id int)");
    server.tell(
        "CREATE FUNCTION told() RETURNS trigger AS 'BEGIN NOTIFY \"Jobs \"\"here\"; RETURN NULL; \
         END' LANGUAGE plpgsql",
    );
    server.tell(
        "CREATE TRIGGER told AFTER INSERT ON jobs FOR EACH STATEMENT EXECUTE FUNCTION told()",
    );
    let word = [("password", postgresql::RIGHT), ("ca", &cert)];
    let count = "SELECT count(*) FROM jobs";
    for mode in ["disable", "verify-full"] {
        let channel = format!(", sslmode: {mode}, notifyChannel: 'Jobs \"here'");
        let jobs = postgresql::question(&server, count, &channel, &word);
        let heard = jobs.heard(async |signs: Signs<'_>| {
            signs.sign().await;
            signs.none().await;
            server.tell("INSERT INTO jobs VALUES (1)");
            signs.sign().await;
            server.tell("NOTIFY another");
            signs.none().await;
            server.tell("INSERT INTO jobs VALUES (2)");
            signs.sign().await;
        });
        heard.await.unwrap();
    }
    let channel = ", sslmode: disable, notifyChannel: jobs";
    let jobs = postgresql::question(&server, count, channel, &word);
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    let why = jobs.unheard(|| _ = server.tell(end)).await;
    assert!(why.contains("terminating connection"), "{why}");
    server.processes.stop();
    let why = jobs.unheard(|| {}).await;
    assert!(why.contains("can't connect"), "{why}");
}

#[tokio::test]
async fn a_scaler_that_pushes_says_when_its_workload_is_to_run() {
    let (cert, key) = certificate();
    let Some(server) = External::start((&cert, &key), &cert) else {
        return;
    };
    let trigger = format!(
        "{{type: external-push, metadata: {{scalerAddress: '{}', queue: mails}}}}",
        server.address()
    );
    let mails = Question::of(&trigger, &[]);
    let state = |active: bool| json!({ "active": active, "metrics": [] });
    let heard = mails.heard(async |signs: Signs<'_>| {
        signs.sign().await;
        until("it is listened to", || async {
            server.was_asked("StreamIsActive").then_some(())
        })
        .await;
        // What it says nothing for longer than a question may take is no failure.
        let silent = tokio::time::timeout(Duration::from_secs(4), signs.0.notified()).await;
        assert!(silent.is_err(), "nothing has changed");
        server.says(&state(true));
        signs.sign().await;
        server.says(&state(false));
        signs.sign().await;
    });
    heard.await.unwrap();
    assert_eq!(server.asked("StreamIsActive")["metadata"]["queue"], "mails");
    let lacks = json!({ "active": true, "metrics": [], "calls": ["IsActive"] });
    server.says(&lacks);
    let why = mails.unheard(|| {}).await;
    assert!(why.contains("it has no StreamIsActive"), "{why}");
}

/// Of two workloads for each list.
fn names(list: usize) -> [String; 2] {
    ["a", "b"].map(|which| format!("{which}{list}"))
}

/// Each list is asked for once in ten minutes, for two policies that ask the same.
fn policies(list: usize, address: &str) -> String {
    let policy = |name| {
        format!(
            "---\napiVersion: starling.sh/v1alpha1\nkind: ScalingPolicy\nmetadata: {{name: \
             {name}}}\nspec:\n  scaleTargetRef: {{kind: Process, name: {name}}}\n  \
             minReplicaCount: 0\n  maxReplicaCount: 1\n  pollingInterval: 600\n  triggers:\n  - \
             type: redis\n    metadata: {{address: '{address}', listName: list{list}, listLength: \
             '10'}}\n"
        )
    };
    names(list).map(policy).concat()
}

#[tokio::test]
async fn agents_hear_of_a_job_in_an_empty_list_long_before_they_would_ask_again() {
    const LISTS: usize = 6;
    let Some(server) = Redis::start(None) else {
        return;
    };
    // These agents have no files to prove themselves with.
    server.tell(&["CONFIG", "SET", "requirepass", ""]);
    let mut cluster = Cluster::new(&binary(), 3).unwrap();
    let process = |name: String| PROCESS.replace("name: web", &format!("name: {name}"));
    let processes: Vec<String> = (0..LISTS).flat_map(names).map(process).collect();
    let policies = (0..LISTS).map(|list| policies(list, &server.address()));
    let documents = Documents {
        each: processes.join("---\n"),
        first: policies.collect(),
    };
    cluster.start(&documents).await.unwrap();
    // Each by whichever agent asks for it, once all have answered.
    until("each list is listened to", || async {
        let stats = server.tell(&["INFO", "stats"]);
        let tracked = stats
            .lines()
            .find_map(|it| it.trim().strip_prefix("tracking_total_keys:"));
        (tracked? == LISTS.to_string()).then_some(())
    })
    .await;
    assert_eq!(workers(&mut cluster).len(), 0);
    until("each policy has a worker", || {
        // Where a letter or an answer came too late the next push counts.
        for list in 0..LISTS {
            server.tell(&["RPUSH", &format!("list{list}"), "a"]);
        }
        let found = workers(&mut cluster).len();
        async move { (found == 2 * LISTS).then_some(()) }
    })
    .await;
}
