//! A NATS with JetStream.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use tempfile::TempDir;

use super::{Processes, await_ready, free_ports};
use crate::servers::DEADLINE;

const PROGRAM: &str = "/usr/sbin/nats-server";

pub struct Nats {
    pub processes: Processes,
    folder: TempDir,
    ports: [u16; 2],
}

impl Nats {
    /// Once it answers.
    pub fn start() -> Option<Nats> {
        let mut server = Nats {
            processes: Processes::default(),
            folder: tempfile::tempdir().unwrap(),
            ports: free_ports(),
        };
        let [clients, monitor] = server.ports;
        let folder = server.folder.path();
        let config = format!(
            "listen: 127.0.0.1:{clients}\nhttp: 127.0.0.1:{monitor}\n\
             jetstream {{store_dir: '{}'}}\n",
            folder.join("data").display()
        );
        fs::write(folder.join("nats.conf"), config).unwrap();
        server.resume().then_some(server)
    }

    /// Starts it again where it was stopped, with all that it had.
    pub fn resume(&mut self) -> bool {
        let mut command = Command::new(PROGRAM);
        command.arg("-c").arg(self.folder.path().join("nats.conf"));
        let runs = self.processes.start(&mut command, "nats-server");
        if runs {
            let url = format!("http://{}/healthz", self.monitor());
            await_ready("NATS answers", &[&url]);
        }
        runs
    }

    /// The address of its monitoring endpoint.
    pub fn monitor(&self) -> String {
        format!("127.0.0.1:{}", self.ports[1])
    }

    /// Sends a message, and gives what is answered to it.
    pub fn request(&self, subject: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports[0])).unwrap();
        let length = body.len();
        let sent = format!(
            "CONNECT {{\"verbose\":false}}\r\nSUB reply 1\r\nPUB {subject} reply {length}\r\n\
             {body}\r\n"
        );
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream);
        loop {
            let mut line = String::new();
            assert!(
                lines.read_line(&mut line).unwrap() > 0,
                "{subject}: no answer"
            );
            // `MSG SUBJECT ID [REPLY] BYTES`, and so many bytes behind it.
            if line.starts_with("MSG ") {
                let length = line.split_whitespace().last().unwrap().parse().unwrap();
                let mut answer = vec![0; length];
                lines.read_exact(&mut answer).unwrap();
                return String::from_utf8(answer).unwrap();
            }
        }
    }
}
