//! How many files this process may have open: raised once at its start, and given
//! back to what it starts.
//!
//! Comes in: nothing but the limits that the process was started with. Goes out: the
//! former limit and the new one. Never raises the hard limit.

use std::sync::OnceLock;

use rustix::io;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

/// The limit before it was raised. It is one for the whole process.
static FORMER: OnceLock<Rlimit> = OnceLock::new();

/// The soft limit as it was and as it is; `None` stands for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raised {
    pub from: Option<u64>,
    pub to: Option<u64>,
}

/// Raises the soft limit to the hard one. Does nothing the second time.
pub fn raise() -> io::Result<Raised> {
    let now = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: now.maximum,
        maximum: now.maximum,
    };
    if now.current != most.current {
        setrlimit(Resource::Nofile, most)?;
        // Set already only where this was called before.
        let _ = FORMER.set(now);
    }
    Ok(Raised {
        from: now.current,
        to: most.current,
    })
}

/// A worker has the limit that the agent was started with, as if it had not been
/// raised: some programs close, or reserve memory for, every file that they may open.
pub(crate) fn give_back(pid: u32) {
    let (Some(former), Some(pid)) = (FORMER.get(), Pid::from_raw(pid as i32)) else {
        return;
    };
    // It has ended already.
    let _ = prlimit(Some(pid), Resource::Nofile, *former);
}
