//! Measures how long a cluster is without a leader, and writers without an answer.
//!
//! `cargo run --release -p starling-consensus --example gaps [TIMES] [AGENTS]`, as root:
//! agents as processes, each in a network namespace of its own. The leader is killed,
//! stopped and cut off, until the next one has committed its first entry; a voter that was
//! cut off comes back, with and without asking before it stands.
#![expect(clippy::unwrap_used, reason = "a measurement that fails is none")]

use std::time::{Duration, Instant};

#[expect(dead_code, reason = "it serves the tests first")]
#[path = "../tests/cluster/harness.rs"]
mod harness;
#[path = "../tests/cluster/network.rs"]
mod network;
#[expect(dead_code, reason = "it serves the tests first")]
#[path = "../tests/cluster/process.rs"]
mod process;
#[path = "../tests/cluster/writer.rs"]
mod writer;

use harness::Authority;
use network::Network;
use process::{Writer, eventually, wait_until};

/// A voter's terms rise as long as it is away.
const AWAY: Duration = Duration::from_secs(2);

fn main() {
    writer::live();
    let mut arguments = std::env::args().skip(1);
    let mut next = |or: usize| arguments.next().map_or(or, |n| n.parse().unwrap());
    let (times, agents) = (next(20), next(3));
    println!("{agents} agents, {times} times each; p50, p99 and the longest in milliseconds");
    for ended in [End::Killed, End::Stopped, End::CutOff] {
        let mut took: Vec<Duration> = cluster(agents, false, |network, writers| {
            (0..times)
                .map(|_| fail_over(network, writers, ended))
                .collect()
        });
        show(
            &format!("leader {ended:?}, to the next one's commit"),
            &mut took,
        );
    }
    for unasked in [false, true] {
        let mut terms = 0;
        let mut gaps: Vec<Duration> = cluster(agents, unasked, |network, writers| {
            (0..times)
                .map(|_| come_back(network, writers, &mut terms))
                .collect()
        });
        let how = if unasked {
            "standing unasked"
        } else {
            "asking first"
        };
        show(
            &format!("a voter comes back, {how}: write gap ({terms} terms)"),
            &mut gaps,
        );
    }
}

fn show(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |q: f64| times[(times.len() as f64 * q).ceil() as usize - 1].as_millis();
    println!("{what}: {}, {}, {}", at(0.5), at(0.99), at(1.0));
}

/// `count` writers that all take part.
fn cluster<T>(
    count: usize,
    unasked: bool,
    measure: impl FnOnce(&Network, &mut [Writer]) -> T,
) -> T {
    let network = Network::new(count).unwrap();
    let mut writers = Writer::placed(&Authority::new(), &network, count);
    for writer in &mut writers {
        writer.unasked = unasked;
        writer.start();
        writer.await_found();
    }
    measure(&network, &mut writers)
}

#[derive(Debug, Clone, Copy)]
enum End {
    Killed,
    Stopped,
    CutOff,
}

/// All voters are there, and all write.
fn await_whole(writers: &mut [Writer]) {
    eventually("all vote", || {
        let wanted = if writers.len() < 5 {
            3
        } else {
            writers.len().min(5)
        };
        let states: Vec<_> = writers.iter_mut().filter_map(Writer::state).collect();
        let whole = states.len() == writers.len()
            && states
                .iter()
                .all(|state| state.voters.len() == wanted && state.term == states[0].term);
        whole.then_some(()).ok_or_else(|| format!("{states:?}"))
    });
    let written: Vec<u64> = writers.iter().map(Writer::acknowledged).collect();
    wait_until("all write", || {
        writers
            .iter()
            .zip(&written)
            .all(|(writer, n)| writer.acknowledged() > n + 20)
    });
}

fn leader(writers: &[Writer]) -> usize {
    (0..writers.len())
        .max_by_key(|n| writers[*n].leads())
        .unwrap()
}

fn fail_over(network: &Network, writers: &mut [Writer], end: End) -> Duration {
    await_whole(writers);
    let former = leader(writers);
    let begin = Instant::now();
    match end {
        End::Killed => writers[former].kill(),
        End::Stopped => writers[former].stop(),
        End::CutOff => network.cut(former),
    }
    let acts = eventually("another one leads", || {
        let others = writers.iter().enumerate().filter(|(n, _)| *n != former);
        let acts = others.filter_map(|(_, writer)| writer.leads()).max();
        acts.filter(|acts| *acts > begin).ok_or_else(String::new)
    });
    match end {
        End::Killed => {
            writers[former].start();
            writers[former].await_found();
        }
        End::Stopped => writers[former].go_on(),
        End::CutOff => network.mend(former),
    }
    acts - begin
}

/// The longest time without an acknowledgement at those that never were away.
fn come_back(network: &Network, writers: &mut [Writer], terms: &mut u64) -> Duration {
    await_whole(writers);
    let term = |writer: &mut Writer| {
        eventually("it says its term", || {
            writer.state().ok_or_else(String::new)
        })
        .term
    };
    let leader = leader(writers);
    let away = (leader + 1) % writers.len();
    let before = term(&mut writers[leader]);
    network.cut(away);
    std::thread::sleep(AWAY);
    for writer in writers.iter() {
        writer.gap();
    }
    network.mend(away);
    await_whole(writers);
    *terms += term(&mut writers[leader]) - before;
    let there = writers.iter().enumerate().filter(|(n, _)| *n != away);
    there.map(|(_, writer)| writer.gap()).max().unwrap()
}
