//! From what a user wrote to what the engine understands: defaults filled in,
//! units made explicit, every number within its range.
//!
//! Comes in: a [`schema`] value. Goes out: the engine's value, or all that is
//! wrong with it at once. What the fields mean together (min above max, two
//! triggers of one name) is for the engine to judge, in [`Policy::check`].

mod annotations;
mod behavior;
mod measured;
mod metric;
mod modifiers;
mod objective;
mod process;
mod target;
mod trigger;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use starling_engine::formula;
use starling_engine::policy::{
    Banded, Fallback, FallbackBehavior, NAME_BYTES_MAX, Policy, Strategy, Violation, Zero,
};

use super::schema;
use super::schema::limits::{
    BAND_MAX, FAILURES_MAX, LABEL_BYTES_MAX, REPLICAS_MAX, UTILIZATION_MAX, WAIT_SECONDS_MAX,
};
use super::yaml::clip;
pub(crate) use annotations::{PREFIX as ANNOTATIONS, knows_annotation};
pub use process::process;
use starling_engine::quantity::{self, Quantity};

/// Names of processes: one DNS label.
pub const PROCESS_NAME_BYTES_MAX: usize = LABEL_BYTES_MAX;
/// KEDA's default for `maxReplicaCount`.
const REPLICAS_MAX_DEFAULT: i64 = 100;
/// Seconds between two questions to a trigger. KEDA's default is 30, but its HPA
/// asks once more each 15 s; here one answer serves the whole way from 0 to many.
const POLLING_DEFAULT: i64 = 2;
const POLLING: RangeInclusive<i64> = 1..=WAIT_SECONDS_MAX;
/// KEDA's default for `cooldownPeriod`, in seconds.
const COOLDOWN_DEFAULT: i64 = 300;
const COOLDOWN: RangeInclusive<i64> = 0..=WAIT_SECONDS_MAX;
const REPLICAS: RangeInclusive<i64> = 0..=REPLICAS_MAX;
const FAILURES: RangeInclusive<i64> = 0..=FAILURES_MAX;
const SUCCESSES: RangeInclusive<i64> = 1..=FAILURES_MAX;
const PERCENT: RangeInclusive<i64> = 1..=BAND_MAX;
const UTILIZATION: RangeInclusive<i64> = 1..=UTILIZATION_MAX;

/// A policy with its defaults, or all that keeps it from being one.
pub fn policy(document: &schema::ScalingPolicy) -> Result<Policy, Vec<Violation>> {
    let mut check = Check::default();
    let policy = build(&mut check, document);
    if check.violations.is_empty() {
        check.violations = policy.check();
    }
    check.done(policy)
}

/// What is wrong with fields of a document that can't become a policy as it is;
/// nothing of what the fields mean together.
pub fn policy_fields(document: &schema::ScalingPolicy) -> Vec<Violation> {
    let mut check = Check::default();
    build(&mut check, document);
    check.violations
}

fn build(check: &mut Check, document: &schema::ScalingPolicy) -> Policy {
    let spec = &document.spec;
    let name = target::name(check, &document.metadata);
    let annotations = annotations::annotations(check, &document.metadata.annotations);
    let (target, target_version) = target::target(check, &name, &spec.scale_target_ref);
    let mut names = BTreeSet::new();
    let composed = spec.scaling_modifiers.is_some();
    let container = target::container(check, &spec.scale_target_ref);
    let mut triggers = trigger::triggers(check, &spec.triggers, &mut names, composed);
    trigger::authenticate_as(&mut triggers, container);
    triggers.extend(metric::metrics(check, &spec.metrics, &mut names));
    if let Some(written) = &spec.scaling_modifiers {
        let formula = modifiers::formula(check, written, &triggers, &mut names);
        triggers.push(formula);
    }
    target::measurable(check, &target, &triggers);
    let zero = zero(check, spec);
    // Usage can't wake a workload that has no replicas, so a policy without any
    // other trigger starts at one; one that HPA's rules hold for does so anyhow.
    let wakes = zero == Zero::Activation && triggers.iter().any(|t| t.source.is_outside());
    Policy {
        name,
        target,
        target_version,
        replicas_min: check.replicas(
            "spec.minReplicaCount",
            spec.min_replica_count,
            i64::from(!wakes),
        ),
        replicas_max: check.replicas(
            "spec.maxReplicaCount",
            spec.max_replica_count,
            REPLICAS_MAX_DEFAULT,
        ),
        replicas_idle: spec
            .idle_replica_count
            .map(|count| check.replicas("spec.idleReplicaCount", Some(count), 0)),
        polling_interval_ms: check.seconds(
            "spec.pollingInterval",
            spec.polling_interval,
            POLLING_DEFAULT,
            POLLING,
        ),
        cooldown_ms: check.seconds(
            "spec.cooldownPeriod",
            spec.cooldown_period,
            COOLDOWN_DEFAULT,
            COOLDOWN,
        ),
        initial_cooldown_ms: check.seconds(
            "spec.initialCooldownPeriod",
            spec.initial_cooldown_period,
            0,
            COOLDOWN,
        ),
        stale_after_ms: spec
            .stale_after
            .map(|stale| check.seconds("spec.staleAfter", Some(stale), 0, COOLDOWN)),
        triggers,
        fallback: spec
            .fallback
            .as_ref()
            .map(|fallback| self::fallback(check, fallback)),
        behavior: spec
            .behavior
            .as_ref()
            .map(|behavior| behavior::behavior(check, behavior)),
        strategy: strategy(check, spec),
        annotations,
        dry_run: spec.dry_run,
        zero,
        ..Policy::default()
    }
}

