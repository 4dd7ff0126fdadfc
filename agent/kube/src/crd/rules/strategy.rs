//! Strategies and their settings.

use super::Rule;

/// Percentages with their defaults.
const HIGH: &str = "(has(self.highPercent) ? self.highPercent : 80)";
const HIGH_AIM: &str = "(has(self.highAimPercent) ? self.highAimPercent : 70)";
const LOW: &str = "(has(self.lowPercent) ? self.lowPercent : 30)";
const LOW_AIM: &str = "(has(self.lowAimPercent) ? self.lowAimPercent : 50)";

pub(super) fn rules() -> Vec<Rule> {
    let mut rules = vec![
        Rule::new(
            "",
            "!has(self.banded) || self.strategy == 'banded'",
            "needs strategy: banded beside it",
        )
        .blames(".banded"),
        Rule::new(
            "",
            "!has(self.objective) || self.strategy == 'objective'",
            "needs strategy: objective beside it",
        )
        .blames(".objective"),
        Rule::new(
            "",
            "self.strategy != 'objective' || has(self.objective)",
            "needs objective beside it, which says how long work may wait and how often longer: \
             {wait: 250ms, missRatio: 3%, arrivals: TRIGGER}",
        )
        .blames(".strategy"),
        Rule::new(
            "",
            "self.strategy != 'banded' || \
             (has(self.triggers) && self.triggers.exists(t, t.type in ['cpu', 'memory'] && \
             has(t.metricType) && t.metricType == 'Utilization' && \
             !('containerName' in t.metadata))) || \
             (has(self.metrics) && self.metrics.exists(m, has(m.resource) && \
             m.resource.target.type == 'Utilization'))",
            "banded needs a cpu or memory trigger with metricType Utilization",
        )
        .blames(".strategy"),
    ];
    rules.extend(banded());
    rules.extend(objective());
    rules
}

fn banded() -> Vec<Rule> {
    let between = |aim: &str, field: &'static str| {
        Rule::new(
            "banded",
            format!("{LOW} >= {HIGH} || ({aim} >= {LOW} && {aim} <= {HIGH})"),
            "must lie between lowPercent (30 where it is left out) and highPercent (80)",
        )
        .blames(field)
    };
    vec![
        Rule::new(
            "banded",
            format!("{LOW} < {HIGH}"),
            "must be less than highPercent, which is 80 where it is left out",
        )
        .blames(".lowPercent"),
        between(HIGH_AIM, ".highAimPercent"),
        between(LOW_AIM, ".lowAimPercent"),
    ]
}

fn objective() -> Vec<Rule> {
    let time = |field: &str, most: &str| {
        format!(
            "{field}.matches('^([0-9]+[.]?[0-9]*|[.][0-9]+)(ms|s|m|h)$') && \
             duration({field}) > duration('0s') && duration({field}) <= duration('{most}')"
        )
    };
    let trigger = |field: &'static str, blame: &'static str| {
        // Names that nobody wrote are the agent's to give, and to check.
        Rule::new(
            "",
            format!(
                "!has(self.objective) || !has(self.objective.{field}) || !has(self.triggers) || \
                 has(self.metrics) || self.triggers.exists(t, !(t.type in ['cpu', 'memory']) && \
                 (!has(t.name) || t.name == self.objective.{field}))"
            ),
            "must be the name of a trigger of this policy that isn't cpu or memory",
        )
        .blames(blame)
    };
    vec![
        Rule::new(
            "objective",
            time("self.wait", "1h"),
            "must be a duration of at most 1h, such as 250ms, 2s or 1m",
        )
        .blames(".wait"),
        Rule::new(
            "objective",
            format!(
                "!has(self.serviceTime) || ({})",
                time("self.serviceTime", "168h")
            ),
            "must be a duration of at most 168h, such as 40ms, 2s or 1m",
        )
        .blames(".serviceTime"),
        Rule::new(
            "objective",
            "self.missRatio.matches('^([0-9]+[.]?[0-9]*|[.][0-9]+) *%?$') && \
             double(self.missRatio.replace('%', '').trim()) > 0.0 && \
             double(self.missRatio.replace('%', '').trim()) <= \
             (self.missRatio.endsWith('%') ? 50.0 : 0.5)",
            "must be a percentage such as 3% or a fraction such as 0.03, above 0 and at most 50%",
        )
        .blames(".missRatio"),
        trigger("arrivals", ".objective.arrivals"),
        trigger("inSystem", ".objective.inSystem"),
    ]
}
