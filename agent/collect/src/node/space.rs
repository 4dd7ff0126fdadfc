//! How full the file systems are that a node needs.
//!
//! Comes in: where the host's root is, if it can be seen. Goes out: capacity and
//! what is free of the root, of the kubelet's directory (`nodefs`) and of the
//! container runtime's (`imagefs`). Each is asked on a thread of its own, since
//! `statvfs` of a network file system whose server is away never returns.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::statvfs;
use starling_engine::demand::{self, Totals};

use super::Machine;
use crate::apart::Apart;
use crate::unread::Unread;

/// As the kubelet counts: what is free is what others than root may still write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub capacity_bytes: u64,
    pub free_bytes: u64,
    pub inodes: u64,
    pub inodes_free: u64,
}

/// `None` where the path doesn't exist.
type Answer = Result<Option<Space>, String>;

pub struct Meter {
    watched: Vec<Watched>,
    asked: Option<Instant>,
}

struct Watched {
    name: &'static str,
    /// It is an error that it doesn't exist.
    needed: bool,
    reader: Apart<Answer>,
}

/// `statvfs` asks a local file system's memory, which takes microseconds.
const DEADLINE: Duration = Duration::from_millis(50);
/// File systems fill over minutes, and kubelets look each ten seconds: each fourth of
/// samples a second apart is enough, and wakes these threads less often.
const ASK_EVERY: Duration = Duration::from_millis(3_500);
/// A last value that is older is left out.
const AGE_MAX: Duration = Duration::from_secs(10);

/// Where container runtimes keep images and containers; the first that exists.
const IMAGEFS: [&str; 3] = [
    "var/lib/containerd",
    "var/lib/containers/storage",
    "var/lib/docker",
];

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.watched.iter().map(|it| it.name);
        f.debug_list().entries(names).finish()
    }
}

impl Meter {
    /// Without the host's root this is a container that doesn't have it mounted.
    /// Then its own root lies where the runtime keeps containers, and the kubelet
    /// mounts `/etc/hosts` from its own directory.
    pub fn new(root: Option<&Path>) -> Meter {
        let below = |paths: &[&str]| -> Vec<PathBuf> {
            let root = root.unwrap_or(Path::new("/"));
            paths.iter().map(|path| root.join(path)).collect()
        };
        let watched = match root {
            Some(_) => vec![
                ("root", true, below(&[""])),
                ("nodefs", false, below(&["var/lib/kubelet"])),
                ("imagefs", false, below(&IMAGEFS)),
            ],
            None => vec![
                ("nodefs", true, below(&["etc/hosts"])),
                ("imagefs", true, below(&[""])),
            ],
        };
        let watched = watched.into_iter().map(|(name, needed, paths)| {
            let read = move || first(&paths);
            Watched::new(name, needed, DEADLINE, read)
        });
        Meter {
            watched: watched.collect(),
            asked: None,
        }
    }

    pub fn ask(&mut self) {
        self.ask_at(Instant::now());
    }

    fn ask_at(&mut self, now: Instant) {
        let since = self.asked.map(|at| now.saturating_duration_since(at));
        if since.is_some_and(|since| since < ASK_EVERY) {
            return;
        }
        self.asked = Some(now);
        for watched in &mut self.watched {
            watched.reader.ask();
        }
    }

    pub fn read(&mut self, totals: &mut Totals, machine: &mut Machine) {
        let now = Instant::now();
        for watched in &mut self.watched {
            watched.read(now, machine);
        }
        let spaces = machine.file_systems.values();
        // Of two that are equally full the larger one, whose numbers say more.
        if let Some(fullest) = spaces.max_by_key(|space| (space.used_ppm(), space.capacity_bytes)) {
            let capacity = fullest.capacity_bytes;
            totals.set(
                demand::DISK_SPACE,
                capacity.saturating_sub(fullest.free_bytes),
                Some(capacity),
            );
        }
    }
}

impl Watched {
    fn new(
        name: &'static str,
        needed: bool,
        deadline: Duration,
        read: impl FnMut() -> Answer + Send + 'static,
    ) -> Watched {
        Watched {
            name,
            needed,
            reader: Apart::new(&format!("space-{name}"), deadline, read),
        }
    }

    fn read(&mut self, now: Instant, machine: &mut Machine) {
        let what = format!("file system {}", self.name);
        let answer = self.reader.take();
        if let Some(trouble) = self.reader.trouble() {
            if let Some(since) = trouble.silence() {
                machine.silent.insert(what.clone(), since);
            }
            machine
                .unread
                .push(Unread::fault(&what, trouble.to_string()));
        }
        let recent = answer.filter(|it| now.saturating_duration_since(it.at) <= AGE_MAX);
        match recent.map(|it| it.value) {
            Some(Ok(Some(space))) => {
                machine.file_systems.insert(self.name, space);
            }
            Some(Ok(None)) if self.needed => {
                let why = "its directory doesn't exist; check --host-root";
                machine.unread.push(Unread::fault(what, why));
            }
            Some(Err(why)) => machine.unread.push(Unread::fault(what, why)),
            Some(Ok(None)) | None => {}
        }
    }
}

/// The first of these paths that exists.
fn first(paths: &[PathBuf]) -> Answer {
    for path in paths {
        match statvfs(path) {
            Ok(answer) => {
                let space = Space {
                    capacity_bytes: answer.f_blocks.saturating_mul(answer.f_frsize),
                    free_bytes: answer.f_bavail.saturating_mul(answer.f_frsize),
                    inodes: answer.f_files,
                    inodes_free: answer.f_favail,
                };
                // What isn't on a disk has no size.
                return Ok(Some(space).filter(|space| space.capacity_bytes > 0));
            }
            Err(e) => {
                let e = io::Error::from(e);
                if e.kind() != io::ErrorKind::NotFound {
                    return Err(format!("{} can't be asked: {e}", path.display()));
                }
            }
        }
    }
    Ok(None)
}

