//! What a sound policy looks like, field by field, in the words of whoever
//! wrote it. Comes in: a policy. Goes out: every violation, not only the first.

use std::collections::BTreeSet;

use super::{
    Banded, FAILURES_MAX, FallbackBehavior, Form, Goal, MISS_PPM_MAX, NAME_BYTES_MAX,
    OBJECTIVE_WAIT_MS_MAX, Objective, PERIOD_MS_MAX, Policy, RATES_MAX, REPLICAS_MAX, Rate,
    RateKind, Resource, Rules, SLOTS_MAX, Source, Strategy, TRIGGERS_MAX, Trigger, Violation,
    WAIT_MS_MAX, WINDOW_MS_MAX, Zero,
};
use crate::demand::series::{MEAN_MS_MAX, MEAN_MS_MIN};
use crate::formula::Formula;

/// Collects violations under a path.
struct Findings(Vec<Violation>);

impl Findings {
    fn require(&mut self, sound: bool, field: impl Into<String>, why: impl FnOnce() -> String) {
        if !sound {
            self.0.push(Violation {
                field: field.into(),
                why: why(),
            });
        }
    }

    fn name(&mut self, field: &str, name: &str) {
        self.require(!name.is_empty(), field, || "must not be empty".into());
        self.require(name.len() <= NAME_BYTES_MAX, field, || {
            format!("has {} bytes; at most {NAME_BYTES_MAX}", name.len())
        });
        self.require(!name.chars().any(char::is_control), field, || {
            "must not contain control characters".into()
        });
    }
}

pub(super) fn policy(policy: &Policy) -> Vec<Violation> {
    let mut found = Findings(Vec::new());
    found.name("metadata.name", &policy.name.name);
    found.name("metadata.namespace", &policy.name.namespace);
    target(&mut found, policy);
    replicas(&mut found, policy);
    waits(&mut found, policy);
    triggers(&mut found, policy);
    formula(&mut found, policy);
    fallback(&mut found, policy);
    behavior(&mut found, policy);
    match &policy.strategy {
        Strategy::Target => {}
        Strategy::Banded(banded) => bands(&mut found, policy, banded),
        Strategy::Objective(objective) => self::objective(&mut found, policy, objective),
    }
    found.0
}

fn target(found: &mut Findings, policy: &Policy) {
    let target = &policy.target;
    found.name("spec.scaleTargetRef.kind", &target.kind);
    found.name("spec.scaleTargetRef.name", &target.name);
    let version = &policy.target_version;
    let sound = target.group.len() <= NAME_BYTES_MAX && version.len() <= NAME_BYTES_MAX;
    found.require(sound, "spec.scaleTargetRef.apiVersion", || {
        format!("has a part of more than {NAME_BYTES_MAX} bytes")
    });
    let own = target.namespace == policy.name.namespace;
    found.require(own, "spec.scaleTargetRef", || {
        format!(
            "is in namespace {}; a policy sizes a workload of its own namespace, {}",
            target.namespace, policy.name.namespace
        )
    });
    let named = target.form() == Form::Placed || target.kind.is_empty();
    let known = named || !version.is_empty();
    found.require(known, "spec.scaleTargetRef.apiVersion", || {
        format!(
            "must name group and version of kind {}, such as apps/v1",
            target.kind
        )
    });
}

fn replicas(found: &mut Findings, policy: &Policy) {
    let (min, max) = (policy.replicas_min, policy.replicas_max);
    found.require(max >= 1, "spec.maxReplicaCount", || {
        "must be at least 1".into()
    });
    found.require(max <= REPLICAS_MAX, "spec.maxReplicaCount", || {
        format!("is {max}; at most {REPLICAS_MAX}")
    });
    found.require(min <= max, "spec.minReplicaCount", || {
        format!("is {min}, more than spec.maxReplicaCount, {max}")
    });
    if let Some(idle) = policy.replicas_idle {
        // Both 0 say the same thing twice, which KEDA allows.
        let sound = idle < min || (idle, min) == (0, 0);
        found.require(sound, "spec.idleReplicaCount", || {
            format!("is {idle}; must be less than spec.minReplicaCount, {min}")
        });
    }
    if let Some(paused) = policy.annotations.paused_replicas {
        let bounds = policy.bounds();
        found.require(
            bounds.contains(&paused),
            "metadata.annotations[autoscaling.keda.sh/paused-replicas]",
            || {
                format!(
                    "is {paused}; must lie between {} and {}",
                    bounds.start(),
                    bounds.end()
                )
            },
        );
    }
    if policy.zero == (Zero::Hpa { allowed: true }) && min == 0 {
        let outside = policy.triggers.iter().any(|t| t.source.is_outside());
        found.require(outside, "spec.minReplicaCount", || {
            "0 needs at least one Object or External metric: the replicas' own metrics are gone \
             when there are no replicas"
                .into()
        });
    }
}

