//! Keys and certificates that are replaced while real agents run.
#![allow(clippy::expect_used)] // A helper that finds nothing has failed its test.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use starling_cli::context::{Agent, Context};
use starling_rig::cluster::Cluster;
use starling_rig::cluster::files::Documents;
use starling_rig::probe::{self, value};
use starling_tests::{DEADLINE, binary, until};
use tokio::process::Command;

/// Nodes tell what they measured once a second; on a busy machine it may take longer.
const HEARD_WITHIN_S: f64 = 5.0;

async fn starling(args: &[&str], context: &Path) -> (Option<i32>, String, String) {
    let run = Command::new(binary())
        .args(args)
        .env("STARLING_CONTEXT", context)
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(DEADLINE, run).await;
    let output = ended.expect("it ends").expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

async fn page(address: &str) -> Option<String> {
    let (status, page) = probe::get(address, "/metrics").await.ok()?;
    (status == 200).then_some(page)
}

/// Names of an agent's gossip keys, the one that seals first.
fn ring(page: &str) -> Vec<String> {
    let mut keys: Vec<(bool, String)> = Vec::new();
    for line in page.lines() {
        let rest = line.strip_prefix("starling_gossip_keys{key=\"");
        if let Some((name, seals)) = rest.and_then(|rest| rest.split_once("\"} ")) {
            keys.push((seals != "1", name.to_owned()));
        }
    }
    keys.sort();
    keys.into_iter().map(|(_, name)| name).collect()
}

/// Watches, until it is told to stop, that every agent holds all for alive and hears them.
/// Gives how often it looked, and what it saw that should not be.
async fn watch(addresses: Vec<String>, stop: Arc<AtomicBool>) -> (u64, Vec<String>) {
    let (mut looks, mut wrong) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        for address in &addresses {
            let Some(page) = page(address).await else {
                wrong.push(format!("{address} doesn't answer"));
                continue;
            };
            looks += 1;
            let alive = value(&page, "starling_gossip_alive_nodes");
            let oldest = value(&page, "starling_gossip_oldest_summary_age_seconds");
            if alive.is_none_or(|alive| alive < addresses.len() as f64 - 0.5)
                || oldest.is_none_or(|age| age > HEARD_WITHIN_S)
            {
                wrong.push(format!(
                    "{address}: {alive:?} alive, the oldest {oldest:?} s old"
                ));
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    (looks, wrong)
}

fn context(cluster: &Cluster) -> std::path::PathBuf {
    let keys = cluster.user_keys();
    let agents = cluster.names().into_iter().zip(cluster.api_addresses());
    let context = Context {
        cluster: "demo".into(),
        agents: agents
            .map(|(name, address)| Agent { name, address })
            .collect(),
        ca: keys.join("ca.pem"),
        certificate: keys.join("client.pem"),
        key: keys.join("client.key"),
    };
    let path = cluster.dir().join("context.yaml");
    context.write(&path).expect("written");
    path
}

#[tokio::test]
async fn gossip_keys_rotate_and_certificates_are_renewed_and_nobody_is_missed() {
    let mut cluster = Cluster::new(&binary(), 3).expect("a cluster");
    let observer = cluster
        .start(&Documents::default())
        .await
        .expect("it forms");
    let context = context(&cluster);
    let (code, out, _) = starling(&["status", "--wait", "1m"], &context).await;
    assert_eq!(code, Some(0), "{out}");
    let addresses = cluster.health_addresses();
    until("all have heard all", || async {
        for address in &addresses {
            let page = page(address).await?;
            let oldest = value(&page, "starling_gossip_oldest_summary_age_seconds")?;
            let alive = value(&page, "starling_gossip_alive_nodes")?;
            if alive < 2.5 || oldest > HEARD_WITHIN_S {
                return None;
            }
        }
        Some(())
    })
    .await;
    let stop = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn(watch(addresses.clone(), stop.clone()));
    let first = ring(&page(&addresses[0]).await.expect("a page"));
    assert_eq!(first.len(), 1);

    let keys = cluster.dir().join("keys");
    let out = keys.to_str().expect("a path");
    let mut rings = vec![first];
    for (step, keys) in [("add", 2), ("use", 2), ("drop", 1)] {
        let (code, said, err) = starling(&["keys", "gossip", step, "--out", out], &context).await;
        assert_eq!(code, Some(0), "{said}{err}");
        let before = rings.last().cloned().expect("one");
        let now = until("all agents have the next ring", || async {
            let mut all = Vec::new();
            for address in &addresses {
                all.push(ring(&page(address).await?));
            }
            let same = all.iter().all(|ring| *ring == all[0]);
            (same && all[0] != before && all[0].len() == keys).then(|| all[0].clone())
        })
        .await;
        rings.push(now);
    }
    assert_eq!(rings[1][0], rings[0][0], "the new key doesn't seal yet");
    assert_eq!(rings[2][0], rings[1][1], "now it does");
    assert_eq!(rings[3], rings[2][..1], "the old one is gone");

    let ends = async || {
        let mut all = Vec::new();
        for address in &addresses {
            let series = "starling_certificate_expiry_timestamp_seconds{of=\"agent\"}";
            all.push(value(&page(address).await?, series)?.to_string());
        }
        Some(all)
    };
    let term = observer.status(0).await.expect("an answer").term;
    let before = ends().await.expect("all tell it");
    let (code, said, err) = starling(&["keys", "renew", "--out", out], &context).await;
    assert_eq!(code, Some(0), "{said}{err}");
    assert!(said.contains("agent-3, valid until "), "{said}");
    until("all agents have their new certificates", || async {
        let now = ends().await?;
        before
            .iter()
            .zip(&now)
            .all(|(before, now)| before != now)
            .then_some(())
    })
    .await;
    // With the user's new certificate, over connections made anew.
    let (code, said, err) = starling(&["status"], &context).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{said}");
    assert_eq!(
        observer.status(0).await.expect("an answer").term,
        term,
        "somebody else leads"
    );
    let (code, _, err) = starling(&["keys", "renew", "--node", "z", "--out", out], &context).await;
    assert_eq!(code, Some(4), "{err}");

    stop.store(true, Ordering::Relaxed);
    let (looks, wrong) = watching.await.expect("it watches");
    assert!(looks > 100, "it looked {looks} times");
    assert_eq!(wrong, Vec::<String>::new());
}