/// A `HorizontalPodAutoscaler`'s `metrics` alone ask for its rules at 0 as well;
/// `triggers`, with or without `metrics` beside them, for KEDA's.
fn zero(check: &mut Check, spec: &schema::PolicySpec) -> Zero {
    if spec.metrics.is_empty() || !spec.triggers.is_empty() {
        return Zero::Activation;
    }
    for (field, written) in [
        ("idleReplicaCount", spec.idle_replica_count.is_some()),
        ("cooldownPeriod", spec.cooldown_period.is_some()),
        (
            "initialCooldownPeriod",
            spec.initial_cooldown_period.is_some(),
        ),
    ] {
        if written {
            check.fails(
                &format!("spec.{field}"),
                "needs `triggers`: with `metrics` alone HPA's rules hold, which know no rest"
                    .to_owned(),
            );
        }
    }
    Zero::Hpa { allowed: true }
}

fn fallback(check: &mut Check, fallback: &schema::Fallback) -> Fallback {
    use schema::FallbackBehavior as Written;
    Fallback {
        failure_threshold: check.number(
            "spec.fallback.failureThreshold",
            fallback.failure_threshold,
            FAILURES,
        ) as u32,
        replicas: check.replicas("spec.fallback.replicas", Some(fallback.replicas), 0),
        behavior: match fallback.behavior {
            Written::Static => FallbackBehavior::Static,
            Written::CurrentReplicas => FallbackBehavior::CurrentReplicas,
            Written::CurrentReplicasIfHigher => FallbackBehavior::CurrentReplicasIfHigher,
            Written::CurrentReplicasIfLower => FallbackBehavior::CurrentReplicasIfLower,
            Written::ScalingModifiers => FallbackBehavior::ScalingModifiers,
        },
        recovery_threshold: fallback
            .recovery_threshold
            .map(|count| check.number("spec.fallback.recoveryThreshold", count, SUCCESSES) as u32),
    }
}

fn strategy(check: &mut Check, spec: &schema::PolicySpec) -> Strategy {
    let mut alone = |field: &str, written: bool| {
        if written {
            let why = format!("needs `strategy: {field}` beside it");
            check.fails(&format!("spec.{field}"), why);
        }
    };
    if spec.strategy != schema::Strategy::Banded {
        alone("banded", spec.banded.is_some());
    }
    if spec.strategy != schema::Strategy::Objective {
        alone("objective", spec.objective.is_some());
    }
    match spec.strategy {
        schema::Strategy::Target => Strategy::Target,
        schema::Strategy::Banded => Strategy::Banded(self::banded(
            check,
            spec.banded.as_ref().unwrap_or(&schema::Banded::default()),
        )),
        schema::Strategy::Objective => Strategy::Objective(Box::new(objective::objective(
            check,
            spec.objective.as_ref(),
        ))),
    }
}

fn banded(check: &mut Check, written: &schema::Banded) -> Banded {
    let mut percent = |field, value: Option<i64>, default| {
        check.number(
            &format!("spec.banded.{field}"),
            value.unwrap_or(default),
            PERCENT,
        ) as u32
    };
    Banded {
        high_percent: percent("highPercent", written.high_percent, 80),
        high_aim_percent: percent("highAimPercent", written.high_aim_percent, 70),
        low_percent: percent("lowPercent", written.low_percent, 30),
        low_aim_percent: percent("lowAimPercent", written.low_aim_percent, 50),
        step_up_percent: percent("stepUpPercent", written.step_up_percent, 50),
        step_down_percent: percent("stepDownPercent", written.step_down_percent, 30),
        cooldown_ms: check.seconds(
            "spec.banded.cooldownPeriod",
            written.cooldown_period,
            60,
            COOLDOWN,
        ),
    }
}

