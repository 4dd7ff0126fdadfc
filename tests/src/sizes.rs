//! Every size that a Deployment gets, as the API server's watch tells it.
//!
//! Comes in: a Deployment. Goes out: each change of its spec, with the moment in which it
//! was seen. A write that changes nothing makes no new generation, so two equal sizes in a
//! row are two writes of something else.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "what isn't there fails the test that looks for it"
)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use starling_kubernetes_rig::Cluster;

const PATIENCE: Duration = Duration::from_mins(2);
const COLUMNS: &str = "jsonpath={.metadata.generation} {.spec.replicas}{\"\\n\"}";

#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub at: Instant,
    pub size: u64,
}

/// What was seen since the watch began.
pub struct Sizes {
    watch: Child,
    told: Receiver<Seen>,
    seen: Vec<Seen>,
}

impl Sizes {
    /// Begins with the present size, which is no change.
    pub fn of(cluster: &Cluster, namespace: &str, deployment: &str) -> Sizes {
        let mut watch = Command::new(cluster.binary("kubectl").unwrap())
            .args(["get", "deploy", deployment, "-n", namespace, "--watch"])
            .args(["-o", COLUMNS])
            .env("KUBECONFIG", cluster.kubeconfig())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
        let (tell, told) = channel();
        std::thread::spawn(move || {
            let mut last = 0;
            for line in lines.map_while(Result::ok) {
                let at = Instant::now();
                let (generation, size) = line.trim().split_once(' ').unwrap_or_default();
                let generation = generation.parse().unwrap_or(0);
                // The status changes far more often.
                if generation <= last {
                    continue;
                }
                last = generation;
                let size = size.parse().unwrap_or(0);
                if tell.send(Seen { at, size }).is_err() {
                    return;
                }
            }
        });
        let first = told.recv_timeout(PATIENCE).unwrap();
        Sizes {
            watch,
            told,
            seen: vec![first],
        }
    }

    /// The first one from now on that `right` accepts.
    pub fn next(&mut self, what: &str, right: impl Fn(u64) -> bool) -> Seen {
        let end = Instant::now() + PATIENCE;
        while let Some(seen) = self.next_by(end) {
            if right(seen.size) {
                return seen;
            }
        }
        panic!("{what}: not within {PATIENCE:?}; seen: {:?}", self.seen)
    }

    /// Looks for so long; gives what was seen meanwhile.
    pub fn during(&mut self, how_long: Duration) -> Vec<Seen> {
        let (end, before) = (Instant::now() + how_long, self.seen.len());
        while self.next_by(end).is_some() {}
        self.seen[before..].to_vec()
    }

    /// All so far, the one at the beginning first.
    pub fn all(&mut self) -> Vec<u64> {
        self.during(Duration::ZERO);
        self.seen.iter().map(|seen| seen.size).collect()
    }

    /// The next one, unless there is none until `end`. A watch that ends would see no change
    /// whatever happens, so then the test fails.
    fn next_by(&mut self, end: Instant) -> Option<Seen> {
        let left = end.saturating_duration_since(Instant::now());
        match self.told.recv_timeout(left) {
            Ok(seen) => {
                self.seen.push(seen);
                Some(seen)
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                panic!("the watch has ended; seen: {:?}", self.seen)
            }
        }
    }
}

impl Drop for Sizes {
    fn drop(&mut self) {
        // It ended by itself, then.
        let _ = self.watch.kill();
        let _ = self.watch.wait();
    }
}
