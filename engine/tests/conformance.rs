//! Every vector of the files that `STARLING_VECTORS` names (a file, or a folder
//! of `*.json`; default: the committed ones) passes through the code that
//! production runs. The schema is in `conformance/README.md`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "vectors/calculators.rs"]
mod calculators;
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
        let text = std::fs::read_to_string(&file).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        for vector in document["vectors"].as_array().unwrap() {
            all += 1;
            if let Err(difference) = check(vector) {
                failed.push(format!("{}: {difference}", vector["id"]));
            }
        }
    }
    println!("{} of {all} vectors", all - failed.len());
    assert!(all > 0, "no vectors in {}", root.display());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn files(root: &Path) -> Vec<PathBuf> {
    if root.is_file() {
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

fn check(vector: &Value) -> Result<(), String> {
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
        (Ok(answer), None) => expected.as_object().unwrap().iter().try_for_each(|(k, v)| {
            if answer[k] == *v {
                Ok(())
            } else {
                Err(format!("{k} is {}, expected {v}", answer[k]))
            }
        }),
    }
}

/// Reads of the vectors' fields, with their units.
mod field {
    use serde_json::Value;
    use starling_engine::unit::Ms;

    /// The vectors' "now"; ages count back from it.
    pub const NOW: Ms = Ms(1_700_000_000_000);

    pub fn int(of: &Value, name: &str) -> i64 {
        of[name]
            .as_i64()
            .unwrap_or_else(|| panic!("{name} in {of}"))
    }

    pub fn count(of: &Value, name: &str) -> u32 {
        u32::try_from(int(of, name)).unwrap()
    }

    pub fn float(of: &Value, name: &str) -> f64 {
        of[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{name} in {of}"))
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
    assert_eq!(check(&vector).unwrap_err(), "replicas is 4, expected 5");
}
