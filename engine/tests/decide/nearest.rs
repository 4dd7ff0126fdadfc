//! What a report says would change the size: with the value that it names the size
//! changes, with the one before it doesn't, whatever else there is. Each is played for
//! hours, so that windows, rates and cooldowns have their say and pass.

use proptest::prelude::*;
use starling_engine::decide::Reading;
use starling_engine::decide::reason::{Outcome, Outlook, Report};
use starling_engine::demand::pods::Sums;
use starling_engine::policy::{
    Banded, Behavior, Fallback, FallbackBehavior, Goal, Resource, Rules, Select, Source,
    Strategy as Sizing, Trigger, Zero,
};

use super::scenario::{Scenario, named};

/// A trigger, and how much it reads of what keeps the size as it is, in percent.
#[derive(Debug, Clone)]
struct Drawn {
    kind: u8,
    target: i32,
    percent: i64,
    activation: i64,
    missing: u32,
    unready: u32,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let near = prop_oneof![3 => 80_i64..120, 1 => 0_i64..100];
    let activation = prop_oneof![3 => Just(0_i64), 1 => 0_i64..200_000];
    let unseen = || prop_oneof![4 => Just(0_u32), 1 => 0_u32..4];
    (0_u8..5, 1_i32..200, near, activation, unseen(), unseen()).prop_map(
        |(kind, target, percent, activation, missing, unready)| Drawn {
            kind,
            target,
            percent,
            activation,
            missing,
            unready,
        },
    )
}

impl Drawn {
    fn goal(&self) -> Goal {
        let milli = i64::from(self.target) * 100;
        match self.kind {
            2 => Goal::Value { milli },
            3 => Goal::Utilization {
                percent: self.target,
            },
            _ => Goal::AverageValue { milli },
        }
    }

    fn is_of_pods(&self) -> bool {
        self.kind > 2
    }

    fn trigger(&self, index: usize) -> Trigger {
        let mut trigger = named(&format!("t{index}"), self.goal());
        if self.is_of_pods() {
            trigger.source = Source::Resource(Resource::Cpu);
        } else {
            trigger.activation_milli = self.activation;
        }
        trigger
    }

    /// The number that its input shows.
    fn value(&self, size: u32) -> i64 {
        let many = i64::from(size.max(1));
        let middle = match self.goal() {
            Goal::Utilization { percent } => i64::from(percent),
            Goal::AverageValue { milli } if !self.is_of_pods() => milli * many,
            Goal::AverageValue { milli } | Goal::Value { milli } => milli,
        };
        middle * self.percent / 100
    }

    fn reading(&self, size: u32, value: i64, web: &Scenario) -> Reading {
        if !self.is_of_pods() {
            return Reading::value(value, web.now);
        }
        let unseen = (self.missing + self.unready).min(size.saturating_sub(1));
        let missing = self.missing.min(unseen);
        let ready = size - unseen;
        let request = i64::from(ready) * 1_000;
        Reading::Pods(Sums {
            pods: size,
            samples: ready,
            ready,
            ready_usage_milli: match self.goal() {
                Goal::Utilization { .. } => value * request / 100,
                _ => value * i64::from(ready),
            },
            ready_request_milli: request,
            missing: (missing > 0)
                .then_some((1_000, missing))
                .into_iter()
                .collect(),
            unready: unseen - missing,
            unready_request_milli: i64::from(unseen - missing) * 1_000,
            oldest: Some(web.now),
            ..Sums::default()
        })
    }
}

/// What the size is after hours of these values, and after the first second.
fn lasts(web: &Scenario, triggers: &[Drawn], values: &[i64]) -> Vec<u32> {
    let mut web = web.clone();
    let size = web.size;
    let mut sizes = Vec::new();
    for seconds in [1, 7_200, 1, 7_200, 7_200] {
        web.later(seconds);
        let pairs = triggers.iter().zip(values);
        let readings = pairs.map(|(drawn, value)| drawn.reading(size, *value, &web));
        let readings = readings.collect();
        web.read(readings);
        web.pass();
        sizes.push(web.size);
        if web.size != size {
            break;
        }
    }
    sizes
}

fn changes(web: &Scenario, triggers: &[Drawn], values: &[i64]) -> bool {
    lasts(web, triggers, values)
        .iter()
        .any(|it| *it != web.size)
}

#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is drawn by itself")]
struct Settings {
    size: u32,
    min: u32,
    room: u32,
    idle: bool,
    hpa: bool,
    banded: bool,
    behavior: Option<(u8, u8, Option<u32>)>,
    fallback: bool,
    note: u8,
    running: Option<u32>,
}

fn settings() -> impl Strategy<Value = Settings> {
    let behavior = (0_u8..4, 0_u8..4, prop::option::of(0_u32..300_000));
    (
        (1_u32..30, 0_u32..4, 0_u32..30),
        any::<(bool, bool, bool)>(),
        prop::option::of(behavior),
        (any::<bool>(), 0_u8..16),
        prop_oneof![4 => Just(None), 1 => (1_u32..30).prop_map(Some)],
    )
        .prop_map(
            |((size, min, room), (idle, hpa, banded), behavior, (fallback, note), running)| {
                Settings {
                    size,
                    min: min.min(size),
                    room,
                    idle: idle && min > 1,
                    hpa,
                    banded,
                    behavior,
                    fallback,
                    note,
                    running,
                }
            },
        )
}

