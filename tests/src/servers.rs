//! Real servers of others, that sources ask: each started by a test, of Debian's package, in
//! a folder and at ports of its own.
//!
//! Where the package isn't installed the test is left out, and says so.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "what isn't there fails the test that looks for it"
)]

mod external;
mod kafka;
mod mariadb;
mod nats;
mod postgresql;
mod prometheus;
mod rabbitmq;
mod redis;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use starling_kubernetes_rig::shell;

pub use external::External;
pub use kafka::{Kafka, Way};
pub use mariadb::MariaDb;
pub use nats::Nats;
pub use postgresql::PostgreSql;
pub use prometheus::Prometheus;
pub use rabbitmq::RabbitMq;
pub use redis::{Redis, RedisCluster, Watched};

/// A busy machine takes a minute to start a server in Java.
const DEADLINE: Duration = Duration::from_mins(3);

/// A server's processes, while they run, in a PID namespace of their own: all of them end
/// with this.
#[derive(Default)]
pub struct Processes(Option<Child>);

impl Processes {
    /// `false`, said, where it can't be.
    fn start(&mut self, command: &mut Command, package: &str) -> bool {
        let program = Path::new(command.get_program());
        if !is_startable(program, package) {
            return false;
        }
        let mut apart = Command::new("unshare");
        apart.args(["--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--"]);
        apart.arg(program).args(command.get_args());
        let set = command.get_envs();
        apart.envs(set.filter_map(|(name, value)| Some((name, value?))));
        let quiet = apart.stdin(Stdio::null()).stdout(Stdio::null());
        self.0 = Some(quiet.stderr(Stdio::null()).spawn().unwrap());
        true
    }

    /// They are killed, and gone with all that they held.
    pub fn stop(&mut self) {
        let first = self.all().into_iter().nth(1);
        if let Some(mut child) = self.0.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
        // The first of a namespace ends as the last one, and its threads one by one.
        let ended = || {
            let Some(id) = first else { return Ok(()) };
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            let threads = fs::read_dir(format!("/proc/{id}/task")).map_or(0, Iterator::count);
            let over = stat.is_empty() || (stat.contains(") Z ") && threads <= 1);
            if over { Ok(()) } else { Err(stat) }
        };
        let ended = shell::until("a server has ended", DEADLINE, ended);
        // What has failed already is told.
        assert!(ended.is_ok() || std::thread::panicking(), "{ended:?}");
    }

    /// All of them stand still; with `false` they go on.
    pub fn hang(&self, hangs: bool) {
        let signal = if hangs { Signal::STOP } else { Signal::CONT };
        for id in self.all().into_iter().skip(1) {
            let id = Pid::from_raw(id.cast_signed());
            // One that has ended meanwhile hears nothing.
            let _ = id.map(|id| kill_process(id, signal));
        }
    }

    /// By process number; whoever has made the namespace comes first, and the first process
    /// in it second.
    fn all(&self) -> Vec<u32> {
        let mut found: Vec<u32> = self.0.iter().map(Child::id).collect();
        let mut next = 0;
        while let Some(parent) = found.get(next).copied() {
            next += 1;
            let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
            let children = children.unwrap_or_default();
            let ids = children.split_whitespace();
            found.extend(ids.filter_map(|id| id.parse::<u32>().ok()));
        }
        found
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Not where the program isn't installed, or without root; says so then.
fn is_startable(program: &Path, package: &str) -> bool {
    let startable = program.is_file() && rustix::process::geteuid().is_root();
    if !startable {
        let why = format!("as root, `apt-get install {package}` lets this test ask one");
        starling_faults::leave_out(&why);
    }
    startable
}

/// A program of one that refuses to be root's.
fn as_owner(owner: &str, program: &Path) -> Command {
    let mut command = Command::new("/usr/sbin/runuser");
    command.args(["-u", owner, "--"]).arg(program);
    command
}

/// Gives it to one of this machine's users.
fn own(path: &Path, owner: &str) {
    let id = |flag: &str| -> Option<u32> {
        let mut id = Command::new("id");
        let said = shell::finish(id.args([flag, owner]), "", DEADLINE).ok()?;
        said.trim().parse().ok()
    };
    chown(path, id("-u"), id("-g")).unwrap();
}

/// The same, and nobody else may read it.
fn own_alone(path: &Path, owner: &str) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    own(path, owner);
}

/// Ports that nobody has now, each another one, and none that the system gives to others
/// before the server has it.
fn free_ports<const N: usize>() -> [u16; N] {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 10_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = (std::process::id() % u32::from(COUNT)) as u16;
    [(); N].map(|()| {
        loop {
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            let port = FIRST + own.wrapping_add(next) % COUNT;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                break port;
            }
        }
    })
}

/// What a server answers over HTTP; an error where it doesn't, or says that it can't.
fn curl(words: &[&str]) -> Result<String, String> {
    let mut command = Command::new("curl");
    command.args(["-sSf", "--max-time", "10"]).args(words);
    shell::finish(&mut command, "", DEADLINE).map_err(|error| error.to_string())
}

/// Until it answers.
fn await_ready(what: &str, words: &[&str]) {
    shell::until(what, DEADLINE, || curl(words)).unwrap();
}