/// Collects what is wrong, so that a user sees all of it at once.
#[derive(Default)]
struct Check {
    violations: Vec<Violation>,
}

impl Check {
    fn fails(&mut self, field: &str, why: String) {
        self.violations.push(Violation {
            field: field.to_owned(),
            why,
        });
    }

    fn done<T>(self, value: T) -> Result<T, Vec<Violation>> {
        if self.violations.is_empty() {
            Ok(value)
        } else {
            Err(self.violations)
        }
    }

    /// `value`, or the range's start where it is outside.
    fn number(&mut self, field: &str, value: i64, range: RangeInclusive<i64>) -> i64 {
        if range.contains(&value) {
            return value;
        }
        let (min, max) = range.into_inner();
        self.fails(field, format!("must be {min} to {max}, is {value}"));
        min
    }

    fn replicas(&mut self, field: &str, value: Option<i64>, default: i64) -> u32 {
        self.number(field, value.unwrap_or(default), REPLICAS) as u32
    }

    /// Seconds as the user wrote them, in milliseconds.
    fn seconds(
        &mut self,
        field: &str,
        value: Option<i64>,
        default: i64,
        range: RangeInclusive<i64>,
    ) -> u64 {
        self.number(field, value.unwrap_or(default), range) as u64 * 1_000
    }

    /// An amount that isn't negative, in the unit that `unit` picks.
    fn amount(&mut self, field: &str, text: &str, unit: fn(Quantity) -> Option<i64>) -> i64 {
        match Quantity::parse(text) {
            Err(error) => self.fails(field, format!("`{}` {error}", clip(text))),
            Ok(quantity) if quantity.is_negative() => {
                self.fails(field, format!("must not be negative, is {}", clip(text)));
            }
            Ok(quantity) => match unit(quantity) {
                Some(amount) => return amount,
                None => self.fails(field, format!("`{text}` {}", quantity::Error::TooLarge)),
            },
        }
        0
    }

    /// The same, and above zero.
    fn some_amount(&mut self, field: &str, text: &str, unit: fn(Quantity) -> Option<i64>) -> i64 {
        let before = self.violations.len();
        let amount = self.amount(field, text, unit);
        if amount == 0 && self.violations.len() == before {
            self.fails(field, format!("must be above 0, is {text}"));
        }
        amount
    }

    /// RFC 1123: labels joined by dots.
    fn subdomain(&mut self, field: &str, name: &str) {
        if !is_subdomain(name, NAME_BYTES_MAX) {
            self.fails(
                field,
                format!(
                    "`{}` is not a name: at most {NAME_BYTES_MAX} of a-z, 0-9, `-` and `.`, \
                     beginning and ending with a letter or digit",
                    clip(name)
                ),
            );
        }
    }

    /// A name in another system's words: not empty, bounded, printable.
    fn text(&mut self, field: &str, text: &str) {
        let printable = !text.chars().any(char::is_control);
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !printable {
            self.fails(
                field,
                format!(
                    "`{}` is not a name: 1 to {NAME_BYTES_MAX} printable characters",
                    clip(text)
                ),
            );
        }
    }

    /// One label, or what a formula can use.
    fn trigger_name(&mut self, field: &str, name: &str) {
        let usable = name.len() <= LABEL_BYTES_MAX && formula::is_name(name);
        if !is_label(name) && !usable {
            self.fails(
                field,
                format!(
                    "`{}` is not a name: at most {LABEL_BYTES_MAX} of a-z, 0-9 and `-`, beginning \
                     and ending with a letter or digit; or letters, digits and `_`, as a formula \
                     can use it",
                    clip(name)
                ),
            );
        }
    }

    /// RFC 1123: one label.
    fn label(&mut self, field: &str, name: &str) {
        if !is_label(name) {
            self.fails(
                field,
                format!(
                    "`{}` is not a name: at most {PROCESS_NAME_BYTES_MAX} of a-z, 0-9 and `-`, \
                     beginning and ending with a letter or digit",
                    clip(name)
                ),
            );
        }
    }
}

/// An RFC 1123 label: `[a-z0-9]([-a-z0-9]*[a-z0-9])?`, at most 63 bytes.
pub fn is_label(label: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = label.as_bytes();
    bytes.len() <= PROCESS_NAME_BYTES_MAX
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// An RFC 1123 subdomain of at most `bytes_max` bytes: labels joined by dots.
pub fn is_subdomain(name: &str, bytes_max: usize) -> bool {
    name.len() <= bytes_max && name.split('.').all(is_label)
}
