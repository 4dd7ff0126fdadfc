//! A MariaDB that asks for a password, in the clear and over TLS.

use std::fs;
use std::path::Path;
use std::process::Command;

use starling_kubernetes_rig::shell;
use tempfile::TempDir;

use super::{Processes, as_owner, free_ports, is_startable, own, own_alone};
use crate::servers::DEADLINE;

const PROGRAM: &str = "/usr/sbin/mariadbd";
const PACKAGE: &str = "mariadb-server";
/// Which it refuses to be root for.
const OWNER: &str = "mysql";
pub const PASSWORD: &str = "p@/s";

pub struct MariaDb {
    pub processes: Processes,
    folder: TempDir,
    port: u16,
}

impl MariaDb {
    /// Once it answers. `tls` is a certificate and its key, as PEM texts.
    pub fn start(tls: (&str, &str)) -> Option<MariaDb> {
        if !is_startable(Path::new(PROGRAM), PACKAGE) {
            return None;
        }
        let [port] = free_ports();
        let mut server = MariaDb {
            processes: Processes::default(),
            folder: tempfile::tempdir().unwrap(),
            port,
        };
        server.prepare(tls);
        if !server.resume() {
            return None;
        }
        server.tell(&format!(
            "CREATE DATABASE shop; GRANT ALL ON shop.* TO ann@'%' IDENTIFIED BY '{PASSWORD}'"
        ));
        Some(server)
    }

    fn prepare(&self, (certificate, key): (&str, &str)) {
        let folder = self.folder.path();
        for (name, text) in [("tls.crt", certificate), ("tls.key", key)] {
            fs::write(folder.join(name), text).unwrap();
            own_alone(&folder.join(name), OWNER);
        }
        own(folder, OWNER);
        let mut install = self.program("/usr/bin/mariadb-install-db");
        install.args(["--skip-test-db", "--auth-root-authentication-method=normal"]);
        install.arg(format!("--datadir={}", folder.join("data").display()));
        shell::finish(&mut install, "", DEADLINE).unwrap();
    }

    /// One that begins by removing what others of the same number, as each has in its PID
    /// namespace, have left in its folder for temporary tables: they have each another one.
    fn program(&self, path: &str) -> Command {
        let mut command = as_owner(OWNER, Path::new(path));
        command.env("TMPDIR", self.folder.path());
        command.arg("--no-defaults");
        command
    }

    /// Starts it again where it was stopped, with all that it had.
    pub fn resume(&mut self) -> bool {
        let folder = self.folder.path().display();
        let mut command = self.program(PROGRAM);
        for setting in [
            format!("datadir={folder}/data"),
            format!("socket={folder}/socket"),
            format!("pid-file={folder}/pid"),
            format!("port={}", self.port),
            "bind-address=127.0.0.1".to_owned(),
            "skip-name-resolve".to_owned(),
            "innodb-buffer-pool-size=16M".to_owned(),
            format!("ssl-cert={folder}/tls.crt"),
            format!("ssl-key={folder}/tls.key"),
        ] {
            command.arg(format!("--{setting}"));
        }
        let runs = self.processes.start(&mut command, PACKAGE);
        if runs {
            let answers = || self.attempt("SELECT 1");
            shell::until("MariaDB answers", DEADLINE, answers).unwrap();
        }
        runs
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it answers to its own root, who has no password on this machine.
    pub fn tell(&self, statement: &str) -> String {
        self.attempt(statement).unwrap()
    }

    fn attempt(&self, statement: &str) -> Result<String, String> {
        let mut command = Command::new("mariadb");
        command.args([
            "--no-defaults",
            "--user=root",
            "--batch",
            "--skip-column-names",
        ]);
        command.arg(format!("--socket={}/socket", self.folder.path().display()));
        command.args(["--execute", statement]);
        shell::finish(&mut command, "", DEADLINE).map_err(|error| error.to_string())
    }
}
