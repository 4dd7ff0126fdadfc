//! Writers as processes: started, killed, stopped, and held to what they said.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::harness::{Authority, listen};
use crate::network::Network;
pub use crate::writer::State;
use crate::writer::{self, Home};

/// Generous: the machine may be busy with other things.
const PATIENCE: Duration = Duration::from_mins(2);
/// Where each has an address of its own.
const PORT: u16 = 7946;
const LINES_SHOWN: usize = 60;
const LOOK: Duration = Duration::from_millis(50);

/// How many times as often as usual the tests here break what they break.
pub fn rounds(usual: u32) -> u32 {
    let times = std::env::var("STARLING_ROUNDS").map_or(1, |times| times.parse().unwrap());
    usual * times
}

/// A seed of its own for each run that breaks things in an order of chance, or the one of
/// a run that is to be repeated.
pub fn seeded() -> StdRng {
    let seed =
        std::env::var("STARLING_SEED").map_or_else(|_| rand::random(), |s| s.parse().unwrap());
    println!("STARLING_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// What a process has said so far.
#[derive(Debug, Default)]
struct Said {
    found: Option<u64>,
    acknowledged: u64,
    /// Why it takes no part any more.
    wrong: Option<String>,
    /// When it came to act for the last time.
    leads: Option<Instant>,
    /// When a number was acknowledged last, and the longest time between two.
    last: Option<Instant>,
    gap: Duration,
}

/// A writer, whether it runs or not.
pub struct Writer {
    pub name: String,
    pub address: String,
    pub seeds: Vec<String>,
    pub unsynced: bool,
    pub unasked: bool,
    /// See [`writer::PROPOSERS`].
    pub proposers: usize,
    /// So many files it may have open at most, where that is stated.
    pub files_max: Option<u32>,
    /// The network namespace that it is in.
    room: Option<String>,
    home: Home,
    _dir: TempDir,
    running: Option<Running>,
    /// The last number that was acknowledged by any of its processes.
    acknowledged: u64,
}

struct Running {
    child: Child,
    said: Arc<Mutex<Said>>,
    states: Receiver<State>,
    reader: JoinHandle<()>,
}

impl Writer {
    /// The first of them founds; each knows all others as seeds.
    pub fn some(authority: &Authority, count: usize) -> Vec<Writer> {
        let mut writers: Vec<Writer> = (0..count)
            .map(|n| Writer::new(authority, &format!("w{n}")))
            .collect();
        let first = writers[0].address.clone();
        for writer in writers.iter_mut().skip(1) {
            writer.seeds = vec![first.clone()];
        }
        writers
    }

    /// The same, each in a place of its own on `network`.
    pub fn placed(authority: &Authority, network: &Network, count: usize) -> Vec<Writer> {
        let mut writers = Writer::some(authority, count);
        for (place, writer) in writers.iter_mut().enumerate() {
            writer.address = format!("{}:{PORT}", Network::address(place));
            writer.room = Some(network.room(place));
            if place > 0 {
                writer.seeds = vec![format!("{}:{PORT}", Network::address(0))];
            }
        }
        writers
    }

    pub fn new(authority: &Authority, name: &str) -> Writer {
        let dir = TempDir::new().unwrap();
        let home = Home(dir.path().to_owned());
        home.put(&authority.sign(&["peer.starling", name]));
        Writer {
            name: name.to_owned(),
            address: listen().local_addr().unwrap().to_string(),
            seeds: Vec::new(),
            unsynced: false,
            unasked: false,
            proposers: 0,
            files_max: None,
            room: None,
            home,
            _dir: dir,
            running: None,
            acknowledged: 0,
        }
    }

    pub fn data(&self) -> std::path::PathBuf {
        self.home.data()
    }

    /// How often its agents have stood for election, as they told.
    pub fn stood(&self) -> usize {
        let told = std::fs::read_to_string(self.home.log()).unwrap();
        told.matches("standing for election").count()
    }

    /// The end of what its agents told.
    pub fn told(&self) -> String {
        let told = std::fs::read_to_string(self.home.log()).unwrap_or_default();
        let lines: Vec<&str> = told.lines().collect();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    }

    pub fn home(&self) -> &Path {
        &self.home.0
    }

    /// The highest number that is known to be committed.
    pub fn acknowledged(&self) -> u64 {
        let running = self
            .running
            .as_ref()
            .map_or(0, |running| running.said().acknowledged);
        self.acknowledged.max(running)
    }

    pub fn runs(&self) -> bool {
        self.running.is_some()
    }

    pub fn start(&mut self) {
        assert!(self.running.is_none(), "{} runs", self.name);
        let program = std::env::current_exe().unwrap();
        let mut command = match &self.room {
            Some(room) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", room]).arg(program);
                command
            }
            None => Command::new(program),
        };
        if let Some(files) = self.files_max {
            let inner = std::mem::replace(&mut command, Command::new("prlimit"));
            command.arg(format!("--nofile={files}:{files}"));
            command.arg(inner.get_program()).args(inner.get_args());
        }
        command
            .args(["--ignored", "--exact", "writer::writer", "--nocapture"])
            .env(writer::HOME, self.home())
            .env(writer::NAME, &self.name)
            .env(writer::ADDRESS, &self.address)
            .env(writer::SEEDS, self.seeds.join(","))
            .env(writer::PROPOSERS, self.proposers.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if self.unsynced {
            command.env(writer::UNSYNCED, "1");
        }
        if self.unasked {
            command.env(writer::UNASKED, "1");
        }
        let mut child = command.spawn().unwrap();
        let said = Arc::<Mutex<Said>>::default();
        let (sender, states) = mpsc::channel();
        let (out, noted) = (child.stdout.take().unwrap(), said.clone());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let Ok(line) = line else { return };
                let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
                let mut said = noted.lock().unwrap_or_else(PoisonError::into_inner);
                match word {
                    "found" => said.found = rest.parse().ok(),
                    "acknowledged" => {
                        said.acknowledged = rest.parse().unwrap();
                        let now = Instant::now();
                        let gap = said.last.map_or(Duration::ZERO, |last| now - last);
                        said.gap = said.gap.max(gap);
                        said.last = Some(now);
                    }
                    "leads" => said.leads = Some(Instant::now()),
                    "ended" => said.wrong = Some(line),
                    "state" => {
                        let _ = sender.send(State::heard(rest).unwrap());
                    }
                    // The test runner's.
                    _ => {}
                }
            }
        });
        self.running = Some(Running {
            child,
            said,
            states,
            reader,
        });
    }

    /// Waits until it takes part and has said what it found: all that was acknowledged,
    /// and nothing that was never written.
    pub fn await_found(&mut self) {
        let found = self
            .found_or_gone(PATIENCE)
            .unwrap_or_else(|why| panic!("{}: {why}\n{}", self.name, self.told()));
        let last = self.acknowledged;
        // What was under way when it ended may have come through.
        assert!(
            found == last || found == last + 1,
            "{} was told of {last}, and found {found}",
            self.name
        );
    }

    /// The same, without judging.
    pub fn found_or_gone(&mut self, patience: Duration) -> Result<u64, String> {
        let begin = Instant::now();
        loop {
            let running = self.running.as_mut().unwrap();
            let said = running.said();
            if let Some(found) = said.found {
                return Ok(found);
            }
            if let Some(why) = &said.wrong {
                return Err(why.clone());
            }
            drop(said);
            if let Some(status) = running.child.try_wait().unwrap() {
                return Err(format!("its process ended: {status}"));
            }
            if begin.elapsed() > patience {
                return Err("it never took part".into());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Its disk is lost; where it `moves`, so is its machine, and another one comes
    /// at another address.
    pub fn wipe(&mut self, moves: bool) {
        self.kill();
        std::fs::remove_dir_all(self.data()).unwrap();
        if moves {
            self.address = listen().local_addr().unwrap().to_string();
        }
    }

    /// Where it runs.
    fn signal(&self, signal: Signal) {
        let Some(running) = &self.running else {
            return;
        };
        let pid = Pid::from_child(&running.child);
        kill_process(pid, signal).unwrap();
    }

    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGKILL. What it said before counts.
    pub fn kill(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        running.child.kill().unwrap();
        running.child.wait().unwrap();
        running.reader.join().unwrap();
        let said = running.said.lock().unwrap_or_else(PoisonError::into_inner);
        self.acknowledged = self
            .acknowledged
            .max(said.acknowledged)
            .max(said.found.unwrap_or(0));
    }

    /// When it came to act for the last time.
    pub fn leads(&self) -> Option<Instant> {
        self.running.as_ref()?.said().leads
    }

    /// The longest time between two acknowledgements since it was last asked.
    pub fn gap(&self) -> Duration {
        let Some(running) = &self.running else {
            return Duration::ZERO;
        };
        std::mem::take(&mut running.said().gap)
    }

    /// Why it takes no part any more, where it said so.
    pub fn wrong(&self) -> Option<String> {
        self.running.as_ref()?.said().wrong.clone()
    }

    pub fn tell(&mut self, word: &str) {
        let running = self.running.as_mut().unwrap();
        let stdin = running.child.stdin.as_mut().unwrap();
        let _ = writeln!(stdin, "{word}");
    }

    pub fn state(&mut self) -> Option<State> {
        self.tell("state");
        self.running
            .as_ref()?
            .states
            .recv_timeout(Duration::from_secs(5))
            .ok()
    }
}

impl Running {
    fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until `look` finds something.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let begin = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) => assert!(
                begin.elapsed() < PATIENCE,
                "waited too long until {what}: {why}"
            ),
        }
        std::thread::sleep(LOOK);
    }
}

pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    eventually(what, || {
        is_so().then_some(()).ok_or_else(|| "not yet".into())
    });
}

/// Lets all of them rest, and waits until they hold the same ledger, with all that was
/// acknowledged; gives what one of them sees.
pub fn agree(writers: &mut [Writer]) -> State {
    for writer in writers.iter_mut() {
        writer.tell("rest");
    }
    eventually(
        "all have the same ledger, with all that was acknowledged",
        || {
            let states: Vec<State> = writers.iter_mut().filter_map(Writer::state).collect();
            let ledger = |state: &State| (state.index, state.digest.clone());
            if states.len() != writers.len()
                || states.iter().any(|s| ledger(s) != ledger(&states[0]))
            {
                return Err(format!("{states:?}"));
            }
            let seen = &states[0];
            // What is under way when they are told to rest may still come, and is looked at
            // again then; what is lost never comes.
            for writer in writers.iter() {
                let (held, last) = (seen.numbers.get(&writer.name), writer.acknowledged());
                if held.copied().unwrap_or(0) < last {
                    return Err(format!("{} was told of {last}: {seen:?}", writer.name));
                }
            }
            Ok(seen.clone())
        },
    )
}

/// A number of milliseconds out of `range`.
pub fn pause(random: &mut StdRng, range: std::ops::Range<u64>) {
    std::thread::sleep(Duration::from_millis(random.random_range(range)));
}
