//! `starling raft snapshot`: all that the cluster knows, in a file.
//!
//! Comes in: where to, or which file. Goes out: a file that its owner alone may read,
//! checked before it gets its name, or what is in one. Never writes over a file.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use starling_consensus::export::{self, Contents};
use starling_proto::v1;

use crate::client::{self, Client, Stub};
use crate::exit::{Error, Kind};
use crate::human;
use crate::output::{self, Show, Style};
use crate::read::Consistency;

/// A longer file is no snapshot of ours: agents write none above 256 MiB.
const BYTES_MAX: u64 = 256 << 20;
/// In place of a file: what stands beside the program, as in a container without a shell.
const STANDARD: &str = "-";
/// An agent that sends nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Subcommand)]
pub enum Snapshot {
    /// Save all that was acknowledged by now to a file
    Save {
        /// Made for its owner alone; it must not exist. `-` writes to standard output
        file: PathBuf,
        /// What the asked agent has, also without a leader
        #[arg(long)]
        stale: bool,
        #[command(flatten)]
        output: output::Args,
        #[command(flatten)]
        client: client::Args,
    },
    /// Make an empty data directory the first one of a cluster that holds what was saved
    Restore(Restore),
    /// Check a snapshot and show what is in it
    Inspect {
        /// `-` reads standard input
        file: PathBuf,
        #[command(flatten)]
        output: output::Args,
    },
}

/// The binary does it: it knows an agent's settings.
#[derive(Debug, clap::Args)]
pub struct Restore {
    pub file: PathBuf,
    /// The agent's settings, YAML; the agent mustn't run
    #[arg(long, value_name = "FILE", default_value = "/etc/starling/agent.yaml")]
    pub config: PathBuf,
}

pub async fn snapshot(what: &Snapshot) -> Result<(), Error> {
    match what {
        Snapshot::Save {
            file,
            stale,
            output,
            client,
        } => {
            let sealed = load(*stale, file, client).await?;
            let contents = inspect(&sealed, file)?;
            if file == Path::new(STANDARD) {
                // What it holds is asked of the file that it becomes.
                let mut out = io::stdout().lock();
                let written = out.write_all(&sealed).and_then(|()| out.flush());
                return written.map_err(|why| {
                    let words = format!("can't write to standard output: {why}");
                    Error::new(Kind::Failure, words)
                });
            }
            write(file, &sealed).map_err(|why| {
                let words = format!("can't write {}: {why}", file.display());
                Error::new(Kind::Failure, words)
            })?;
            let saved = Saved {
                file: file.display().to_string(),
                contents: contents.into(),
            };
            output::print(&saved, *output)
        }
        Snapshot::Restore(_) => Err(Error::new(
            Kind::Usage,
            "a snapshot is restored by the program that runs agents",
        )),
        Snapshot::Inspect { file, output } => {
            let sealed = read(file).map_err(|why| {
                let words = format!("can't read {}: {why}", file.display());
                Error::new(Kind::Failure, words)
            })?;
            output::print(&Shown::from(inspect(&sealed, file)?), *output)
        }
    }
}

fn inspect(sealed: &[u8], file: &Path) -> Result<Contents, Error> {
    export::inspect(sealed).map_err(|why| {
        let words = format!(
            "{} is no whole snapshot ({why}); save it anew, or take another copy",
            file.display()
        );
        Error::new(Kind::Failure, words)
    })
}

async fn load(stale: bool, file: &Path, args: &client::Args) -> Result<Vec<u8>, Error> {
    let standard = file == Path::new(STANDARD);
    if standard && io::stdout().is_terminal() {
        let words = "a snapshot is no text: send standard output to a file, `> FILE`";
        return Err(Error::new(Kind::Usage, words));
    }
    if !standard && fs::symlink_metadata(file).is_ok() {
        let words = format!("{} exists already; name another file", file.display());
        return Err(Error::new(Kind::Usage, words));
    }
    let consistency = if stale {
        Consistency::Stale
    } else {
        Consistency::Linearizable
    };
    let client = Client::new(args)?;
    let call = |mut stub: Stub, asked| async move { stub.save_snapshot(asked).await };
    let opened = client.open(
        |_| v1::SaveSnapshotRequest {
            consistency: consistency.into(),
        },
        call,
    );
    let opened = opened.await?;
    let broke_off = |why: &dyn std::fmt::Display| {
        let words = format!("the snapshot broke off: {why}; try again");
        Error::new(Kind::Failure, words)
    };
    let (agent, mut parts) = opened.ok_or_else(|| broke_off(&"the agent has none"))?;
    let (mut sealed, mut first) = (Vec::new(), true);
    loop {
        let part = tokio::time::timeout(SILENCE, parts.message()).await;
        let part = part.map_err(|_| broke_off(&"the agent is silent"))?;
        let part = part.map_err(|status| Error::refused(&agent.name, &status))?;
        let Some(part) = part else { break };
        if std::mem::take(&mut first) {
            client.check_cluster(&agent, &part)?;
        }
        sealed.extend_from_slice(&part.data);
        if sealed.len() as u64 > part.size_bytes.min(BYTES_MAX) {
            return Err(broke_off(&"it is longer than said"));
        }
    }
    Ok(sealed)
}

