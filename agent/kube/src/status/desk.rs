//! Which statuses are to be written now, so that an API server at rest is left alone.
//!
//! Comes in: what each object's status is and what it should be. Goes out: those to
//! write, each at most once at a time. What a person must see (a size, a condition
//! that flips) goes at once; counts of replicas wait their turn; measured values,
//! which change all the time, share a small budget. Never
//! does I/O.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use starling_engine::policy::Name;

use super::{Packed, Status};

/// Between two writes of one status for something that isn't urgent.
pub const SOON: Duration = Duration::from_secs(5);
/// Between two writes in the whole cluster for values and words alone: half a write
/// a second, however many policies there are.
pub const REFRESH: Duration = Duration::from_secs(2);
/// Between two such writes of one status.
pub const REFRESH_ONE: Duration = Duration::from_secs(15);
/// A write that failed is tried again after this long.
pub const RETRY: Duration = Duration::from_secs(5);
/// Writes at the same time; more wait.
pub const WRITES_MAX: usize = 8;
/// Writes that begin within any second, in the whole cluster; more wait. So 5,000 new
/// policies have their conditions after a minute or two, and a server that is slower
/// than that isn't pressed: it has [`WRITES_MAX`] of them to answer at a time.
pub const WRITES_A_SECOND: usize = 100;
const SECOND: Duration = Duration::from_secs(1);

/// How much a difference matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Nothing that matters differs. Words alone don't, but for why nothing can be
    /// computed: they tell ages, which change all the time.
    None,
    /// Values and reasons.
    Refresh,
    Soon,
    Now,
}

/// The writes that are under way or were made lately.
#[derive(Debug, Default)]
pub struct Desk {
    lines: BTreeMap<Name, Line>,
    writing: usize,
    /// When the newest writes began, at most [`WRITES_A_SECOND`].
    begun: VecDeque<Instant>,
    refreshed_at: Option<Instant>,
}

#[derive(Debug)]
struct Line {
    at: Instant,
    writing: bool,
    failed: bool,
    /// What was written, until the object shows it; `None` where it does already.
    written: Option<Packed>,
}

/// What a difference between two statuses is worth.
pub fn urgency(former: &Status, wanted: &Status) -> Urgency {
    if former == wanted {
        return Urgency::None;
    }
    let now = |status: &Status| {
        (
            status.observed_generation,
            status.min_replicas,
            status.max_replicas,
            status.size,
            status.last_grant.clone(),
            status.last_scale_time.clone(),
        )
    };
    let truths = |status: &Status| -> Vec<(String, String)> {
        let conditions = status.conditions.iter();
        conditions
            .map(|it| (it.kind.clone(), it.status.clone()))
            .collect()
    };
    let refused = |status: &Status| {
        let ready = status.condition("Ready");
        ready.map(|it| (it.reason.clone(), gist(&it.message)))
    };
    if now(former) != now(wanted)
        || truths(former) != truths(wanted)
        || refused(former) != refused(wanted)
    {
        return Urgency::Now;
    }
    let counts = |status: &Status| (status.current_replicas, status.desired_replicas);
    if counts(former) != counts(wanted) {
        return Urgency::Soon;
    }
    let values = |status: &Status| {
        let conditions = status.conditions.iter();
        let reasons: Vec<String> = conditions.map(|it| it.reason.clone()).collect();
        let failing = status.conditions.iter();
        let failing = failing.filter(|it| it.kind == "ScalingActive" && it.status == "False");
        let why: Vec<String> = failing.map(|it| gist(&it.message)).collect();
        (status.triggers.clone(), reasons, why)
    };
    if values(former) == values(wanted) {
        Urgency::None
    } else {
        Urgency::Refresh
    }
}

/// What a message says, without its numbers and without how long ago it was.
fn gist(message: &str) -> String {
    let said = message.split("; asked ").next().unwrap_or_default();
    said.chars().filter(|it| !it.is_ascii_digit()).collect()
}

impl Desk {
    /// What an object's status is, as far as this agent knows: what it wrote last
    /// goes before what the stream, which comes later, still shows.
    pub fn former(&self, name: &Name, shown: &Packed) -> Status {
        let line = self.lines.get(name);
        let written = line.and_then(|line| line.written.as_ref());
        written.unwrap_or(shown).status()
    }

    /// The object's stream shows this status now.
    pub fn shown(&mut self, name: &Name, status: &Packed) {
        if let Some(line) = self.lines.get_mut(name)
            && (line.written.as_ref() == Some(status) || !line.writing)
        {
            line.written = None;
        }
    }

