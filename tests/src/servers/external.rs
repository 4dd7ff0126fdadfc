//! A server of KEDA's contract for external scalers, of another language: in the clear, over
//! TLS, and over TLS for one client alone.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value as Json, json};
use starling_kubernetes_rig::shell;
use tempfile::TempDir;

use super::{Processes, free_ports, is_startable};
use crate::servers::DEADLINE;

const PROGRAM: &str = "/usr/bin/python3";
const PACKAGE: &str = "python3-grpcio";
const LIBRARY: &str = "/usr/lib/python3/dist-packages/grpc/__init__.py";
const SCRIPT: &str = include_str!("external.py");
/// Those that a client has to find there.
pub const CALLS: [&str; 4] = ["IsActive", "StreamIsActive", "GetMetricSpec", "GetMetrics"];

pub struct External {
    pub processes: Processes,
    folder: TempDir,
    ports: [u16; 3],
}

impl External {
    /// Once it takes connections. `tls` is a certificate and its key, and `client` that of
    /// the one who is let in by it, as PEM texts.
    pub fn start(tls: (&str, &str), client: &str) -> Option<External> {
        let mut server = External {
            processes: Processes::default(),
            folder: tempfile::tempdir().unwrap(),
            ports: free_ports(),
        };
        if !is_startable(Path::new(LIBRARY), PACKAGE) {
            return None;
        }
        for (name, text) in [
            ("external.py", SCRIPT),
            ("tls.crt", tls.0),
            ("tls.key", tls.1),
            ("client.crt", client),
        ] {
            fs::write(server.folder.path().join(name), text).unwrap();
        }
        server.says(&json!({ "active": false, "metrics": [] }));
        server.resume().then_some(server)
    }

    /// Starts it again where it was stopped.
    pub fn resume(&mut self) -> bool {
        let listens = |port: u16| TcpStream::connect(("127.0.0.1", port));
        let folder = self.folder.path();
        let mut command = Command::new(PROGRAM);
        command.arg(folder.join("external.py")).arg(folder);
        command.args(self.ports.map(|port| port.to_string()));
        let runs = self.processes.start(&mut command, PACKAGE);
        if runs {
            // The last one that it opens.
            let answers = || listens(self.ports[2]).map_err(|error| error.to_string());
            shell::until("gRPC answers", DEADLINE, answers).unwrap();
        }
        runs
    }

    /// What it answers from now on: `active`, `metrics` with `name`, `target` and `values`,
    /// each number as a whole one and a float; `calls`, where they aren't all, and which of
    /// them `fails`, with a status and a text.
    pub fn says(&self, state: &Json) {
        let mut state = state.clone();
        if state["calls"].is_null() {
            state["calls"] = json!(CALLS);
        }
        // It is read at any time, and is whole then.
        let path = self.folder.path().join("state.json");
        let new = path.with_extension("new");
        fs::write(&new, state.to_string()).unwrap();
        fs::rename(new, path).unwrap();
    }

    /// What a call was last about: `name`, `namespace`, `metadata`, and the `metric`.
    pub fn asked(&self, call: &str) -> Json {
        serde_json::from_slice(&fs::read(self.note(call)).unwrap()).unwrap()
    }

    /// Whether a call has been made.
    pub fn was_asked(&self, call: &str) -> bool {
        self.note(call).exists()
    }

    fn note(&self, call: &str) -> PathBuf {
        self.folder.path().join(format!("{call}.json"))
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// The name that the certificate is for, and the port.
    pub fn secure_address(&self) -> String {
        format!("localhost:{}", self.ports[1])
    }

    /// The same, where clients show a certificate.
    pub fn mutual_address(&self) -> String {
        format!("localhost:{}", self.ports[2])
    }
}
