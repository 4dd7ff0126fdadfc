//! How steady and how late HPA's arithmetic is on a noisy load, by what stands for a
//! replica's use: its last second, means over windows, or what agents take.
//!
//!     cargo run --release -p starling-engine --example window
//!
//! Ten replicas of one core serve requests that arrive at random, each of which takes
//! 30 ms of CPU on average (exponentially distributed), aim 50 %. Load is steady for
//! ten minutes and asks for exactly the ten, then it grows by 60 %, as much as they can
//! still serve. Half-way the replicas get a third of what they need for two seconds, as
//! beside a neighbour that takes the CPU, and work the rest off as soon as they can.
//! Printed: in how many of the passes on the steady load another size than ten was wanted,
//! between which sizes it went, in how many runs more than ten were wanted for what was
//! worked off, and how long after the step nine tenths of what it needs were wanted. A pass
//! is made each second; with metrics-server each fifteen, on the mean of fifteen that it has
//! by then, at a random moment of its turn.

#[path = "../replay/random.rs"]
#[expect(dead_code, reason = "a replay draws more than this")]
mod random;

use random::Random;
use starling_engine::demand::pods::Reading;
use starling_engine::demand::series::{Look, is_clear, mean, steady};
use starling_engine::unit::Ms;

const RUNS: u64 = 500;
const REPLICAS: usize = 10;
const STEADY_S: u64 = 600;
const STEP_S: u64 = 120;
/// From then on they are held up, …
const STALL_S: u64 = 300;
/// … for so long.
const STALLED_S: u64 = 2;
/// So long it is watched whether they grow for it.
const WORKED_OFF_S: u64 = 15;
const AIM: f64 = 0.5;
/// Of a core's second.
const REQUEST: f64 = 0.03;
/// HPA's default.
const TOLERANCE: f64 = 0.1;

/// What stands for one replica.
type Means = fn(Reading, &[Reading]) -> Look;

fn main() {
    let ways: [(&str, u64, Means); 5] = [
        ("last second", 1, |newest, _| Look::at(newest)),
        ("mean of 15 s, each second", 1, |newest, earlier| {
            Look::at(mean(newest, earlier, 15_000, Ms(0)))
        }),
        ("mean of 60 s, each second", 1, |newest, earlier| {
            Look::at(mean(newest, earlier, 60_000, Ms(0)))
        }),
        ("metrics-server, each 15 s", 15, |newest, earlier| {
            Look::at(mean(newest, earlier, 15_000, Ms(0)))
        }),
        ("agents' default", 1, |newest, earlier| {
            steady(newest, earlier, Ms(0))
        }),
    ];
    println!(
        "{:<28} {:>14} {:>9} {:>12} {:>12} {:>12}",
        "what stands for the use", "other than 10", "sizes", "stall grew", "step p50", "step p99"
    );
    for (name, every_s, means) in ways {
        let mut seen = Seen::default();
        for run in 0..RUNS {
            play(run, every_s, means, &mut seen);
        }
        seen.late_s.sort_unstable();
        let at = |percent: usize| seen.late_s[(seen.late_s.len() - 1) * percent / 100];
        println!(
            "{name:<28} {:>12.2} % {:>4}-{:<4} {:>10.1} % {:>10} s {:>10} s",
            100.0 * seen.other as f64 / seen.passes as f64,
            seen.least,
            seen.most,
            100.0 * seen.stalls as f64 / RUNS as f64,
            at(50),
            at(99),
        );
    }
}

struct Seen {
    passes: u64,
    other: u64,
    least: usize,
    most: usize,
    /// Runs in which work that was held up made it grow.
    stalls: u64,
    late_s: Vec<u64>,
}

impl Default for Seen {
    fn default() -> Seen {
        Seen {
            passes: 0,
            other: 0,
            least: REPLICAS,
            most: REPLICAS,
            stalls: 0,
            late_s: Vec::new(),
        }
    }
}

/// The same requests for every way of looking at them.
fn play(run: u64, every_s: u64, means: Means, seen: &mut Seen) {
    let mut random = Random::new(run, 0);
    let phase = run % every_s;
    let mut series: Vec<Vec<Reading>> = vec![Vec::new(); REPLICAS];
    // What each has still to do, and whether it grew for that.
    let mut left = [0; REPLICAS];
    let mut grew = false;
    for second in 0..STEADY_S + STEP_S {
        let load = if second < STEADY_S { 1.0 } else { 1.6 };
        let stalled = (STALL_S..STALL_S + STALLED_S).contains(&second);
        for (of_one, left) in series.iter_mut().zip(&mut left) {
            let due = *left + used_milli(&mut random, AIM * load);
            // A core has no more than its second.
            let milli = if stalled { due / 3 } else { due.min(1_000) };
            *left = due - milli;
            let newest = Reading {
                milli,
                at: Ms(1_000_000 + second * 1_000),
                window_ms: 1_000,
            };
            of_one.push(newest);
        }
        if second < 60 || second % every_s != phase {
            continue;
        }
        let looks = series.iter().filter_map(|of_one| {
            let (newest, earlier) = of_one.split_last()?;
            Some(means(*newest, earlier))
        });
        let (mut used, mut newest, mut before, mut noise) = (0, 0, 0, 0);
        for look in looks {
            used += look.mean.milli;
            newest += look.newest_milli;
            before += look.before_milli;
            noise += look.noise;
        }
        if is_clear(used, newest, before, noise) {
            used = newest;
        }
        let wanted = wanted(used as f64 / 1_000.0);
        if (STALL_S..STALL_S + WORKED_OFF_S).contains(&second) {
            seen.stalls += u64::from(wanted > REPLICAS && !grew);
            grew |= wanted > REPLICAS;
        } else if second < STEADY_S {
            seen.passes += 1;
            seen.other += u64::from(wanted != REPLICAS);
            seen.least = seen.least.min(wanted);
            seen.most = seen.most.max(wanted);
        } else if wanted as f64 >= 0.9 * 1.6 * REPLICAS as f64 {
            seen.late_s.push(second + 1 - STEADY_S);
            return;
        }
    }
    seen.late_s.push(STEP_S);
}

/// hpa.md rules 1 and 2, of all replicas' use in cores.
fn wanted(cores: f64) -> usize {
    let ratio = cores / (REPLICAS as f64 * AIM);
    if (ratio - 1.0).abs() <= TOLERANCE {
        return REPLICAS;
    }
    (ratio * REPLICAS as f64).ceil() as usize
}

/// What requests that arrive at random within a second take of a core, on average
/// `load`, and a core's second at most.
fn used_milli(random: &mut Random, load: f64) -> i64 {
    let requests = random.poisson(load / REQUEST);
    let used: f64 = (0..requests).map(|_| -random.unit().ln() * REQUEST).sum();
    (used.min(1.0) * 1_000.0) as i64
}