fn waits(found: &mut Findings, policy: &Policy) {
    found.require(
        (1_000..=WAIT_MS_MAX).contains(&policy.polling_interval_ms),
        "spec.pollingInterval",
        || "must be between 1 s and 7 days".into(),
    );
    found.require(
        policy.stale_after_ms.unwrap_or_default() <= WAIT_MS_MAX,
        "spec.staleAfter",
        || "is over 7 days".into(),
    );
    for (field, wait_ms) in [
        ("spec.cooldownPeriod", policy.cooldown_ms),
        ("spec.initialCooldownPeriod", policy.initial_cooldown_ms),
    ] {
        found.require(wait_ms <= WAIT_MS_MAX, field, || "is over 7 days".into());
    }
}

fn triggers(found: &mut Findings, policy: &Policy) {
    let triggers = &policy.triggers;
    found.require(!triggers.is_empty(), "spec.triggers", || {
        "must name at least one trigger".into()
    });
    found.require(triggers.len() <= TRIGGERS_MAX, "spec.triggers", || {
        format!("has {} triggers; at most {TRIGGERS_MAX}", triggers.len())
    });
    let mut names = BTreeSet::new();
    for (i, trigger) in triggers.iter().enumerate().take(TRIGGERS_MAX) {
        let path = format!("spec.triggers[{i}]");
        found.name(&format!("{path}.name"), &trigger.name);
        found.require(names.insert(&trigger.name), format!("{path}.name"), || {
            format!("\"{}\" is taken by an earlier trigger", trigger.name)
        });
        goal(found, &path, trigger);
    }
    let resources_only = !triggers.is_empty() && triggers.iter().all(|t| !t.source.is_outside());
    found.require(
        !(resources_only && policy.may_rest()),
        "spec.triggers",
        || {
            "only measure the replicas themselves, which cannot wake a workload that has none; set \
         spec.minReplicaCount to at least 1 without spec.idleReplicaCount, or add another trigger"
                .into()
        },
    );
}

fn formula(found: &mut Findings, policy: &Policy) {
    let field = "spec.scalingModifiers";
    let formulas = policy.triggers.iter().filter(|t| t.source.is_formula());
    found.require(formulas.count() <= 1, field, || "stands twice".into());
    let composed = policy.formula();
    let routed = policy
        .fallback
        .is_some_and(|it| it.behavior == FallbackBehavior::ScalingModifiers);
    found.require(
        composed.is_some() || !routed,
        "spec.fallback.behavior",
        || "needs spec.scalingModifiers, whose formula says what counts instead".into(),
    );
    let Some((at, text)) = composed else {
        return;
    };
    let fed = policy.triggers.iter().filter(|t| t.source.feeds_formulas());
    let names: Vec<&str> = fed.map(|t| t.name.as_str()).collect();
    found.require(!names.is_empty(), field, || {
        "needs triggers that are asked, such as metrics-api: a formula is made of their values"
            .into()
    });
    // Not tried here: every agent must come to the same end.
    let read = Formula::parse(text, &names);
    found.require(read.is_ok(), format!("{field}.formula"), || {
        read.err().map(|why| why.to_string()).unwrap_or_default()
    });
    let sound = match policy.triggers[at].goal {
        Goal::AverageValue { milli } | Goal::Value { milli } => milli > 0,
        Goal::Utilization { .. } => false,
    };
    found.require(sound, format!("{field}.target"), || {
        "must be more than 0, for each replica or in all".into()
    });
    let by_goals = policy.strategy == Strategy::Target;
    found.require(by_goals, "spec.strategy", || {
        "must be target beside spec.scalingModifiers".into()
    });
}

