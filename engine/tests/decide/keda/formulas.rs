//! Formulas (keda.md 1.7): what KEDA's own engine made of random ones.

use serde::Deserialize;
use starling_engine::formula::Formula;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    id: String,
    kind: String,
    inputs: serde_json::Value,
    expected: Expected,
}

#[derive(Deserialize)]
struct Inputs {
    formula: String,
    values_milli: BTreeMap<String, i64>,
}

#[derive(Deserialize)]
struct Expected {
    error: Option<String>,
    value_milli: Option<i64>,
}

#[test]
fn random_formulas_give_what_keda_gives() {
    let text = include_str!("../../conformance/keda_sources.json");
    let file: File = serde_json::from_str(text).unwrap();
    let (mut passed, mut wrong) = (0, Vec::new());
    for vector in file.vectors.into_iter().filter(|it| it.kind == "formula") {
        let inputs: Inputs = serde_json::from_value(vector.inputs).unwrap();
        let names: Vec<&str> = inputs.values_milli.keys().map(String::as_str).collect();
        let values: Vec<_> = inputs.values_milli.values().copied().map(Some).collect();
        let read = Formula::read(&inputs.formula, &names);
        let refused = vector.expected.error.as_deref() == Some("config");
        let result = read.as_ref().map(|formula| formula.milli(&values));
        let right = match &result {
            Err(_) => refused,
            Ok(Err(_)) => vector.expected.error.as_deref() == Some("ask"),
            Ok(Ok(milli)) => !refused && *milli == vector.expected.value_milli,
        };
        passed += 1;
        if !right {
            let (id, formula) = (vector.id, inputs.formula);
            wrong.push(format!("{id}: {formula}: {result:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(passed, 107);
}
