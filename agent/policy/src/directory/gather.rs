//! What all files together say: policies to wish for, processes to offer.
//!
//! Whatever is written twice counts for neither writing, and what was in force
//! stays: which of the two is meant isn't for an agent to guess.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use starling_engine::policy::{Form, Name, PROCESS, Policy, Target};

use super::files::Latest;
use super::{Directory, Scan};
use crate::file::Kind;
use crate::reconcile::{Legible, Wish, Wishes};
use crate::yaml::Place;
use starling_process::spec::Spec;

/// A thing and where it stands.
struct Found<'a, T> {
    file: &'a Latest<'a>,
    place: Place,
    what: &'a T,
}

/// The key of a policy's problem.
pub(super) fn policy_subject(name: &Name) -> String {
    format!("policy {name}")
}

impl Directory {
    /// Puts the processes and what is wrong into `scan`.
    pub(super) fn gather(&self, scan: &mut Scan) -> Wishes {
        let files: Vec<Latest<'_>> = self.files.iter(&self.path).collect();
        let mut wishes = Wishes {
            legible: legible(&files),
            ..Wishes::default()
        };
        for file in &files {
            report(file, scan);
        }
        gather_policies(&files, &mut wishes, scan);
        if !self.platform {
            hold_scaled(&mut wishes, scan);
        }
        self.gather_processes(&files, wishes.legible == Legible::Yes, scan);
        wishes
    }

    fn gather_processes(&self, files: &[Latest<'_>], legible: bool, scan: &mut Scan) {
        let mut held: BTreeSet<&str> = refused(files, Kind::Process).collect();
        let mut by_name: BTreeMap<&str, Vec<Found<'_, Spec>>> = BTreeMap::new();
        for file in files {
            for (place, what) in &file.contents.processes {
                let it = Found {
                    file,
                    place: *place,
                    what,
                };
                by_name.entry(&what.name).or_default().push(it);
            }
        }
        for (name, several) in &by_name {
            match several.as_slice() {
                [one] if !held.contains(name) => {
                    scan.processes.insert((*name).to_owned(), one.what.clone());
                }
                [_] => {}
                several => {
                    held.insert(name);
                    let words = twice("this process", several);
                    scan.problems.insert(format!("process {name}"), words);
                }
            }
        }
        for (name, last_good) in &self.memory.processes {
            if held.contains(name.as_str()) || !legible {
                scan.processes
                    .entry(name.clone())
                    .or_insert_with(|| last_good.clone());
            }
        }
    }
}

fn legible(files: &[Latest<'_>]) -> Legible {
    if files.iter().any(|file| file.changing) {
        return Legible::NotYet;
    }
    match files.iter().find(|file| file.contents.opaque) {
        Some(file) => Legible::Not(file.path.display().to_string()),
        None => Legible::Yes,
    }
}

fn gather_policies(files: &[Latest<'_>], wishes: &mut Wishes, scan: &mut Scan) {
    wishes.held = refused(files, Kind::Policy).map(Name::from).collect();
    let found = || {
        files.iter().flat_map(|file| {
            let policies = file.contents.policies.iter();
            policies.map(move |(place, what)| Found {
                file,
                place: *place,
                what,
            })
        })
    };
    let mut by_name: BTreeMap<&Name, Vec<Found<'_, Arc<Policy>>>> = BTreeMap::new();
    let mut by_target: BTreeMap<&Target, Vec<Found<'_, Arc<Policy>>>> = BTreeMap::new();
    for it in found() {
        by_target.entry(&it.what.target).or_default().push(it);
    }
    for it in found() {
        by_name.entry(&it.what.name).or_default().push(it);
    }
    for (target, several) in &by_target {
        let first = &several[0].what.name;
        if several.iter().all(|it| it.what.name == *first) {
            continue;
        }
        let words = twice(&format!("a policy for {target}"), several);
        for it in several {
            wishes.held.insert(it.what.name.clone());
            scan.problems
                .insert(policy_subject(&it.what.name), words.clone());
        }
    }
    for (name, several) in by_name {
        match several.as_slice() {
            [one] if !wishes.held.contains(name) => {
                let wish = Wish {
                    policy: Arc::clone(one.what),
                    stamp: one.file.stamp,
                    file: one.file.path.to_owned(),
                };
                wishes.policies.insert(name.clone(), wish);
            }
            [_] => {}
            several => {
                wishes.held.insert(name.clone());
                scan.problems
                    .insert(policy_subject(name), twice("this policy", several));
            }
        }
    }
}

/// On a machine without Kubernetes a policy can size processes only.
fn hold_scaled(wishes: &mut Wishes, scan: &mut Scan) {
    let scaled = wishes
        .policies
        .extract_if(.., |_, wish| wish.policy.target.form() == Form::Scaled);
    for (name, wish) in scaled {
        let words = format!(
            "is not applied: {} is a workload of Kubernetes, which this agent has none of; \
             only `kind: {PROCESS}` is known here",
            wish.policy.target
        );
        scan.problems.insert(policy_subject(&name), words);
        wishes.held.insert(name);
    }
}

/// Names of documents that are there but wrong.
fn refused<'a>(files: &'a [Latest<'_>], kind: Kind) -> impl Iterator<Item = &'a str> {
    let names = files.iter().flat_map(|file| &file.contents.refused);
    names
        .filter(move |(of, _)| *of == kind)
        .map(|(_, name)| name.as_str())
}

/// What is wrong with a file, by line; several things in one place are one entry.
fn report(file: &Latest<'_>, scan: &mut Scan) {
    for problem in &file.contents.problems {
        let words = scan
            .problems
            .entry(located(file.path, problem.place))
            .or_default();
        if !words.is_empty() {
            words.push_str("; ");
        }
        words.push_str(&problem.to_string());
    }
}

fn located(path: &Path, place: Place) -> String {
    match place {
        Place { line: 0, .. } => path.display().to_string(),
        Place { line, column } => format!("{}:{line}:{column}", path.display()),
    }
}

fn twice<T>(what: &str, several: &[Found<'_, T>]) -> String {
    let places: Vec<String> = several
        .iter()
        .map(|it| located(it.file.path, it.place))
        .collect();
    format!(
        "{what} is written more than once: {}; none of them is applied, and what was in force \
         stays. Remove all but one",
        places.join(" and ")
    )
}
