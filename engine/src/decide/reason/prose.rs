//! The words of a report: first what happens, then what each trigger said, what
//! moved or held the size, and what would have to change. At most 80 columns.

use std::fmt;

use super::quantity::{Unit, decimal, duration, plural, replicas};
use super::{Failure, Input, Outcome, Outlook, Pods, Report, Step};
use crate::decide::health::RECOVERY;
use crate::decide::limit::Limited;
use crate::decide::objective::limits::Limits;
use crate::policy::{FallbackBehavior, Goal};

const COLUMNS: usize = 80;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        paragraph(f, "", &headline(self))?;
        if !self.inputs.is_empty() {
            writeln!(f)?;
        }
        for input in &self.inputs {
            paragraph(f, "- ", &sentence(input))?;
        }
        let mut middle: Vec<String> = winner(self).into_iter().collect();
        middle.extend(self.steps.iter().map(|step| explain(step, self)));
        if !middle.is_empty() {
            writeln!(f)?;
            paragraph(f, "", &middle.join(" "))?;
        }
        if !self.outlook.is_empty() {
            writeln!(f)?;
            paragraph(f, "", "What would change the size:")?;
            for outlook in &self.outlook {
                paragraph(f, "- ", &condition(outlook, self))?;
            }
        }
        Ok(())
    }
}

impl Report {
    /// The stable code and the words of each input, then of each step, in the
    /// order in which they came to bear.
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, String)> {
        let inputs = self.inputs.iter();
        let steps = self.steps.iter();
        inputs
            .map(|input| (input.outcome.code(), sentence(input)))
            .chain(steps.map(|step| (step.code(), explain(step, self))))
    }
}

