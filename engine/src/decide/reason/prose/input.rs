//! The words for one trigger: what it asks for, or why it can't be asked, with
//! its value, its target, its age and the replicas that were counted or left out.

use crate::decide::reason::quantity::{Unit, duration, plural, replicas, whole};
use crate::decide::reason::{Failure, Input, Outcome, Pods};
use crate::policy::{FallbackBehavior, Goal, RECOVERY};

pub fn sentence(input: &Input) -> String {
    let name = &input.trigger;
    let what = if input.source == *name {
        name.clone()
    } else {
        format!("{name} ({})", input.source)
    };
    match &input.outcome {
        Outcome::Proposes {
            replicas: n,
            within_tolerance,
        } => {
            let n = replicas(*n);
            let unsure = input.pods.is_some_and(|p| p.missing > 0 || p.unready > 0);
            let asks = match (within_tolerance, unsure) {
                (true, true) => format!("would keep {n}, judging cautiously what isn't measured"),
                (true, false) => format!("is near enough to its target to keep {n}"),
                (false, _) => format!("asks for {n}"),
            };
            format!("{what} {asks}: {}.", facts(input))
        }
        Outcome::Fallback { .. } => format!("{what} {}.", stands_in(input)),
        Outcome::Failed {
            reason,
            failures,
            kept,
        } => {
            let times = match failures {
                0 | 1 => String::new(),
                n => format!(" {n} times in a row"),
            };
            let why = failure(reason, input, kept.is_some());
            let before = kept.map_or_else(String::new, |n| {
                let (facts, n) = (facts(input), replicas(n));
                format!("; what it said before still counts and asks for {n}: {facts}")
            });
            format!("{what} failed{times}: {why}{before}.")
        }
        Outcome::Stale => format!(
            "{what} last answered {} ago, too long ago to act on: {}.",
            duration(input.age_ms.unwrap_or(0)),
            value_and_target(input)
        ),
        Outcome::Unheard => format!("{what} has not answered yet."),
        Outcome::NoReplicas => format!("{what} can't be measured while there are no replicas."),
        Outcome::Composed => {
            let value = Unit::Plain.show(input.value.unwrap_or(0));
            format!("{what} goes into the formula: {value}{}.", taken(input))
        }
    }
}

fn stands_in(input: &Input) -> String {
    let Outcome::Fallback {
        stated,
        replicas: n,
        failures,
        successes,
        behavior,
        reason,
        needed,
    } = &input.outcome
    else {
        return String::new();
    };
    let (stated, n) = (replicas(*stated), replicas(*n));
    let near = if stated == n {
        String::new()
    } else {
        format!(", near enough to keep {n}")
    };
    let size = match behavior {
        FallbackBehavior::Static | FallbackBehavior::ScalingModifiers => {
            format!("the fallback of {stated} stands in{near}")
        }
        FallbackBehavior::CurrentReplicas => format!("the fallback keeps the current {stated}"),
        FallbackBehavior::CurrentReplicasIfHigher => {
            format!("the fallback asks for at least its own size: {stated}{near}")
        }
        FallbackBehavior::CurrentReplicasIfLower => {
            format!("the fallback asks for at most its own size: {stated}{near}")
        }
    };
    let times = plural(*failures, "time");
    let needed = needed.unwrap_or(RECOVERY);
    match (reason, successes) {
        (Some(reason), _) => format!(
            "failed {times} in a row ({}), so {size}",
            failure(reason, input, false)
        ),
        (None, 0) => format!("failed {times} in a row, so {size}"),
        (None, _) if input.value.is_none() => format!(
            "has given {successes} of the {needed} good answers needed after its failures; until \
             then {size}"
        ),
        (None, _) => format!(
            "answers again ({}), {successes} of the {needed} good answers needed so far; until \
             then {size}",
            facts(input)
        ),
    }
}

/// Value, target, replicas counted and left out, age.
fn facts(input: &Input) -> String {
    let mut parts = vec![value_and_target(input)];
    parts.extend(input.pods.map(counted));
    parts.join("; ") + &taken(input)
}

/// When the value was.
fn taken(input: &Input) -> String {
    match input.age_ms {
        None => String::new(),
        Some(0..1_000) => "; measured just now".to_owned(),
        Some(age_ms) => format!("; measured {} ago", duration(age_ms)),
    }
}

fn value_and_target(input: &Input) -> String {
    let unit = Unit::of(&input.source, input.goal);
    let value = unit.show(input.value.unwrap_or(0));
    let whole = whole(&input.source);
    match input.goal {
        Goal::Utilization { .. } if input.band.is_some() => {
            let (low, high) = input.band.unwrap_or_default();
            format!("{value} {whole}, band {low} % to {high} %")
        }
        Goal::Utilization { percent } => format!("{value} {whole}, target {percent} %"),
        Goal::AverageValue { milli } if input.pods.is_some() => {
            format!("{value} a replica, target {}", unit.show(milli))
        }
        Goal::AverageValue { milli } => {
            format!("{value} in all, target {} a replica", unit.show(milli))
        }
        Goal::Value { milli } => format!("{value}, target {}", unit.show(milli)),
    }
}

fn counted(pods: Pods) -> String {
    let mut parts = vec![format!("{} counted", replicas(pods.counted))];
    for (n, why) in [
        (pods.missing, "without a fresh sample"),
        (pods.unready, "not ready"),
        (pods.ignored, "ended"),
    ] {
        if n > 0 {
            parts.push(format!("{n} {why}"));
        }
    }
    parts.join(", ")
}

/// Why, with the replicas counted and left out, and how long ago: of the failure, unless
/// the input has a value from `before`.
fn failure(reason: &Failure, input: &Input, before: bool) -> String {
    if let (Failure::MostlyMissing, Some(pods)) = (reason, input.pods) {
        return format!("too few samples: {}", counted(pods));
    }
    let why = match reason {
        Failure::Source(why) => why.trim_end_matches('.').to_owned(),
        Failure::Selector(why) => format!("no replica can be told from others: {why}"),
        Failure::Metric(error) => error.to_string(),
        Failure::MostlyMissing => "most replicas have no fresh sample".into(),
        Failure::UnknownType => "this version doesn't know such a trigger".into(),
    };
    if before {
        return why;
    }
    let mut parts = vec![why];
    parts.extend(input.pods.map(counted));
    if let (None, Some(age_ms @ 1_000..)) = (input.pods, input.age_ms) {
        parts.push(format!("asked {} ago", duration(age_ms)));
    }
    parts.join("; ")
}
