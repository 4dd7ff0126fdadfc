//! The words of a report: first what happens, then what each trigger said, what
//! moved or held the size, and what would have to change. At most 80 columns.

mod input;

use std::fmt;

use super::quantity::{Unit, decimal, duration, plural, replicas};
use super::{Failure, Held, Outcome, Outlook, Report, Step};
use crate::decide::limit::Limited;
use crate::decide::objective::limits::Limits;
use crate::policy::Goal;
use input::sentence;

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

    /// What would have to change for the size to change: codes and words, in the
    /// order of `outlook`.
    pub fn thresholds(&self) -> impl Iterator<Item = (&'static str, String)> {
        let outlook = self.outlook.iter();
        outlook.map(|it| (it.code(), condition(it, self)))
    }
}

impl Report {
    /// One line of at most `chars_max` characters: the trigger that won and what then
    /// moved its wish.
    pub fn summary(&self, chars_max: usize) -> String {
        let winner = self.winner.map(|winner| winner as usize);
        let inputs = self.inputs.len();
        let told = self.reasons().enumerate();
        let told = told.filter(|(n, _)| *n >= inputs || Some(*n) == winner);
        let told: Vec<String> = told.map(|(_, (_, words))| words).collect();
        on_one_line(&told.join(" "), chars_max)
    }

    /// What was measured and what it is held against: `cpu: 82 %/70 %, queue: 30/10`.
    /// What couldn't be measured is `unknown`, as HPA says.
    pub fn measures(&self) -> String {
        let inputs = self.inputs.iter().map(|input| {
            let unit = Unit::of(&input.source, input.goal);
            let value = match input.value {
                Some(value) => unit.show(value),
                None => "unknown".to_owned(),
            };
            if input.outcome == Outcome::Composed {
                return format!("{}: {value}", input.trigger);
            }
            let goal = match input.goal {
                Goal::Utilization { percent } => unit.show(i64::from(percent)),
                Goal::AverageValue { milli } | Goal::Value { milli } => unit.show(milli),
            };
            format!("{}: {value}/{goal}", input.trigger)
        });
        inputs.collect::<Vec<_>>().join(", ")
    }
}

/// Without line breaks and other control characters, whatever a source put into
/// its words, and cut to so many characters.
pub(crate) fn on_one_line(words: &str, chars_max: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    if words.chars().nth(chars_max).is_none() {
        return words.chars().map(clean).collect();
    }
    let kept = words.chars().take(chars_max.saturating_sub(1));
    kept.map(clean).chain(['…']).collect()
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
                [one] if falls_back(one, report) => {
                    format!("{one} counts as active while its fallback stands in, which")
                }
                [one] => format!("{one} is active, which"),
                [first @ .., last] => {
                    format!("{} and {last} are active, which", first.join(", "))
                }
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
        Step::RestWithheld if report.from == 0 => {
            "Until every trigger answers nobody knows whether there is work; the workload stays at \
             rest."
                .into()
        }
        Step::RestWithheld => {
            "Until every trigger answers nobody knows whether the workload may rest, so it keeps \
             its size."
                .into()
        }
        Step::AboveMax { max } => {
            format!("{keeps} {} more than the maximum, {max}.", are(report.from))
        }
        Step::BelowMin { min } => {
            format!(
                "{keeps} {} fewer than the minimum, {min}.",
                are(report.from)
            )
        }
        Step::NoMetrics => format!("Without a usable answer the workload keeps its {keeps}."),
        Step::Frozen { wanted } => format!(
            "The answers there are would allow {}, but nothing shrinks until every trigger answers.",
            replicas(*wanted)
        ),
        Step::Held(held) => self::held(held),
        Step::Blocked { wanted, why } => {
            format!(
                "{} would be wanted, but no more can run: {why}.",
                replicas(*wanted)
            )
        }
        other => limits(other),
    }
}

fn held(held: &Held) -> String {
    match held {
        Held::Away => "The platform's API doesn't answer, so the size stays as it is.".into(),
        Held::Unseen => "The platform hasn't said yet which size the workload has.".into(),
        Held::Gone(why) => format!("There is nothing to size: {why}."),
        Held::Rival(by) => format!("{by} scales the workload already, so it is left alone."),
        Held::Rebuilt { left_ms } => format!(
            "The cluster was rebuilt; nothing changes for another {} s, until two windows were seen.",
            left_ms.div_ceil(1_000)
        ),
    }
}

fn are(n: u32) -> &'static str {
    if n == 1 { "is" } else { "are" }
}

fn falls_back(trigger: &str, report: &Report) -> bool {
    let mut inputs = report.inputs.iter();
    inputs.any(|i| i.trigger == trigger && matches!(i.outcome, Outcome::Fallback { .. }))
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
            format!("The policy's bounds hold all the same: {to} rather than {from}.")
        }
        Step::Objective(reason) => reason.sentence(),
        Step::LastReplica => "The last replica stays until the workload rests.".into(),
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
            at_least,
            at_most,
        } => {
            let unit = unit(trigger);
            let more = at_least.map(|value| unit.at_least(value));
            let less = at_most.map(|value| unit.at_most(value));
            let either: Vec<String> = more.into_iter().chain(less).collect();
            format!("{trigger} {}", either.join(" or "))
        }
        Outlook::Together { triggers } => match triggers.as_slice() {
            [first @ .., last] => {
                format!(
                    "{} and {last} ask for fewer replicas, all of them",
                    first.join(", ")
                )
            }
            [] => String::new(),
        },
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
        Outlook::Wait { ms } => format!("{} {}", duration(*ms), passes(*ms)),
        Outlook::Load(limits) => load(limits),
        Outlook::Field { field, wanted } => format!("{field} allows {wanted}"),
        Outlook::Annotation { name } => {
            format!("the annotation autoscaling.keda.sh/{name} is removed")
        }
        Outlook::Enable => "somebody sets a size above 0".into(),
        Outlook::Platform => "the platform answers and has the workload".into(),
        Outlook::Rival { by } => format!("{by} is deleted"),
        Outlook::Room => "more replicas can run".into(),
        Outlook::Bounds => {
            "spec.minReplicaCount and spec.maxReplicaCount leave more than one size".into()
        }
        Outlook::Quiet { ms: 0 } => "no trigger is active".into(),
        Outlook::Quiet { ms } => format!("no trigger is active for {}", duration(*ms)),
        Outlook::Failures { trigger, more: 1 } => {
            format!("{trigger} fails once more, so that the fallback stands in")
        }
        Outlook::Failures { trigger, more } => {
            format!("{trigger} fails {more} more times, so that the fallback stands in")
        }
    }
}

/// One of a unit passes, several pass.
fn passes(ms: u64) -> &'static str {
    if duration(ms).starts_with("1 ") && duration(ms).matches(' ').count() == 1 {
        "passes"
    } else {
        "pass"
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
        Some(Outcome::Failed {
            reason: Failure::Selector(_),
            ..
        }) => "the target states a selector of its pods".into(),
        _ => format!("{trigger} answers again"),
    }
}
