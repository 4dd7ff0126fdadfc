//! `starling keys`: makes a cluster's certificates and keys, renews them, and rotates the
//! keys of gossip.
//!
//! Comes in: a directory and what to do there. Goes out: files, and what to do with them.
//! Never asks an agent: the directory is on a machine of its own.

use std::path::PathBuf;

use serde::Serialize;

use super::exit::{Error, Kind};
use super::output::{self, Show, Style};
use starling_keys::{Made, Node, Request, Step};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[group(skip)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// The cluster's name
    #[arg(long, value_name = "NAME", required = true)]
    cluster: Option<String>,
    /// A node, with the names and addresses that others reach it by; once for each
    #[arg(long = "node", value_name = "NAME[=HOST,HOST]", required = true)]
    nodes: Vec<Node>,
    #[command(flatten)]
    place: Place,
}

/// What there is to do with keys that were made.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make certificates anew, each with a new key, in place of the former ones
    Renew {
        /// Only of this node, or `client`; once for each. All where none is named
        #[arg(long = "node", value_name = "NAME")]
        nodes: Vec<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Rotate the keys of gossip, in three steps
    Gossip {
        #[arg(value_enum)]
        step: Turn,
        #[command(flatten)]
        place: Place,
    },
}

/// Each on all machines before the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Turn {
    /// A new key opens beside the present one
    Add,
    /// The new key seals
    Use,
    /// The former key is gone
    Drop,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
struct Place {
    /// Where the keys are; new ones are put there, and what else is there stays as it is
    #[arg(long, value_name = "DIRECTORY", default_value = "keys")]
    out: PathBuf,
    #[command(flatten)]
    output: output::Args,
}

#[derive(Debug, Serialize)]
struct Report {
    directory: PathBuf,
    made: Vec<PathBuf>,
    kept: Vec<PathBuf>,
    authority_until: String,
    certificates_until: String,
    #[serde(skip)]
    text: String,
}

impl Show for Report {
    fn text(&self, _: Style) -> String {
        format!("{}\n", self.text)
    }
}

impl From<Made> for Report {
    fn from(made: Made) -> Report {
        Report {
            text: made.to_string(),
            directory: made.directory,
            made: made.made,
            kept: made.kept,
            authority_until: made.authority_until,
            certificates_until: made.leafs_until,
        }
    }
}

#[derive(Debug, Serialize)]
struct RenewedReport {
    directories: Vec<Renewal>,
    authority_until: String,
    #[serde(skip)]
    text: String,
}

#[derive(Debug, Serialize)]
struct Renewal {
    directory: PathBuf,
    until: String,
}

#[derive(Debug, Serialize)]
struct RotatedReport {
    written: Vec<PathBuf>,
    keys: usize,
    #[serde(skip)]
    text: String,
}

impl Show for RenewedReport {
    fn text(&self, _: Style) -> String {
        format!("{}\n", self.text)
    }
}

impl Show for RotatedReport {
    fn text(&self, _: Style) -> String {
        format!("{}\n", self.text)
    }
}

/// Does what was asked, and says what to do with it.
pub fn keys(args: Args) -> Result<(), Error> {
    match args.what {
        None => generate(args.cluster.unwrap_or_default(), args.nodes, &args.place),
        Some(What::Renew { nodes, place }) => {
            let renewed = starling_keys::renew(&place.out, &nodes).map_err(|why| failed(&why))?;
            let directories = renewed.directories.iter().cloned();
            let report = RenewedReport {
                text: renewed.to_string(),
                directories: directories
                    .map(|(directory, until)| Renewal { directory, until })
                    .collect(),
                authority_until: renewed.authority_until,
            };
            output::print(&report, place.output)
        }
        Some(What::Gossip { step, place }) => {
            let step = match step {
                Turn::Add => Step::Add,
                Turn::Use => Step::Use,
                Turn::Drop => Step::Drop,
            };
            let rotated = starling_keys::rotate(&place.out, step).map_err(|why| failed(&why))?;
            let report = RotatedReport {
                text: rotated.to_string(),
                written: rotated.written,
                keys: rotated.keys,
            };
            output::print(&report, place.output)
        }
    }
}

fn generate(cluster: String, nodes: Vec<Node>, place: &Place) -> Result<(), Error> {
    let request = Request { cluster, nodes };
    let made = starling_keys::generate(&place.out, &request).map_err(|why| failed(&why))?;
    output::print(&Report::from(made), place.output)
}

fn failed(why: &starling_keys::Error) -> Error {
    let mut message = why.to_string();
    let mut source = std::error::Error::source(why);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    let kind = match why {
        starling_keys::Error::Unknown { .. } => Kind::NotFound,
        _ => Kind::Failure,
    };
    Error::new(kind, message)
}
