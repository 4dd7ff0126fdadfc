//! Triggers, as KEDA writes them, and what others answer to some of them.

use std::collections::{BTreeMap, BTreeSet};

use starling_engine::policy::{Goal, Resource, Source, Trigger};

use super::{Check, measured};
use crate::schema::limits::{METADATA_BYTES_MAX, METADATA_MAX};
use crate::schema::{self, MetricType, TRIGGER_TYPES};
use crate::yaml::clip;
use starling_engine::quantity::Quantity;
use starling_sources::{
    AUTHENTICATION, AUTHENTICATION_CONTAINER, AUTHENTICATION_KIND, CRON, Goals,
};

/// Puts the names that it gives away into `taken`. Where they are `composed` by a formula,
/// their own goals mean nothing and may be left out.
pub(super) fn triggers(
    check: &mut Check,
    written: &[schema::Trigger],
    taken: &mut BTreeSet<String>,
    composed: bool,
) -> Vec<Trigger> {
    taken.extend(written.iter().filter_map(|trigger| trigger.name.clone()));
    written
        .iter()
        .enumerate()
        .map(|(index, trigger)| {
            let name = trigger
                .name
                .clone()
                .unwrap_or_else(|| free_name(taken, &trigger.kind));
            let field = format!("spec.triggers[{index}]");
            if trigger.name.is_some() {
                check.trigger_name(&format!("{field}.name"), &name);
            }
            settings(check, &field, &trigger.metadata);
            self::trigger(check, &field, name, trigger, composed)
        })
        .collect()
}

/// Those that refer to an authentication keep the container beside that.
pub(super) fn authenticate_as(triggers: &mut [Trigger], container: Option<&str>) {
    let Some(container) = container else { return };
    for trigger in triggers {
        if let Source::External { metadata, .. } = &mut trigger.source
            && metadata.contains_key(AUTHENTICATION)
        {
            metadata.insert(AUTHENTICATION_CONTAINER.to_owned(), container.to_owned());
        }
    }
}

fn settings(check: &mut Check, field: &str, metadata: &BTreeMap<String, String>) {
    if metadata.len() > METADATA_MAX {
        let why = format!("holds {} settings; at most {METADATA_MAX}", metadata.len());
        check.fails(&format!("{field}.metadata"), why);
    }
    for (key, _) in metadata
        .iter()
        .filter(|(_, value)| value.len() > METADATA_BYTES_MAX)
    {
        let why = format!("is longer than {METADATA_BYTES_MAX} bytes");
        check.fails(&format!("{field}.metadata.{key}"), why);
    }
}

/// `base`, with a number behind it from the second one on.
pub(super) fn free_name(taken: &mut BTreeSet<String>, base: &str) -> String {
    let mut name = base.to_owned();
    // One of these is free: at most `taken.len()` aren't.
    for number in 2..=taken.len() + 2 {
        if taken.insert(name.clone()) {
            break;
        }
        name = format!("{base}-{number}");
    }
    name
}

fn trigger(
    check: &mut Check,
    field: &str,
    name: String,
    written: &schema::Trigger,
    composed: bool,
) -> Trigger {
    if let Some(measures) = measured::measures(&written.kind) {
        let (source, goal, window_ms) = measured::trigger(check, field, measures, written);
        return Trigger {
            name,
            source,
            goal,
            activation_milli: 0,
            window_ms,
        };
    }
    let asked = starling_sources::goals(&written.kind, &written.metadata);
    let (source, goal, activation_milli) = match (written.kind.as_str(), asked) {
        (_, Some(goals)) => asked_for(check, field, written, goals, composed),
        (CRON, None) => cron(check, field, written),
        (other, None) => {
            check.fails(
                &format!("{field}.type"),
                format!(
                    "`{}` is not known; allowed: {}",
                    clip(other),
                    TRIGGER_TYPES.join(", ")
                ),
            );
            (Source::Resource(Resource::Cpu), Goal::Value { milli: 1 }, 0)
        }
    };
    Trigger {
        name,
        source,
        goal,
        activation_milli,
        window_ms: None,
    }
}

