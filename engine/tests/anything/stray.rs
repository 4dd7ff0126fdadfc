//! What no sound leader would propose and no cluster need bring about: entries
//! and decisions from anything.

use starling_engine::decide::reason::Held;
use starling_engine::decide::{Inputs, Platform, decide};
use starling_engine::ledger::scaled::Seen;
use starling_engine::ledger::{Command, Item, Member, Move};
use starling_engine::policy::{self, Strategy, Target};
use starling_engine::unit::NodeId;

use super::draw::Draw;
use super::{World, drawn, life, model, seen};

impl World<'_> {
    /// An entry that no sound leader would propose, a member that lost its disk,
    /// or a ledger that goes on from its encoding.
    pub fn stray(&mut self) {
        match self.draw.byte() % 4 {
            0 => {
                let item = self.draw_item();
                let by = NodeId(u64::from(self.draw.byte()));
                let items = vec![item.clone(), item];
                let moves = vec![self.draw_move()];
                let at = self.draw.near(self.now).min(self.now.plus(3_600_000));
                self.model.astray(&items, &self.ledger);
                self.apply(at, Command::Pass { by, items, moves });
            }
            1 => {
                let nonce = format!("again-{}", self.ledger.index);
                let name = self.draw.pick(&["a", "b", "c"]).into();
                self.admit(nonce, name);
            }
            2 => {
                let node = NodeId(self.draw.u64() % 8);
                let member = Member::default();
                self.apply(self.now, Command::Readdress { node, member });
                // Only what no policy sizes goes.
                let target = Target::process(drawn::NAMES[(node.0 % 4) as usize]);
                self.apply(self.now, Command::DeleteWorkload { target });
                let away = node.0.is_multiple_of(2);
                self.apply(self.now, Command::Away { node, away });
                if self.draw.rarely(4) {
                    self.remove(node);
                }
            }
            _ => self.restore(),
        }
    }

    fn draw_move(&mut self) -> Move {
        let draw = &mut self.draw;
        let target = Target::process(draw.pick(&drawn::NAMES));
        let workload = self.ledger.workloads.get(&target);
        let shares = draw.below(3);
        Move {
            stamp: workload.map(|it| it.stamp).unwrap_or_default(),
            shares: (0..shares)
                .map(|_| (NodeId(u64::from(draw.byte() % 8)), draw.u32()))
                .collect(),
            target,
        }
    }

    fn draw_item(&mut self) -> Item {
        let (draw, now) = (&mut self.draw, self.now);
        let name: policy::Name = draw.pick(&drawn::NAMES).into();
        let in_force = self.ledger.policies.get(&name);
        let from = in_force.map_or(0, |p| self.ledger.workloads[&p.policy.target].size);
        let shares = draw.below(4);
        let share = |draw: &mut Draw<'_>| (NodeId(u64::from(draw.byte() % 8)), draw.u32());
        let learns = in_force.is_some_and(|p| matches!(p.policy.strategy, Strategy::Objective(_)));
        Item {
            policy: name,
            revision: in_force.map_or(0, |p| p.revision),
            from,
            to: draw.u32(),
            shares: draw.maybe(|draw| (0..shares).map(|_| share(draw)).collect()),
            seen: if self.scales {
                draw.maybe(|draw| Seen {
                    uid: format!("u{}", draw.byte() % 16),
                    selector: String::new(),
                    replicas: draw.u32(),
                    ruled: draw.rarely(4),
                })
            } else {
                None
            },
            changes: if learns {
                let lessons = draw.below(4);
                (0..lessons).map(|_| seen::lesson(draw, now)).collect()
            } else {
                Vec::new()
            },
            report: None,
        }
    }

    /// One decision from inputs that no cluster need ever bring about.
    pub fn decide(&mut self) {
        let (draw, now) = (&mut self.draw, self.now);
        let policy = drawn::policy(draw);
        let readings = draw.below(6);
        let mut inputs = Inputs {
            policy: &policy,
            now: draw.near(now),
            created_at: draw.near(now),
            current: draw.u32(),
            running: draw.u32(),
            ready: draw.maybe(Draw::u32),
            last_pass: draw.maybe(|draw| draw.near(now)),
            readings: (0..readings).map(|_| seen::reading(draw, now)).collect(),
            history: &seen::history(draw, now, &policy),
            signal: None,
            started_ms: &[],
            platform: Platform::default(),
        };
        let (signal, started_ms);
        if let Strategy::Objective(_) = policy.strategy {
            signal = draw.maybe(seen::signal);
            started_ms = [draw.u32(), draw.u32()];
            inputs.signal = signal.as_ref();
            inputs.started_ms = &started_ms[..draw.below(3)];
        }
        if self.scales {
            let gone = || Held::Gone("deployments.apps \"a\" not found".into());
            let held = [Held::Away, gone(), Held::Rival("another".into())];
            inputs.platform = Platform {
                held: draw.rarely(4).then(|| held[draw.below(3)].clone()),
                off: draw.rarely(4),
                blocked: draw.rarely(4).then_some("exceeded quota: pods=2"),
            };
        }
        self.steps += 1;
        let decision = decide(inputs.clone());
        assert_eq!(decision, decide(inputs.clone()));
        assert!(
            policy.bounds().contains(&decision.target) || decision.target == inputs.current,
            "{decision:?}"
        );
        model::always(&inputs, &decision);
        model::count(&mut self.tally, &decision.report);
        self.mix(&decision.report);
        assert!(!decision.account(inputs.policy).to_string().is_empty());
        let mut history = inputs.history.clone();
        for change in &decision.changes {
            history.apply(change, inputs.now, inputs.policy);
        }
    }

    /// One workload's life, of which only its leader knows.
    pub fn life(&mut self) {
        let lived = life::live(&mut self.draw, self.now, &mut self.tally);
        self.steps += lived.passes;
        self.mix(&lived.size);
        self.mix(&lived.history);
    }
}
