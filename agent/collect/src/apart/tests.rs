//! Readers that answer, that block for ever, that are slow, and that break.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use super::*;

const DEADLINE: Duration = Duration::from_secs(1);
/// Longer than any machine needs to run a thread that is ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many threads of this process have that name.
fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let named = tasks.filter(|task| {
        let comm = std::fs::read_to_string(task.path().join("comm"));
        comm.is_ok_and(|comm| comm.trim() == name)
    });
    named.count()
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

/// Counts its calls, and answers with the count.
fn counting() -> Apart<u32> {
    let mut calls = 0;
    Apart::new("counting", PATIENCE, move || {
        calls += 1;
        calls
    })
}

#[test]
fn each_question_has_one_answer_and_without_a_question_there_is_none() {
    let mut reader = counting();
    assert_eq!(reader.take(), None);
    for call in 1..=3 {
        reader.ask();
        let answer = reader.take().unwrap();
        assert_eq!(answer.value, call);
        assert!(answer.at.elapsed() < PATIENCE);
    }
    assert_eq!(reader.take().map(|answer| answer.value), Some(3));
    assert_eq!(reader.trouble(), None);
}

#[test]
fn a_reader_that_blocks_for_ever_delays_nobody_and_says_since_when() {
    let (release, blocked) = mpsc::channel::<()>();
    let mut stuck = Apart::new("stuck-for-ever", DEADLINE, move || blocked.recv().is_ok());
    let mut other = counting();
    let begun = Instant::now();
    let mut shortest = PATIENCE;
    for round in 1..=50 {
        stuck.ask();
        other.ask();
        let waiting = Instant::now();
        assert_eq!(stuck.take(), None);
        if round > 1 {
            shortest = shortest.min(waiting.elapsed());
        }
        assert_eq!(other.take().map(|answer| answer.value), Some(round));
        assert_eq!(other.trouble(), None);
        assert_eq!(threads("stuck-for-ever"), 1, "in round {round}");
    }
    assert!(
        shortest < DEADLINE,
        "each round waited for it: {shortest:?}"
    );
    let Some(Trouble::Silent(since)) = stuck.trouble() else {
        panic!("not told: {:?}", stuck.trouble());
    };
    assert!((DEADLINE..=begun.elapsed()).contains(&since), "{since:?}");

    // It comes back by itself, with the same thread, which ends with its owner.
    release.send(()).unwrap();
    until("it answers", || stuck.trouble().is_none());
    assert_eq!(stuck.take().map(|answer| answer.value), Some(true));
    drop((stuck, release));
    until("its thread ends", || threads("stuck-for-ever") == 0);
}

#[test]
fn a_late_answer_is_used_in_the_next_round_with_its_own_time() {
    let (release, gate) = mpsc::channel::<u32>();
    let (asked, was_asked) = mpsc::channel();
    let mut slow = Apart::new("slow", DEADLINE, move || {
        let _ = asked.send(());
        gate.recv().unwrap_or(0)
    });
    let begun = Instant::now();
    slow.ask();
    was_asked.recv().unwrap();
    assert_eq!(slow.take(), None);
    let told = Instant::now();
    release.send(7).unwrap();
    until("it answers", || slow.trouble().is_none());
    // Asked again, but not waited for: it was late.
    slow.ask();
    let waiting = Instant::now();
    let answer = slow.take().unwrap();
    assert!(waiting.elapsed() < DEADLINE);
    assert_eq!(answer.value, 7);
    assert!((begun..told).contains(&answer.at));
}

#[test]
fn a_reader_that_panics_is_named_and_asked_again() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let mut broken = Apart::new("broken", PATIENCE, move || {
        let call = counted.fetch_add(1, Ordering::Relaxed);
        assert!(call != 1, "as this test wants it");
        call
    });
    let mut round = || {
        broken.ask();
        let value = broken.take().map(|answer| answer.value);
        (value, broken.trouble())
    };
    assert_eq!(round(), (Some(0), None));
    assert_eq!(round(), (Some(0), Some(Trouble::Panicked)));
    assert_eq!(round(), (Some(2), None));
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[test]
fn the_words_for_a_silence_change_seldom() {
    let words = |seconds| Trouble::Silent(Duration::from_secs(seconds)).to_string();
    assert_eq!(words(1), "hasn't answered in time");
    assert_eq!(words(9), words(1));
    assert_eq!(words(10), "hasn't answered for more than 10 seconds");
    assert_eq!(words(59), words(10));
    assert_eq!(words(90_000), "hasn't answered for more than a day");
}
