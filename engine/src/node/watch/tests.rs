//! What a leader watches of an objective policy.

use super::*;

const NOW: Ms = Ms(1_000_000);

fn objective() -> Objective {
    Objective {
        slots: Some(4),
        ..Objective::default()
    }
}

fn value(whole: i64) -> Reading {
    Reading::value(whole * 1_000, NOW)
}

/// `ready` replicas that request a core each and use half of it.
fn half_used(ready: u32) -> Sums {
    Sums {
        pods: ready,
        samples: ready,
        ready,
        ready_usage_milli: i64::from(ready) * 500,
        ready_request_milli: i64::from(ready) * 1_000,
        ..Sums::default()
    }
}

struct Seconds {
    watch: Watch,
    now: Ms,
    resized_at: Option<Ms>,
}

impl Seconds {
    fn new() -> Seconds {
        Seconds {
            watch: Watch::new(1),
            now: NOW,
            resized_at: None,
        }
    }

    fn look(&mut self, arrivals: &Reading, in_system: &Reading, size: u32, running: Option<u32>) {
        let look = Look {
            arrivals,
            in_system,
            cpu: &half_used(running.unwrap_or(0)),
            size,
            resized_at: self.resized_at,
            running,
        };
        self.watch.look(&objective(), &look, self.now);
        self.now = self.now.plus(1_000);
    }

    /// A second in which `running` of `size` replicas run.
    fn run(&mut self, size: u32, running: u32) {
        self.look(&value(10), &Reading::None, size, Some(running));
    }

    fn last(&self) -> Second {
        *self.watch.signal().unwrap().last().unwrap()
    }
}

#[test]
fn arrivals_that_cease_while_log_time_stands_still_are_unknown_at_once() {
    let mut seconds = Seconds::new();
    seconds.look(&value(10), &Reading::None, 2, Some(2));
    assert!(seconds.watch.signal().is_some());
    seconds.now = NOW;
    seconds.look(&Reading::None, &Reading::None, 2, Some(2));
    assert_eq!(seconds.watch.signal(), None);
}

#[test]
fn counted_work_tells_how_many_slots_are_busy_and_else_cpu_does() {
    let mut web = Seconds::new();
    web.look(&value(10), &value(5), 2, Some(2));
    assert_eq!(web.last().busy_milli, Some(5_000));
    web.look(&value(10), &value(50), 2, Some(2));
    assert_eq!(web.last().busy_milli, Some(8_000), "two times four slots");
    assert_eq!(web.last().in_system_milli, Some(50_000));
    web.run(2, 2);
    assert_eq!(web.last().busy_milli, Some(4_000), "half of eight");
    assert_eq!(web.last().ready, 2);
}

#[test]
fn without_stated_slots_all_counted_work_is_in_service_while_cpu_is_left() {
    let unstated = Objective::default();
    let (arrivals, in_system) = (value(10), value(50));
    let mut web = Seconds::new();
    let mut busy_with = |cpu: &Sums, in_system: &Reading| {
        let look = Look {
            arrivals: &arrivals,
            in_system,
            cpu,
            size: 2,
            resized_at: None,
            running: Some(2),
        };
        web.watch.look(&unstated, &look, web.now);
        (web.last().busy_milli, web.last().used_ppm)
    };
    let half = busy_with(&half_used(2), &in_system);
    assert_eq!(half, (Some(50_000), Some(500_000)));
    let uncounted = busy_with(&half_used(2), &Reading::None);
    assert_eq!(uncounted, (None, Some(500_000)));
    let full = Sums {
        ready_usage_milli: 1_990,
        ..half_used(2)
    };
    assert_eq!(busy_with(&full, &in_system), (None, None), "some may wait");
}