impl Space {
    /// Used parts in a million.
    fn used_ppm(&self) -> u64 {
        let used = u128::from(self.capacity_bytes.saturating_sub(self.free_bytes));
        (used * 1_000_000 / u128::from(self.capacity_bytes.max(1))) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn space(capacity: u64, free: u64) -> Space {
        Space {
            capacity_bytes: capacity * GIB,
            free_bytes: free * GIB,
            inodes: 1_000,
            inodes_free: 900,
        }
    }

    fn watched(name: &'static str, needed: bool, answer: Answer) -> Watched {
        Watched::new(name, needed, Duration::from_secs(20), move || {
            answer.clone()
        })
    }

    fn read(watched: Vec<Watched>) -> (Totals, Machine) {
        let mut meter = Meter {
            watched,
            asked: None,
        };
        let (mut totals, mut machine) = (Totals::default(), Machine::default());
        meter.ask();
        meter.read(&mut totals, &mut machine);
        (totals, machine)
    }

    #[test]
    fn the_fullest_file_system_is_what_the_node_tells() {
        let (totals, machine) = read(vec![
            watched("root", true, Ok(Some(space(1_000, 500)))),
            watched("nodefs", false, Ok(Some(space(100, 10)))),
            watched("imagefs", false, Ok(None)),
        ]);
        assert_eq!(totals.used(demand::DISK_SPACE), 90 * GIB);
        assert_eq!(totals.allocatable(demand::DISK_SPACE), 100 * GIB);
        let names: Vec<_> = machine.file_systems.into_keys().collect();
        assert_eq!(names, ["nodefs", "root"]);
        assert_eq!(machine.unread, []);
    }

    #[test]
    fn each_is_asked_each_fourth_second_and_told_of_each_second() {
        let asked = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counted = asked.clone();
        let read = move || {
            let times = counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(Some(space(100, 50 - times)))
        };
        let mut meter = Meter {
            watched: vec![Watched::new("root", true, Duration::from_secs(20), read)],
            asked: None,
        };
        let begin = Instant::now();
        let free: Vec<u64> = (0..9)
            .map(|second| {
                let (mut totals, mut machine) = (Totals::default(), Machine::default());
                meter.ask_at(begin + Duration::from_secs(second));
                meter.read(&mut totals, &mut machine);
                machine.file_systems["root"].free_bytes / GIB
            })
            .collect();
        assert_eq!(free, [50, 50, 50, 50, 49, 49, 49, 49, 48]);
    }

    #[test]
    fn one_that_hangs_is_named_and_the_others_are_read() {
        let (release, blocked) = mpsc::channel::<()>();
        let hangs = move || {
            let _ = blocked.recv();
            Ok(None)
        };
        let (totals, machine) = read(vec![
            Watched::new("imagefs", false, Duration::from_millis(10), hangs),
            watched("nodefs", false, Ok(Some(space(100, 40)))),
        ]);
        drop(release);
        assert_eq!(totals.used(demand::DISK_SPACE), 60 * GIB);
        let hung = Unread::fault("file system imagefs", "hasn't answered in time");
        assert_eq!(machine.unread, [hung]);
        assert!(machine.silent["file system imagefs"] >= Duration::from_millis(10));
    }

    #[test]
    fn the_last_value_of_one_that_hangs_is_used_for_a_while() {
        let (release, blocked) = mpsc::channel::<()>();
        let mut answers = 0;
        let mut hangs = Watched::new("nodefs", false, Duration::from_secs(20), move || {
            answers += 1;
            if answers > 1 {
                let _ = blocked.recv();
            }
            Ok(Some(space(100, 40)))
        });
        hangs.reader.ask();
        let answered = hangs.reader.take().unwrap().at;
        hangs.reader.ask();
        let mut known = |age: Duration| {
            let mut machine = Machine::default();
            hangs.reader.ask();
            hangs.read(answered + age, &mut machine);
            machine.file_systems.contains_key("nodefs")
        };
        assert!(known(AGE_MAX));
        assert!(!known(AGE_MAX + Duration::from_millis(1)));
        drop(release);
    }

    #[test]
    fn what_cannot_be_asked_is_named_and_never_zero() {
        let (totals, machine) = read(vec![
            watched("root", true, Ok(None)),
            watched("nodefs", false, Err("denied".into())),
        ]);
        assert!(totals.0.is_empty() && machine.file_systems.is_empty());
        let said: Vec<_> = machine.unread.iter().map(|it| it.why.as_str()).collect();
        let missing = "its directory doesn't exist; check --host-root";
        assert_eq!(said, [missing, "denied"]);
    }

    #[test]
    fn paths_are_tried_in_order_and_real_ones_have_a_size() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        assert_eq!(first(std::slice::from_ref(&missing)), Ok(None));
        let found = first(&[missing, dir.path().to_owned()]).unwrap().unwrap();
        assert!(found.capacity_bytes >= found.free_bytes && found.free_bytes > 0);
        let strange = first(&[PathBuf::from("/etc/hosts/below-a-file")]);
        assert!(strange.unwrap_err().contains("can't be asked"));
        // No disk behind it, so no size.
        assert_eq!(first(&[PathBuf::from("/proc")]), Ok(None));
    }
}
