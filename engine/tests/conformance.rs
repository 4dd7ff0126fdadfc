//! Every vector of the files that `STARLING_VECTORS` names (a file, or a folder
//! of `*.json`; default: the committed ones) passes through the code that
//! production runs. The schema is in `conformance/README.md`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "vectors/calculators.rs"]
mod calculators;
#[path = "vectors/edges.rs"]
mod edges;
#[path = "vectors/formulas.rs"]
mod formulas;
#[path = "vectors/histories.rs"]
mod histories;
#[path = "vectors/pods.rs"]
mod pods;
#[path = "vectors/reconcile.rs"]
mod reconcile;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// What an implementation says to a vector's inputs.
type Answer = Result<Value, &'static str>;

#[test]
fn all_conformance_vectors_pass() {
    let root = std::env::var_os("STARLING_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance"),
        PathBuf::from,
    );
    let (mut all, mut failed) = (0, Vec::new());
    for file in files(&root) {
        let text = std::fs::read_to_string(&file)
            .unwrap_or_else(|e| panic!("STARLING_VECTORS: {}: {e}", file.display()));
        let vectors = vectors(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        all += vectors.len();
        failed.extend(vectors.iter().filter_map(|vector| {
            let difference = check(vector).err()?;
            Some(format!("{}: {difference}", vector["id"]))
        }));
    }
    println!("{} of {all} vectors", all - failed.len());
    assert!(all > 0, "no vectors in {}", root.display());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn files(root: &Path) -> Vec<PathBuf> {
    if !root.is_dir() {
        return vec![root.to_owned()];
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(root)
        .unwrap_or_else(|e| panic!("STARLING_VECTORS: {}: {e}", root.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    files
}

/// A document's vectors.
fn vectors(text: &str) -> Result<Vec<Value>, String> {
    let document: Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
    let vectors = document["vectors"]
        .as_array()
        .ok_or("has no list \"vectors\"")?;
    if vectors.is_empty() {
        return Err("has no vectors".into());
    }
    Ok(vectors.clone())
}

/// What a vector expects and doesn't get. One that [can't be read](field::unreadable)
/// fails as well.
fn check(vector: &Value) -> Result<(), String> {
    std::panic::catch_unwind(|| compare(vector)).unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!("unreadable: {}", what.unwrap_or("see the panic")))
    })
}

fn compare(vector: &Value) -> Result<(), String> {
    let (inputs, expected) = (&vector["inputs"], &vector["expected"]);
    let kind = vector["kind"].as_str().unwrap_or_default();
    let answer = match kind {
        "resource_utilization"
        | "resource_value"
        | "pods"
        | "object"
        | "object_per_pod"
        | "external"
        | "external_per_pod" => calculators::answer(kind, inputs),
        "formula" => formulas::answer(inputs),
        "pod_grouping" => Ok(pods::grouping(inputs)),
        "pod_requests" => pods::requests(inputs),
        "behavior" => Ok(histories::behavior(inputs)),
        "stabilization" => Ok(histories::stabilization(inputs)),
        "sequence" => Ok(histories::sequence(inputs)),
        "keda_activation" => Ok(reconcile::activation(inputs)),
        "reconcile" => Ok(reconcile::pass(inputs)),
        other => return Err(format!("unknown kind {other}")),
    };
    match (answer, expected["error"].as_str()) {
        (Err(class), Some(wanted)) if class == wanted => Ok(()),
        (Err(class), wanted) => Err(format!("failed with {class}, expected {wanted:?}")),
        (Ok(answer), Some(wanted)) => Err(format!("gave {answer}, expected {wanted}")),
        (Ok(answer), None) => expected
            .as_object()
            .ok_or("expects nothing")?
            .iter()
            .try_for_each(|(k, v)| match answer.get(k) {
                Some(got) if got == v => Ok(()),
                Some(got) => Err(format!("{k} is {got}, expected {v}")),
                None => Err(format!("no {k} is given, expected {v}")),
            }),
    }
}

/// Reads of the vectors' fields, with their units.
mod field {
    use serde_json::Value;
    use starling_engine::unit::Ms;

    /// Ends the reading of a vector, not the test: the vector fails with `what`.
    /// Unwinds without the noise of a panic's hook.
    pub fn unreadable(what: String) -> ! {
        std::panic::resume_unwind(Box::new(what))
    }

    /// The vectors' "now"; ages count back from it.
    pub const NOW: Ms = Ms(1_700_000_000_000);

    pub fn int(of: &Value, name: &str) -> i64 {
        of[name]
            .as_i64()
            .unwrap_or_else(|| unreadable(format!("{name} in {of}")))
    }

    pub fn count(of: &Value, name: &str) -> u32 {
        optional(of, name).unwrap_or_else(|| unreadable(format!("{name} in {of}")))
    }

    /// `None` where it is null or absent.
    pub fn optional(of: &Value, name: &str) -> Option<u32> {
        let given = Some(&of[name]).filter(|given| !given.is_null())?;
        let number = given.as_u64().and_then(|n| u32::try_from(n).ok());
        Some(number.unwrap_or_else(|| unreadable(format!("{name} in {of}"))))
    }

    /// Absent counts as false.
    pub fn flag(of: &Value, name: &str) -> bool {
        of[name].as_bool().unwrap_or(false)
    }

    pub fn float(of: &Value, name: &str) -> f64 {
        of[name]
            .as_f64()
            .unwrap_or_else(|| unreadable(format!("{name} in {of}")))
    }

    pub fn ms(of: &Value, name: &str) -> Option<u64> {
        of[name].as_f64().map(|s| (s * 1_000.0).round() as u64)
    }

    /// The moment that lies `name` seconds back.
    pub fn moment(of: &Value, name: &str) -> Option<Ms> {
        ms(of, name).map(|age| NOW.minus(age))
    }

    pub fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
        of[name].as_array().map_or(&[], Vec::as_slice)
    }
}