#[test]
fn work_is_not_measured_by_part_of_the_replicas() {
    let mut web = Seconds::new();
    web.look(&value(10), &value(5), 2, None);
    assert_eq!(web.last().busy_milli, None);
    let (arrivals, in_system) = (value(10), value(5));
    let mut cpu = half_used(1);
    cpu.add_missing(1, Some(1_000));
    let look = Look {
        arrivals: &arrivals,
        in_system: &in_system,
        cpu: &cpu,
        size: 2,
        resized_at: None,
        running: Some(1),
    };
    web.watch.look(&objective(), &look, web.now);
    assert_eq!(web.last().busy_milli, None);
    let few = Look {
        in_system: &value(3),
        ..look
    };
    web.watch.look(&objective(), &few, web.now);
    let busy_milli = web.last().busy_milli;
    assert_eq!(busy_milli, Some(3_000), "three have room in four slots");
}

#[test]
fn full_slots_tell_nothing_of_how_long_work_takes() {
    let cpu = Sums {
        ready_usage_milli: 1_990,
        ..half_used(2)
    };
    assert_eq!(used(&cpu), None);
    assert_eq!(used(&half_used(2)), Some(500_000));
    assert_eq!(used(&Sums::default()), None, "nobody says");
    assert_eq!(busy(Some(500_000), 8_000), Some(4_000));
    assert_eq!(
        busy(Some(199_999), 8_000),
        None,
        "they may wait, and be full"
    );
    assert_eq!(busy(None, 8_000), None);
    assert_eq!(busy(None, 0), Some(0), "nothing runs");
}

#[test]
fn a_short_hole_is_left_out_and_a_long_one_begins_anew() {
    let mut web = Seconds::new();
    assert_eq!(web.watch.signal(), None);
    for _ in 0..10 {
        web.run(2, 2);
    }
    let failed = Reading::Failed {
        why: "no".into(),
        at: NOW,
    };
    for _ in 0..20 {
        web.look(&failed, &Reading::None, 2, Some(2));
        assert_eq!(web.watch.signal(), None, "nobody knows the arrivals now");
    }
    web.run(2, 2);
    assert_eq!(web.watch.signal().unwrap().len(), 11);
    for _ in 0..31 {
        web.look(&failed, &Reading::None, 2, Some(2));
    }
    web.run(2, 2);
    assert_eq!(web.watch.signal().unwrap().len(), 1);
}

#[test]
fn a_start_is_timed_from_the_grant_to_when_the_replica_runs() {
    let mut web = Seconds::new();
    web.run(2, 2);
    web.resized_at = Some(web.now.minus(500));
    web.run(5, 2);
    web.run(5, 3);
    web.run(5, 5);
    assert_eq!(web.watch.started_ms(), [1_500, 2_500, 2_500]);
    web.watch.forget_started();
    web.run(5, 5);
    assert_eq!(web.watch.started_ms(), [0; 0]);
}

#[test]
fn replicas_that_a_former_leader_granted_are_not_timed() {
    let mut web = Seconds::new();
    web.run(5, 2);
    web.run(6, 2);
    for _ in 0..9 {
        web.run(6, 5);
    }
    assert_eq!(web.watch.started_ms(), [0; 0]);
    web.run(6, 6);
    assert_eq!(web.watch.started_ms(), [10_000]);
}

#[test]
fn a_node_that_was_silent_starts_nothing() {
    let mut web = Seconds::new();
    web.run(4, 4);
    web.run(6, 4);
    web.run(6, 1);
    web.run(6, 4);
    assert_eq!(web.watch.started_ms(), [0; 0]);
    web.run(6, 6);
    assert_eq!(web.watch.started_ms(), [3_000, 3_000]);
}

#[test]
fn a_smaller_size_does_without_the_newest() {
    let mut web = Seconds::new();
    web.run(2, 2);
    web.run(3, 2);
    web.run(6, 2);
    web.run(3, 2);
    web.run(3, 3);
    assert_eq!(web.watch.started_ms(), [3_000]);
    assert!(web.watch.starting.is_empty());
}

#[test]
fn what_is_kept_has_a_bound() {
    let mut web = Seconds::new();
    web.run(1, 1);
    for size in 2..200 {
        web.run(size, 1);
        assert!(web.watch.starting.len() <= BATCHES_MAX);
    }
    web.run(100_000, 1);
    web.run(100_000, 100_000);
    assert_eq!(web.watch.started_ms().len(), STARTED_MAX);
}
