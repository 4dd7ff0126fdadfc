//! One file's text, read and checked document by document.
//!
//! Comes in: text. Goes out: the policies and processes that are sound, and a
//! problem for each thing that isn't. A document that is wrong refuses itself
//! alone; a text that isn't YAML, or breaks a limit, is refused as a whole.

use std::collections::BTreeSet;
use std::sync::Arc;

use starling_engine::policy::{Name, Policy, Violation};

use super::convert;
use super::elsewhere;
use super::schema::API_VERSION;
use super::yaml::{Document, Outline, Partial, Place, Problem, clip, documents};
use starling_process::spec::Spec;

/// A longer file is refused.
pub const BYTES_MAX: usize = 1 << 20;
/// A file with more documents is refused.
pub const DOCUMENTS_MAX: usize = 100;

pub(crate) const POLICY: &str = "ScalingPolicy";
const PROCESS: &str = "Process";

/// What a file says.
#[derive(Debug, Default)]
pub struct Contents {
    /// Shared, for they are handed out at every scan.
    pub policies: Vec<(Place, Arc<Policy>)>,
    pub processes: Vec<(Place, Spec)>,
    /// In the order of the documents.
    pub problems: Vec<Problem>,
    /// Names of policies and processes that are there but were refused.
    pub refused: BTreeSet<(Kind, String)>,
    /// Something is there that has no name which could be read, so nothing can
    /// be said to be absent from this file.
    pub opaque: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Policy,
    Process,
}

impl Contents {
    /// A file of which nothing can be said but why.
    pub fn unreadable(why: String) -> Contents {
        Contents {
            problems: vec![Problem {
                place: Place::default(),
                field: String::new(),
                why,
            }],
            opaque: true,
            ..Contents::default()
        }
    }
}

/// Reads a whole file.
pub fn read(text: &str) -> Contents {
    let documents = documents(text);
    if documents.len() > DOCUMENTS_MAX {
        return Contents::unreadable(format!(
            "holds {} documents; at most {DOCUMENTS_MAX} are allowed in a file",
            documents.len()
        ));
    }
    let mut outlines = Vec::new();
    for document in &documents {
        match document.outline() {
            Ok(outline) => outlines.push(outline),
            Err(problem) => {
                return Contents {
                    problems: vec![problem],
                    opaque: true,
                    ..Contents::default()
                };
            }
        }
    }
    let mut contents = Contents::default();
    for (document, outline) in documents.iter().zip(&outlines) {
        read_document(document, outline, &mut contents);
    }
    contents
}

fn read_document(document: &Document<'_>, outline: &Outline, contents: &mut Contents) {
    let kind = match kind(outline) {
        Ok(kind) => kind,
        Err(problem) => {
            contents.problems.push(problem);
            contents.opaque = true;
            return;
        }
    };
    let place = outline.place("kind");
    let refused = match kind {
        Kind::Policy => read_policy(document, outline)
            .map(|policy| contents.policies.push((place, Arc::new(policy)))),
        Kind::Process => {
            read_process(document, outline).map(|process| contents.processes.push((place, process)))
        }
    };
    if let Err(problems) = refused {
        contents.problems.extend(problems);
        match named(outline, kind) {
            Some(name) => {
                contents.refused.insert((kind, name));
            }
            None => contents.opaque = true,
        }
    }
}

fn kind(outline: &Outline) -> Result<Kind, Problem> {
    let expect = |field: &str, allowed: &str| {
        let why = match outline.text(&[field]) {
            None => format!("is missing; allowed: {allowed}"),
            Some(text) => format!("`{}` is not known; allowed: {allowed}", clip(text)),
        };
        Problem {
            place: outline.place(field),
            field: field.to_owned(),
            why,
        }
    };
    if let Some(why) = elsewhere::document(outline) {
        return Err(Problem {
            place: outline.place("kind"),
            field: "kind".to_owned(),
            why,
        });
    }
    if outline.text(&["apiVersion"]) != Some(API_VERSION) {
        return Err(expect("apiVersion", API_VERSION));
    }
    match outline.text(&["kind"]) {
        Some(POLICY) => Ok(Kind::Policy),
        Some(PROCESS) => Ok(Kind::Process),
        _ => Err(expect("kind", "ScalingPolicy, Process")),
    }
}

/// What a refused document calls itself; a policy's name with its namespace. `None`
/// where it says that twice: then nobody knows which one is meant.
fn named(outline: &Outline, kind: Kind) -> Option<String> {
    let says: [&[&str]; 4] = [
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
    ];
    if says.iter().any(|keys| outline.is_repeated(keys)) {
        return None;
    }
    let name = outline.text(&["metadata", "name"])?;
    let namespace = outline.text(&["metadata", "namespace"]);
    Some(match (kind, namespace) {
        (Kind::Policy, Some(namespace)) => Name::new(namespace, name).to_string(),
        _ => name.to_owned(),
    })
}

/// Reads a text that is one policy's document and nothing else.
pub(crate) fn policy(text: &str) -> Result<Policy, Vec<Problem>> {
    let document = Document {
        text,
        lines_before: 0,
    };
    let outline = document.outline().map_err(|problem| vec![problem])?;
    read_policy(&document, &outline)
}

fn read_policy(document: &Document<'_>, outline: &Outline) -> Result<Policy, Vec<Problem>> {
    match document.read_with(outline, &elsewhere::in_a_policy) {
        Ok(written) => convert::policy(&written).map_err(|found| problems(outline, found)),
        Err(partial) => Err(all_problems(outline, partial, convert::policy_fields)),
    }
}

fn read_process(document: &Document<'_>, outline: &Outline) -> Result<Spec, Vec<Problem>> {
    match document.read_with(outline, &elsewhere::in_a_process) {
        Ok(written) => convert::process(&written).map_err(|found| problems(outline, found)),
        Err(partial) => Err(all_problems(outline, partial, |written| {
            convert::process(written).err().unwrap_or_default()
        })),
    }
}

/// What keeps a document from having the right form, and what is wrong with those
/// of its fields that have it.
fn all_problems<T>(
    outline: &Outline,
    partial: Partial<T>,
    fields: impl Fn(&T) -> Vec<Violation>,
) -> Vec<Problem> {
    let mut violations = partial.rest.as_ref().map(fields).unwrap_or_default();
    violations.retain(|violation| !partial.blurs(&violation.field));
    let mut all = partial.problems;
    all.extend(problems(outline, violations));
    // The note that there are more has no place, and stays the last.
    all.sort_by_key(|problem| (problem.place == Place::default(), problem.place));
    all
}

fn problems(outline: &Outline, violations: Vec<Violation>) -> Vec<Problem> {
    violations
        .into_iter()
        .map(|violation| Problem {
            place: outline.place(&violation.field),
            field: violation.field,
            why: violation.why,
        })
        .collect()
}

#[cfg(test)]
mod tests;
