//! A reader on a thread of its own, so that one that blocks delays nobody else.
//!
//! Comes in: a function that reads, and how long it may take. Goes out: what it
//! read last, with the time, and since when it is silent. There is one thread for
//! each reader: while it is stuck no other one is started, and nobody waits for it
//! a second time. Its owner is never stopped; a stuck thread ends when its read does.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One reader. Once in a round it is asked, and its answer is taken at the end of
/// the round, so that several read at the same time.
pub struct Apart<A> {
    name: String,
    deadline: Duration,
    shared: Arc<Shared<A>>,
    started: bool,
    /// Why there is no thread.
    threadless: Option<String>,
    /// The reader was asked in this round, and is worth waiting for.
    awaited: bool,
}

/// What was read, and when the reading began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<A> {
    pub value: A,
    pub at: Instant,
}

/// Why the last answer isn't a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Asked so long ago, and not done.
    Silent(Duration),
    /// The reader is broken; it is asked again all the same.
    Panicked,
    /// The system gives no thread; tried again with each question.
    NoThread(String),
}

impl Trouble {
    pub fn silence(&self) -> Option<Duration> {
        match self {
            Trouble::Silent(since) => Some(*since),
            Trouble::Panicked | Trouble::NoThread(_) => None,
        }
    }
}

impl fmt::Display for Trouble {
    /// In steps, so that words that are compared with the last ones change seldom.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Silent(since) => {
                let steps = ["10 seconds", "a minute", "ten minutes", "an hour", "a day"];
                let seconds = [10, 60, 600, 3_600, 86_400];
                let reached = seconds.iter().filter(|step| since.as_secs() >= **step);
                match reached.count().checked_sub(1).map(|at| steps[at]) {
                    Some(step) => write!(f, "hasn't answered for more than {step}"),
                    None => f.write_str("hasn't answered in time"),
                }
            }
            Trouble::Panicked => f.write_str("its reader has a defect; the log has the panic"),
            Trouble::NoThread(why) => write!(f, "no thread can be started for it: {why}"),
        }
    }
}

struct Shared<A> {
    /// Its thread's alone.
    reader: Mutex<Box<dyn FnMut() -> A + Send>>,
    state: Mutex<State<A>>,
    changed: Condvar,
}

struct State<A> {
    /// Since when the present question is open.
    asked: Option<Instant>,
    answer: Option<Answer<A>>,
    panicked: bool,
    /// The last answer took longer than it may.
    late: bool,
    /// Nobody asks any more.
    closed: bool,
}

impl<A> Shared<A> {
    fn lock(&self) -> MutexGuard<'_, State<A>> {
        // No code that may panic runs with the lock held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A> fmt::Debug for Apart<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apart")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<A: Clone + Send + 'static> Apart<A> {
    /// `name` is the thread's, of which Linux keeps 15 bytes. An answer that takes
    /// longer than `deadline` isn't waited for.
    pub fn new(
        name: &str,
        deadline: Duration,
        read: impl FnMut() -> A + Send + 'static,
    ) -> Apart<A> {
        let state = State {
            asked: None,
            answer: None,
            panicked: false,
            late: false,
            closed: false,
        };
        Apart {
            name: name.to_owned(),
            deadline,
            shared: Arc::new(Shared {
                reader: Mutex::new(Box::new(read)),
                state: Mutex::new(state),
                changed: Condvar::new(),
            }),
            started: false,
            threadless: None,
            awaited: false,
        }
    }

    /// Asks for a new reading, unless the last question is still open.
    pub fn ask(&mut self) {
        self.start();
        let mut state = self.shared.lock();
        let asks = self.started && state.asked.is_none();
        self.awaited = asks && !state.late;
        if asks {
            state.asked = Some(Instant::now());
            self.shared.changed.notify_all();
        }
    }

    /// The newest answer. Waits for the one that was asked for in this round, until
    /// the deadline at most; not for a reader whose last answer was late, too.
    pub fn take(&mut self) -> Option<Answer<A>> {
        let mut state = self.shared.lock();
        while let Some(asked) = state.asked.filter(|_| self.awaited) {
            let Some(left) = self.deadline.checked_sub(asked.elapsed()) else {
                break;
            };
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        self.awaited = false;
        state.answer.clone()
    }

    pub fn trouble(&self) -> Option<Trouble> {
        if let Some(why) = &self.threadless {
            return Some(Trouble::NoThread(why.clone()));
        }
        let state = self.shared.lock();
        let silent = state.asked.map(|asked| asked.elapsed());
        match silent.filter(|silent| *silent >= self.deadline) {
            Some(silent) => Some(Trouble::Silent(silent)),
            None => state.panicked.then_some(Trouble::Panicked),
        }
    }

    fn start(&mut self) {
        if self.started {
            return;
        }
        let (shared, deadline) = (self.shared.clone(), self.deadline);
        let thread = std::thread::Builder::new().name(self.name.clone());
        let spawned = thread.spawn(move || answer(&shared, deadline));
        self.started = spawned.is_ok();
        self.threadless = spawned.err().map(|e| e.to_string());
    }
}

impl<A> Drop for Apart<A> {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

/// The thread: one answer for each question, until nobody asks any more.
fn answer<A>(shared: &Shared<A>, deadline: Duration) {
    let mut read = (shared.reader.lock()).unwrap_or_else(PoisonError::into_inner);
    let mut state = shared.lock();
    loop {
        while state.asked.is_none() && !state.closed {
            let woken = shared.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return;
        }
        drop(state);
        let at = Instant::now();
        // What a reader kept may be half done then; it reads all of it anew.
        let value = catch_unwind(AssertUnwindSafe(&mut *read));
        state = shared.lock();
        // As whoever asked saw it: a thread may begin late, too.
        let asked = state.asked.take();
        state.late = asked.is_some_and(|asked| asked.elapsed() > deadline);
        state.panicked = value.is_err();
        if let Ok(value) = value {
            state.answer = Some(Answer { value, at });
        }
        shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
