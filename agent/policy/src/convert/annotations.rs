//! KEDA's annotations (keda.md 1.3).

use std::collections::BTreeMap;

use starling_engine::policy::Annotations;

use super::{Check, REPLICAS};

/// What the annotations that mean something here begin with.
pub(crate) const PREFIX: &str = "autoscaling.keda.sh/";
const KNOWN: [&str; 5] = [
    "paused",
    "paused-replicas",
    "paused-scale-in",
    "paused-scale-out",
    "force-activation",
];

/// Whether one of KEDA's annotations means something here, by what follows the prefix.
pub(crate) fn knows_annotation(name: &str) -> bool {
    KNOWN.contains(&name)
}

/// Other programs' annotations mean nothing here; an unknown one of KEDA's is
/// refused, for it is a slip of the pen or a wish that wouldn't come true.
pub(super) fn annotations(check: &mut Check, written: &BTreeMap<String, String>) -> Annotations {
    let mut found = Annotations::default();
    for (key, value) in written {
        let Some(name) = key.strip_prefix(PREFIX) else {
            continue;
        };
        let field = format!("metadata.annotations[{key}]");
        match name {
            "paused" => found.paused = is_true(value),
            "paused-scale-in" => found.paused_scale_in = is_true(value),
            "paused-scale-out" => found.paused_scale_out = is_true(value),
            "force-activation" => found.force_activation = is_true(value),
            "paused-replicas" => match value.parse() {
                Ok(count) => {
                    found.paused_replicas = Some(check.number(&field, count, REPLICAS) as u32);
                }
                Err(_) => check.fails(&field, format!("must be a whole number, is `{value}`")),
            },
            _ => check.fails(
                &field,
                format!("is not known; allowed after {PREFIX}: {}", KNOWN.join(", ")),
            ),
        }
    }
    found
}

/// KEDA takes anything but Go's spellings of false for true.
fn is_true(value: &str) -> bool {
    !matches!(value, "0" | "f" | "F" | "false" | "FALSE" | "False")
}
