//! A small cluster to which anything may happen: nodes that measure, gossip,
//! lead, fall silent and come back, policies that come and go, clocks that jump,
//! proposals that are lost, late or granted unheard, and in half of all lives a
//! platform that sizes workloads and is as unreliable.
//!
//! Comes in: bytes that make every choice. Goes out: a digest of all that was
//! proposed and remembered. What must hold after every step is checked on the
//! way and panics.

mod cluster;
mod draw;
mod drawn;
mod life;
mod line;
mod log;
mod model;
mod platform;
mod seen;
mod stray;
mod workload;

use std::collections::BTreeMap;

use starling_engine::ledger::{Command, Entry, FOUNDER, Ledger};
use starling_engine::node::Answer;
use starling_engine::node::platform::{Failure, Patch, Scale};
use starling_engine::policy::{Policy, Target};
use starling_engine::unit::{Ms, NodeId};

use cluster::Place;
use draw::Draw;
use line::Writing;
use log::Fate;
use model::Leaders;
use platform::Platform;

pub use model::Tally;

/// What came of a life.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Played {
    pub digest: [u8; 16],
    /// How often each thing was played.
    pub tally: Tally,
}

/// How entries and ledgers come to another agent.
#[derive(Clone, Copy)]
pub struct Ways {
    pub entry: fn(&Entry) -> Entry,
    pub ledger: fn(&Ledger) -> Ledger,
}

/// The cluster, its clock and its choices.
struct World<'a> {
    draw: Draw<'a>,
    ways: Ways,
    now: Ms,
    ledger: Ledger,
    /// Applies the same entries after they were encoded and decoded.
    replica: Ledger,
    nodes: BTreeMap<NodeId, Place>,
    /// What external sources answer; `None` is no answer at all.
    answer: Option<Result<Answer, String>>,
    fate: Fate,
    /// Proposals that have not yet been applied.
    late: Vec<(NodeId, Command)>,
    /// There is a platform that sizes workloads.
    scales: bool,
    platform: Platform,
    /// What else scales its workloads.
    rivals: BTreeMap<Target, String>,
    /// Its pods come and go with the sizes.
    pods_follow: bool,
    writing: Writing,
    /// Writes that have not yet arrived, with whoever asked for them.
    under_way: Vec<(NodeId, Patch)>,
    /// Writes that failed, of which whoever asked hasn't heard yet.
    failures: Vec<(NodeId, Target, Result<Scale, Failure>)>,
    /// What the leaders may do.
    model: Leaders,
    term: u64,
    steps: u64,
    trace: u64,
    tally: Tally,
}

/// Plays the life that `bytes` describe, for at most `steps` inputs. The first
/// byte says when the clocks begin and, by its highest bit, whether some workloads
/// are sized by a platform.
pub fn play(bytes: impl Iterator<Item = u8>, steps: u64) -> Played {
    let plain = Ways {
        entry: |entry| log::through(entry),
        ledger: |ledger| log::through(ledger),
    };
    play_through(plain, bytes, steps)
}

/// The same, with everything that leaves an agent going these ways.
pub fn play_through(ways: Ways, bytes: impl Iterator<Item = u8>, steps: u64) -> Played {
    let mut draw = Draw::new(bytes);
    let first = draw.byte();
    let start = match first & 0x7f {
        0 => Ms(0),
        1 => Ms(u64::MAX - 10_000),
        _ => Ms(1_700_000_000_000),
    };
    World::new(draw, ways, start, first & 0x80 != 0).play(steps)
}

impl<'a> World<'a> {
    /// Three members; without a platform no policy and no leader.
    fn new(draw: Draw<'a>, ways: Ways, now: Ms, scales: bool) -> Self {
        let mut world = World {
            draw,
            ways,
            now,
            ledger: Ledger::default(),
            replica: Ledger::default(),
            nodes: BTreeMap::new(),
            answer: Some(Ok(Answer::value(0))),
            fate: Fate::Granted,
            late: Vec::new(),
            scales,
            platform: Platform::new(false),
            rivals: BTreeMap::new(),
            pods_follow: true,
            writing: Writing::Done,
            under_way: Vec::new(),
            failures: Vec::new(),
            model: Leaders::default(),
            term: 0,
            steps: 0,
            trace: 0xcbf2_9ce4_8422_2325,
            tally: Tally::new(),
        };
        world.apply(
            now,
            Command::Found {
                cluster: "c".into(),
                generation: 1,
                authority: None,
            },
        );
        for (nonce, name) in [(FOUNDER, "a"), ("b", "b"), ("c", "c")] {
            world.admit(nonce.into(), name.into());
        }
        if scales {
            world.scale();
        }
        world
    }

