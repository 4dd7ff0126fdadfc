//! Nodes that find each other, die and come back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use starling_engine::demand::{CPU, Summary};
use starling_engine::unit::{Ms, NodeId};
use tokio::sync::mpsc;

use super::super::{Clock, Config, Event, Gossip, Key, LIFE_SPAN, start};
use super::{KEY, bind, clock, config, summary};

/// Everything on a busy machine with few cores happens well within this.
const PATIENCE: Duration = Duration::from_mins(1);

/// One agent's end, and what it was told.
pub struct Agent {
    pub node: u64,
    pub address: SocketAddr,
    pub gossip: Gossip,
    events: mpsc::Receiver<Event>,
    pub alive: BTreeSet<u64>,
    pub summaries: BTreeMap<u64, Summary>,
    /// Every set of live nodes that it was told of.
    history: Vec<BTreeSet<u64>>,
}

impl Agent {
    pub fn start(node: u64) -> Agent {
        let (socket, address) = bind();
        Agent::start_at(socket, config(node, &address))
    }

    pub fn start_at(socket: std::net::UdpSocket, config: Config) -> Agent {
        let address = socket.local_addr().unwrap();
        let (sender, events) = mpsc::channel(16);
        Agent {
            node: config.node.0,
            address,
            gossip: start(config, socket, sender).unwrap(),
            events,
            alive: BTreeSet::new(),
            summaries: BTreeMap::new(),
            history: Vec::new(),
        }
    }

    /// A new agent in place of one that is gone, on its port.
    async fn restart(node: u64, address: SocketAddr) -> Agent {
        Agent::restart_with(node, address, |config| config).await
    }

    async fn restart_with(
        node: u64,
        address: SocketAddr,
        change: impl Fn(Config) -> Config,
    ) -> Agent {
        let started = Instant::now();
        loop {
            match std::net::UdpSocket::bind(address) {
                Ok(socket) => return Agent::start_at(socket, change(config(node, &address))),
                Err(error) => assert!(started.elapsed() < PATIENCE, "{error}"),
            }
            tokio::task::yield_now().await;
        }
    }

    pub fn contact(&self) -> (NodeId, String) {
        (NodeId(self.node), self.address.to_string())
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Alive(alive) => {
                self.alive = alive.into_iter().map(|node| node.0).collect();
                self.history.push(self.alive.clone());
            }
            Event::Heard(summary) => {
                let before = self.summaries.insert(summary.node.0, summary.clone());
                let before = before.map(|before| before.sequence);
                assert!(before < Some(summary.sequence), "an older summary was told");
            }
        }
    }

    pub async fn until(&mut self, what: &str, met: impl Fn(&Agent) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !met(self) {
            match tokio::time::timeout_at(deadline, self.events.recv()).await {
                Ok(Some(event)) => self.note(event),
                Ok(None) => panic!("node {}: gossip ended before {what}", self.node),
                Err(tokio::time::error::Elapsed { .. }) => panic!(
                    "node {}: no {what}; alive {:?}, heard of {:?}, {:?}",
                    self.node,
                    self.alive,
                    self.summaries.keys(),
                    self.gossip.stats()
                ),
            }
        }
    }

    /// Notes what has been told already.
    pub fn catch_up(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.note(event);
        }
    }
}

pub fn introduce(agents: &[Agent]) {
    let contacts: Vec<_> = agents.iter().map(Agent::contact).collect();
    for agent in agents {
        agent.gossip.know(contacts.clone());
    }
}

