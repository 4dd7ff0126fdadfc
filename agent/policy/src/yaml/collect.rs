//! All that keeps a document from being a `T`, at once.
//!
//! serde's own readers end at the first mistake. This one goes on: where a value
//! can't be what is asked for it notes why and hands over a placeholder, and it
//! leaves out fields that aren't known. What only serde can tell (a field that is
//! missing) ends a reading; the next one has a placeholder there. Comes in: a
//! document's outline. Goes out: problems in the order of the text, and a `T` in
//! which the placeholders are known by their paths.

mod reader;

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::de::DeserializeOwned;

use super::outline::child;
use super::{Outline, PROBLEMS_MAX, Place, Problem};
use reader::{Reader, Stop};

/// What to say of a field that isn't known, by its path; `None` for most of them.
pub type Elsewhere<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// What could be read of a document that is wrong.
#[derive(Debug)]
pub struct Partial<T> {
    /// At most [`PROBLEMS_MAX`], as they stand in the text.
    pub problems: Vec<Problem>,
    /// The value, unless it couldn't be completed with placeholders.
    pub rest: Option<T>,
    /// The fields that hold a placeholder.
    pub blurred: Vec<String>,
}

/// What one reading notes.
struct Notes<'a> {
    outline: &'a Outline,
    elsewhere: &'a Elsewhere<'a>,
    /// Fields that this reading fills with placeholders.
    filled: &'a BTreeSet<String>,
    problems: RefCell<Vec<Problem>>,
    blurred: RefCell<Vec<String>>,
}

impl Notes<'_> {
    fn problem(&self, place: Place, field: &str, why: String) {
        let mut problems = self.problems.borrow_mut();
        // One more than is told shows that there are more.
        if problems.len() <= PROBLEMS_MAX {
            let field = field.to_owned();
            problems.push(Problem { place, field, why });
        }
    }

    fn blur(&self, field: &str) {
        self.blurred.borrow_mut().push(field.to_owned());
    }
}

/// `first` is the one that ended the reading of the text itself, where it was read.
pub(super) fn all<T: DeserializeOwned>(
    outline: &Outline,
    elsewhere: &Elsewhere<'_>,
    first: Option<Problem>,
) -> Partial<T> {
    let mut filled = BTreeSet::new();
    let mut fixed = Vec::new();
    let mut problems = Vec::new();
    let mut blurred = Vec::new();
    let mut rest = None;
    // Each reading but the last fills one more field; `PROBLEMS_MAX` are told.
    for _ in 0..=PROBLEMS_MAX {
        let notes = Notes {
            outline,
            elsewhere,
            filled: &filled,
            problems: RefCell::default(),
            blurred: RefCell::default(),
        };
        let read = T::deserialize(Reader::root(&notes));
        problems = notes.problems.into_inner();
        blurred = notes.blurred.into_inner();
        let (field, problem) = match read {
            Ok(value) => {
                rest = Some(value);
                break;
            }
            Err(Stop::Missing { within, field }) => {
                let problem = Problem {
                    place: outline.place(&within),
                    why: format!("`{field}` is missing"),
                    field: within.clone(),
                };
                (child(&within, field), problem)
            }
            Err(Stop::Other { at, why }) => {
                let problem = Problem {
                    place: outline.place(&at),
                    field: at.clone(),
                    why,
                };
                (at, problem)
            }
        };
        fixed.push(problem);
        // A type that no placeholder satisfies can't be read any further.
        if !filled.insert(field) {
            break;
        }
    }
    fixed.extend(problems);
    fixed.extend(outline.repeated());
    Partial {
        problems: told(fixed, first),
        rest,
        blurred,
    }
}

/// In the order of the text, each once, and no more than may be told.
fn told(mut problems: Vec<Problem>, first: Option<Problem>) -> Vec<Problem> {
    if let Some(first) = first {
        // Of a field that isn't known something better may be said of what is in it.
        let known = |it: &Problem| it.place == first.place || below(&it.field, &first.field);
        if !problems.iter().any(known) {
            problems.push(first);
        }
    }
    problems.sort_by_key(|problem| problem.place);
    problems.dedup();
    if problems.len() > PROBLEMS_MAX {
        problems.truncate(PROBLEMS_MAX - 1);
        problems.push(Problem {
            place: Place::default(),
            field: String::new(),
            why: format!(
                "there is more wrong than the {} things above",
                PROBLEMS_MAX - 1
            ),
        });
    }
    problems
}

impl<T> Partial<T> {
    /// Whether a complaint about `field` may come of a placeholder. A blurred `type`
    /// or `kind` blurs its whole block, whose other fields hang on it; a blurred list
    /// of measures blurs everything beside it.
    pub fn blurs(&self, field: &str) -> bool {
        self.blurred.iter().any(|blurred| {
            let (above, last) = blurred.rsplit_once('.').unwrap_or(("", blurred));
            let decides = matches!(
                last,
                "type" | "kind" | "apiVersion" | "metricType" | "strategy" | "triggers" | "metrics"
            );
            let within = if decides { above } else { blurred.as_str() };
            below(field, within) || below(within, field)
        })
    }
}

fn below(field: &str, above: &str) -> bool {
    let rest = field.strip_prefix(above);
    rest.is_some_and(|rest| above.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']))
}
