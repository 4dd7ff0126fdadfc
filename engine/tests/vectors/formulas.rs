//! Vectors of kind `formula`: a text, and the values of the triggers that it names.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use starling_engine::formula::Formula;

use crate::Answer;

#[derive(Deserialize)]
struct Inputs {
    formula: String,
    values_milli: BTreeMap<String, i64>,
}

pub fn answer(inputs: &Value) -> Answer {
    let inputs: Inputs = serde_json::from_value(inputs.clone()).unwrap();
    let names: Vec<&str> = inputs.values_milli.keys().map(String::as_str).collect();
    let values: Vec<_> = inputs.values_milli.values().copied().map(Some).collect();
    let formula = Formula::read(&inputs.formula, &names).map_err(|_| "config")?;
    let milli = formula.milli(&values).map_err(|_| "ask")?;
    Ok(json!({ "value_milli": milli }))
}
