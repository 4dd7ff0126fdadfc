//! A PostgreSQL that asks for a password, in the clear and over TLS.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use starling_kubernetes_rig::shell;
use tempfile::TempDir;

use super::{Processes, as_owner, free_ports, is_startable, own, own_alone};
use crate::servers::DEADLINE;

/// Debian's, a folder for each version.
const PROGRAMS: &str = "/usr/lib/postgresql";
const PACKAGE: &str = "postgresql";
/// Which it refuses to be root for.
const OWNER: &str = "postgres";
pub const PASSWORD: &str = "p@/s";

pub struct PostgreSql {
    pub processes: Processes,
    folder: TempDir,
    programs: PathBuf,
    port: u16,
}

impl PostgreSql {
    /// Once it answers. `tls` is a certificate and its key, as PEM texts.
    pub fn start(tls: (&str, &str)) -> Option<PostgreSql> {
        let versions = fs::read_dir(PROGRAMS).into_iter().flatten().flatten();
        let programs = versions.map(|it| it.path().join("bin"));
        let [port] = free_ports();
        let mut server = PostgreSql {
            processes: Processes::default(),
            folder: tempfile::tempdir().unwrap(),
            programs: programs.max().unwrap_or_else(|| PROGRAMS.into()),
            port,
        };
        if !is_startable(&server.programs.join("postgres"), PACKAGE) {
            return None;
        }
        server.prepare(tls);
        server.resume().then_some(server)
    }

    fn prepare(&self, (certificate, key): (&str, &str)) {
        let folder = self.folder.path();
        for (name, text) in [
            ("tls.crt", certificate),
            ("tls.key", key),
            ("word", PASSWORD),
        ] {
            fs::write(folder.join(name), text).unwrap();
            own_alone(&folder.join(name), OWNER);
        }
        own(folder, OWNER);
        let mut init = as_owner(OWNER, &self.programs.join("initdb"));
        init.arg("-D").arg(folder.join("data"));
        init.args(["--username=ann", "--auth=scram-sha-256", "--no-sync"]);
        init.arg(format!("--pwfile={}", folder.join("word").display()));
        shell::finish(&mut init, "", DEADLINE).unwrap();
    }

    /// Starts it again where it was stopped, with all that it had.
    pub fn resume(&mut self) -> bool {
        let folder = self.folder.path().display();
        // That of a killed one names a process whose number another one may have now.
        let _ = fs::remove_file(self.folder.path().join("data/postmaster.pid"));
        let mut command = as_owner(OWNER, &self.programs.join("postgres"));
        command.arg("-D").arg(self.folder.path().join("data"));
        for setting in [
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={folder}"),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={folder}/tls.crt"),
            format!("ssl_key_file={folder}/tls.key"),
        ] {
            command.args(["-c", &setting]);
        }
        let runs = self.processes.start(&mut command, PACKAGE);
        if runs {
            let answers = || self.attempt("SELECT 1");
            shell::until("PostgreSQL answers", DEADLINE, answers).unwrap();
        }
        runs
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it answers.
    pub fn tell(&self, statement: &str) -> String {
        self.attempt(statement).unwrap()
    }

    fn attempt(&self, statement: &str) -> Result<String, String> {
        let port = self.port.to_string();
        let mut command = Command::new(self.programs.join("psql"));
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            "ann",
            "-d",
            "postgres",
        ]);
        command.args(["-v", "ON_ERROR_STOP=1", "-Atqc", statement]);
        command.env("PGPASSWORD", PASSWORD);
        shell::finish(&mut command, "", DEADLINE).map_err(|error| error.to_string())
    }
}
