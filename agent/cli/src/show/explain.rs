//! `starling explain POLICY`: why a workload has its size.

use std::fmt::Write as _;

use serde::Serialize;
use starling_proto::{v1, view};

use super::decisions::Decision;
use super::policies::Policy;
use super::{Header, some, time};
use crate::human;
use crate::output::{Show, Style};
use crate::scope::called;

#[derive(Debug, Serialize)]
pub struct Explanation {
    pub header: Header,
    pub policy: Policy,
    /// What the leader decides now.
    pub live: Option<Account>,
    pub live_absent_reason: Option<String>,
    /// The change of size that is explained.
    pub last_change: Option<Decision>,
    pub recorded: Option<Account>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    pub lines: Vec<String>,
    pub time: Option<String>,
    pub previous_size: u32,
    pub size: u32,
    pub dry_run: bool,
    pub inputs: Vec<Input>,
    pub winner: Option<String>,
    /// The largest proposal, before any limit.
    pub raw_size: Option<u32>,
    pub limits: Vec<Limit>,
    pub thresholds: Vec<Threshold>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Input {
    pub trigger: String,
    pub source: String,
    pub goal_milli: i64,
    pub value_milli: Option<i64>,
    pub value_shared: bool,
    pub value_age_ms: Option<u64>,
    pub pods: Option<Pods>,
    pub band_percent: Option<(u32, u32)>,
    pub proposal: Option<u32>,
    pub within_tolerance: bool,
    pub code: String,
    pub failures: u32,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pods {
    pub counted: u32,
    pub unready: u32,
    pub missing: u32,
    pub ignored: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Limit {
    pub code: String,
    pub previous_size: Option<u32>,
    pub size: Option<u32>,
    pub remaining_ms: Option<u64>,
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Threshold {
    pub code: String,
    pub trigger: Option<String>,
    pub at_least_milli: Option<i64>,
    pub at_most_milli: Option<i64>,
    pub wait_ms: Option<u64>,
    pub field: Option<String>,
    pub text: String,
}

impl From<v1::ExplainPolicyResponse> for Explanation {
    fn from(reply: v1::ExplainPolicyResponse) -> Explanation {
        Explanation {
            header: reply.header.into(),
            policy: reply.policy.unwrap_or_default().into(),
            live: reply.live.map(Account::from),
            live_absent_reason: some(reply.live_absent_reason),
            last_change: reply.last_change.map(Decision::from),
            recorded: reply.recorded.map(Account::from),
        }
    }
}

impl From<v1::Explanation> for Account {
    fn from(explanation: v1::Explanation) -> Account {
        Account {
            lines: explanation.lines,
            time: time(explanation.time.as_ref()),
            previous_size: explanation.previous_size,
            size: explanation.size,
            dry_run: explanation.dry_run,
            inputs: explanation.inputs.into_iter().map(Input::from).collect(),
            winner: some(explanation.winner),
            raw_size: explanation.raw_size,
            limits: explanation.limits.into_iter().map(Limit::from).collect(),
            thresholds: (explanation.thresholds.into_iter())
                .map(Threshold::from)
                .collect(),
        }
    }
}

impl From<v1::Input> for Input {
    fn from(input: v1::Input) -> Input {
        Input {
            trigger: input.trigger,
            source: input.source,
            goal_milli: input.goal.map(|goal| goal.milli).unwrap_or_default(),
            value_milli: input.value_milli,
            value_shared: input.value_shared,
            value_age_ms: input.value_age.as_ref().map(view::duration_ms),
            pods: input.pods.map(|pods| Pods {
                counted: pods.counted,
                unready: pods.unready,
                missing: pods.missing,
                ignored: pods.ignored,
            }),
            band_percent: input.band_low_percent.zip(input.band_high_percent),
            proposal: input.proposal,
            within_tolerance: input.within_tolerance,
            code: input.code,
            failures: input.failures,
            text: input.text,
        }
    }
}

impl From<v1::Limit> for Limit {
    fn from(limit: v1::Limit) -> Limit {
        Limit {
            code: limit.code,
            previous_size: limit.previous_size,
            size: limit.size,
            remaining_ms: limit.remaining.as_ref().map(view::duration_ms),
            detail: limit.detail,
        }
    }
}

impl From<v1::Threshold> for Threshold {
    fn from(threshold: v1::Threshold) -> Threshold {
        Threshold {
            code: threshold.code,
            trigger: some(threshold.trigger),
            at_least_milli: threshold.at_least_milli,
            at_most_milli: threshold.at_most_milli,
            wait_ms: threshold.wait.as_ref().map(view::duration_ms),
            field: some(threshold.field),
            text: threshold.text,
        }
    }
}

impl Account {
    fn write(&self, text: &mut String, style: Style) {
        for line in &self.lines {
            let line = format!("  {}", human::clean(line));
            let _ = writeln!(text, "{}", line.trim_end());
        }
        if style.wide {
            let inputs = self.inputs.iter().map(|it| (&it.code, &it.text));
            let limits = self.limits.iter().map(|it| (&it.code, &it.detail));
            for (code, words) in inputs.chain(limits) {
                let _ = writeln!(text, "  [{code}] {}", human::clean(words));
            }
        }
    }
}

impl Show for Explanation {
    // Writing to a string can't fail.
    fn text(&self, style: Style) -> String {
        let policy = &self.policy;
        let mut text = format!(
            "{} sizes {}: {} of {} to {} replicas, {} running\n",
            human::clean(&called(&policy.namespace, &policy.name)),
            human::clean(&policy.target.to_string()),
            policy.size,
            policy.replicas_min,
            policy.replicas_max,
            policy.running()
        );
        let mut blocked = policy.blocked().peekable();
        if blocked.peek().is_some() {
            text.push_str("\nWhat keeps replicas from running:\n");
            for words in blocked {
                let _ = writeln!(text, "  {}", human::clean(words));
            }
        }
        match (&self.live, &self.live_absent_reason) {
            (Some(account), _) => {
                text.push_str("\nNow:\n");
                account.write(&mut text, style);
            }
            (None, why) => {
                let why = why.as_deref().unwrap_or("not known");
                let _ = writeln!(text, "\nNow: {}", human::clean(why));
            }
        }
        if let (Some(change), Some(account)) = (&self.last_change, &self.recorded) {
            let by = match change.node.as_str() {
                "" => String::new(),
                node => format!(" by {}", human::clean(node)),
            };
            let under = if change.earlier_policy {
                ", for an earlier version of the policy"
            } else {
                ""
            };
            let _ = writeln!(
                text,
                "\nChanged from {} to {} replicas {} ago{by}{under} (index {}):",
                change.previous_size,
                change.size,
                self.header.age(change.at),
                change.index
            );
            account.write(&mut text, style);
        } else {
            text.push_str("\nNo change of size is remembered.\n");
        }
        if style.wide && !policy.conditions.is_empty() {
            let _ = match policy.evaluated_age_ms {
                Some(age_ms) => writeln!(text, "\nConditions, {} old:", human::age(age_ms)),
                None => writeln!(text, "\nConditions:"),
            };
            for it in &policy.conditions {
                let words = human::clean(&it.message);
                let _ = writeln!(text, "  {} {}: {} ({words})", it.kind, it.status, it.reason);
            }
        }
        text
    }

    fn note(&self) -> Option<String> {
        self.header.caution()
    }
}
