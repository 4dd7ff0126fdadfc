//! Strategy `banded` by its rules: above 80 % usage × current / 70, below 30 %
//! usage × current / 50, rounded up, at most +50 % and -30 % a step, at least
//! one replica, then a cooldown. What is missing slows both directions down.

use crate::scenario::{Scenario, cpu, usage, value};
use starling_engine::decide::Reading;
use starling_engine::policy::{Banded, Resource, Source, Strategy, Trigger};

fn banded(triggers: Vec<Trigger>, size: u32) -> Scenario {
    Scenario::new(triggers, size).with(|p| {
        p.strategy = Strategy::Banded(Banded::default());
        p.replicas_max = 1_000;
    })
}

fn once(size: u32, percent: i64) -> u32 {
    let mut web = banded(vec![cpu(70)], size);
    web.read(vec![Reading::Pods(usage(size, percent))]);
    web.pass().target
}

#[test]
fn the_bands_and_their_aims_hold() {
    let cases = [
        // (size, percent used, expected)
        (10, 80, 10),
        (10, 81, 12),
        (10, 90, 13),
        (10, 105, 15),
        (10, 300, 15),
        (1, 81, 2),
        (1, 900, 2),
        (3, 900, 4),
        (10, 30, 10),
        (10, 29, 7),
        (100, 29, 70),
        (100, 1, 70),
        (2, 5, 1),
        (1, 0, 1),
        (3, 29, 2),
        (10, 55, 10),
    ];
    for (size, percent, expected) in cases {
        assert_eq!(once(size, percent), expected, "{size} at {percent} %");
    }
}

#[test]
fn the_larger_of_cpu_and_memory_counts() {
    let memory = || Trigger {
        name: "memory".into(),
        source: Source::Resource(Resource::Memory),
        ..cpu(70)
    };
    for (cpu_percent, memory_percent, expected) in [(90, 20, 13), (20, 90, 13), (20, 50, 10)] {
        let mut web = banded(vec![cpu(70), memory()], 10);
        web.read(vec![
            Reading::Pods(usage(10, cpu_percent)),
            Reading::Pods(usage(10, memory_percent)),
        ]);
        assert_eq!(
            web.pass().target,
            expected,
            "{cpu_percent} and {memory_percent}"
        );
    }
}

#[test]
fn nothing_changes_until_the_cooldown_is_over() {
    let mut web = banded(vec![cpu(70)], 10);
    web.read(vec![Reading::Pods(usage(10, 95))]).pass();
    assert_eq!(web.size, 14);
    web.later(299)
        .read(vec![Reading::Pods(usage(14, 5))])
        .pass();
    assert_eq!(web.size, 14);
    web.fail_over();
    web.later(1).read(vec![Reading::Pods(usage(14, 95))]).pass();
    assert_eq!(web.size, 19, "a new leader knows when the cooldown began");
}

#[test]
fn missing_replicas_never_shrink_and_slow_growth() {
    let mut web = banded(vec![cpu(70)], 10);
    let mut low = usage(9, 5);
    low.add_missing(1, Some(1_000));
    web.read(vec![Reading::Pods(low)]);
    assert_eq!(web.pass().target, 10);
    // 9 at 100 % and an idle tenth make 90 %, which asks for 13 rather than 15.
    let mut high = usage(9, 100);
    high.add_missing(1, Some(1_000));
    web.later(1).read(vec![Reading::Pods(high)]);
    assert_eq!(web.pass().target, 13);
}

#[test]
fn other_triggers_take_part_under_the_same_caps() {
    let mut web = banded(vec![cpu(70), crate::scenario::ten_each()], 10);
    web.read(vec![Reading::Pods(usage(10, 50)), value(400)]);
    assert_eq!(web.pass().target, 15);
}
