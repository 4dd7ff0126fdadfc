//! HPA v2's metrics: the type says which block is set, and the target's type which
//! field of it.

use super::{AMOUNT, Rule, above_zero};

/// Type, block, where it stands, and the types that its target may have.
const BLOCKS: [(&str, &str, &str, &[&str]); 5] = [
    (
        "Resource",
        "resource",
        "metrics[].resource",
        &["Utilization", "AverageValue"],
    ),
    (
        "ContainerResource",
        "containerResource",
        "metrics[].containerResource",
        &["Utilization", "AverageValue"],
    ),
    ("Pods", "pods", "metrics[].pods", &["AverageValue"]),
    (
        "Object",
        "object",
        "metrics[].object",
        &["Value", "AverageValue"],
    ),
    (
        "External",
        "external",
        "metrics[].external",
        &["Value", "AverageValue"],
    ),
];

pub(super) fn rules() -> Vec<Rule> {
    let mut rules = Vec::new();
    for (kind, block, at, targets) in BLOCKS {
        rules.push(Rule::new(
            "metrics[]",
            format!("(self.type == '{kind}') == has(self.{block})"),
            format!("{block} must be set with type: {kind}, and only with it"),
        ));
        let quoted: Vec<String> = targets.iter().map(|it| format!("'{it}'")).collect();
        rules.push(
            Rule::new(
                at,
                format!("self.target.type in [{}]", quoted.join(", ")),
                format!("must be {}", targets.join(" or ")),
            )
            .blames(".target.type"),
        );
        rules.extend(aim(at));
        if matches!(kind, "Resource" | "ContainerResource") {
            let cel = "self.name in ['cpu', 'memory']";
            let message = "is not known; allowed: cpu, memory";
            rules.push(Rule::new(at, cel, message).blames(".name"));
        }
    }
    rules
}

fn aim(at: &'static str) -> Vec<Rule> {
    let fields = [
        ("Utilization", "averageUtilization"),
        ("AverageValue", "averageValue"),
        ("Value", "value"),
    ];
    let mut rules: Vec<Rule> = fields
        .iter()
        .map(|(kind, field)| {
            Rule::new(
                at,
                format!("(self.target.type == '{kind}') == has(self.target.{field})"),
                format!("target.{field} must be set with type: {kind}, and only with it"),
            )
        })
        .collect();
    for (field, blame) in [
        ("averageValue", ".target.averageValue"),
        ("value", ".target.value"),
    ] {
        let amount = above_zero(&format!("string(self.target.{field})"));
        let cel = format!("!has(self.target.{field}) || ({amount})");
        rules.push(Rule::new(at, cel, AMOUNT).blames(blame));
    }
    rules
}
