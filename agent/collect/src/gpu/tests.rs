//! Scenarios of GPUs, played from recorded answers: no GPU is needed. The answers are
//! NVML's as its documentation and its users describe them, and as an H200 gave them.

mod played;
mod scenarios;

use std::sync::mpsc;

use super::*;
use crate::node::Machine;

fn failing(failure: Failure) -> Open {
    Box::new(move || Err(failure.clone()))
}

fn told(meter: &mut Meter) -> (Totals, Machine) {
    let (mut totals, mut machine) = (Totals::default(), Machine::default());
    meter.ask();
    meter.read(&mut totals, &mut machine);
    (totals, machine)
}

/// Longer than any machine needs for an answer that doesn't block.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_machine_without_a_driver_lacks_gpus_and_has_no_fault() {
    let open = failing(Failure::NoLibrary("no such file".into()));
    let mut meter = Meter::with(open, Path::new("/proc"), PATIENCE);
    let (totals, machine) = told(&mut meter);
    assert!(totals.0.is_empty());
    let why = "NVIDIA's library isn't here (no such file)";
    assert_eq!(machine.unread, [Unread::absent("gpus", why)]);

    let open = failing(Failure::NoPermission);
    let mut meter = Meter::with(open, Path::new("/proc"), PATIENCE);
    let (_, machine) = told(&mut meter);
    assert!(machine.unread[0].fault, "{:?}", machine.unread);
}

#[test]
fn a_driver_that_hangs_is_reported_and_delays_no_round() {
    let (release, blocked) = mpsc::channel::<()>();
    let open: Open = Box::new(move || {
        let _ = blocked.recv();
        Err(Failure::NoDriver)
    });
    let deadline = Duration::from_millis(10);
    let mut meter = Meter::with(open, Path::new("/proc"), deadline);
    told(&mut meter);
    let begun = Instant::now();
    for _ in 0..100 {
        let (totals, machine) = told(&mut meter);
        assert!(totals.0.is_empty() && machine.gpus.devices.is_empty());
        let why = "NVIDIA's driver hasn't answered in time";
        assert_eq!(machine.unread, [Unread::fault("gpus", why)]);
        assert!(machine.silent["gpus"] >= deadline);
    }
    assert!(begun.elapsed() < 100 * deadline, "each round waited for it");
    drop(release);
}

#[test]
fn what_a_driver_said_before_it_hung_is_used_for_a_while() {
    let open = failing(Failure::NoPermission);
    let mut meter = Meter::with(open, Path::new("/proc"), PATIENCE);
    let (_, machine) = told(&mut meter);
    let answered = machine.gpus.at.unwrap();
    let mut known = |age: Duration| {
        let (mut totals, mut machine) = (Totals::default(), Machine::default());
        meter.read_at(answered + age, &mut totals, &mut machine);
        machine.gpus.at.is_some()
    };
    assert!(known(Duration::ZERO));
    assert!(!known(AGE_MAX + Duration::from_secs(20)));
}

#[test]
fn a_driver_that_is_not_there_is_asked_seldom_and_told_of_each_time() {
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = asked.clone();
    let open: Open = Box::new(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Err(Failure::NoDriver)
    });
    let mut meter = Meter::with(open, Path::new("/proc"), PATIENCE);
    let (_, first) = told(&mut meter);
    let answered = first.gpus.at.unwrap();
    for second in 1..20 {
        let at = answered + Duration::from_secs(second);
        let (mut totals, mut machine) = (Totals::default(), Machine::default());
        meter.ask_at(at);
        meter.read_at(at, &mut totals, &mut machine);
        let lacks = Unread::absent("gpus", Failure::NoDriver.to_string());
        assert_eq!(machine.unread, [lacks], "after {second} s");
        // The thread's own clock hasn't gone on, so that a question shows in the answer.
        let rests = second < REST.as_secs();
        assert_eq!(machine.gpus.at == Some(answered), rests, "after {second} s");
    }
}

#[test]
fn a_driver_that_is_not_there_is_tried_again_after_a_while() {
    let attempts = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = attempts.clone();
    let open: Open = Box::new(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Err(Failure::NoDriver)
    });
    let mut reader = Reader::new(open, Path::new("/proc"));
    let begun = Instant::now();
    let mut tried = |after: Duration| {
        assert_eq!(reader.read(begun + after).failure, Some(Failure::NoDriver));
        attempts.load(std::sync::atomic::Ordering::Relaxed)
    };
    let second = Duration::from_secs(1);
    assert_eq!(tried(Duration::ZERO), 1);
    assert_eq!(tried(second), 1);
    assert_eq!(tried(RETRY), 2);
    assert_eq!(tried(RETRY + second), 2);
}
