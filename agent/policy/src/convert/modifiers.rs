//! KEDA's `scalingModifiers`: a formula that becomes one more trigger, in place of those
//! whose values go into it.

use std::collections::BTreeSet;

use starling_engine::formula::Formula;
use starling_engine::policy::{Goal, Source, Trigger};
use starling_engine::quantity::Quantity;

use super::{Check, trigger};
use crate::schema::{ComposedType, ScalingModifiers};

/// What it is called in a policy's triggers.
const NAME: &str = "formula";
const FIELD: &str = "spec.scalingModifiers";

/// `beside` are the policy's other triggers; `taken` has their names.
pub(super) fn formula(
    check: &mut Check,
    written: &ScalingModifiers,
    beside: &[Trigger],
    taken: &mut BTreeSet<String>,
) -> Trigger {
    let fed = beside.iter().filter(|it| it.source.feeds_formulas());
    let names: Vec<&str> = fed.map(|it| it.name.as_str()).collect();
    if let Err(why) = Formula::read(&written.formula, &names) {
        check.fails(&format!("{FIELD}.formula"), why.to_string());
    }
    let target = written.target.as_str();
    let milli = check.some_amount(&format!("{FIELD}.target"), target, Quantity::milli);
    let activation = written.activation_target.as_ref();
    let activation_milli = activation.map_or(0, |it| {
        let field = format!("{FIELD}.activationTarget");
        check.amount(&field, it.as_str(), Quantity::milli)
    });
    Trigger {
        name: trigger::free_name(taken, NAME),
        source: Source::Formula {
            text: written.formula.clone(),
        },
        goal: match written.metric_type {
            None | Some(ComposedType::AverageValue) => Goal::AverageValue { milli },
            Some(ComposedType::Value) => Goal::Value { milli },
        },
        activation_milli,
        window_ms: None,
    }
}
