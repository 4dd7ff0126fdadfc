//! `starling check FILES`: reads policy files as an agent would, without one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::exit::{Error, Kind};
use super::human;
use super::output::{self, Show, Style};
use starling_policy::IMPORT;
use starling_policy::file::{self, BYTES_MAX};
use starling_policy::yaml::Place;

#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Policy files, or directories of them
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    output: output::Args,
}

#[derive(Debug, Serialize)]
struct Report {
    files: Vec<Checked>,
    sound: bool,
}

#[derive(Debug, Serialize)]
struct Checked {
    file: PathBuf,
    policies: Vec<String>,
    processes: Vec<String>,
    problems: Vec<Problem>,
}

/// Lines and columns count from 1; 0 is unknown.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Problem {
    line: u64,
    column: u64,
    field: String,
    why: String,
}

/// Where something was said first.
type Said = BTreeMap<String, String>;

/// Prints what is wrong with each file; an error if anything is.
pub fn check(args: &Args) -> Result<(), Error> {
    let mut files = Vec::new();
    for path in &args.files {
        files.extend(listed(path)?);
    }
    let mut said = Said::new();
    let files = files
        .into_iter()
        .map(|path| read(path, &mut said))
        .collect::<Result<Vec<_>, _>>()?;
    let sound = files.iter().all(|file| file.problems.is_empty());
    output::print(&Report { files, sound }, args.output)?;
    if sound {
        Ok(())
    } else {
        Err(Error::new(
            Kind::Failure,
            "an agent would refuse what is listed and keep the last good versions in force",
        ))
    }
}

/// A directory's files as an agent reads them: `*.yaml` and `*.yml`, not deeper.
pub(super) fn listed(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).and_then(|entries| {
        entries
            .map(|entry| entry.map(|e| e.path()))
            .collect::<io::Result<Vec<_>>>()
    });
    let mut files = entries.map_err(|why| unreadable(path, &why))?;
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml")
    });
    files.sort();
    Ok(files)
}

pub(super) fn unreadable(path: &Path, why: &io::Error) -> Error {
    let kind = match why.kind() {
        io::ErrorKind::NotFound => Kind::NotFound,
        io::ErrorKind::PermissionDenied => Kind::Denied,
        _ => Kind::Failure,
    };
    Error::new(kind, format!("can't read {}: {why}", path.display()))
}

fn read(path: PathBuf, said: &mut Said) -> Result<Checked, Error> {
    let mut text = Vec::new();
    let limit = BYTES_MAX as u64 + 1;
    fs::File::open(&path)
        .and_then(|file| file.take(limit).read_to_end(&mut text))
        .map_err(|why| unreadable(&path, &why))?;
    let contents = match String::from_utf8(text) {
        Ok(text) if text.len() <= BYTES_MAX => file::read(&text),
        Ok(_) => file::Contents::unreadable(format!("is larger than {BYTES_MAX} bytes")),
        Err(_) => file::Contents::unreadable("isn't UTF-8 text".into()),
    };
    let mut problems: Vec<Problem> = contents
        .problems
        .into_iter()
        .map(|found| {
            // The command to type, with this file's name.
            let command = format!("starling import -f {}", path.display());
            problem(
                found.place,
                found.field,
                found.why.replace(IMPORT, &command),
            )
        })
        .collect();
    for (place, policy) in &contents.policies {
        let here = format!("{}:{}", path.display(), place.line);
        let target = format!("{}/{}", policy.target.kind, policy.target.name);
        let claims = [
            ("metadata.name", format!("policy \"{}\"", policy.name)),
            ("spec.scaleTargetRef", format!("a policy for {target}")),
        ];
        for (field, claim) in claims {
            match said.get(&claim) {
                Some(first) => problems.push(problem(
                    *place,
                    field.into(),
                    format!("{first} already holds {claim}; remove one of the two"),
                )),
                None => drop(said.insert(claim, here.clone())),
            }
        }
    }
    Ok(Checked {
        policies: contents
            .policies
            .iter()
            .map(|(_, policy)| policy.name.to_string())
            .collect(),
        processes: contents
            .processes
            .into_iter()
            .map(|(_, process)| process.name)
            .collect(),
        file: path,
        problems,
    })
}

fn problem(place: Place, field: String, why: String) -> Problem {
    Problem {
        line: place.line,
        column: place.column,
        field,
        why,
    }
}

impl Show for Report {
    // Writing to a string can't fail.
    fn text(&self, _: Style) -> String {
        let mut text = String::new();
        for checked in &self.files {
            let file = checked.file.display();
            for problem in &checked.problems {
                let Problem {
                    line,
                    column,
                    field,
                    why,
                } = problem;
                let place = if *line == 0 {
                    String::new()
                } else {
                    format!("{line}:{column}:")
                };
                let field = if field.is_empty() {
                    String::new()
                } else {
                    format!("{field}: ")
                };
                let _ = writeln!(text, "{file}:{place} {field}{}", human::clean(why));
            }
            if checked.problems.is_empty() {
                let (policies, processes) = (checked.policies.len(), checked.processes.len());
                let _ = writeln!(
                    text,
                    "{file}: sound; {} and {}",
                    counted(policies, "policy", "policies"),
                    counted(processes, "process", "processes")
                );
            }
        }
        text
    }
}

fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
