//! One number of many: the formulas of KEDA's `scalingModifiers` (keda.md 1.7), in the
//! part of the language Expr that computes numbers.
//!
//! Comes in: a text, the names that it may use, and a number for each, or none. Goes
//! out: a number in milli-units, nothing, or why it can't be computed. Typed before it
//! runs, as in KEDA, so that what can never work is refused when it is written. Length,
//! nesting and steps are bounded; it knows no clock, no text and no loop without end.

mod function;
mod kind;
mod read;
mod reckon;
mod word;

use std::fmt;

use kind::Kind;
use read::Node;
use reckon::{Machine, Value};

/// A longer text is refused.
pub const BYTES_MAX: usize = 1_024;
/// Brackets, signs and choices within each other; deeper ones are refused.
pub const NESTING_MAX: usize = 32;
/// Parts that may be computed, each as often as it is, and things in lists that are gone
/// through; a formula that takes more has no result. A text has some 500 parts at most;
/// the rest is for what is computed for each thing in a list.
pub const STEPS_MAX: u32 = 2_000;

/// One that was read and can be computed.
#[derive(Debug, Clone, PartialEq)]
pub struct Formula {
    root: Node,
}

/// Why a text is no formula, or has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    pub why: String,
    /// The character at which it was noticed, from 1 on; `None` where it isn't one place.
    pub at: Option<usize>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "{} (at character {at})", self.why),
            None => f.write_str(&self.why),
        }
    }
}

impl Error {
    fn new(why: impl Into<String>) -> Error {
        Error {
            why: why.into(),
            at: None,
        }
    }
}

impl Formula {
    /// Reads a text that may use these names, and tries it with -1 for each, as KEDA
    /// does before it takes one.
    pub fn read(text: &str, names: &[&str]) -> Result<Formula, Error> {
        let formula = Formula::parse(text, names)?;
        formula.compute(&vec![Some(-1.0); names.len()])?;
        Ok(formula)
    }

    /// The same without the trial.
    pub fn parse(text: &str, names: &[&str]) -> Result<Formula, Error> {
        if text.len() > BYTES_MAX {
            return Err(Error::new(format!(
                "has {} bytes; at most {BYTES_MAX}",
                text.len()
            )));
        }
        let (root, kind) = read::formula(text, names)?;
        match kind {
            Kind::Int | Kind::Float | Kind::Any => Ok(Formula { root }),
            other => Err(Error::new(format!("gives {other}, not a number"))),
        }
    }

    /// With a number in milli-units for each name, in their order; `None` for one that
    /// isn't known, which only `??` can take. Gives `None` where the formula does.
    pub fn milli(&self, values: &[Option<i64>]) -> Result<Option<i64>, Error> {
        let values: Vec<Option<f64>> = values
            .iter()
            .map(|milli| milli.map(|milli| milli as f64 / 1_000.0))
            .collect();
        let Some(result) = self.compute(&values)? else {
            return Ok(None);
        };
        // Cut, not rounded, as KEDA does: 0.0359 is 35.
        let milli = (result * 1_000.0).trunc();
        if !milli.is_finite() {
            return Err(Error::new(format!("gives {result}, which is no amount")));
        }
        // The limits are powers of two, so they are floats exactly.
        if milli < i64::MIN as f64 || milli >= i64::MAX as f64 {
            return Err(Error::new("gives more than can be counted"));
        }
        Ok(Some(milli as i64))
    }

    fn compute(&self, values: &[Option<f64>]) -> Result<Option<f64>, Error> {
        match Machine::new(values).run(&self.root)? {
            Value::Int(n) => Ok(Some(n as f64)),
            Value::Float(n) => Ok(Some(n)),
            Value::Nil => Ok(None),
            other => Err(Error::new(format!("gives {}, not a number", other.kind()))),
        }
    }
}

/// Whether a formula can use this name.
pub fn is_name(text: &str) -> bool {
    word::is_name(text) && !word::RESERVED.contains(&text)
}

#[cfg(test)]
mod tests;
