//! KEDA's executor with the HPA above it, as one model written from keda.md 2.2,
//! against whole passes: for the vectors that KEDA itself answered, and for
//! random ones.

use proptest::prelude::*;
use serde_json::Value;
use starling_engine::decide::Reading;
use starling_engine::history::Activity;
use starling_engine::policy::{Annotations, Policy};

use super::{condition, fallback};
use crate::scenario::{Scenario, failed, named, queue, value};
use starling_engine::policy::{FallbackBehavior, Goal};

const MAX: u32 = 100;

/// The inputs of one vector of kind `keda_activation`; ages in seconds.
#[derive(Debug, Clone)]
struct Case {
    current: u32,
    min: Option<u32>,
    idle: Option<u32>,
    cooldown_s: Option<u64>,
    initial_cooldown_s: Option<u64>,
    created_age_s: u64,
    last_active_age_s: Option<u64>,
    active: bool,
    failing: bool,
    fallback: Option<u32>,
    notes: Annotations,
}

/// What KEDA's executor does.
#[derive(Debug, PartialEq)]
struct Answer {
    write: Option<u32>,
    touched: bool,
    reason: Option<String>,
}

impl Case {
    fn read(of: &Value) -> Case {
        let number = |name: &str| of[name].as_u64();
        let count = |name: &str| number(name).map(|n| u32::try_from(n).unwrap());
        let flag = |name: &str| of[name].as_bool().unwrap();
        Case {
            current: count("current_replicas").unwrap(),
            min: count("min_replicas"),
            idle: count("idle_replicas"),
            cooldown_s: number("cooldown_s"),
            initial_cooldown_s: number("initial_cooldown_s"),
            created_age_s: number("created_age_s").unwrap(),
            last_active_age_s: number("last_active_age_s"),
            active: flag("triggers_active"),
            failing: flag("triggers_failing"),
            fallback: count("fallback_replicas"),
            notes: Annotations {
                paused: flag("paused"),
                paused_replicas: None,
                paused_scale_in: flag("paused_scale_in"),
                paused_scale_out: flag("paused_scale_out"),
                force_activation: flag("force_activation"),
            },
        }
    }

    fn active(&self) -> bool {
        self.active || self.notes.force_activation
    }

    /// The table of keda.md 2.2, first match wins.
    fn executor(&self) -> Answer {
        let (current, min) = (self.current, self.min.unwrap_or(0));
        let (mut write, mut touched) = (None, false);
        if self.notes.paused {
            return Answer {
                write,
                touched,
                reason: None,
            };
        }
        let reason = if self.active() {
            let asleep = current == 0 || (self.idle.is_some() && current < min);
            if !(asleep && self.notes.paused_scale_out) {
                write = asleep.then_some(min.max(1));
                touched = true;
            }
            "ScalerActive"
        } else if self.failing {
            "ScalerNotActive"
        } else if self
            .idle
            .map_or(current > 0 && min == 0, |idle| current > idle)
        {
            let over = match self.last_active_age_s {
                Some(age_s) => age_s > self.cooldown_s.unwrap_or(300),
                None => self.created_age_s > self.initial_cooldown_s.unwrap_or(0),
            };
            if self.notes.paused_scale_in {
                "ScalerNotActive"
            } else if over {
                write = Some(self.idle.unwrap_or(0));
                "ScalerNotActive"
            } else {
                "ScalerCooldown"
            }
        } else {
            if self.idle.is_none() && current < min {
                write = Some(min);
            }
            "ScalerNotActive"
        };
        let reason = Some(reason.to_owned());
        Answer {
            write,
            touched,
            reason,
        }
    }

    /// The size after the executor and an HPA whose metrics keep what is. An HPA
    /// leaves 0 alone; an idle size above 0 is left alone on purpose.
    fn size(&self, write: Option<u32>) -> u32 {
        let min = self.min.unwrap_or(0);
        let at_rest = self.current == 0 || (!self.active() && self.idle >= Some(self.current));
        let stays = self.notes.paused
            || at_rest
            || (self.active()
                && self.notes.paused_scale_out
                && self.idle.is_some()
                && self.current < min);
        let size = match write {
            Some(size) => size,
            None if stays => self.current,
            None => self.current.max(min).max(1),
        };
        // The bounds hold whatever KEDA says (I5).
        size.clamp(self.idle.unwrap_or(min), MAX)
    }