fn goal(found: &mut Findings, path: &str, trigger: &Trigger) {
    if trigger.source.is_formula() {
        return;
    }
    let positive = match trigger.goal {
        Goal::Utilization { percent } => percent > 0,
        Goal::AverageValue { milli } | Goal::Value { milli } => milli > 0,
    };
    found.require(positive, format!("{path}.metadata.value"), || {
        "must be more than 0".into()
    });
    let why = match (&trigger.source, trigger.goal) {
        (Source::Unknown { kind }, _) => Some(format!("\"{kind}\" is not a known trigger type")),
        (
            Source::Pods { .. } | Source::Object { .. } | Source::External { .. },
            Goal::Utilization { .. },
        ) => Some("Utilization is only for what agents measure, such as cpu and memory".into()),
        (
            Source::Resource(resource)
            | Source::Nodes(resource)
            | Source::Container { resource, .. },
            Goal::Utilization { .. },
        ) if !resource.has_whole() => Some(format!(
            "Utilization needs a whole, which {} has not; use AverageValue",
            resource.name()
        )),
        (
            Source::Resource(_) | Source::Nodes(_) | Source::Container { .. } | Source::Pods { .. },
            Goal::Value { .. },
        ) => Some("Value is not for metrics of the replicas; use AverageValue".into()),
        _ => None,
    };
    let field = match trigger.source {
        Source::Unknown { .. } => format!("{path}.type"),
        _ => format!("{path}.metricType"),
    };
    found.require(why.is_none(), field, || why.unwrap_or_default());
    measured(found, path, trigger);
}

/// What agents measure, of what they can measure it, over how long.
fn measured(found: &mut Findings, path: &str, trigger: &Trigger) {
    let (resource, measured, whom) = match &trigger.source {
        Source::Resource(resource) => (resource, resource.is_of_replicas(), "replicas"),
        Source::Nodes(resource) => (resource, resource.is_of_nodes(), "nodes"),
        Source::Container {
            resource,
            container,
        } => {
            found.name(&format!("{path}.metadata.containerName"), container);
            (resource, resource.is_of_containers(), "single containers")
        }
        _ => {
            found.require(
                trigger.window_ms.is_none(),
                format!("{path}.metadata.window"),
                || "is only for what agents measure themselves".into(),
            );
            return;
        }
    };
    found.require(measured, format!("{path}.type"), || {
        format!("{} isn't measured of {whom}", resource.name())
    });
    let window = trigger.window_ms;
    found.require(
        window.is_none_or(|ms| (MEAN_MS_MIN..=MEAN_MS_MAX).contains(&ms)),
        format!("{path}.metadata.window"),
        || {
            format!(
                "must be between {} s and {} s",
                MEAN_MS_MIN / 1_000,
                MEAN_MS_MAX / 1_000
            )
        },
    );
}

fn fallback(found: &mut Findings, policy: &Policy) {
    let Some(fallback) = policy.fallback else {
        return;
    };
    let bounds = policy.bounds();
    found.require(
        fallback.failure_threshold <= FAILURES_MAX,
        "spec.fallback.failureThreshold",
        || format!("is over {FAILURES_MAX}"),
    );
    found.require(
        (1..=FAILURES_MAX).contains(&fallback.recovery()),
        "spec.fallback.recoveryThreshold",
        || format!("must be between 1 and {FAILURES_MAX}"),
    );
    found.require(
        fallback.replicas <= *bounds.end(),
        "spec.fallback.replicas",
        || {
            format!(
                "is {}, more than spec.maxReplicaCount, {}",
                fallback.replicas,
                bounds.end()
            )
        },
    );
}

fn behavior(found: &mut Findings, policy: &Policy) {
    let Some(behavior) = &policy.behavior else {
        return;
    };
    for (direction, rules) in [("scaleUp", &behavior.up), ("scaleDown", &behavior.down)] {
        rules_of(found, &format!("spec.behavior.{direction}"), rules);
    }
}

fn rules_of(found: &mut Findings, path: &str, rules: &Rules) {
    found.require(
        rules.window_ms.unwrap_or(0) <= WINDOW_MS_MAX,
        format!("{path}.stabilizationWindowSeconds"),
        || "is over 3600".into(),
    );
    found.require(!rules.rates.is_empty(), format!("{path}.policies"), || {
        "must name at least one policy".into()
    });
    found.require(
        rules.rates.len() <= RATES_MAX,
        format!("{path}.policies"),
        || format!("has {} policies; at most {RATES_MAX}", rules.rates.len()),
    );
    for (i, rate) in rules.rates.iter().enumerate().take(RATES_MAX) {
        rate_of(found, &format!("{path}.policies[{i}]"), rate);
    }
}

fn rate_of(found: &mut Findings, path: &str, rate: &Rate) {
    found.require(rate.value > 0, format!("{path}.value"), || {
        let unit = match rate.kind {
            RateKind::Pods => "pods",
            RateKind::Percent => "percent",
        };
        format!("is {} {unit}; must be more than 0", rate.value)
    });
    found.require(
        (1_000..=PERIOD_MS_MAX).contains(&rate.period_ms),
        format!("{path}.periodSeconds"),
        || "must be between 1 and 1800".into(),
    );
}

