//! A Redis that asks for a password, in the clear and over TLS.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use starling_kubernetes_rig::shell;

use super::{Processes, free_ports};
use crate::DEADLINE;

const PROGRAM: &str = "/usr/bin/redis-server";
pub const PASSWORD: &str = "marigold";

pub struct Redis {
    pub processes: Processes,
    folder: TempDir,
    ports: [u16; 2],
}

impl Redis {
    /// Once it answers. Keeps what it is told over a stop. `tls` is a certificate and its
    /// key, as PEM texts.
    pub fn start(tls: Option<(&str, &str)>) -> Option<Redis> {
        let mut server = Redis {
            processes: Processes::default(),
            folder: tempfile::tempdir().unwrap(),
            ports: free_ports(),
        };
        let folder = server.folder.path();
        let [open, secure] = server.ports;
        let plain = format!(
            "bind 127.0.0.1\nport {open}\nrequirepass {PASSWORD}\ndir {}\nappendonly yes\n\
             appendfsync always\nsave \"\"\n",
            folder.display()
        );
        let tls = tls.map(|(certificate, key)| {
            let (cert, keys) = (folder.join("tls.crt"), folder.join("tls.key"));
            fs::write(&cert, certificate).unwrap();
            fs::write(&keys, key).unwrap();
            format!(
                "tls-port {secure}\ntls-cert-file {}\ntls-key-file {}\ntls-auth-clients no\n\
                 tls-ca-cert-file {}\n",
                cert.display(),
                keys.display(),
                cert.display()
            )
        });
        let tls = tls.unwrap_or_default();
        fs::write(folder.join("redis.conf"), format!("{plain}{tls}")).unwrap();
        server.resume().then_some(server)
    }

    /// Starts it again where it was stopped, with all that it had.
    pub fn resume(&mut self) -> bool {
        let mut command = Command::new(PROGRAM);
        command.arg(self.folder.path().join("redis.conf"));
        let runs = self.processes.start(&mut command, "redis-server");
        if runs {
            let answers = || self.attempt(&["PING"]);
            shell::until("Redis answers", DEADLINE, answers).unwrap();
        }
        runs
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// The name that the certificate is for, and the port.
    pub fn secure_address(&self) -> String {
        format!("localhost:{}", self.ports[1])
    }

    /// What it answers to a command.
    pub fn tell(&self, words: &[&str]) -> String {
        self.attempt(words).unwrap()
    }

    fn attempt(&self, words: &[&str]) -> Result<String, String> {
        let port = self.ports[0].to_string();
        let mut command = Command::new("redis-cli");
        command.args(["-e", "-h", "127.0.0.1", "-p", &port, "--no-auth-warning"]);
        command.args(["-a", PASSWORD]).args(words);
        shell::finish(&mut command, "", DEADLINE).map_err(|error| error.to_string())
    }
}
