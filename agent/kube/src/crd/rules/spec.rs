//! Bounds, rest, fallback, measures, target and behaviour.

use starling_policy::schema::limits::TRIGGERS_MAX;

use super::{AMOUNT, Rule, above_zero};

/// Whether there is something besides what the replicas themselves use.
const WAKES: &str = "(has(self.triggers) && \
     self.triggers.exists(t, !(t.type in ['cpu', 'memory']))) || \
     (has(self.metrics) && self.metrics.exists(m, m.type in ['Object', 'External']))";
const TRIGGERS: &str = "has(self.triggers) && self.triggers.size() > 0";
const MAX: &str = "(has(self.maxReplicaCount) ? self.maxReplicaCount : 100)";

pub(super) fn rules() -> Vec<Rule> {
    let mut rules = bounds();
    rules.extend(measures());
    rules.extend(target());
    rules.extend(modifiers());
    rules.extend(behavior());
    rules
}

fn bounds() -> Vec<Rule> {
    vec![
        Rule::new(
            "",
            format!("!has(self.minReplicaCount) || self.minReplicaCount <= {MAX}"),
            "must not be more than maxReplicaCount, which is 100 where it is left out",
        )
        .blames(".minReplicaCount"),
        Rule::new(
            "",
            "!has(self.idleReplicaCount) || self.idleReplicaCount == 0 || \
             (has(self.minReplicaCount) && self.idleReplicaCount < self.minReplicaCount)",
            "must be less than minReplicaCount",
        )
        .blames(".idleReplicaCount"),
        Rule::new(
            "",
            format!("!has(self.fallback) || self.fallback.replicas <= {MAX}"),
            "must not be more than maxReplicaCount, which is 100 where it is left out",
        )
        .blames(".fallback.replicas"),
    ]
}

fn measures() -> Vec<Rule> {
    vec![
        Rule::new(
            "",
            format!("({TRIGGERS}) || (has(self.metrics) && self.metrics.size() > 0)"),
            "name at least one of triggers and metrics, to size the workload by",
        ),
        Rule::new(
            "",
            format!(
                "(has(self.triggers) ? self.triggers.size() : 0) + \
                 (has(self.metrics) ? self.metrics.size() : 0) <= {TRIGGERS_MAX}"
            ),
            format!("name at most {TRIGGERS_MAX} triggers and metrics together"),
        ),
        Rule::new(
            "",
            format!(
                "({TRIGGERS}) || !(has(self.idleReplicaCount) || has(self.cooldownPeriod) || \
                 has(self.initialCooldownPeriod))"
            ),
            "idleReplicaCount, cooldownPeriod and initialCooldownPeriod need triggers: with \
             metrics alone HPA's rules hold, which know no rest",
        ),
        Rule::new(
            "",
            format!(
                "({WAKES}) || (!has(self.idleReplicaCount) && \
                 (!has(self.minReplicaCount) || self.minReplicaCount > 0))"
            ),
            "must be at least 1, without an idleReplicaCount: what replicas use can't wake a \
             workload that has none; or add another trigger, or a metric of type Object or \
             External",
        )
        .blames(".minReplicaCount"),
        Rule::new(
            "triggers",
            "self.all(t, !has(t.name) || self.exists_one(o, has(o.name) && o.name == t.name))",
            "two triggers have the same name",
        ),
    ]
}

/// Types whose value must be held against something, and by which setting.
const GOALS: [(&str, &str); 4] = [
    ("metrics-api", "targetValue"),
    ("prometheus", "threshold"),
    ("postgresql", "targetQueryValue"),
    ("kubernetes-workload", "value"),
];

fn modifiers() -> Vec<Rule> {
    let amount = "self.scalingModifiers.target";
    let goal = |(kind, key): (&str, &str)| {
        Rule::new(
            "",
            format!(
                "has(self.scalingModifiers) || !has(self.triggers) || \
                 self.triggers.all(t, t.type != '{kind}' || '{key}' in t.metadata)"
            ),
            format!("{kind} needs {key}: what the value is held against"),
        )
        .blames(".triggers")
    };
    let mut rules: Vec<Rule> = GOALS.into_iter().map(goal).collect();
    rules.extend([
        Rule::new(
            "",
            "has(self.scalingModifiers) || !has(self.triggers) || \
             self.triggers.all(t, t.type != 'mysql' || 'queryValue' in t.metadata)",
            "mysql needs queryValue: what the value is held against",
        )
        .blames(".triggers"),
        Rule::new(
            "",
            format!(
                "!has(self.scalingModifiers) || ({})",
                above_zero(&format!("string({amount})"))
            ),
            format!("target {AMOUNT}"),
        )
        .blames(".scalingModifiers"),
        Rule::new(
            "",
            "!has(self.scalingModifiers) || !has(self.strategy) || self.strategy == 'target'",
            "must be target beside scalingModifiers",
        )
        .blames(".strategy"),
        Rule::new(
            "",
            "has(self.scalingModifiers) || !has(self.fallback) || !has(self.fallback.behavior) || \
             self.fallback.behavior != 'scalingModifiers'",
            "needs scalingModifiers, whose formula says what counts instead",
        )
        .blames(".fallback.behavior"),
    ]);
    rules
}

fn target() -> Vec<Rule> {
    vec![
        Rule::new(
            "scaleTargetRef",
            "!has(self.apiVersion) || \
             self.apiVersion.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[a-z][a-z0-9]*$')",
            "must be group/version such as apps/v1, or a version such as v1",
        )
        .blames(".apiVersion"),
        Rule::new(
            "scaleTargetRef",
            "self.name.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",
            "is not a name: only a-z, 0-9, - and ., beginning and ending with a letter or digit",
        )
        .blames(".name"),
        Rule::new(
            "scaleTargetRef",
            "self.kind.matches('^[A-Za-z][A-Za-z0-9]*$')",
            "is not a kind, such as Deployment",
        )
        .blames(".kind"),
    ]
}

fn behavior() -> Vec<Rule> {
    let tolerance = |at| {
        Rule::new(
            at,
            "!has(self.tolerance) || (isQuantity(string(self.tolerance)) && \
             quantity(string(self.tolerance)).compareTo(quantity('0')) >= 0 && \
             quantity(string(self.tolerance)).compareTo(quantity('10')) <= 0)",
            "must be 0 to 10; 0.1 is 10 %",
        )
        .blames(".tolerance")
    };
    vec![
        tolerance("behavior.scaleUp"),
        tolerance("behavior.scaleDown"),
    ]
}
