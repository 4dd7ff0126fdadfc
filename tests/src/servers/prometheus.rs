//! A Prometheus that scrapes one exporter, each second.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tempfile::TempDir;

use super::{Processes, await_ready, free_ports};

const PROGRAM: &str = "/usr/bin/prometheus";
pub const USER: &str = "ann";
pub const PASSWORD: &str = "marigold";
/// The password's bcrypt hash.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuuuotCXaRwj05ZNi9rcdOGkJFxppASmkC";

pub struct Prometheus {
    pub processes: Processes,
    folder: TempDir,
    port: u16,
    exporter: Exporter,
}

impl Prometheus {
    /// Once it answers. What is asked needs the user and the password.
    pub fn start() -> Option<Prometheus> {
        let [port] = free_ports();
        let mut server = Prometheus {
            processes: Processes::default(),
            folder: tempfile::tempdir().unwrap(),
            port,
            exporter: Exporter::start(),
        };
        let exporter = server.exporter.address;
        let config = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: queue\n  \
             static_configs: [{{targets: ['{exporter}']}}]\n"
        );
        let folder = server.folder.path();
        fs::write(folder.join("prometheus.yml"), config).unwrap();
        let users = format!("basic_auth_users: {{{USER}: {HASH}}}\n");
        fs::write(folder.join("web.yml"), users).unwrap();
        server.resume().then_some(server)
    }

    /// Starts it again where it was stopped.
    pub fn resume(&mut self) -> bool {
        let folder = self.folder.path();
        let mut command = Command::new(PROGRAM);
        command
            .arg(format!(
                "--config.file={}",
                folder.join("prometheus.yml").display()
            ))
            .arg(format!(
                "--web.config.file={}",
                folder.join("web.yml").display()
            ))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{}", self.port));
        let runs = self.processes.start(&mut command, "prometheus");
        if runs {
            let url = format!("{}/-/ready", self.address());
            let user = format!("{USER}:{PASSWORD}");
            await_ready("Prometheus answers", &["-u", &user, &url]);
        }
        runs
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What `jobs` is from the next scrape on, of each of its two queues.
    pub fn export(&self, jobs: i64) {
        self.exporter.jobs.store(jobs, Ordering::SeqCst);
    }
}

/// Tells one number of two queues.
struct Exporter {
    address: SocketAddr,
    jobs: Arc<AtomicI64>,
}

impl Exporter {
    /// Ends with the test's process.
    fn start() -> Exporter {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let jobs = Arc::new(AtomicI64::new(0));
        let told = jobs.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let jobs = told.load(Ordering::SeqCst);
                let body = format!("jobs{{queue=\"a\"}} {jobs}\njobs{{queue=\"b\"}} {jobs}\n");
                let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\n";
                let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
                // Whoever is gone asks again.
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Exporter { address, jobs }
    }
}
