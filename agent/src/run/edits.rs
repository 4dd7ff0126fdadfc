//! What an agent says of the policies that it put into force, changed or removed:
//! who asked for it, and what is different.
//!
//! Comes in: a command that was committed, and the policy before it. Goes out: a
//! line of the log and a count. What was refused is told with the other warnings,
//! as long as it lasts.

use starling_engine::ledger::{Became, Command, Outcome};
use starling_engine::policy::Policy;
use starling_health::{Edit, Metrics};
use tracing::info;

/// A proposal that was answered.
pub fn tell(command: &Command, former: Option<&Policy>, outcome: &Outcome, metrics: &Metrics) {
    if !outcome.refused.is_empty() {
        metrics.edited(Edit::Refused);
        return;
    }
    match (command, former) {
        (Command::PutPolicy { policy, source }, _) if outcome.became == Some(Became::Copied) => {
            info!(policy = %policy.name, by = source, "another place says the same of a policy");
        }
        (Command::PutPolicy { .. }, _) if outcome.became == Some(Became::Same) => {}
        (Command::PutPolicy { policy, source }, None) => {
            metrics.edited(Edit::Applied);
            info!(policy = %policy.name, by = source, "a policy is in force: {}", summary(policy));
        }
        (Command::PutPolicy { policy, source }, Some(former)) => {
            metrics.edited(Edit::Changed);
            let words = differences(former, policy);
            info!(policy = %policy.name, by = source, "a policy was changed: {words}");
        }
        (Command::RemovePolicy { name, source }, _) => {
            if outcome.became == Some(Became::Removed) {
                metrics.edited(Edit::Removed);
            }
            let words = taken_back(outcome.became.as_ref());
            info!(policy = %name, by = source, "{words}");
        }
        _ => {}
    }
}

/// What became of a policy that a place of this agent's doesn't ask for any more.
fn taken_back(became: Option<&Became>) -> String {
    match became {
        Some(Became::Handed { to }) => format!(
            "the place that a policy belonged to doesn't ask for it any more; it goes on and \
             belongs to {to}, which says the same"
        ),
        Some(Became::Kept { by }) => format!(
            "a place that said the same of a policy doesn't any more; the policy goes on, for it \
             belongs to {by}"
        ),
        _ => "a policy was removed, because the place that it belonged to doesn't ask for it any \
              more and no other says the same; its workload keeps its size"
            .to_owned(),
    }
}

fn summary(policy: &Policy) -> String {
    let triggers: Vec<&str> = policy.triggers.iter().map(|it| it.name.as_str()).collect();
    let by = if triggers.is_empty() {
        "nothing".to_owned()
    } else {
        triggers.join(", ")
    };
    let dry = if policy.dry_run { ", as a dry run" } else { "" };
    format!(
        "{} has {} to {} replicas, by {by}{dry}",
        policy.target, policy.replicas_min, policy.replicas_max
    )
}

/// By the names that the user wrote.
fn differences(former: &Policy, now: &Policy) -> String {
    let mut words = Vec::new();
    let mut value = |field: &str, before: String, after: String| {
        if before != after {
            words.push(format!("{field} from {before} to {after}"));
        }
    };
    let idle = |idle: Option<u32>| idle.map_or_else(|| "none".into(), |idle| idle.to_string());
    value(
        "scaleTargetRef",
        former.target.to_string(),
        now.target.to_string(),
    );
    value(
        "minReplicaCount",
        former.replicas_min.to_string(),
        now.replicas_min.to_string(),
    );
    value(
        "maxReplicaCount",
        former.replicas_max.to_string(),
        now.replicas_max.to_string(),
    );
    value(
        "idleReplicaCount",
        idle(former.replicas_idle),
        idle(now.replicas_idle),
    );
    value(
        "dryRun",
        former.dry_run.to_string(),
        now.dry_run.to_string(),
    );
    let others = [
        ("triggers", former.triggers != now.triggers),
        (
            "pollingInterval",
            former.polling_interval_ms != now.polling_interval_ms,
        ),
        (
            "cooldownPeriod",
            former.cooldown_ms != now.cooldown_ms
                || former.initial_cooldown_ms != now.initial_cooldown_ms,
        ),
        ("staleAfter", former.stale_after_ms != now.stale_after_ms),
        ("fallback", former.fallback != now.fallback),
        ("behavior", former.behavior != now.behavior),
        ("strategy", former.strategy != now.strategy),
        ("annotations", former.annotations != now.annotations),
    ];
    let others = others.iter().filter(|(_, differs)| *differs);
    words.extend(others.map(|(field, _)| (*field).to_owned()));
    if words.is_empty() {
        return "who asks for it, and nothing else".to_owned();
    }
    words.join("; ")
}

#[cfg(test)]
mod tests {
    use starling_engine::policy::{Goal, Source, Trigger};

    use super::*;

    fn policy() -> Policy {
        Policy {
            replicas_min: 1,
            replicas_max: 10,
            ..Policy::default()
        }
    }

    #[test]
    fn a_change_is_told_by_the_names_that_the_user_wrote() {
        let trigger = Trigger {
            name: "queue".into(),
            source: Source::Unknown {
                kind: "redis".into(),
            },
            goal: Goal::AverageValue { milli: 1 },
            activation_milli: 0,
            window_ms: None,
        };
        let changed = Policy {
            replicas_max: 20,
            replicas_idle: Some(0),
            triggers: vec![trigger],
            ..policy()
        };
        assert_eq!(
            differences(&policy(), &changed),
            "maxReplicaCount from 10 to 20; idleReplicaCount from none to 0; triggers"
        );
        assert_eq!(
            differences(&policy(), &policy()),
            "who asks for it, and nothing else"
        );
    }
}
