//! What a kubelet and Prometheus see of real agents, and what a rolling restart
//! costs.
#![allow(clippy::expect_used)] // A helper that finds nothing has failed its test.

use starling_rig::cluster::Cluster;
use starling_rig::observe::{Observer, Status};
use starling_rig::probe;
use starling_rig::queue::http::Server;
use starling_rig::workload::{self, Workload};
use starling_tests::{binary, until};

/// Three agents, and a queue with more jobs than one worker can do.
async fn start() -> (Cluster, Observer, Server) {
    let queue = Server::start().await.expect("a queue");
    let mut cluster = Cluster::new(&binary(), 3).expect("a cluster");
    let documents = workload::documents(&Workload {
        binary: &binary(),
        queue: &queue.url(),
        stats: &queue.stats_url(),
        by_cpu: false,
        down_window_s: 60,
    });
    let observer = cluster.start(&documents).await.expect("it forms");
    queue.offer(100);
    (cluster, observer, queue)
}

async fn all_ready(cluster: &Cluster) {
    for address in cluster.health_addresses() {
        until("an agent is ready", || async {
            probe::ready(&address).await.then_some(())
        })
        .await;
    }
}

/// The numbers of every agent, where all answer.
async fn pages(cluster: &Cluster) -> Option<Vec<String>> {
    let mut pages = Vec::new();
    for address in cluster.health_addresses() {
        let (status, page) = probe::get(&address, "/metrics").await.ok()?;
        assert_eq!(status, 200, "{page}");
        pages.push(page);
    }
    Some(pages)
}

async fn leader(observer: &Observer) -> (usize, Status) {
    until("one agent acts", || async {
        let statuses = observer.statuses().await;
        let acting = |status: &Option<Status>| status.as_ref().is_some_and(|s| s.acting);
        let position = statuses.iter().position(acting)?;
        Some((position, statuses[position].clone()?))
    })
    .await
}

#[tokio::test]
async fn every_agent_tells_what_it_does_and_one_of_them_that_it_leads() {
    let (cluster, observer, _queue) = start().await;
    all_ready(&cluster).await;
    leader(&observer).await;
    // All of its labels together.
    let sum = |pages: &[String], family: &str| -> f64 {
        let lines = pages.iter().flat_map(|page| page.lines());
        let values = lines.filter(|line| line.starts_with(family));
        values
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    };
    let size = "starling_policy_replicas{policy=\"default/worker\"} ";
    let pages = until("work is counted, and nothing is amiss", || async {
        let pages = pages(&cluster).await?;
        let counted = [
            "starling_decisions_total{direction=\"up\",",
            "starling_pass_duration_seconds_count ",
            "starling_trigger_poll_duration_seconds_count ",
            "starling_proposals_total{outcome=\"committed\"} ",
        ];
        let all = counted.iter().all(|family| sum(&pages, family) >= 1.0);
        let sampled = |page: &String| {
            let samples = probe::value(page, "starling_sample_duration_seconds_count");
            samples.is_some_and(|samples| samples >= 2.0)
        };
        let worked = all && sum(&pages, size) > 1.0 && pages.iter().all(sampled);
        // An election may come between two pages, and on a busy machine a file system that
        // is asked for its room answers too late now and then.
        let one_leads = (sum(&pages, "starling_raft_is_leader ") - 1.0).abs() < 0.1;
        let faulty = pages.iter().any(|page| page.contains("fault=\"true\""));
        (worked && one_leads && !faulty).then_some(pages)
    })
    .await;
    for page in &pages {
        let value =
            |series| probe::value(page, series).unwrap_or_else(|| panic!("{series}: {page}"));
        assert!((value("starling_members") - 3.0).abs() < 0.1);
        assert!(value("starling_gossip_received_datagrams_total") >= 1.0);
        assert!(value("starling_raft_written_entries_total") >= 1.0);
        assert!(value("process_resident_memory_bytes") > f64::from(1 << 20));
        assert!(value("process_cpu_seconds_total") > 0.0);
        assert!(value("starling_node_file_system_free_bytes{file_system=\"root\"}") > 0.0);
        assert!(page.ends_with("# EOF\n"), "{page}");
    }
}

#[tokio::test]
async fn an_agent_without_a_quorum_is_alive_and_not_ready_until_it_has_one() {
    let (mut cluster, ..) = start().await;
    all_ready(&cluster).await;
    for position in 0..3 {
        cluster.kill(position).await;
    }
    cluster.restart(2).expect("it starts");
    let address = cluster.health_addresses()[2].clone();
    let words = until("it says what it waits for", || async {
        let (status, words) = probe::get(&address, "/readyz").await.ok()?;
        assert_eq!(status, 503, "{words}");
        words.contains("majority").then_some(words)
    })
    .await;
    assert!(words.contains("[-] log: "), "{words}");
    let alive = probe::get(&address, "/healthz").await.expect("an answer");
    assert_eq!(alive.0, 200, "{}", alive.1);
    cluster.restart(0).expect("it starts");
    all_ready_of(&cluster, &[0, 2]).await;
    // What was ready stays so when the quorum is lost again.
    cluster.kill(0).await;
    until("it knows that it has none", || async {
        let (status, words) = probe::get(&address, "/readyz?verbose").await.ok()?;
        assert_eq!(status, 200, "{words}");
        let alone = ["no leader is known", "no majority of the voters answers"];
        alone.iter().any(|why| words.contains(why)).then_some(())
    })
    .await;
}

async fn all_ready_of(cluster: &Cluster, positions: &[usize]) {
    let addresses = cluster.health_addresses();
    for position in positions {
        until("an agent is ready", || async {
            probe::ready(&addresses[*position]).await.then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_rolling_restart_passes_the_lead_on_and_never_elects_anew() {
    let (mut cluster, observer, _queue) = start().await;
    all_ready(&cluster).await;
    let (_, before) = leader(&observer).await;
    let mut handed = 0;
    for position in 0..3 {
        let (leads, _) = leader(&observer).await;
        handed += u64::from(leads == position);
        cluster.terminate(position);
        let ended = cluster.ended(position).await;
        ended.unwrap_or_else(|why| panic!("{why}"));
        cluster.restart(position).expect("it starts");
        all_ready(&cluster).await;
        // A real update waits as long for the pods' endpoints, and a leader
        // that was just elected can't be followed at once.
        leader(&observer).await;
    }
    assert!(handed >= 1, "the leader was among them");
    let (_, after) = leader(&observer).await;
    // An election by missing the leader may be added on a machine that stalls.
    assert!(after.term >= before.term + handed);
    let statuses = until("all answer", || async {
        let statuses = observer.statuses().await.into_iter();
        statuses.collect::<Option<Vec<Status>>>()
    })
    .await;
    assert!(statuses.iter().all(|s| s.voters == 3), "{statuses:?}");
}