    fn scenario(&self) -> Scenario {
        let whole = Goal::Value { milli: 10_000 };
        let mut web = Scenario::new(vec![queue(whole), named("topic", whole)], self.current);
        let default = Policy::default();
        let ms = |s: Option<u64>, otherwise| s.map_or(otherwise, |s| s * 1_000);
        web.policy.replicas_min = self.min.unwrap_or(default.replicas_min);
        web.policy.replicas_max = MAX;
        web.policy.replicas_idle = self.idle;
        web.policy.cooldown_ms = ms(self.cooldown_s, default.cooldown_ms);
        web.policy.initial_cooldown_ms = ms(self.initial_cooldown_s, default.initial_cooldown_ms);
        let stand_in = |replicas| fallback(replicas, FallbackBehavior::Static);
        web.policy.fallback = self.fallback.map(stand_in);
        web.policy.annotations = self.notes.clone();
        web.created_at = web.now.minus(self.created_age_s * 1_000);
        let ago = |s: u64| web.now.minus(s * 1_000);
        web.history.activity = Activity {
            active: false,
            last_active: self.last_active_age_s.map(ago),
        };
        // So HPA's part keeps what is, also where nothing is active.
        web.policy.controller.tolerance_down_ppm = 1_000_000;
        let load = if self.active { value(10) } else { value(0) };
        let other = if self.failing {
            failed("down")
        } else {
            Reading::value(0, web.now)
        };
        web.read(vec![load, other]);
        web
    }

    fn check(&self, expected: &Answer) {
        let mut web = self.scenario();
        let decision = web.pass();
        let report = &decision.report;
        assert_eq!(web.size, self.size(expected.write), "{self:?}\n{report}");
        let reason = condition(&decision, "Active").map(|(_, reason)| reason);
        assert_eq!(reason, expected.reason, "{self:?}\n{report}");
        // On purpose: errors don't use up the cooldown.
        let hidden = self.failing && self.current > 0 && !self.notes.paused;
        let activity = web.history.activity;
        assert_eq!(activity.active, expected.touched || hidden, "{self:?}");
        if activity.active {
            assert_eq!(activity.last_active, Some(web.now), "{self:?}");
        }
    }
}

#[test]
fn whole_passes_do_what_keda_s_executor_did() {
    let text = include_str!("../../conformance/keda_activation.json");
    let document: Value = serde_json::from_str(text).unwrap();
    let vectors = document["vectors"].as_array().unwrap();
    for vector in vectors {
        let case = Case::read(&vector["inputs"]);
        let of = &vector["expected"];
        let answer = Answer {
            write: of["write"].as_u64().map(|n| u32::try_from(n).unwrap()),
            touched: of["active_until_now"].as_bool().unwrap(),
            reason: of["active_condition"][1].as_str().map(str::to_owned),
        };
        assert_eq!(case.executor(), answer, "the model, {case:?}");
        case.check(&answer);
    }
    assert_eq!(vectors.len(), 300);
}

/// Around `s` seconds, often exactly.
fn near(s: u64) -> impl Strategy<Value = u64> {
    (0_u64..5).prop_map(move |off| (s + off).saturating_sub(2))
}

fn case() -> impl Strategy<Value = Case> {
    let sizes = (
        0_u32..12,
        prop::option::of(0_u32..8),
        prop::option::of(0_u32..6),
    );
    let waits = (prop::option::of(0_u64..600), prop::option::of(0_u64..600));
    let said = (any::<bool>(), any::<bool>(), prop::option::of(1_u32..7));
    let notes = (0_u8..20, any::<bool>(), any::<bool>(), 0_u8..5);
    (sizes, waits, said, notes)
        .prop_flat_map(|(sizes, waits, said, notes)| {
            let last = near(waits.0.unwrap_or(300));
            let ages = (near(waits.1.unwrap_or(0)), prop::option::of(last));
            (Just((sizes, waits, said, notes)), ages)
        })
        .prop_map(|((sizes, waits, said, notes), ages)| Case {
            current: sizes.0,
            min: sizes.1,
            // Below the minimum, or both 0.
            idle: sizes.2.filter(|idle| *idle < sizes.1.unwrap_or(0).max(1)),
            cooldown_s: waits.0,
            initial_cooldown_s: waits.1,
            created_age_s: ages.0,
            last_active_age_s: ages.1,
            active: said.0,
            failing: said.1,
            fallback: said.2,
            notes: Annotations {
                paused: notes.0 == 0,
                paused_replicas: None,
                paused_scale_in: notes.1,
                paused_scale_out: notes.2,
                force_activation: notes.3 == 0,
            },
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whole_passes_do_what_keda_s_executor_would(case in case()) {
        case.check(&case.executor());
    }
}