/// Waits until all of `agents` hold these and only these for alive.
pub async fn all_alive(agents: &mut [Agent], nodes: &[u64]) {
    let nodes: BTreeSet<u64> = nodes.iter().copied().collect();
    for agent in agents {
        let what = format!("{nodes:?} alive");
        agent.until(&what, |agent| agent.alive == nodes).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_learn_of_each_other_and_of_what_each_measured() {
    let mut agents: Vec<Agent> = (1..=3).map(Agent::start).collect();
    introduce(&agents);
    all_alive(&mut agents, &[1, 2, 3]).await;
    for round in 1..=3 {
        for agent in &agents {
            agent.gossip.publish(summary(agent.node, round));
        }
        for agent in &mut agents {
            let own = agent.node;
            for other in (1..=3).filter(|&other| other != own) {
                agent
                    .until("summary", |agent| {
                        let heard = agent.summaries.get(&other);
                        heard.is_some_and(|heard| heard.totals.used(CPU) == round)
                    })
                    .await;
                let age_ms = clock().since(agent.summaries[&other].at);
                assert!(age_ms < PATIENCE.as_millis() as u64, "{age_ms} ms old");
            }
            assert!(
                !agent.summaries.contains_key(&agent.node),
                "heard of itself"
            );
        }
    }
    for agent in &agents {
        let stats = agent.gossip.stats();
        let dropped = [
            stats.unsealable,
            stats.unknown_key,
            stats.malformed,
            stats.replayed,
        ];
        assert_eq!(dropped, [0; 4], "{stats:?}");
    }
}

/// Also shows how long each takes; nothing is held against a clock here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_leaves_and_a_restarted_one_returns() {
    let mut agents: Vec<Agent> = (1..=3).map(Agent::start).collect();
    introduce(&agents);
    all_alive(&mut agents, &[1, 2, 3]).await;

    let killed = agents.remove(2);
    let (address, at) = (killed.address, Instant::now());
    drop(killed);
    all_alive(&mut agents, &[1, 2]).await;
    println!("killed, gone after {} ms", at.elapsed().as_millis());

    let at = Instant::now();
    agents.push(Agent::restart(3, address).await);
    introduce(&agents);
    all_alive(&mut agents, &[1, 2, 3]).await;
    println!("restarted, back after {} ms", at.elapsed().as_millis());
    agents[2].gossip.publish(summary(3, 42));
    for agent in &mut agents[..2] {
        agent
            .until("a summary of 3", |agent| agent.summaries.contains_key(&3))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_restarts_at_once_is_never_missed_for_long_and_is_heard_again() {
    let mut agents: Vec<Agent> = (1..=3).map(Agent::start).collect();
    introduce(&agents);
    all_alive(&mut agents, &[1, 2, 3]).await;
    let killed = agents.remove(2);
    let address = killed.address;
    drop(killed);
    // Only the restarted one is told of the others, as after reading its ledger.
    let contacts: Vec<_> = agents.iter().map(Agent::contact).collect();
    let restarted = Agent::restart(3, address).await;
    restarted.gossip.know(contacts);
    agents.push(restarted);
    all_alive(&mut agents, &[1, 2, 3]).await;
    agents[0].gossip.publish(summary(1, 5));
    agents[2]
        .until("a summary of 1", |agent| agent.summaries.contains_key(&1))
        .await;
    agents[2].gossip.publish(summary(3, 42));
    for agent in &mut agents[..2] {
        agent
            .until("a summary of 3", |agent| agent.summaries.contains_key(&3))
            .await;
        assert_eq!(agent.alive, BTreeSet::from([1, 2, 3]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_goodbye_is_gone_at_once_and_may_come_back() {
    let mut agents: Vec<Agent> = (1..=3).map(Agent::start).collect();
    introduce(&agents);
    all_alive(&mut agents, &[1, 2, 3]).await;
    let left = agents.remove(2);
    let (address, at) = (left.address, Instant::now());
    left.gossip.leave().await;
    all_alive(&mut agents, &[1, 2]).await;
    println!("left, gone after {} ms", at.elapsed().as_millis());
    agents.push(Agent::restart(3, address).await);
    introduce(&agents);
    all_alive(&mut agents, &[1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_halves_that_met_apart_become_one() {
    let mut agents: Vec<Agent> = (1..=4).map(Agent::start).collect();
    introduce(&agents[..2]);
    introduce(&agents[2..]);
    all_alive(&mut agents[..2], &[1, 2]).await;
    all_alive(&mut agents[2..], &[3, 4]).await;
    let contact = agents[3].contact();
    agents[0].gossip.know(vec![contact]);
    all_alive(&mut agents, &[1, 2, 3, 4]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_name_is_as_good_as_an_address() {
    let mut agents: Vec<Agent> = (1..=2)
        .map(|node| {
            let (socket, address) = bind();
            let mut config = config(node, &address);
            config.advertise = format!("localhost:{}", address.port());
            Agent::start_at(socket, config)
        })
        .collect();
    let contact = (NodeId(2), format!("localhost:{}", agents[1].address.port()));
    agents[0].gossip.know(vec![contact]);
    all_alive(&mut agents, &[1, 2]).await;
}

/// A runtime of its own, whose only thread is held: what SIGSTOP, or a machine
/// without time for its agent, looks like to the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stood_still_leaves_and_returns_by_itself() {
    let mut agents: Vec<Agent> = (1..=2).map(Agent::start).collect();
    introduce(&agents);
    let contacts: Vec<_> = agents.iter().map(Agent::contact).collect();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (resume, resumed) = std::sync::mpsc::channel::<()>();
    let third = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut agent = Agent::start(3);
            agent.gossip.know(contacts);
            stopped.await.unwrap();
            resumed.recv().unwrap();
            agent
                .until("a summary of 1", |agent| agent.summaries.contains_key(&1))
                .await;
        });
    });
    all_alive(&mut agents, &[1, 2, 3]).await;
    stop.send(()).unwrap();
    all_alive(&mut agents, &[1, 2]).await;
    resume.send(()).unwrap();
    let at = Instant::now();
    all_alive(&mut agents, &[1, 2, 3]).await;
    println!("resumed, back after {} ms", at.elapsed().as_millis());
    agents[0].gossip.publish(summary(1, 1));
    tokio::task::spawn_blocking(|| third.join())
        .await
        .unwrap()
        .unwrap();
}

/// A task that panics is what any bug in it looks like.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gossip_that_breaks_off_begins_anew_and_is_heard_and_hears_again() {
    let mut agents: Vec<Agent> = (1..=3).map(Agent::start).collect();
    introduce(&agents);
    all_alive(&mut agents, &[1, 2, 3]).await;
    agents[0].gossip.inbox.break_off();
    // Until it begins anew, perhaps with the others' datagrams waiting already: that it
    // is alone may be too short to be told.
    let broken = tokio::time::timeout(PATIENCE, async {
        while !agents[0].gossip.inbox.has_broken_off() {
            tokio::task::yield_now().await;
        }
    });
    broken.await.unwrap();
    // Nobody tells it of the members again.
    all_alive(&mut agents, &[1, 2, 3]).await;
    agents[0].gossip.publish(summary(1, 7));
    agents[1].gossip.publish(summary(2, 8));
    agents[2]
        .until("a summary of 1", |agent| agent.summaries.contains_key(&1))
        .await;
    agents[0]
        .until("a summary of 2", |agent| agent.summaries.contains_key(&2))
        .await;
}

/// Each node's log may have been led by another machine's clock for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_are_an_hour_apart_make_no_summary_old() {
    const HOUR_MS: u64 = 3_600_000;
    let clocks: [fn() -> Ms; 3] = [clock, || clock().plus(HOUR_MS), || clock().minus(HOUR_MS)];
    let mut agents: Vec<Agent> = (1..=3)
        .zip(clocks)
        .map(|(node, clock)| {
            let (socket, address) = bind();
            let clock = Clock(std::sync::Arc::new(clock));
            let config = Config {
                clock,
                ..config(node, &address)
            };
            Agent::start_at(socket, config)
        })
        .collect();
    introduce(&agents);
    all_alive(&mut agents, &[1, 2, 3]).await;
    for (agent, clock) in agents.iter().zip(clocks) {
        let at = clock();
        agent.gossip.publish(Summary {
            at,
            ..summary(agent.node, 1)
        });
    }
    for (agent, clock) in agents.iter_mut().zip(clocks) {
        let own = agent.node;
        for other in (1..=3).filter(|&other| other != own) {
            agent
                .until("summary", |agent| agent.summaries.contains_key(&other))
                .await;
            let (at, now) = (agent.summaries[&other].at, clock());
            let patience_ms = PATIENCE.as_millis() as u64;
            assert!(now.since(at) < patience_ms && at.since(now) == 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_life_is_heard_whatever_the_clock_says() {
    let mut agents: Vec<Agent> = (1..=2).map(Agent::start).collect();
    introduce(&agents);
    all_alive(&mut agents, &[1, 2]).await;
    let former = agents.pop().unwrap();
    let address = former.address;
    drop(former);
    // Its clock is an hour behind the one that it had.
    let later = Agent::restart_with(2, address, |config| Config {
        clock: Clock(std::sync::Arc::new(|| clock().minus(3_600_000))),
        ..config
    });
    agents.push(later.await);
    introduce(&agents);
    all_alive(&mut agents, &[1, 2]).await;
    agents[1].gossip.publish(Summary {
        at: clock().minus(3_600_000),
        sequence: LIFE_SPAN,
        ..summary(2, 1)
    });
    agents[0]
        .until("a summary of 2", |agent| agent.summaries.contains_key(&2))
        .await;
    let age_ms = clock().since(agents[0].summaries[&2].at);
    assert!(age_ms < PATIENCE.as_millis() as u64, "{age_ms} ms old");
}

/// How old summaries are on 32 nodes in one process, each second for 15 s.
/// `cargo test --release -p starling-agent ages_among_32 -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn ages_among_32_nodes() {
    const NODES: u64 = 32;
    let mut agents: Vec<Agent> = (1..=NODES).map(Agent::start).collect();
    let began = Instant::now();
    introduce(&agents);
    let nodes: Vec<u64> = (1..=NODES).collect();
    all_alive(&mut agents, &nodes).await;
    println!(
        "{NODES} nodes know each other after {} ms",
        began.elapsed().as_millis()
    );
    let told: Vec<usize> = agents.iter().map(|agent| agent.history.len()).collect();
    let mut ages = Vec::new();
    let mut second = tokio::time::interval(Duration::from_millis(100));
    for tick in 0..150_u64 {
        second.tick().await;
        for agent in &mut agents {
            if agent.node % 10 == tick % 10 {
                agent.gossip.publish(summary(agent.node, tick));
            }
            agent.catch_up();
            if tick >= 50 {
                let now = clock();
                ages.extend(agent.summaries.values().map(|heard| now.since(heard.at)));
            }
        }
    }
    ages.sort_unstable();
    let at = |percent: usize| ages[(ages.len() - 1) * percent / 100];
    println!(
        "age p50 {} ms, p99 {} ms, of {} readings",
        at(50),
        at(99),
        ages.len()
    );
    let flaps: usize = agents
        .iter()
        .zip(told)
        .map(|(a, told)| a.history.len() - told)
        .sum();
    let sent: u64 = agents
        .iter()
        .map(|agent| agent.gossip.stats().sent_bytes)
        .sum();
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "changes of who is alive meanwhile: {flaps}; {:.1} KiB/s out of a node",
        sent as f64 / 1024.0 / NODES as f64 / seconds
    );
}

/// Publishes at each and waits until each has heard it of all others.
async fn all_hear(agents: &mut [Agent], round: u64) {
    for agent in agents.iter() {
        agent.gossip.publish(summary(agent.node, round));
    }
    let nodes: Vec<u64> = agents.iter().map(|agent| agent.node).collect();
    for agent in agents {
        let own = agent.node;
        for other in nodes.iter().filter(|other| **other != own) {
            agent
                .until("summary", |agent| {
                    let heard = agent.summaries.get(other);
                    heard.is_some_and(|heard| heard.totals.used(CPU) == round)
                })
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_rotate_one_node_after_the_other_and_nobody_is_missed() {
    let new = Key([9; 32]);
    let mut agents: Vec<Agent> = (1..=3).map(Agent::start).collect();
    introduce(&agents);
    all_alive(&mut agents, &[1, 2, 3]).await;
    for agent in &mut agents {
        agent.history.clear();
    }
    let mut round = 0;
    // Everywhere for opening, then for sealing, then without the old one.
    for ring in [vec![KEY, new.clone()], vec![new.clone(), KEY], vec![new]] {
        for n in 0..agents.len() {
            agents[n].gossip.ring().replace(&ring).unwrap();
            round += 1;
            all_hear(&mut agents, round).await;
        }
    }
    for agent in &mut agents {
        agent.catch_up();
        assert_eq!(agent.history, [], "somebody was missed");
        assert_eq!(agent.gossip.stats().unknown_key, 0);
    }
    // The old key is good for nothing any more.
    let (socket, address) = bind();
    let late = Agent::start_at(socket, config(4, &address));
    late.gossip
        .know(agents.iter().map(Agent::contact).collect());
    let begun = Instant::now();
    while agents
        .iter()
        .all(|agent| agent.gossip.stats().unknown_key == 0)
    {
        assert!(
            begun.elapsed() < PATIENCE,
            "nobody was called with the old key"
        );
        tokio::task::yield_now().await;
    }
    assert!(agents[0].gossip.ring().replace(&[]).is_err());
}
