//! Real servers of others, that sources ask: each started by a test, of Debian's package, in
//! a folder and at ports of its own.
//!
//! Where the package isn't installed the test is left out, and says so.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "what isn't there fails the test that looks for it"
)]

mod nats;
mod postgresql;
mod prometheus;
mod rabbitmq;
mod redis;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use starling_kubernetes_rig::shell;

pub use nats::Nats;
pub use postgresql::PostgreSql;
pub use prometheus::Prometheus;
pub use rabbitmq::RabbitMq;
pub use redis::Redis;

use crate::DEADLINE;

/// A server's processes, in a PID namespace of their own: all of them end with it.
struct Running(Child);

impl Running {
    /// `None`, said, where the program isn't installed or only root could start it so.
    fn start(command: &mut Command, package: &str) -> Option<Running> {
        let program = Path::new(command.get_program());
        let found = program.is_file();
        if !found || !rustix::process::geteuid().is_root() {
            let why = format!("as root, `apt-get install {package}` lets this test ask one");
            starling_faults::leave_out(&why);
            return None;
        }
        let mut apart = Command::new("unshare");
        apart.args(["--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--"]);
        apart.arg(program).args(command.get_args());
        let set = command.get_envs();
        apart.envs(set.filter_map(|(name, value)| Some((name, value?))));
        let quiet = apart.stdin(Stdio::null()).stdout(Stdio::null());
        Some(Running(quiet.stderr(Stdio::null()).spawn().unwrap()))
    }

    /// Has all of them stand still, or go on.
    fn signal(&self, signal: rustix::process::Signal) {
        let mut found = vec![self.0.id()];
        let mut next = 0;
        while let Some(parent) = found.get(next).copied() {
            next += 1;
            let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
            let children = children.unwrap_or_default();
            found.extend(
                children
                    .split_whitespace()
                    .filter_map(|id| id.parse::<u32>().ok()),
            );
        }
        for id in &found[1..] {
            let id = rustix::process::Pid::from_raw(id.cast_signed());
            // One that has ended meanwhile hears nothing.
            let _ = id.map(|id| rustix::process::kill_process(id, signal));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ports that nobody has now, each another one.
fn free_ports<const N: usize>() -> [u16; N] {
    let bound = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    bound.map(|it| it.local_addr().unwrap().port())
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
