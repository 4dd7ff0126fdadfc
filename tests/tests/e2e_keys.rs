//! Keys and certificates that are replaced while real agents run.
#![allow(clippy::expect_used)] // A helper that finds nothing has failed its test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use starling_rig::cluster::Cluster;
use starling_rig::cluster::files::Documents;
use starling_rig::probe::{self, value};
use starling_tests::command::{context, starling};
use starling_tests::{Amiss, answer, binary, in_three_tries, unheard, until};

/// Nodes tell what they measured once a second; on a busy machine it may take longer.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

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

/// Waits until every agent holds all for alive, and has heard each since this was called.
async fn all_heard(addresses: &[String]) {
    let began = Instant::now();
    until("all have heard all", || async {
        for address in addresses {
            let within = began.elapsed().min(HEARD_WITHIN);
            if unheard(&page(address).await?, addresses.len(), within).is_some() {
                return None;
            }
        }
        Some(())
    })
    .await;
}

/// Watches, until it is told to stop, that every agent holds all for alive and hears them.
/// Gives how often it looked, and what was amiss for too long.
async fn watch(addresses: Vec<String>, stop: Arc<AtomicBool>) -> (u64, Vec<String>) {
    let (mut looks, mut amiss) = (0, Amiss::default());
    while !stop.load(Ordering::Relaxed) {
        for address in &addresses {
            let page = page(address).await;
            looks += u64::from(page.is_some());
            amiss.look(address, page.as_deref(), addresses.len(), HEARD_WITHIN);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    (looks, amiss.lasting)
}

/// When each member's certificate ends, in seconds, as a status in JSON has it: by name,
/// since members are listed in the order in which they joined.
fn certificates(status: &str) -> Option<BTreeMap<String, i64>> {
    let status: serde_json::Value = serde_json::from_str(status).ok()?;
    let agents = status["agents"].as_array()?.iter();
    let ends = agents.map(|agent| {
        let end: jiff::Timestamp = agent["certificate_until"].as_str()?.parse().ok()?;
        Some((agent["node"].as_str()?.to_owned(), end.as_second()))
    });
    ends.collect()
}

#[tokio::test]
async fn gossip_keys_rotate_and_certificates_are_renewed_and_nobody_is_missed() {
    let mut cluster = Cluster::new(&binary(), 3).expect("a cluster");
    let observer = cluster
        .start(&Documents::default())
        .await
        .expect("it forms");
    let context = context(&cluster);
    let whole = starling(&context, &["status", "--wait", "1m"]).await;
    assert_eq!(whole.code, Some(0), "{}", whole.out);
    let addresses = cluster.health_addresses();
    all_heard(&addresses).await;
    let stop = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn(watch(addresses.clone(), stop.clone()));
    let first = ring(&page(&addresses[0]).await.expect("a page"));
    assert_eq!(first.len(), 1);

    let keys = cluster.dir().join("keys");
    let out = keys.to_str().expect("a path");
    let mut rings = vec![first];
    for (step, keys) in [("add", 2), ("use", 2), ("drop", 1)] {
        let said = starling(&context, &["keys", "gossip", step, "--out", out]).await;
        assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
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
        all_heard(&addresses).await;
    }
    assert_eq!(rings[1][0], rings[0][0], "the new key doesn't seal yet");
    assert_eq!(rings[2][0], rings[1][1], "now it does");
    assert_eq!(rings[3], rings[2][..1], "the old one is gone");

    let ends = async || {
        let mut all = BTreeMap::new();
        for (name, address) in cluster.names().into_iter().zip(&addresses) {
            let series = "starling_certificate_expiry_timestamp_seconds{of=\"agent\"}";
            let end = value(&page(address).await?, series)?;
            all.insert(name, end as i64);
        }
        Some(all)
    };
    in_three_tries("renewing makes nobody else lead", async || {
        let term = answer(|| observer.status(0)).await.term;
        let before = ends().await.expect("all tell it");
        let said = starling(&context, &["keys", "renew", "--out", out]).await;
        assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
        assert!(said.out.contains("agent-3, valid until "), "{}", said.out);
        until("all agents have their new certificates", || async {
            let now = ends().await?;
            let renewed = |(name, end)| before.get(name).is_some_and(|before| before != end);
            now.iter().all(renewed).then_some(())
        })
        .await;
        // Whoever is asked knows the end of everybody's.
        for name in cluster.names() {
            until("an agent tells all the new ends", || async {
                let args = ["status", "--agent", &name, "-o", "json"];
                let told = certificates(&starling(&context, &args).await.out)?;
                (Some(told) == ends().await).then_some(())
            })
            .await;
        }
        // With the user's new certificate, over connections made anew.
        let said = starling(&context, &["status"]).await;
        assert_eq!(
            (said.code, said.err.as_str()),
            (Some(0), ""),
            "{}",
            said.out
        );
        let after = answer(|| observer.status(0)).await.term;
        if after != term {
            return Err(format!("term {term} became {after}"));
        }
        Ok(())
    })
    .await;
    // A stall may have others elect another leader; whoever led hasn't given up by itself.
    for position in 0..3 {
        let log = cluster.log(position);
        assert!(!log.contains("gives up the lead"), "{log}");
    }
    let said = starling(&context, &["keys", "renew", "--node", "z", "--out", out]).await;
    assert_eq!(said.code, Some(4), "{}", said.err);

    stop.store(true, Ordering::Relaxed);
    let (looks, wrong) = watching.await.expect("it watches");
    assert!(looks > 100, "it looked {looks} times");
    assert_eq!(wrong, Vec::<String>::new());
}
