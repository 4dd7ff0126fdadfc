//! One workload's life, second by second, as its leader sees it: answers that
//! rise, fall and cease, work that comes at even intervals, replicas that take
//! their time to start, clocks that jump ahead, leaders that are followed by
//! others who know only the history.
//!
//! Comes in: a [`Draw`] that makes every choice. Goes out: what the ledger would
//! hold in the end. A model that remembers everything checks each pass.

use starling_engine::decide::decide;
use starling_engine::history::History;
use starling_engine::policy::{Fallback, FallbackBehavior, Policy, Strategy};
use starling_engine::unit::Ms;

use super::draw::Draw;
use super::model::{self, Tally};
use super::workload::{Leader, Voice, Workload};
use super::{drawn, seen};

/// Things that happen to one workload; between them up to a minute of calm
/// passes, or as long as most sizes are held.
const EVENTS_MAX: usize = 32;
const CALM_S: usize = 60;
const LONG_CALM_S: usize = 250;
/// How often work comes back, and for how long.
const ROUNDS: u64 = 4;
const ROUND_S: u64 = 20;

/// What came of it.
pub struct Lived {
    pub passes: u64,
    pub size: u32,
    pub history: History,
}

struct Life<'a> {
    workload: Workload<'a>,
    model: model::Life,
    tally: &'a mut Tally,
    passes: u64,
    /// What is decided is never committed.
    loses: bool,
}

/// Lives under a policy that is drawn, mostly under `objective`, unless the
/// ledger would refuse it.
pub fn live(draw: &mut Draw<'_>, now: Ms, tally: &mut Tally) -> Lived {
    let mut policy = drawn::policy(draw);
    if !draw.rarely(4) {
        drawn::settle(draw, &mut policy);
    }
    if draw.rarely(4) {
        // A source that fails then leaves the size to the goals, soon.
        policy.fallback = Some(Fallback {
            failure_threshold: draw.below(4) as u32,
            replicas: draw.below(8) as u32,
            behavior: FallbackBehavior::Static,
            recovery_threshold: None,
        });
    }
    let mut life = Life {
        workload: workload(draw, &policy, now),
        model: model::Life::default(),
        tally,
        passes: 0,
        loses: false,
    };
    if policy.check().is_empty() {
        for _ in 0..draw.below(EVENTS_MAX) {
            life.happen(draw);
            let calm_s = if draw.rarely(8) { LONG_CALM_S } else { CALM_S };
            for _ in 0..draw.below(calm_s) {
                life.second();
            }
        }
    }
    Lived {
        passes: life.passes,
        size: life.workload.size,
        history: life.workload.history,
    }
}

fn workload<'a>(draw: &mut Draw<'_>, policy: &'a Policy, now: Ms) -> Workload<'a> {
    let (floor, cap) = policy.bounds().into_inner();
    Workload {
        policy,
        now,
        created_at: now.minus(draw.wait_ms()),
        size: draw.u32().clamp(floor, cap),
        history: History::default(),
        voices: vec![Voice::Says(0); policy.triggers.len()],
        pod: seen::pod(draw, now),
        start_ms: draw.wait_ms() % 400_000,
        running_max: Some(u32::MAX),
        running: 0,
        resized_at: now,
        leader: Leader::default(),
    }
}

impl Life<'_> {
    fn happen(&mut self, draw: &mut Draw<'_>) {
        let of = &mut self.workload;
        let which = draw.below(of.voices.len());
        let level = |draw: &mut Draw<'_>| Voice::Says(i64::from(draw.byte()) * 1_000);
        match draw.byte() % 32 {
            0..=3 => of.voices[which] = level(draw),
            4 | 5 => of.voices[which] = Voice::Says(draw.i64()),
            6 => of.voices[which] = Voice::Fails,
            7 => of.voices.fill(Voice::Fails),
            8 | 9 => of.voices[which] = Voice::Silent,
            10..=16 => of.voices.fill(level(draw)),
            17 => {
                let work = level(draw);
                let period_s = 2 * ROUND_S + 300 + 4 * u64::from(draw.byte());
                self.recur(work, period_s);
            }
            18 | 19 => of.voices.fill(Voice::Says(0)),
            20..=22 => self.follow(),
            23 | 24 => of.now = of.now.plus(u64::from(draw.byte()) * 14_200),
            25 | 26 => of.pod = seen::pod(draw, of.now),
            27 => of.start_ms = draw.wait_ms() % 400_000,
            28 | 29 => {
                of.running_max = match draw.byte() % 4 {
                    0 => None,
                    1 => Some(draw.u32()),
                    _ => Some(u32::MAX),
                };
            }
            _ => self.loses = !self.loses,
        }
    }

    /// Work that comes for a while, again and again, and is due soon after.
    fn recur(&mut self, work: Voice, period_s: u64) {
        for _ in 0..ROUNDS {
            for voice in [work, Voice::Says(0)] {
                self.workload.voices.fill(voice);
                for _ in 0..ROUND_S {
                    self.second();
                }
            }
            let pause_s = period_s - 2 * ROUND_S;
            self.workload.now = self.workload.now.plus(pause_s * 1_000);
        }
        self.workload.now = self.workload.now.minus(ROUND_S * 1_000);
    }

    /// Another leader, who has the history from a snapshot and nothing else.
    fn follow(&mut self) {
        let of = &mut self.workload;
        of.leader = Leader::default();
        let bytes = postcard::to_allocvec(&of.history).expect("a history encodes");
        let restored = postcard::from_bytes(&bytes).expect("a history decodes");
        assert_eq!(of.history, restored);
        of.history = restored;
    }

    /// The sources are asked, the leader looks and decides, and what it decided
    /// is committed. Deciding again then changes nothing (I9).
    fn second(&mut self) {
        let of = &mut self.workload;
        of.pass_time(1_000);
        self.passes += 1;
        of.listen();
        if let Strategy::Objective(objective) = &of.policy.strategy {
            of.look(objective);
        }
        let inputs = of.inputs();
        let decision = decide(inputs.clone());
        assert_eq!(decision, decide(inputs.clone()));
        self.model.check(&inputs, &decision);
        model::count(self.tally, &decision.report);
        if self.loses {
            of.leader.passed(of.now);
            return;
        }
        self.model.note(&inputs, &decision);
        of.commit(&decision);
        model::bounded(&of.history);
        let again = decide(of.inputs());
        assert_eq!(again.target, of.size, "I9: {}", again.report);
        assert_eq!(again.changes, [], "I9: {}", again.report);
    }
}