fn rules(select: u8, tolerance_ppm: Option<u32>, usual: Rules) -> Rules {
    Rules {
        select: match select {
            0 => Select::Disabled,
            1 => Select::Min,
            _ => Select::Max,
        },
        tolerance_ppm,
        ..usual
    }
}

fn scenario(triggers: &[Drawn], of: &Settings) -> Scenario {
    let all = triggers.iter().enumerate();
    let mut web = Scenario::new(all.map(|(i, it)| it.trigger(i)).collect(), of.size);
    web.running = of.running;
    web.with(|p| {
        (p.replicas_min, p.replicas_max) = (of.min, of.size + of.room);
        p.replicas_idle = of.idle.then_some(1);
        p.zero = match (of.hpa, of.min) {
            (true, _) if of.size > 0 => Zero::Hpa { allowed: true },
            _ => Zero::Activation,
        };
        p.behavior = of.behavior.map(|(up, down, tolerance)| {
            let usual = Behavior::default();
            Behavior {
                up: rules(up, tolerance, usual.up),
                down: rules(down, tolerance, usual.down),
            }
        });
        if of.banded {
            p.strategy = Sizing::Banded(Banded::default());
        }
        p.fallback = of.fallback.then_some(Fallback {
            failure_threshold: 3,
            replicas: 2,
            behavior: FallbackBehavior::Static,
            recovery_threshold: None,
        });
        p.annotations.paused_scale_in = of.note == 1;
        p.annotations.paused_scale_out = of.note == 2;
        p.annotations.force_activation = of.note == 3;
    })
}

/// Every value that the report names, with whether it is one more or one less.
fn named_values(report: &Report) -> Vec<(usize, i64, i64)> {
    let mut found = Vec::new();
    for outlook in &report.outlook {
        let Outlook::Value {
            trigger,
            at_least,
            at_most,
        } = outlook
        else {
            continue;
        };
        let index = report.inputs.iter().position(|it| it.trigger == *trigger);
        let index = index.unwrap();
        found.extend(at_least.map(|value| (index, value, -1)));
        found.extend(at_most.map(|value| (index, value, 1)));
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_global_rejects: 200_000,
        ..ProptestConfig::with_cases(3_000)
    })]

    #[test]
    fn the_stated_value_changes_the_size_and_its_neighbour_does_not(
        triggers in prop::collection::vec(drawn(), 1..4),
        of in settings(),
    ) {
        let mut web = scenario(&triggers, &of);
        prop_assume!(web.policy.check().is_empty());
        let values: Vec<i64> = triggers.iter().map(|it| it.value(of.size)).collect();
        // Nothing happens by itself.
        prop_assume!(!changes(&web, &triggers, &values));
        let pairs = triggers.iter().zip(&values);
        let readings = pairs.map(|(it, value)| it.reading(of.size, *value, &web)).collect();
        web.read(readings);
        let report = web.pass().report;
        for (index, value, back) in named_values(&report) {
            let with = |value| {
                let mut values = values.clone();
                values[index] = value;
                values
            };
            let sizes = lasts(&web, &triggers, &with(value));
            prop_assert!(sizes.iter().any(|it| *it != of.size), "{value}: {report}");
            let sizes = lasts(&web, &triggers, &with(value + back));
            prop_assert!(sizes.iter().all(|it| *it == of.size), "{}: {sizes:?}: {report}", value + back);
        }
    }

    /// Where a trigger's value alone can change the size, the report says so.
    #[test]
    fn no_way_to_change_the_size_is_left_unsaid(
        triggers in prop::collection::vec(drawn(), 1..4),
        of in settings(),
    ) {
        let mut web = scenario(&triggers, &of);
        prop_assume!(web.policy.check().is_empty());
        let values: Vec<i64> = triggers.iter().map(|it| it.value(of.size)).collect();
        prop_assume!(!changes(&web, &triggers, &values));
        let pairs = triggers.iter().zip(&values);
        let readings = pairs.map(|(it, value)| it.reading(of.size, *value, &web)).collect();
        web.read(readings);
        let report = web.pass().report;
        // Where it is asked for another size, what holds that is said instead.
        prop_assume!(report.raw == Some(of.size));
        let mut outcomes = report.inputs.iter().map(|it| &it.outcome);
        prop_assume!(outcomes.all(|it| matches!(it, Outcome::Proposes { .. })));
        let said = named_values(&report);
        for index in 0..triggers.len() {
            for (value, back) in [(1_000_000_000_000, -1), (0, 1)] {
                let mut values = values.clone();
                values[index] = value;
                let rests = back > 0 && report.outlook.iter().any(|it| it.code() == "Quiet");
                if rests {
                    continue;
                }
                let is_said = said.iter().any(|it| (it.0, it.2) == (index, back));
                let resizes = changes(&web, &triggers, &values);
                prop_assert_eq!(is_said, resizes, "{} of {}: {}", value, index, report);
            }
        }
    }
}