#[test]
fn a_wrong_expectation_is_noticed() {
    let vector = json!({"id": "x", "kind": "object_per_pod", "inputs": {
        "status_replicas": 4, "target_average_milli": 5000, "metric_value_milli": 20166,
        "tolerance_down": 0.1, "tolerance_up": 0.1}, "expected": {"replicas": 5}});
    let expecting = |expected: Value| {
        let mut vector = vector.clone();
        vector["expected"] = expected;
        check(&vector)
    };
    assert_eq!(expecting(json!({"replicas": 4})), Ok(()));
    let error = |expected| expecting(expected).unwrap_err();
    assert_eq!(error(json!({"replicas": 5})), "replicas is 4, expected 5");
    assert_eq!(
        error(json!({"log": null})),
        "no log is given, expected null"
    );
    assert_eq!(error(Value::Null), "expects nothing");
    assert_eq!(
        error(json!({"error": "NO_PODS"})),
        r#"gave {"average_milli":5042,"raw_average_milli":5042,"replicas":4,"utilization_percent":5042,"value_milli":5042}, expected NO_PODS"#
    );
}

#[test]
fn a_vector_that_cannot_be_read_fails_by_name() {
    let error = |kind: &str, inputs: Value| {
        check(&json!({"id": "x", "kind": kind, "inputs": inputs, "expected": {"replicas": 1}}))
            .unwrap_err()
    };
    assert_eq!(error("nonsense", json!({})), "unknown kind nonsense");
    assert_eq!(
        error("behavior", json!({"op": "nonsense"})),
        "unreadable: unknown op nonsense"
    );
    assert!(error("object", json!({})).starts_with("unreadable: tolerance_up in "));
    let unknown =
        json!({"metrics": [{"type": "nonsense"}], "tolerance_up": 0, "tolerance_down": 0});
    assert_eq!(
        error("reconcile", unknown),
        "unreadable: unknown metric nonsense"
    );
}

#[test]
fn a_broken_file_is_refused_not_skipped() {
    let error = |text| vectors(text).unwrap_err();
    assert!(error("{").starts_with("not JSON: "));
    assert_eq!(error("[]"), "has no list \"vectors\"");
    assert_eq!(error(r#"{"vectors": []}"#), "has no vectors");
}
