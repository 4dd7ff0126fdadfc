//! `starling debug`: takes from a machine what it needs to look into a fault elsewhere.
//!
//! Comes in: what to take, and the file to write it to. Goes out: that file, and in
//! words what is in it. Asks no agent, and changes nothing but that file.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use starling_collect::HostRoot;
use starling_collect::cgroup::record::{self, Recording};

#[derive(Debug, clap::Subcommand)]
pub enum Debug {
    /// Record the cgroups of this node's pods, as an agent reads them
    ///
    /// The file holds what the kernel says of each container, at two moments a second
    /// apart, with pods' uids and containers' ids, and no names. It is a text; look
    /// through it before you send it to anybody.
    RecordCgroups {
        /// Where the host's `/proc` and `/sys` are; else `HOST_PROC` and `HOST_SYS` say
        /// it, or they are this machine's
        #[arg(long, value_name = "DIR")]
        host_root: Option<PathBuf>,
        /// A file that doesn't exist yet, or `-` for standard output
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Record(#[from] record::Error),
    #[error("can't write {}; name a file in a folder of yours that doesn't exist yet", .path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Carries it out.
pub fn main(what: &Debug) -> Result<(), Error> {
    let Debug::RecordCgroups { host_root, out } = what;
    let host = host_root
        .as_deref()
        .map_or_else(|| HostRoot::from_env(None), HostRoot::below);
    let recording = record::record(&host)?;
    write(out, &recording.text).map_err(|source| Error::Write {
        path: out.clone(),
        source,
    })?;
    eprintln!("{}", told(&recording));
    Ok(())
}

fn write(out: &Path, text: &str) -> io::Result<()> {
    if out.as_os_str() == "-" {
        return io::stdout().write_all(text.as_bytes());
    }
    // Never over a file that somebody has.
    let mut file = fs::File::create_new(out)?;
    file.write_all(text.as_bytes())
}

fn told(recording: &Recording) -> String {
    let Recording {
        form,
        cgroups,
        left_out,
        text,
    } = recording;
    let kib = text.len().div_ceil(1 << 10);
    let rest = match left_out {
        0 => String::new(),
        more => format!("; {more} more were left out"),
    };
    format!("Recorded {cgroups} cgroups ({form:?}), {kib} KiB{rest}.")
}
