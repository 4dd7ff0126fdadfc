//! `starling keys`: makes a cluster's certificates and keys.

use std::path::PathBuf;

use serde::Serialize;

use super::exit::{Error, Kind};
use super::output::{self, Show, Style};
use starling_keys::{Made, Node, Request};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// The cluster's name
    #[arg(long, value_name = "NAME")]
    cluster: String,
    /// A node, with the names and addresses that others reach it by; once for each
    #[arg(long = "node", value_name = "NAME[=HOST,HOST]", required = true)]
    nodes: Vec<Node>,
    /// Where to put them; what is there already stays as it is
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

pub fn generate(args: Args) -> Result<(), Error> {
    let request = Request {
        cluster: args.cluster,
        nodes: args.nodes,
    };
    let made = starling_keys::generate(&args.out, &request).map_err(|why| {
        let mut message = why.to_string();
        let mut source = std::error::Error::source(&why);
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Error::new(Kind::Failure, message)
    })?;
    output::print(&Report::from(made), args.output)
}
