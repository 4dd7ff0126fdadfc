//! `starling import`: prints the policies that do what HPAs and `ScaledObject`s do.
//!
//! Comes in: files, standard input, or what the binary listed in a cluster. Goes
//! out: policies on standard output, warnings on standard error. Changes nothing,
//! anywhere.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use starling_policy::import::{BYTES_MAX, Import};

use super::check;
use super::exit::{Error, Kind};
use super::human;
use super::output;
use super::scope::Scope;

#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Manifests, or directories of them; - is standard input
    #[arg(
        short,
        long = "file",
        value_name = "FILE",
        required_unless_present = "from_cluster"
    )]
    files: Vec<PathBuf>,
    /// The objects of the cluster that kubectl speaks to
    #[arg(long)]
    from_cluster: bool,
    /// Print nothing, and fail, where anything has no equivalent
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    scope: Scope,
}

impl Args {
    /// The namespace to list in a cluster, where one is asked for; empty for all.
    pub fn cluster(&self) -> Option<String> {
        self.from_cluster.then(|| self.scope.listed())
    }
}

/// What the cluster's objects are called in warnings.
const CLUSTER: &str = "cluster";

/// `listed` are the cluster's objects, as the API server prints them.
pub fn import(args: &Args, listed: &[String]) -> Result<(), Error> {
    let mut import = Import::default();
    for path in &args.files {
        for file in check::listed(path)? {
            import.read(&file.display().to_string(), &text(&file)?);
        }
    }
    for object in listed {
        import.read(CLUSTER, object);
    }
    for note in &import.notes {
        eprintln!("note: {}", human::clean(note));
    }
    for warning in &import.warnings {
        eprintln!("warning: {}", human::clean(&warning.to_string()));
    }
    let (made, found, warnings) = (import.policies.len(), import.found, import.warnings.len());
    if args.strict && warnings > 0 {
        return Err(Error::new(
            Kind::Failure,
            format!("nothing is printed: {warnings} warnings, and --strict takes none"),
        ));
    }
    if found == 0 && warnings == 0 {
        return Err(Error::new(
            Kind::NotFound,
            "there is no HorizontalPodAutoscaler and no ScaledObject in what was read",
        ));
    }
    let mut printed = String::new();
    for policy in &import.policies {
        // Writing to a string can't fail.
        let _ = write!(printed, "---\n# {}\n{}", policy.from, policy.yaml);
    }
    output::write(&printed)?;
    match (made, warnings) {
        (0, _) => Err(Error::new(
            Kind::NotFound,
            format!("none of {found} objects could be converted; the warnings say why"),
        )),
        (_, 0) => Ok(()),
        _ => Err(Error::new(
            Kind::Partly,
            format!(
                "{made} of {found} objects converted, with {warnings} warnings; read them before \
                 you apply what is printed"
            ),
        )),
    }
}

fn text(path: &Path) -> Result<String, Error> {
    let mut bytes = Vec::new();
    // One more than is taken, so that a longer text is told from it.
    let limit = BYTES_MAX as u64 + 1;
    let read = if path == Path::new("-") {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|why| check::unreadable(path, &why))?;
    String::from_utf8(bytes).map_err(|_| {
        let why = format!("{} isn't UTF-8 text", path.display());
        Error::new(Kind::Failure, why)
    })
}
