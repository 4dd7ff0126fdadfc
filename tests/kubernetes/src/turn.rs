//! Whose turn it is among the tests on clusters of one process, however many threads run
//! them. Most keep to a cluster or to namespaces of their own, wait most of the time, and go
//! side by side; a test that breaks what others share, or holds times and measurements to a
//! bound, has the machine to itself. Says how long each test took, past the capture of its
//! output. It knows nothing of other processes.

use std::io::Write;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::assets;

/// Tests at work side by side; a further one waits. A cluster's start and each look at it
/// take a core for a moment, so more of them on two cores would wait for one another.
const BESIDE_MAX: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Beside,
    Alone,
    Last,
}

/// The tests of this process.
#[derive(Default)]
struct Tests {
    at_work: usize,
    /// The one that is at work wants no other beside it.
    alone: bool,
    /// Waiting, by kind.
    waiting: [usize; 3],
}

impl Tests {
    fn may_begin(&self, kind: Kind) -> bool {
        let [beside, alone, _] = self.waiting;
        match kind {
            Kind::Beside => self.at_work < BESIDE_MAX && !self.alone,
            // After all that go side by side, so that these find company.
            Kind::Alone => self.at_work == 0 && beside == 0,
            Kind::Last => self.at_work == 0 && beside == 0 && alone == 0,
        }
    }

    fn begin(&mut self, kind: Kind) {
        self.waiting[kind as usize] -= 1;
        self.at_work += 1;
        self.alone = kind != Kind::Beside;
    }

    fn end(&mut self) {
        self.at_work -= 1;
        self.alone = false;
    }
}

static TESTS: Mutex<Tests> = Mutex::new(Tests {
    at_work: 0,
    alone: false,
    waiting: [0; 3],
});
static ENDED: Condvar = Condvar::new();

/// A test's turn, until it is dropped.
#[must_use]
pub struct Turn {
    waited: Duration,
    since: Instant,
}

/// A turn beside other tests; `None` where tests on clusters are left out, which is said.
pub fn beside() -> Option<Turn> {
    take(Kind::Beside)
}

/// A turn with no other test at work.
pub fn alone() -> Option<Turn> {
    take(Kind::Alone)
}

/// The same, after all others that wait: for what leaves nothing that another could use.
pub fn last() -> Option<Turn> {
    take(Kind::Last)
}

fn take(kind: Kind) -> Option<Turn> {
    if assets::left_out() {
        return None;
    }
    let began = Instant::now();
    let mut tests = tests();
    tests.waiting[kind as usize] += 1;
    while !tests.may_begin(kind) {
        tests = ENDED.wait(tests).unwrap_or_else(PoisonError::into_inner);
    }
    tests.begin(kind);
    Some(Turn {
        waited: began.elapsed(),
        since: Instant::now(),
    })
}

impl Drop for Turn {
    fn drop(&mut self) {
        tests().end();
        ENDED.notify_all();
        let (took, waited) = (self.since.elapsed(), self.waited);
        say(&format!(
            "{:.1} s, after {:.1} s until its turn",
            took.as_secs_f32(),
            waited.as_secs_f32()
        ));
    }
}

/// Says something of the running test that is to be seen though it passes.
pub fn say(words: &str) {
    let thread = thread::current();
    let name = thread.name().unwrap_or("a test");
    // One that nobody can hear goes on all the same.
    let _ = writeln!(std::io::stderr(), "{name}: {words}");
}

fn tests() -> MutexGuard<'static, Tests> {
    TESTS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{BESIDE_MAX, Kind, Tests};

    /// Those that wait, each with its kind, and what has begun.
    fn begun(tests: &mut Tests, kinds: &[Kind]) -> Vec<Kind> {
        for kind in kinds {
            tests.waiting[*kind as usize] += 1;
        }
        let mut begun = Vec::new();
        for kind in kinds {
            if tests.may_begin(*kind) {
                tests.begin(*kind);
                begun.push(*kind);
            }
        }
        begun
    }

    #[test]
    fn some_go_side_by_side_and_the_next_waits() {
        let mut tests = Tests::default();
        let all = [Kind::Beside; BESIDE_MAX + 1];
        assert_eq!(begun(&mut tests, &all), [Kind::Beside; BESIDE_MAX]);
        tests.end();
        assert!(tests.may_begin(Kind::Beside));
    }

    #[test]
    fn one_that_is_alone_begins_after_all_others_and_lets_none_beside_it() {
        let mut tests = Tests::default();
        let all = [Kind::Last, Kind::Alone, Kind::Beside];
        assert_eq!(begun(&mut tests, &all), [Kind::Beside]);
        assert!(!tests.may_begin(Kind::Alone));
        tests.end();
        assert!(!tests.may_begin(Kind::Last));
        assert!(tests.may_begin(Kind::Alone));
        tests.begin(Kind::Alone);
        assert_eq!(begun(&mut tests, &[Kind::Beside, Kind::Alone]), []);
        tests.end();
        assert!(tests.may_begin(Kind::Beside) && !tests.may_begin(Kind::Alone));
    }

    #[test]
    fn the_last_begins_once_nobody_else_waits() {
        let mut tests = Tests::default();
        assert_eq!(begun(&mut tests, &[Kind::Last]), [Kind::Last]);
        tests.end();
        assert_eq!(begun(&mut tests, &[Kind::Alone, Kind::Last]), [Kind::Alone]);
        tests.end();
        assert!(tests.may_begin(Kind::Last));
    }
}