    /// The platform has some workloads, there are policies for them, and one leads.
    fn scale(&mut self) {
        for name in drawn::NAMES {
            let replicas = self.draw.u32();
            self.platform.make(&drawn::named(name), replicas);
            let policy = drawn::brisk(&mut self.draw);
            self.put(policy);
        }
        self.recover();
    }

    fn put(&mut self, policy: Policy) {
        let source = self.source();
        self.apply(self.now, Command::PutPolicy { policy, source });
    }

    /// Who asks for a policy: mostly the same one.
    fn source(&self) -> String {
        let who = if self.steps.is_multiple_of(3) {
            "b"
        } else {
            "a"
        };
        format!("{who}:/policies.yaml")
    }

    fn play(mut self, steps: u64) -> Played {
        while self.steps < steps && !self.draw.ended() {
            self.happen();
        }
        if self.scales {
            self.calm();
        }
        assert_eq!(self.ledger, self.replica, "the replicas differ");
        self.restore();
        let mut digest = self.ledger.digest();
        assert_ne!(digest, [0; 16], "the ledger can't be encoded");
        for (byte, mixed) in digest.iter_mut().zip(self.trace.to_le_bytes()) {
            *byte ^= mixed;
        }
        Played {
            digest,
            tally: self.tally,
        }
    }

    fn happen(&mut self) {
        match self.draw.byte() % 32 {
            0..=11 => self.second(),
            12..=17 if self.scales => self.disturb(),
            16 => self.minute(),
            17 => self.life(),
            18 => self.now = self.draw_jump(),
            19 => {
                let skew_ms = self.draw.i64() % 3_600_000;
                if let Some(place) = self.some_place() {
                    place.skew_ms = skew_ms;
                }
            }
            20 => self.elect(),
            21 => self.split(),
            22 | 23 => {
                let policy = if self.scales && self.draw.rarely(2) {
                    drawn::brisk(&mut self.draw)
                } else {
                    drawn::policy(&mut self.draw)
                };
                self.put(policy);
            }
            24 => {
                let name = self.draw.pick(&drawn::NAMES).into();
                let source = (!self.steps.is_multiple_of(4)).then(|| self.source());
                self.apply(self.now, Command::RemovePolicy { name, source });
            }
            25 => {
                let byte = self.draw.byte();
                self.answer = match byte % 8 {
                    0 => None,
                    1 => Some(Err("refused".into())),
                    2 | 3 => Some(Ok(Answer::Pods(seen::sums(&mut self.draw, self.now)))),
                    4..=6 if self.scales => {
                        Some(Ok(Answer::value(i64::from(self.draw.byte()) * 1_000)))
                    }
                    _ => Some(Ok(Answer::value(self.draw.i64()))),
                };
                if byte >= 128 {
                    self.push();
                }
            }
            26 | 27 => {
                let now = self.now;
                let pod = self.draw.maybe(|draw| seen::pod(draw, now));
                if let Some(place) = self.some_place() {
                    place.pod = pod;
                }
            }
            28 => self.fail_or_recover(),
            29 => {
                self.fate = self.draw.pick(&[
                    Fate::Granted,
                    Fate::Granted,
                    Fate::Lost,
                    Fate::Late,
                    Fate::Unheard,
                ]);
            }
            30 => self.stray(),
            _ => self.decide(),
        }
    }

    fn draw_jump(&mut self) -> Ms {
        let ms = u64::from(self.draw.byte()) * 14_200;
        if self.draw.rarely(2) {
            self.now.minus(ms)
        } else {
            self.now.plus(ms)
        }
    }

    /// Counts what is played.
    fn one(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// FNV-1a, so that what was refused or lost counts in the digest too.
    fn mix(&mut self, what: &impl serde::Serialize) {
        for byte in postcard::to_allocvec(what).expect("it encodes") {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
