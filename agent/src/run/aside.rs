//! What the loop has done on other threads, because it may wait for a disk or a device,
//! or go wrong: one thing at a time that travels there and back, and is made anew where
//! it doesn't come back.
//!
//! Comes in: what to do with it. Goes out: an event of the loop in every case, and words
//! for what is wrong. Never waits.

use std::time::{Duration, Instant};

use starling_kept::Pauses;

use super::{Agent, Event};

/// Whatever is away for longer is told of: its disk or its device hangs.
const AWAY_MAX: Duration = Duration::from_secs(5);

/// Makes one anew.
type Make<T> = Box<dyn Fn() -> Result<T, String> + Send>;

/// Something that works on other threads, one after the other.
pub struct Aside<T> {
    here: Option<T>,
    away_since: Option<Instant>,
    /// Why the last one didn't come back, and how many in a row.
    failed: Option<(String, u32)>,
    again_at: Option<Instant>,
    pauses: Pauses,
    make: Make<T>,
}

impl<T> Aside<T> {
    pub fn new(first: T, make: Make<T>) -> Aside<T> {
        Aside {
            here: Some(first),
            away_since: None,
            failed: None,
            again_at: None,
            pauses: Pauses::default(),
            make,
        }
    }

    /// Sends it away; `None` while it is away, or is waited with after a failure.
    pub fn take(&mut self, now: Instant) -> Option<T> {
        if self.away_since.is_some() {
            return None;
        }
        if self.again_at.take_if(|at| *at <= now).is_some() {
            match (self.make)() {
                Ok(made) => self.here = Some(made),
                Err(why) => self.broke_off(why, now),
            }
        }
        let taken = self.here.take()?;
        self.away_since = Some(now);
        Some(taken)
    }

    pub fn back(&mut self, it: T) {
        self.here = Some(it);
        self.away_since = None;
        self.failed = None;
        self.pauses.reset();
    }

    /// It won't come back. Another one is made after a pause.
    pub fn broke_off(&mut self, why: String, now: Instant) {
        let times = self.failed.as_ref().map_or(1, |(_, times)| times + 1);
        self.failed = Some((why, times));
        self.away_since = None;
        self.again_at = Some(now + self.pauses.after_failure());
    }

    /// What is wrong with it.
    pub fn trouble(&self, now: Instant) -> Option<String> {
        let away = self
            .away_since
            .map(|at| now.saturating_duration_since(at))
            .filter(|away| *away > AWAY_MAX);
        if away.is_some() {
            // No count of seconds: a trouble that stays the same is told once.
            return Some(format!(
                "hasn't come to an end for more than {} s, perhaps because of a disk or a device \
                 that hangs",
                AWAY_MAX.as_secs()
            ));
        }
        let (why, times) = self.failed.as_ref()?;
        Some(match times {
            1 => format!("broke off and begins anew: {why}"),
            times => format!("broke off {times} times in a row and begins anew: {why}"),
        })
    }
}

impl Agent {
    /// Does `work` where it may block, and brings back what `done` makes of it, also
    /// where it broke off.
    pub(super) fn aside<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
        done: impl FnOnce(Result<R, String>) -> Event + Send + 'static,
    ) {
        let events = self.events.clone();
        tokio::spawn(async move {
            let result = run(work).await;
            // Refused only while the agent ends.
            let _ = events.send(done(result)).await;
        });
    }
}

async fn run<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting() -> Aside<u32> {
        let count = std::sync::atomic::AtomicU32::new(1);
        let next = move || Ok(count.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        Aside::new(0, Box::new(next))
    }

    #[tokio::test]
    async fn what_panics_is_told_made_anew_after_a_pause_and_goes_on() {
        let (mut aside, start) = (counting(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        let first = aside.take(start).unwrap();
        let broken = run(move || assert_eq!(first, 1, "a reader went wrong")).await;
        aside.broke_off(broken.unwrap_err(), start);
        let trouble = aside.trouble(start).unwrap();
        assert!(
            trouble.starts_with("broke off and begins anew: "),
            "{trouble}"
        );
        assert!(trouble.contains("a reader went wrong"), "{trouble}");
        assert_eq!(aside.take(start), None, "not at once");

        let second = aside.take(at(1)).unwrap();
        assert_eq!(second, 1, "another one");
        aside.broke_off("again".into(), at(1));
        assert_eq!(aside.take(at(2)), None, "later each time");
        let third = aside.take(at(3)).unwrap();
        aside.back(run(move || third).await.unwrap());
        assert_eq!(aside.trouble(at(3)), None);
        assert_eq!(aside.take(at(3)), Some(2));
    }

    #[test]
    fn what_does_not_come_back_is_told_and_no_other_takes_its_place() {
        let (mut aside, start) = (counting(), Instant::now());
        aside.take(start);
        let later = start + AWAY_MAX * 2;
        assert_eq!(aside.take(later), None);
        let trouble = aside.trouble(later).unwrap();
        assert!(trouble.starts_with("hasn't come to an end"), "{trouble}");
        aside.back(0);
        assert_eq!(aside.trouble(later), None);
    }

    #[test]
    fn one_that_cannot_be_made_is_tried_ever_more_seldom() {
        let mut aside = Aside::<u32>::new(0, Box::new(|| Err("no file".into())));
        let start = Instant::now();
        aside.take(start);
        aside.broke_off("it panicked".into(), start);
        let mut tries = 0;
        for s in 0..600 {
            let before = aside.failed.clone();
            assert_eq!(aside.take(start + Duration::from_secs(s)), None);
            tries += u32::from(aside.failed != before);
        }
        assert!((9..20).contains(&tries), "{tries} tries in ten minutes");
        let trouble = aside.trouble(start).unwrap();
        assert!(trouble.ends_with("no file"), "{trouble}");
    }
}