    /// Whether the status is to be written now. Then [`Desk::done`] says what became
    /// of it.
    pub fn is_due(&mut self, name: &Name, former: &Status, wanted: &Status, now: Instant) -> bool {
        let urgency = urgency(former, wanted);
        if urgency == Urgency::None || self.is_full(now) {
            return false;
        }
        let line = self.lines.get(name);
        if line.is_some_and(|line| line.writing) {
            return false;
        }
        let since = line.map(|line| now.duration_since(line.at));
        let rested = |rest: Duration| since.is_none_or(|since| since >= rest);
        let failed = line.is_some_and(|line| line.failed);
        let due = match urgency {
            _ if failed && !rested(RETRY) => false,
            Urgency::None => false,
            Urgency::Now => true,
            Urgency::Soon => rested(SOON),
            Urgency::Refresh => {
                let since = self.refreshed_at.map(|at| now.duration_since(at));
                rested(REFRESH_ONE) && since.is_none_or(|since| since >= REFRESH)
            }
        };
        if due {
            if urgency == Urgency::Refresh {
                self.refreshed_at = Some(now);
            }
            self.writing += 1;
            self.begun.truncate(WRITES_A_SECOND - 1);
            self.begun.push_front(now);
            self.lines.insert(
                name.clone(),
                Line {
                    at: now,
                    writing: true,
                    failed: false,
                    written: None,
                },
            );
        }
        due
    }

    /// Whether no further write may begin now.
    pub fn is_full(&self, now: Instant) -> bool {
        let last = self.begun.get(WRITES_A_SECOND - 1);
        let pressed = last.is_some_and(|at| now.duration_since(*at) < SECOND);
        pressed || self.writing >= WRITES_MAX
    }

    /// A write ended; `Some` is what was written. `shown` is what the object's stream
    /// shows, which is often there before the answer.
    pub fn done(&mut self, name: &Name, written: Option<Packed>, shown: Option<&Packed>) {
        self.writing = self.writing.saturating_sub(1);
        if let Some(line) = self.lines.get_mut(name) {
            line.writing = false;
            line.failed = written.is_none();
            line.written = written.filter(|written| shown != Some(written));
        }
    }

    /// Forgets objects that are gone; a write that is under way still counts.
    pub fn retain(&mut self, there: impl Fn(&Name) -> bool) {
        self.lines.retain(|name, line| line.writing || there(name));
    }

    /// Whose turn it is, among those that differ in values and words alone: those
    /// that were written longest ago come first.
    pub fn age(&self, name: &Name, now: Instant) -> Duration {
        let line = self.lines.get(name);
        line.map_or(Duration::MAX, |line| now.duration_since(line.at))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Condition;
    use super::*;

    fn status(size: i64, running: i64, reason: &str) -> Status {
        Status {
            size: Some(size),
            current_replicas: Some(running),
            reason: Some(reason.to_owned()),
            conditions: vec![Condition {
                kind: "Ready".to_owned(),
                status: "True".to_owned(),
                ..Condition::default()
            }],
            ..Status::default()
        }
    }

    fn name(n: usize) -> Name {
        Name::new("shop", format!("web-{n}"))
    }

    #[test]
    fn another_reason_for_a_failure_is_written_and_the_same_one_later_is_not() {
        // A ScaledObject isn't ready then.
        for (kind, worth) in [("ScalingActive", Urgency::Refresh), ("Ready", Urgency::Now)] {
            let failing = |message: &str| {
                let mut status = status(3, 3, "");
                status.conditions = vec![Condition {
                    kind: kind.to_owned(),
                    status: "False".to_owned(),
                    reason: "FailedGetExternalMetric".to_owned(),
                    message: message.to_owned(),
                    ..Condition::default()
                }];
                status
            };
            let before = failing("queue failed 2 times in a row: may not read Secret a");
            let later =
                failing("queue failed 31 times in a row: may not read Secret a; asked 3 s ago");
            assert_eq!(urgency(&before, &later), Urgency::None);
            let other = failing("queue failed 2 times in a row: there is no Secret a");
            assert_eq!(urgency(&before, &other), worth);
        }
    }

    #[test]
    fn what_a_person_must_see_is_told_from_what_changes_all_the_time() {
        let before = status(3, 3, "cpu asks for 3 replicas: 61 %");
        assert_eq!(urgency(&before, &before), Urgency::None);
        let words = status(3, 3, "cpu asks for 3 replicas: 62 %");
        assert_eq!(urgency(&before, &words), Urgency::None);
        let values = Status {
            triggers: Some("cpu: 62 %/70 %".to_owned()),
            ..words
        };
        assert_eq!(urgency(&before, &values), Urgency::Refresh);
        assert_eq!(urgency(&before, &status(3, 2, "")), Urgency::Soon);
        assert_eq!(urgency(&before, &status(4, 3, "")), Urgency::Now);
        let mut flipped = before.clone();
        flipped.conditions[0].status = "False".to_owned();
        assert_eq!(urgency(&before, &flipped), Urgency::Now);
        let mut reworded = before.clone();
        reworded.conditions.push(Condition {
            kind: "AbleToScale".to_owned(),
            status: "True".to_owned(),
            reason: "ReadyForNewScale".to_owned(),
            ..Condition::default()
        });
        let mut stabilized = reworded.clone();
        stabilized.conditions[1].reason = "ScaleDownStabilized".to_owned();
        assert_eq!(urgency(&reworded, &stabilized), Urgency::Refresh);
    }

    #[test]
    fn a_packed_status_is_the_same_when_it_is_looked_at() {
        let status = status(3, 2, "\"quoted\"\nand more");
        assert_eq!(Packed::of(&status).status(), status);
        assert_eq!(Packed::default().status(), Status::default());
    }

    #[test]
    fn at_rest_nothing_is_written_and_noise_costs_half_a_write_a_second_in_all() {
        let (mut desk, start) = (Desk::default(), Instant::now());
        let quiet = status(3, 3, "a");
        let mut writes = 0;
        for second in 0..600 {
            let now = start + Duration::from_secs(second);
            for n in 0..1_000 {
                assert!(!desk.is_due(&name(n), &quiet, &quiet, now));
                let noisy = Status {
                    triggers: Some(format!("cpu: {second}")),
                    ..quiet.clone()
                };
                if desk.is_due(&name(n), &quiet, &noisy, now) {
                    writes += 1;
                    desk.done(&name(n), Some(Packed::of(&noisy)), None);
                }
            }
        }
        assert_eq!(writes, 300);
    }

    #[test]
    fn a_status_is_written_once_at_a_time_and_a_failed_write_rests() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        let (shown, wanted) = (status(3, 3, ""), status(4, 3, ""));
        assert!(desk.is_due(&name(1), &shown, &wanted, now));
        assert!(!desk.is_due(&name(1), &shown, &wanted, now), "under way");
        desk.done(&name(1), None, None);
        assert!(!desk.is_due(&name(1), &shown, &wanted, now), "it failed");
        let later = now + RETRY;
        assert!(desk.is_due(&name(1), &shown, &wanted, later));
        desk.done(
            &name(1),
            Some(Packed::of(&wanted)),
            Some(&Packed::of(&shown)),
        );
        // The stream still shows the old one.
        let former = desk.former(&name(1), &Packed::of(&shown));
        assert_eq!(former, wanted);
        assert!(!desk.is_due(&name(1), &former, &wanted, later));
        // Somebody else overwrites it: that is seen once the stream is up to date.
        desk.shown(&name(1), &Packed::of(&wanted));
        assert_eq!(desk.former(&name(1), &Packed::of(&shown)), shown);
        assert!(desk.is_due(&name(1), &shown, &wanted, later));
    }

