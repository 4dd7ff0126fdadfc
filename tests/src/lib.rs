//! What the end-to-end tests share: the binary under test and its commands, workers and workloads
//! to size, and waiting for a condition with a deadline.

pub mod adapter;
pub mod command;
pub mod cost;
pub mod installed;
pub mod sizes;
pub mod sleepers;
pub mod workload;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Generous: two busy cores run all tests at once.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// The `starling` binary of the same build as the running test, or `STARLING_BINARY`.
///
/// # Panics
///
/// Where it hasn't been built; `cargo test --workspace` builds it.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("STARLING_BINARY") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().unwrap_or_default();
    let built = test
        .parent()
        .and_then(Path::parent)
        .map(|dir| dir.join("starling"));
    match built {
        Some(path) if path.is_file() => path,
        other => panic!("{other:?} is missing: run `cargo build` or `cargo test --workspace`"),
    }
}

/// Debian's libfaketime, which sets the clock of one process. Where it isn't installed,
/// its tests are left out.
///
/// # Panics
///
/// As [`leave_out`](starling_faults::leave_out).
pub fn faketime() -> Option<PathBuf> {
    let machines = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let mut paths = machines.map(|it| it.path().join("faketime/libfaketime.so.1"));
    let found = paths.find(|path| path.exists());
    if found.is_none() {
        starling_faults::leave_out("apt-get install faketime lets this test set clocks");
    }
    found
}

/// Looks again and again until `look` gives something.
///
/// # Panics
///
/// At the deadline, with what was waited for.
pub async fn until<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
