//! Real agents whose workers a real queue asks for.

use std::time::{Duration, Instant};

use serde_json::json;
use starling_rig::cluster::Cluster;
use starling_rig::cluster::files::Documents;
use starling_tests::servers::{External, Redis};
use starling_tests::sleepers::{PROCESS, workers};
use starling_tests::{binary, until};

/// One worker for each ten jobs. It is asked each second.
fn policy(address: &str) -> String {
    format!(
        "apiVersion: starling.sh/v1alpha1\nkind: ScalingPolicy\nmetadata: {{name: web}}\nspec:\n  \
         scaleTargetRef: {{kind: Process, name: web}}\n  minReplicaCount: 0\n  \
         maxReplicaCount: 5\n  pollingInterval: 1\n  cooldownPeriod: 2\n  behavior: \
         {{scaleDown: {{stabilizationWindowSeconds: 0}}}}\n  triggers:\n  - type: redis\n    \
         metadata: {{address: '{address}', listName: jobs, listLength: '10'}}\n"
    )
}

async fn run(cluster: &mut Cluster, count: usize) -> Duration {
    let began = Instant::now();
    until("so many workers run", || {
        let found = workers(cluster).len();
        async move { (found == count).then_some(()) }
    })
    .await;
    began.elapsed()
}

#[tokio::test]
async fn a_job_in_an_empty_list_starts_a_worker_more_jobs_start_more_and_none_end_all() {
    let Some(mut server) = Redis::start(None) else {
        return;
    };
    // These agents have no files to prove themselves with.
    server.tell(&["CONFIG", "SET", "requirepass", ""]);
    let mut cluster = Cluster::new(&binary(), 1).unwrap();
    let documents = Documents {
        each: PROCESS.into(),
        first: policy(&server.address()),
    };
    cluster.start(&documents).await.unwrap();
    server.tell(&["RPUSH", "jobs", "a"]);
    let first = run(&mut cluster, 1).await;
    println!("the first worker runs {first:?} after the first job");
    let more: Vec<String> = (0..24).map(|job| job.to_string()).collect();
    let mut push = vec!["RPUSH", "jobs"];
    push.extend(more.iter().map(String::as_str));
    server.tell(&push);
    run(&mut cluster, 3).await;

    // While the list can't be read nothing shrinks, though it may be empty by now.
    let before = workers(&mut cluster);
    server.processes.stop();
    let began = Instant::now();
    until("many passes are over", || {
        assert_eq!(workers(&mut cluster), before);
        let over = began.elapsed() > Duration::from_secs(6);
        async move { over.then_some(()) }
    })
    .await;
    assert!(server.resume());
    server.tell(&["CONFIG", "SET", "requirepass", ""]);
    server.tell(&["DEL", "jobs"]);
    run(&mut cluster, 0).await;
}

#[tokio::test]
async fn a_scaler_is_told_whom_it_is_asked_for_and_a_formula_takes_its_value_itself() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let Some(server) = External::start((&cert, &key), &cert) else {
        return;
    };
    // By its own target it would ask for one worker.
    let metric = json!({ "name": "mails", "target": [1000, 0.0], "values": [[25, 0.0]] });
    server.says(&json!({ "active": true, "metrics": [metric] }));
    let mut cluster = Cluster::new(&binary(), 1).unwrap();
    let first = format!(
        "apiVersion: starling.sh/v1alpha1\nkind: ScalingPolicy\nmetadata: {{name: web}}\nspec:\n  \
         scaleTargetRef: {{kind: Process, name: web}}\n  minReplicaCount: 0\n  \
         maxReplicaCount: 5\n  pollingInterval: 1\n  scalingModifiers: {{formula: mails / 10, \
         target: '1'}}\n  triggers:\n  - type: external\n    name: mails\n    metadata: \
         {{scalerAddress: '{}'}}\n",
        server.address()
    );
    let documents = Documents {
        each: PROCESS.into(),
        first,
    };
    cluster.start(&documents).await.unwrap();
    run(&mut cluster, 3).await;
    let asked = server.asked("GetMetrics");
    assert_eq!(
        (&asked["name"], &asked["namespace"]),
        (&json!("web"), &json!("default"))
    );
}