/// A word that is longer than a line, in pieces that aren't.
fn pieces(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let cut = rest
            .char_indices()
            .nth(COLUMNS - 2)
            .map_or(rest.len(), |(i, _)| i);
        let (piece, left) = rest.split_at(cut);
        rest = left;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Wraps at [`COLUMNS`]; lines after the first are indented below the mark.
fn paragraph(f: &mut fmt::Formatter<'_>, mark: &str, text: &str) -> fmt::Result {
    let (mut column, mut first) = (mark.len(), true);
    write!(f, "{mark}")?;
    // Control characters in a source's words must not reach a terminal.
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    for word in clean.split_whitespace().flat_map(pieces) {
        let width = word.chars().count();
        if !first && column + 1 + width > COLUMNS {
            write!(f, "\n{:1$}{word}", "", mark.len())?;
            column = mark.len() + width;
        } else if first {
            write!(f, "{word}")?;
            column += width;
        } else {
            write!(f, " {word}")?;
            column += 1 + width;
        }
        first = false;
    }
    writeln!(f)
}

fn headline(report: &Report) -> String {
    let (from, to) = (report.from, report.target);
    match (to.cmp(&from), report.dry_run) {
        (std::cmp::Ordering::Equal, _) => format!("Stays at {}.", replicas(to)),
        (order, dry) => {
            let verb = match (order.is_gt(), dry) {
                (true, false) => "Grows",
                (true, true) => "Would grow",
                (false, false) => "Shrinks",
                (false, true) => "Would shrink",
            };
            let note = if dry {
                " (dry run: nothing is written)"
            } else {
                ""
            };
            format!("{verb} from {from} to {}{note}.", replicas(to))
        }
    }
}

fn winner(report: &Report) -> Option<String> {
    let proposals: Vec<u32> = report
        .inputs
        .iter()
        .filter_map(|input| input.outcome.proposal())
        .collect();
    let input = report.inputs.get(report.winner? as usize)?;
    (proposals.len() > 1).then(|| {
        format!(
            "The largest request counts: {}, {}.",
            input.trigger,
            replicas(report.raw.unwrap_or(0))
        )
    })
}

fn sentence(input: &Input) -> String {
    let name = &input.trigger;
    let what = if input.source == *name {
        name.clone()
    } else {
        format!("{name} ({})", input.source)
    };
    match &input.outcome {
        Outcome::Proposes {
            replicas: n,
            within_tolerance: true,
        } if input.pods.is_some_and(|p| p.missing > 0 || p.unready > 0) => format!(
            "{what} would keep {}, judging cautiously what isn't measured: {}.",
            replicas(*n),
            facts(input)
        ),
        Outcome::Proposes {
            replicas: n,
            within_tolerance: true,
        } => format!(
            "{what} is near enough to its target to keep {}: {}.",
            replicas(*n),
            facts(input)
        ),
        Outcome::Proposes { replicas: n, .. } => {
            format!("{what} asks for {}: {}.", replicas(*n), facts(input))
        }
        Outcome::Fallback {
            replicas: n,
            failures,
            successes,
            behavior,
            reason,
        } => {
            let why = reason
                .as_ref()
                .map_or_else(String::new, |reason| format!(" ({})", failure(reason)));
            let size = fallback(*behavior, *n);
            if *successes == 0 {
                format!("{what} failed {failures} times in a row{why}, so {size}.")
            } else {
                format!(
                    "{what} answers again, {successes} of the {RECOVERY} good answers needed so \
                     far; until then {size}."
                )
            }
        }
        Outcome::Failed { reason, failures } => {
            let times = match failures {
                0 | 1 => String::new(),
                n => format!(" {n} times in a row"),
            };
            format!("{what} failed{times}: {}.", failure(reason))
        }
        Outcome::Stale => format!(
            "{what} last answered {} ago, too long ago to act on.",
            duration(input.age_ms.unwrap_or(0))
        ),
        Outcome::Unheard => format!("{what} has not answered yet."),
        Outcome::NoReplicas => format!("{what} can't be measured while there are no replicas."),
    }
}

fn fallback(behavior: FallbackBehavior, n: u32) -> String {
    let size = replicas(n);
    match behavior {
        FallbackBehavior::Static => format!("the fallback of {size} stands in"),
        FallbackBehavior::CurrentReplicas => format!("the fallback keeps the current {size}"),
        FallbackBehavior::CurrentReplicasIfHigher => {
            format!("the fallback asks for at least its own size: {size}")
        }
        FallbackBehavior::CurrentReplicasIfLower => {
            format!("the fallback asks for at most its own size: {size}")
        }
    }
}

/// Value, target, replicas counted and left out, age.
fn facts(input: &Input) -> String {
    let unit = Unit::of(&input.source, input.goal);
    let value = unit.show(input.value.unwrap_or(0));
    let value_and_target = match input.goal {
        Goal::Utilization { .. } if input.band.is_some() => {
            let (low, high) = input.band.unwrap_or_default();
            format!("{value} of requests used, band {low} % to {high} %")
        }
        Goal::Utilization { percent } => format!("{value} of requests used, target {percent} %"),
        Goal::AverageValue { milli } if input.pods.is_some() => {
            format!("{value} a replica, target {}", unit.show(milli))
        }
        Goal::AverageValue { milli } => {
            format!("{value} in all, target {} a replica", unit.show(milli))
        }
        Goal::Value { milli } => format!("{value}, target {}", unit.show(milli)),
    };
    let mut parts = vec![value_and_target];
    if let Some(pods) = input.pods {
        parts.push(counted(pods));
    }
    parts.extend(input.age_ms.map(|age_ms| match age_ms {
        0..1_000 => "measured just now".to_owned(),
        _ => format!("measured {} ago", duration(age_ms)),
    }));
    parts.join("; ")
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

fn failure(reason: &Failure) -> String {
    match reason {
        Failure::Source(why) => why.trim_end_matches('.').to_owned(),
        Failure::Metric(error) => error.to_string(),
        Failure::MostlyMissing => "most replicas have no fresh sample".into(),
        Failure::UnknownType => "this version doesn't know such a trigger".into(),
    }
}

fn explain(step: &Step, report: &Report) -> String {
    let keeps = replicas(report.from);
    match step {
        Step::JustChanged => "The size has changed at this very moment.".into(),
        Step::Paused { at: None } => "The policy is paused, so the size is left alone.".into(),
        Step::Paused { at: Some(n) } => format!("The policy is paused at {}.", replicas(*n)),
        Step::Disabled => {
            "Somebody set the size to 0, which switches scaling off until a size is set.".into()
        }
        Step::Activated { to, by } => {
            let who = match by.as_slice() {
                [] => "The annotation force-activation".into(),
                [one] => format!("{one} is active, which"),
                more => format!("{} are active, which", more.join(", ")),
            };
            format!("{who} wakes the workload with {}.", replicas(*to))
        }
        Step::Deactivated { to, quiet_ms } => {
            let since = match quiet_ms {
                Some(ms) => format!("has been active for {}", duration(*ms)),
                None => "has ever been active".into(),
            };
            format!(
                "No trigger {since}, so the workload rests at {}.",
                replicas(*to)
            )
        }
        Step::CoolingDown { left_ms } => format!(
            "No trigger is active; the workload rests in {} if that stays so.",
            duration(*left_ms)
        ),
        Step::AtRest => "No trigger is active, so the workload rests.".into(),
        Step::RestWithheld => {
            "A trigger fails, so nobody knows whether the workload may rest; it keeps its size."
                .into()
        }
        Step::AboveMax { max } => format!("That is more than the maximum, {max}."),
        Step::BelowMin { min } => format!("That is less than the minimum, {min}."),
        Step::NoMetrics => format!("Without a usable answer the workload keeps its {keeps}."),
        Step::Frozen { wanted } => format!(
            "The answers there are would allow {}, but nothing shrinks while a trigger fails.",
            replicas(*wanted)
        ),
        other => limits(other),
    }
}

fn limits(step: &Step) -> String {
    match step {
        Step::StepCapped { from, to } => {
            format!("One step goes no further than {to} on the way to {from}.")
        }
        Step::Settling { wanted, left_ms } => format!(
            "The last change is too recent: {} must wait {} more.",
            replicas(*wanted),
            duration(*left_ms)
        ),
        Step::Stabilized {
            from,
            to,
            window_ms,
            age_ms,
        } => {
            let made = match age_ms {
                0..1_000 => "just now".to_owned(),
                _ => format!("{} ago", duration(*age_ms)),
            };
            format!(
                "Held at {to} rather than {from} by a recommendation made {made}; the \
                 stabilization window is {}.",
                duration(*window_ms)
            )
        }
        Step::Limited { from, to, by } => match by {
            Limited::Up => format!("The limit on growth allows {to} of {from} for now."),
            Limited::Down => {
                format!("The limit on shrinking allows {to} instead of {from} for now.")
            }
            Limited::TooMany => format!("The maximum is {to}; {from} would be needed."),
            Limited::TooFew => format!("The minimum is {to}; {from} would do."),
            Limited::Within => String::new(),
        },
        Step::ScaleInPaused { wanted } => format!(
            "The annotation paused-scale-in forbids shrinking to {}.",
            replicas(*wanted)
        ),
        Step::ScaleOutPaused { wanted } => format!(
            "The annotation paused-scale-out forbids growing to {}.",
            replicas(*wanted)
        ),
        Step::Bounded { from, to } => {
            format!("The policy's bounds turn {from} into {to}.")
        }
        Step::Objective(reason) => reason.sentence(),
        _ => String::new(),
    }
}

fn condition(outlook: &Outlook, report: &Report) -> String {
    let unit = |name: &str| {
        let input = report.inputs.iter().find(|input| input.trigger == *name);
        input.map_or(Unit::Plain, |input| Unit::of(&input.source, input.goal))
    };
    match outlook {
        Outlook::Value {
            trigger,
            above,
            below,
        } => {
            let unit = unit(trigger);
            format!(
                "{trigger} goes above {} or below {}",
                unit.show(*above),
                unit.show(*below)
            )
        }
        Outlook::Activity { trigger, above } => {
            format!("{trigger} rises above {}", decimal(*above))
        }
        Outlook::Answer { trigger } => answer(trigger, report),
        Outlook::Samples { trigger } => {
            format!("more replicas are ready and have fresh samples of {trigger}")
        }
        Outlook::Recovery { trigger, more } => {
            format!("{trigger} gives {}", plural(*more, "more good answer"))
        }
        Outlook::Load(limits) => load(limits),
        Outlook::Wait { ms } => format!("{} pass", duration(*ms)),
        Outlook::Field { field, wanted } => format!("{field} allows {wanted}"),
        Outlook::Annotation { name } => {
            format!("the annotation autoscaling.keda.sh/{name} is removed")
        }
        Outlook::Enable => "somebody sets a size above 0".into(),
    }
}

fn load(limits: &Limits) -> String {
    let slots = |load: f64| format!("{load:.1} busy slots");
    match (limits.above(), limits.below()) {
        (Some(above), Some(below)) => format!(
            "the load goes above {} or stays below {below:.1}",
            slots(above)
        ),
        (Some(above), None) => format!("the load goes above {}", slots(above)),
        (None, Some(below)) => format!("the load stays below {}", slots(below)),
        (None, None) => "the bounds are moved".into(),
    }
}

fn answer(trigger: &str, report: &Report) -> String {
    let input = report.inputs.iter().find(|input| input.trigger == trigger);
    match input.map(|input| &input.outcome) {
        Some(Outcome::Unheard) => format!("{trigger} answers"),
        Some(Outcome::Failed {
            reason: Failure::Metric(_) | Failure::MostlyMissing,
            ..
        }) => format!("{trigger} can be computed"),
        Some(Outcome::Failed {
            reason: Failure::UnknownType,
            ..
        }) => format!("{trigger} has a type that the leader knows"),
        _ => format!("{trigger} answers again"),
    }
}
