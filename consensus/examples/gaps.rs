//! Measures how long a cluster is without a leader, and writers without an answer.
//!
//! `cargo run --release -p starling-consensus --example gaps [TIMES] [AGENTS] [PROPOSERS]
//! [WHAT...]`, as root: agents as processes, each in a network namespace of its own. The
//! leader is `killed`, `stopped` and `cut`, until the next one has committed its first
//! entry; a voter that was cut off comes back, `asking` before it stands and `unasked`.
//! All five unless some are named. Without PROPOSERS each agent has one; with 0 of them
//! nothing is written.
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
use process::{State, Writer, eventually, wait_until};
use starling_consensus::{Upkeep, voters_wanted};

/// A voter's terms rise as long as it is away.
const AWAY: Duration = Duration::from_secs(2);
/// Between all being there and the next end of a leader.
const CALM: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy)]
enum What {
    Ends(End),
    /// A voter comes back.
    Returns {
        unasked: bool,
    },
}

#[derive(Debug, Clone, Copy)]
enum End {
    Killed,
    Stopped,
    CutOff,
}

const ALL: [(&str, What); 5] = [
    ("killed", What::Ends(End::Killed)),
    ("stopped", What::Ends(End::Stopped)),
    ("cut", What::Ends(End::CutOff)),
    ("asking", What::Returns { unasked: false }),
    ("unasked", What::Returns { unasked: true }),
];

#[derive(Debug, Clone, Copy)]
struct Load {
    agents: usize,
    proposers: usize,
}

fn main() {
    writer::live();
    let mut arguments = std::env::args().skip(1);
    let mut next = |or: usize| arguments.next().map_or(or, |n| n.parse().unwrap());
    let (times, agents) = (next(20), next(3));
    let proposers = next(agents);
    let load = Load { agents, proposers };
    let named: Vec<String> = arguments.collect();
    for name in &named {
        let known = ALL.iter().any(|(what, _)| what == name);
        assert!(known, "{name}: nothing of that name is measured");
    }
    println!(
        "{agents} agents, {proposers} proposers, {times} times each; p50, p90, p99 and the \
         longest in milliseconds"
    );
    for (name, what) in ALL {
        if named.is_empty() || named.iter().any(|it| it == name) {
            measure(what, load, times);
        }
    }
}

fn measure(what: What, load: Load, times: usize) {
    match what {
        What::Ends(end) => {
            let took = cluster(load, false, |network, writers| {
                let each = (0..times).map(|_| fail_over(network, writers, end, load));
                each.collect()
            });
            show(&format!("leader {end:?}, to the next one's commit"), took);
        }
        What::Returns { .. } if load.proposers == 0 => {
            println!("left out: who writes nothing waits for nothing");
        }
        What::Returns { unasked } => {
            let mut terms = 0;
            let gaps = cluster(load, unasked, |network, writers| {
                let each = (0..times).map(|_| come_back(network, writers, &mut terms, load));
                each.collect()
            });
            let how = if unasked {
                "standing unasked"
            } else {
                "asking first"
            };
            show(
                &format!("a voter comes back, {how}: write gap ({terms} terms)"),
                gaps,
            );
        }
    }
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |q: f64| times[(times.len() as f64 * q).ceil() as usize - 1].as_millis();
    let (p50, p90, p99, longest) = (at(0.5), at(0.9), at(0.99), at(1.0));
    println!("{what}: {p50}, {p90}, {p99}, {longest}");
}

/// Writers that all take part.
fn cluster<T>(load: Load, unasked: bool, measure: impl FnOnce(&Network, &mut [Writer]) -> T) -> T {
    let network = Network::new(load.agents).unwrap();
    let mut writers = Writer::placed(&Authority::new(), &network, load.agents);
    for (place, writer) in writers.iter_mut().enumerate() {
        writer.unasked = unasked;
        // One at each agent counts; the others share what is left.
        let others = load.proposers.saturating_sub(load.agents);
        writer.proposers = others / load.agents + usize::from(place < others % load.agents);
        let_in(writer, load);
    }
    measure(&network, &mut writers)
}

fn let_in(writer: &mut Writer, load: Load) {
    writer.start();
    writer.await_found();
    if load.proposers == 0 {
        writer.tell("rest");
    }
}

/// All voters are there, and all write, or hold the same.
fn await_whole(writers: &mut [Writer], load: Load) {
    let wanted = voters_wanted(load.agents, Upkeep::default().voters_max);
    let rests = load.proposers == 0;
    eventually("all vote", || {
        let states: Vec<_> = writers.iter_mut().filter_map(Writer::state).collect();
        let alike = |state: &State| {
            state.voters.len() == wanted
                && state.term == states[0].term
                && (!rests || state.index == states[0].index)
        };
        let whole = states.len() == writers.len() && states.iter().all(alike);
        whole.then_some(()).ok_or_else(|| format!("{states:?}"))
    });
    std::thread::sleep(CALM);
    let written: Vec<u64> = writers.iter().map(Writer::acknowledged).collect();
    wait_until("all write", || {
        let mut written = writers.iter().zip(&written);
        rests || written.all(|(writer, n)| writer.acknowledged() > n + 20)
    });
}

fn leader(writers: &[Writer]) -> usize {
    (0..writers.len())
        .max_by_key(|n| writers[*n].leads())
        .unwrap()
}

fn fail_over(network: &Network, writers: &mut [Writer], end: End, load: Load) -> Duration {
    await_whole(writers, load);
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
            let_in(&mut writers[former], load);
        }
        End::Stopped => writers[former].go_on(),
        End::CutOff => network.mend(former),
    }
    acts - begin
}

/// The longest time without an acknowledgement at those that never were away.
fn come_back(network: &Network, writers: &mut [Writer], terms: &mut u64, load: Load) -> Duration {
    await_whole(writers, load);
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
    await_whole(writers, load);
    *terms += term(&mut writers[leader]) - before;
    let there = writers.iter().enumerate().filter(|(n, _)| *n != away);
    there.map(|(_, writer)| writer.gap()).max().unwrap()
}