/// Under a temporary name until it is whole and on the disk.
fn write(file: &Path, sealed: &[u8]) -> io::Result<()> {
    let dir = match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    // Its mode lets its owner alone read it.
    let mut draft = tempfile::NamedTempFile::new_in(dir)?;
    draft.write_all(sealed)?;
    draft.as_file().sync_all()?;
    draft
        .persist_noclobber(file)
        .map_err(|failed| failed.error)?;
    File::open(dir)?.sync_all()
}

/// All of a snapshot's file.
pub fn read(file: &Path) -> io::Result<Vec<u8>> {
    let source: Box<dyn io::Read> = if file == Path::new(STANDARD) {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(file)?)
    };
    let mut sealed = Vec::new();
    source.take(BYTES_MAX + 1).read_to_end(&mut sealed)?;
    if sealed.len() as u64 > BYTES_MAX {
        return Err(io::Error::other("it is longer than any snapshot"));
    }
    Ok(sealed)
}

#[derive(Debug, Serialize)]
struct Saved {
    file: String,
    #[serde(flatten)]
    contents: Shown,
}

#[derive(Debug, Serialize)]
struct Shown {
    cluster: String,
    generation: u64,
    log_index: u64,
    term: u64,
    applied_index: u64,
    applied_time: String,
    members: Vec<String>,
    voters: usize,
    policies: usize,
    workloads: usize,
    size_bytes: usize,
    digest: String,
    /// What agents tell each other of their ledgers, to hold against `status -o wide`.
    checkpoint_index: Option<u64>,
    checkpoint_digest: Option<String>,
}

impl From<Contents> for Shown {
    fn from(of: Contents) -> Shown {
        let hex = |digest: [u8; 16]| format!("{:032x}", u128::from_be_bytes(digest));
        Shown {
            cluster: of.cluster,
            generation: of.generation,
            log_index: of.log_index,
            term: of.term,
            applied_index: of.index,
            applied_time: human::time(of.time),
            members: of.members,
            voters: of.voters,
            policies: of.policies,
            workloads: of.workloads,
            size_bytes: of.size_bytes,
            digest: hex(of.digest),
            checkpoint_index: of.checkpoint.map(|it| it.index),
            checkpoint_digest: of.checkpoint.map(|it| hex(it.digest)),
        }
    }
}

impl Show for Saved {
    fn text(&self, _: Style) -> String {
        let Shown {
            log_index,
            applied_index,
            size_bytes,
            ..
        } = &self.contents;
        format!(
            "saved and verified {}: {} up to log index {log_index}, command {applied_index}\n",
            human::clean(&self.file),
            human::bytes(*size_bytes as u64)
        )
    }
}

impl Show for Shown {
    fn text(&self, _: Style) -> String {
        let checkpoint = match (&self.checkpoint_index, &self.checkpoint_digest) {
            (Some(index), Some(digest)) => format!("{digest} at command {index}"),
            _ => "none yet".to_owned(),
        };
        let rows = [
            (
                "Cluster",
                format!("{} (generation {})", self.cluster, self.generation),
            ),
            ("Log index", self.log_index.to_string()),
            ("Term", self.term.to_string()),
            (
                "Ledger",
                format!("at command {}, {}", self.applied_index, self.applied_time),
            ),
            (
                "Members",
                format!(
                    "{} ({} voting): {}",
                    self.members.len(),
                    self.voters,
                    self.members.join(", ")
                ),
            ),
            ("Policies", self.policies.to_string()),
            ("Workloads", self.workloads.to_string()),
            ("Size", human::bytes(self.size_bytes as u64)),
            ("Digest", self.digest.clone()),
            ("Checkpoint", checkpoint),
        ];
        let row = |(name, value): &(&str, String)| {
            format!("{:<13}{}\n", format!("{name}:"), human::clean(value))
        };
        rows.iter().map(row).collect()
    }
}
