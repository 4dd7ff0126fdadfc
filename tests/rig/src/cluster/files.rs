//! The files of a demo's cluster: each agent's settings, policies and log.
//!
//! Paths are made here and nowhere else; what stands in the policies comes from
//! the caller.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// An agent's log is shown, where it ended unasked, by its last lines.
const TAIL_LINES_MAX: usize = 12;
/// More of a log's end isn't read.
const TAIL_BYTES_MAX: usize = 8 * 1_024;

/// An agent takes no file with more than 100, the empty one before the first included.
const DOCUMENTS_MAX: usize = 90;

/// YAML documents for the agents' policy directories.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    /// For every agent: which commands its machine can run.
    pub each: String,
    /// For the first agent only: policies travel to the others by themselves.
    pub first: String,
}

/// Where an agent listens, as it says itself in its data directory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Addresses {
    pub peer: String,
    pub gossip: String,
    pub api: String,
    pub health: String,
}

/// An agent's settings, as a user would write them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Settings<'a> {
    cluster: &'a str,
    node: &'a str,
    data_dir: &'a Path,
    policies: &'a Path,
    keys: &'a Path,
    listen: Listen<'a>,
    seeds: &'a [String],
    bootstrap: bool,
    workers_on_exit: &'a str,
}

#[derive(Serialize)]
struct Listen<'a> {
    peer: &'a str,
    gossip: &'a str,
    api: &'a str,
    health: &'a str,
}

/// One agent's files under the demo's directory.
#[derive(Debug, Clone)]
pub struct Files {
    name: String,
    home: PathBuf,
}

impl Files {
    pub fn new(dir: &Path, name: &str) -> Files {
        Files {
            name: name.to_owned(),
            home: dir.join(name),
        }
    }

    pub fn config(&self) -> PathBuf {
        self.home.join("config.yaml")
    }

    pub fn log(&self) -> PathBuf {
        self.home.join("log")
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn policies(&self) -> PathBuf {
        self.home.join("policies")
    }

    /// Writes the settings: system-chosen ports on loopback, `seeds` to join by.
    pub fn write_config(&self, keys: &Path, seeds: &[String], bootstrap: bool) -> io::Result<()> {
        let any = "127.0.0.1:0";
        let settings = Settings {
            cluster: super::NAME,
            node: &self.name,
            data_dir: &self.data(),
            policies: &self.policies(),
            keys,
            listen: Listen {
                peer: any,
                gossip: any,
                api: any,
                health: any,
            },
            seeds,
            bootstrap,
            workers_on_exit: "stop",
        };
        let text = serde_saphyr::to_string(&settings).map_err(io::Error::other)?;
        fs::create_dir_all(self.policies())?;
        fs::write(self.config(), text)
    }

    /// As many files as their number needs.
    pub fn write_documents(&self, name: &str, yaml: &str) -> io::Result<()> {
        fs::create_dir_all(self.policies())?;
        let documents: Vec<&str> = yaml.split_inclusive("---\n").collect();
        for (number, part) in documents.chunks(DOCUMENTS_MAX).enumerate() {
            let name = if number == 0 {
                name.to_owned()
            } else {
                format!("{name}-{number}")
            };
            // Renamed into place: an agent that reads the directory sees it whole.
            let draft = self.home.join(format!("{name}.draft"));
            fs::write(&draft, part.concat())?;
            fs::rename(draft, self.policies().join(format!("{name}.yaml")))?;
        }
        Ok(())
    }

    /// `None` until the agent has written them.
    pub fn addresses(&self) -> Option<Addresses> {
        let text = fs::read(self.data().join("addresses.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// The last lines of the agent's log, indented.
    pub fn log_tail(&self) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        let end = String::from_utf8_lossy(&text[text.len().saturating_sub(TAIL_BYTES_MAX)..]);
        let lines: Vec<&str> = end.lines().collect();
        let from = lines.len().saturating_sub(TAIL_LINES_MAX);
        let mut tail = String::new();
        for line in &lines[from..] {
            tail.extend([
                "  ", line, "
",
            ]);
        }
        tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_long_log_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path(), "agent-1");
        assert_eq!(files.log_tail(), "");
        fs::create_dir_all(&files.home).unwrap();
        let lines: Vec<String> = (0..10_000).map(|line| format!("line {line}")).collect();
        fs::write(files.log(), lines.join("\n")).unwrap();
        let tail = files.log_tail();
        assert_eq!(tail.lines().count(), TAIL_LINES_MAX);
        assert!(tail.ends_with("  line 9999\n"), "{tail}");
    }
}