/// One whose value is asked for over the network.
fn asked_for(
    check: &mut Check,
    field: &str,
    written: &schema::Trigger,
    goals: Goals,
    composed: bool,
) -> (Source, Goal, i64) {
    let mut metadata = written.metadata.clone();
    // The reference stands beside the settings where it is written, and among them
    // where it is kept.
    for key in [
        AUTHENTICATION,
        AUTHENTICATION_KIND,
        AUTHENTICATION_CONTAINER,
    ] {
        if metadata.remove(key).is_some() {
            let why = "stands beside `metadata`, as `authenticationRef: {name: NAME}`".to_owned();
            check.fails(&format!("{field}.metadata.{key}"), why);
        }
    }
    if let Some(reference) = &written.authentication_ref {
        metadata.insert(AUTHENTICATION.to_owned(), reference.name.clone());
        if let Some(kind) = reference.kind {
            metadata.insert(AUTHENTICATION_KIND.to_owned(), kind.name().to_owned());
        }
    }
    for (key, why) in starling_sources::check(&written.kind, &metadata) {
        if key == AUTHENTICATION {
            check.fails(&format!("{field}.{AUTHENTICATION}.name"), why);
        } else {
            refuse(check, field, std::iter::once((key, why)));
        }
    }
    let goal_field = format!("{field}.metadata.{}", goals.target);
    let target = match written.metadata.get(goals.target) {
        None if composed => None,
        None if goals.default.is_some() => goals.default,
        _ => required(check, field, &written.metadata, goals.target),
    };
    let milli = target.map_or(1, |text| {
        check.some_amount(&goal_field, text, Quantity::milli)
    });
    let goal = match written.metric_type {
        None | Some(MetricType::AverageValue) => Goal::AverageValue { milli },
        Some(MetricType::Value) => Goal::Value { milli },
        Some(MetricType::Utilization) => {
            check.fails(
                &format!("{field}.metricType"),
                "must be AverageValue or Value: only what agents measure has a utilization"
                    .to_owned(),
            );
            Goal::AverageValue { milli }
        }
    };
    let activation = written.metadata.get(goals.activation);
    let activation = activation.map_or(0, |text| {
        let field = format!("{field}.metadata.{}", goals.activation);
        check.amount(&field, text, Quantity::milli)
    });
    let source = Source::External {
        kind: written.kind.clone(),
        metadata,
    };
    (source, goal, activation)
}

/// Its value is a number of replicas, so the goal is one for each.
fn cron(check: &mut Check, field: &str, written: &schema::Trigger) -> (Source, Goal, i64) {
    no_authentication(check, field, written);
    refuse(
        check,
        field,
        starling_sources::check(CRON, &written.metadata).into_iter(),
    );
    if written
        .metric_type
        .is_some_and(|kind| kind != MetricType::AverageValue)
    {
        check.fails(
            &format!("{field}.metricType"),
            "must be AverageValue, or left out: a calendar wants so many replicas".to_owned(),
        );
    }
    let source = Source::External {
        kind: CRON.to_owned(),
        metadata: written.metadata.clone(),
    };
    (source, Goal::AverageValue { milli: 1_000 }, 0)
}

pub(super) fn no_authentication(check: &mut Check, field: &str, written: &schema::Trigger) {
    if written.authentication_ref.is_some() {
        check.fails(
            &format!("{field}.{AUTHENTICATION}"),
            "belongs to triggers that ask somebody; this one asks nobody".to_owned(),
        );
    }
}

pub(super) fn required<'a>(
    check: &mut Check,
    field: &str,
    metadata: &'a BTreeMap<String, String>,
    key: &str,
) -> Option<&'a str> {
    let value = metadata.get(key).map(String::as_str);
    if value.is_none() {
        check.fails(&format!("{field}.metadata"), format!("`{key}` is missing"));
    }
    value
}

pub(super) fn refuse(
    check: &mut Check,
    field: &str,
    wrong: impl Iterator<Item = (String, String)>,
) {
    for (key, why) in wrong {
        // A key that is missing has no place of its own.
        match key.as_str() {
            "" => check.fails(&format!("{field}.metadata"), why),
            key => check.fails(&format!("{field}.metadata.{key}"), why),
        }
    }
}