    #[test]
    fn writes_are_bounded_at_any_time() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        let (shown, wanted) = (status(3, 3, ""), status(4, 3, ""));
        let due = (0..100).filter(|n| desk.is_due(&name(*n), &shown, &wanted, now));
        assert_eq!(due.count(), WRITES_MAX);
        desk.done(&name(0), Some(Packed::of(&wanted)), None);
        assert!(desk.is_due(&name(50), &shown, &wanted, now));
        assert!(!desk.is_due(&name(51), &shown, &wanted, now));
    }

    #[test]
    fn however_fast_the_server_answers_so_many_writes_begin_in_a_second() {
        let (mut desk, start) = (Desk::default(), Instant::now());
        let (shown, wanted) = (status(3, 3, ""), status(4, 3, ""));
        let mut begun = Vec::new();
        for ms in 0..3_000 {
            let (now, name) = (start + Duration::from_millis(ms), name(begun.len()));
            if desk.is_due(&name, &shown, &wanted, now) {
                desk.done(&name, Some(Packed::of(&wanted)), None);
                begun.push(now);
            }
        }
        assert_eq!(begun.len(), 3 * WRITES_A_SECOND);
        let apart = |pair: &[Instant]| pair[WRITES_A_SECOND].duration_since(pair[0]);
        let mut windows = begun.windows(WRITES_A_SECOND + 1);
        assert!(windows.all(|window| apart(window) >= SECOND));
    }

    #[test]
    fn a_status_that_the_stream_showed_before_the_write_was_answered_is_kept_once() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        let (shown, wanted) = (status(3, 3, ""), status(4, 3, ""));
        assert!(desk.is_due(&name(1), &shown, &wanted, now));
        let packed = Packed::of(&wanted);
        desk.shown(&name(1), &packed);
        desk.done(&name(1), Some(packed.clone()), Some(&packed));
        assert!(desk.lines[&name(1)].written.is_none());
        assert_eq!(desk.former(&name(1), &packed), wanted);
    }

    #[test]
    fn counts_of_replicas_wait_their_turn() {
        let (mut desk, now) = (Desk::default(), Instant::now());
        let (first, second) = (status(3, 1, ""), status(3, 2, ""));
        assert!(desk.is_due(&name(1), &status(3, 0, ""), &first, now));
        desk.done(&name(1), Some(Packed::of(&first)), None);
        assert!(!desk.is_due(&name(1), &first, &second, now));
        assert!(desk.is_due(&name(1), &first, &second, now + SOON));
    }
}