fn bands(found: &mut Findings, policy: &Policy, banded: &Banded) {
    let Banded {
        high_percent: high,
        high_aim_percent: high_aim,
        low_percent: low,
        low_aim_percent: low_aim,
        ..
    } = *banded;
    found.require(low < high, "spec.banded.lowPercent", || {
        format!("is {low}; must be less than highPercent, {high}")
    });
    for (field, aim) in [
        ("spec.banded.highAimPercent", high_aim),
        ("spec.banded.lowAimPercent", low_aim),
    ] {
        found.require(aim > 0, field, || "must be more than 0".into());
        let between = aim == 0 || low >= high || (low..=high).contains(&aim);
        found.require(between, field, || {
            format!("is {aim}; must lie between lowPercent, {low}, and highPercent, {high}")
        });
    }
    found.require(
        (1..=1_000).contains(&banded.step_up_percent),
        "spec.banded.stepUpPercent",
        || "must be between 1 and 1000".into(),
    );
    found.require(
        (1..=100).contains(&banded.step_down_percent),
        "spec.banded.stepDownPercent",
        || "must be between 1 and 100".into(),
    );
    found.require(
        banded.cooldown_ms <= WAIT_MS_MAX,
        "spec.banded.cooldownPeriod",
        || "is over 7 days".into(),
    );
    let resource = policy.triggers.iter().any(|t| {
        matches!(t.source, Source::Resource(Resource::Cpu | Resource::Memory))
            && matches!(t.goal, Goal::Utilization { .. })
    });
    found.require(resource, "spec.triggers", || {
        "the banded strategy needs a cpu or memory trigger with metricType Utilization".into()
    });
}

fn objective(found: &mut Findings, policy: &Policy, objective: &Objective) {
    found.require(
        (1..=OBJECTIVE_WAIT_MS_MAX).contains(&objective.wait_ms),
        "spec.objective.wait",
        || format!("is {} ms; must be between 1 ms and 1 h", objective.wait_ms),
    );
    found.require(
        (1..=MISS_PPM_MAX).contains(&objective.miss_ppm),
        "spec.objective.missRatio",
        || "must be above 0 and at most 50 %".into(),
    );
    found.require(
        objective
            .service_ms
            .is_none_or(|ms| (1..=WAIT_MS_MAX).contains(&ms)),
        "spec.objective.serviceTime",
        || "must be between 1 ms and 7 days".into(),
    );
    found.require(
        objective
            .slots
            .is_none_or(|slots| (1..=SLOTS_MAX).contains(&slots)),
        "spec.objective.slots",
        || format!("must be between 1 and {SLOTS_MAX}"),
    );
    for (field, name) in [
        ("spec.objective.arrivals", &objective.arrivals),
        ("spec.objective.inSystem", &objective.in_system),
    ] {
        let Some(name) = name else { continue };
        let named = policy.triggers.iter().find(|t| t.name == *name);
        let external = named.is_some_and(|t| matches!(t.source, Source::External { .. }));
        found.require(external, field, || match named {
            None => format!("\"{name}\" is not the name of a trigger of this policy"),
            Some(_) => format!("\"{name}\" measures the replicas; name an external trigger"),
        });
    }
}

impl Source {
    /// Whether the source can be asked while there are no replicas.
    pub fn is_outside(&self) -> bool {
        matches!(
            self,
            Source::Object { .. }
                | Source::External { .. }
                | Source::Unknown { .. }
                | Source::Formula { .. }
        )
    }

    /// Whether its value comes from asking, not from what the agents measure.
    pub fn is_polled(&self) -> bool {
        matches!(
            self,
            Source::Pods { .. } | Source::Object { .. } | Source::External { .. }
        )
    }

    /// Of a metric of the replicas: its name and which of its series count, such as
    /// `requests{verb=GET}`.
    pub fn series(&self) -> Option<String> {
        match self {
            Source::Pods {
                metric,
                selector: Some(selector),
            } => Some(format!("{metric}{{{selector}}}")),
            Source::Pods { metric, .. } => Some(metric.clone()),
            _ => None,
        }
    }

    /// Whether HPA lets the source bring a workload to zero and back (hpa.md rule 17).
    pub fn spans_zero(&self) -> bool {
        matches!(
            self,
            Source::Object { .. } | Source::External { .. } | Source::Formula { .. }
        )
    }

    pub fn is_formula(&self) -> bool {
        matches!(self, Source::Formula { .. })
    }

    /// Whether its value goes into the policy's formula, where it has one.
    pub fn feeds_formulas(&self) -> bool {
        matches!(self, Source::External { .. } | Source::Unknown { .. })
    }
}
