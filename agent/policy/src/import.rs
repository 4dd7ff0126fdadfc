//! ScalingPolicies that do what `HorizontalPodAutoscaler`s and KEDA's
//! `ScaledObject`s do.
//!
//! Comes in: texts, as files or as the API server prints objects, whole `List`s
//! too. Goes out: policies that `check` finds sound, as YAML ready to apply, and a
//! warning for each thing that has no equivalent. Never asks a cluster, and never
//! prints a policy that means less than its warnings say.

pub mod adopt;
mod draft;
mod hpa;
mod keda;
mod legacy;
mod metadata;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;

use super::yaml::{self, Outline, Partial, Place};
use draft::Draft;

/// A larger text is refused: every object of a large cluster fits.
pub const BYTES_MAX: usize = 64 << 20;
/// Values in one document; a `List` is one.
const NODES_MAX: usize = 4_000_000;

/// What has been read so far.
#[derive(Debug, Default)]
pub struct Import {
    /// In the order in which they were read.
    pub policies: Vec<Imported>,
    pub warnings: Vec<Warning>,
    /// What is good to know and needs nothing done about it.
    pub notes: Vec<String>,
    /// HPAs and `ScaledObject`s that were read, those that KEDA makes left out.
    pub found: usize,
    /// Who has which policy's name, and which workload.
    claims: BTreeMap<String, String>,
}

/// A policy, and what it was made of.
#[derive(Debug, PartialEq, Eq)]
pub struct Imported {
    /// Such as `ScaledObject shop/web`.
    pub from: String,
    /// One document without the `---` before it; ends with a newline.
    pub yaml: String,
}

/// Something that has no equivalent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What the text was called.
    pub source: String,
    pub place: Place,
    /// Such as `ScaledObject shop/web`; empty where no object could be made out.
    pub object: String,
    /// As the object has it; empty where all of it is meant.
    pub field: String,
    /// What has no equivalent, and what to do.
    pub why: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place { line: 0, .. } => write!(f, "{}: ", self.source)?,
            Place { line, column } => write!(f, "{}:{line}:{column}: ", self.source)?,
        }
        for part in [&self.object, &self.field] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.why)
    }
}

/// Where one object's warnings go.
struct Told<'a> {
    source: &'a str,
    outline: &'a Outline,
    object: String,
    warnings: Vec<Warning>,
}

impl Told<'_> {
    fn warn(&mut self, field: &str, why: impl Into<String>) {
        self.warn_at(self.outline.place(field), field, why);
    }

    fn warn_at(&mut self, place: Place, field: &str, why: impl Into<String>) {
        self.warnings.push(Warning {
            source: self.source.to_owned(),
            place,
            object: self.object.clone(),
            field: field.to_owned(),
            why: why.into(),
        });
    }
}

impl Told<'_> {
    /// The object as a `T`. Fields that `T` doesn't have are left out and told; of
    /// one that is otherwise wrong nothing is made.
    fn read<T: DeserializeOwned>(&mut self) -> Option<T> {
        // An empty reason marks what isn't known.
        let read: Partial<T> = self.outline.read(&|_| Some(String::new()));
        let mut sound = true;
        for problem in read.problems {
            if problem.why.is_empty() {
                let why = "isn't known to this version, and is left out";
                self.warn_at(problem.place, &problem.field, why);
            } else {
                sound = false;
                self.warn_at(problem.place, "", format!("isn't converted: {problem}"));
            }
        }
        read.rest.filter(|_| sound)
    }
}

impl Import {
    /// Reads one text; `source` is what warnings call it.
    pub fn read(&mut self, source: &str, text: &str) {
        if text.len() > BYTES_MAX {
            let why = format!("is larger than {} MiB; split it", BYTES_MAX >> 20);
            self.warn_of_all(source, Place::default(), why);
            return;
        }
        for document in yaml::documents(text) {
            match document.outline_of(NODES_MAX) {
                Ok(outline) => self.object(source, outline),
                Err(problem) => {
                    let why = format!("isn't YAML that can be read: {}", problem.why);
                    self.warn_of_all(source, problem.place, why);
                }
            }
        }
    }

    fn warn_of_all(&mut self, source: &str, place: Place, why: String) {
        self.warnings.push(Warning {
            source: source.to_owned(),
            place,
            object: String::new(),
            field: String::new(),
            why,
        });
    }

    fn object(&mut self, source: &str, outline: Outline) {
        let kind = outline.text(&["kind"]).unwrap_or_default().to_owned();
        let version = outline.text(&["apiVersion"]).unwrap_or_default();
        let group = version.split_once('/').map_or("", |(group, _)| group);
        match (group, kind.as_str()) {
            ("autoscaling", "HorizontalPodAutoscaler") => {
                self.convert(source, &outline, &kind, hpa::draft);
            }
            ("keda.sh", "ScaledObject") => self.convert(source, &outline, &kind, keda::draft),
            ("keda.sh", "ScaledJob") => {
                self.found += 1;
                let mut told = Import::told(source, &outline, &kind);
                told.warn(
                    "",
                    "starts Jobs, which no policy of this version does; leave it to KEDA",
                );
                self.warnings.extend(told.warnings);
            }
            (_, kind) if kind.ends_with("List") => {
                if outline.is_repeated(&["items"]) {
                    let why = "the items after the second `items` are left out; keep one".into();
                    self.warn_of_all(source, outline.place("items"), why);
                }
                for item in outline.into_items() {
                    self.object(source, item);
                }
            }
            // Whatever else a file holds is none of our business.
            _ => {}
        }
    }

    fn told<'a>(source: &'a str, outline: &'a Outline, kind: &str) -> Told<'a> {
        let text = |key| outline.text(&["metadata", key]).unwrap_or_default();
        let object = match (text("namespace"), text("name")) {
            ("", name) => format!("{kind} {name}"),
            (namespace, name) => format!("{kind} {namespace}/{name}"),
        };
        Told {
            source,
            outline,
            object: object.trim_end().to_owned(),
            warnings: Vec::new(),
        }
    }

    fn convert(
        &mut self,
        source: &str,
        outline: &Outline,
        kind: &str,
        draft: fn(&mut Told<'_>) -> Option<Draft>,
    ) {
        let mut told = Import::told(source, outline, kind);
        if let Some(owner) = metadata::keda_owner(outline) {
            self.notes.push(format!(
                "{} is made by KEDA for ScaledObject {owner}, which is what is converted",
                told.object
            ));
            return;
        }
        self.found += 1;
        let yaml = draft(&mut told).and_then(|draft| {
            let free = self.claim(&mut told, &draft);
            free.then(|| draft.settle(&mut told)).flatten()
        });
        self.warnings.extend(told.warnings);
        self.policies.extend(yaml.map(|yaml| Imported {
            from: told.object,
            yaml,
        }));
    }

    /// Whether neither the policy's name nor its workload are another one's.
    fn claim(&mut self, told: &mut Told<'_>, draft: &Draft) -> bool {
        for (field, claim) in draft.claims() {
            if let Some(first) = self.claims.get(&claim) {
                let why = format!(
                    "isn't converted: {first} has {claim} already; keep one of the two, or change \
                     this one and convert it by itself"
                );
                told.warn(field, why);
                return false;
            }
        }
        for (_, claim) in draft.claims() {
            self.claims.insert(claim, told.object.clone());
        }
        true
    }
}

#[cfg(test)]
mod tests;
