//! `starling explain POLICY`: why a workload has its size.

use std::fmt::Write as _;

use serde::Serialize;
use starling_proto::v1;

use super::decisions::Decision;
use super::policies::Policy;
use super::{Header, some};
use crate::human;
use crate::output::{Show, Style};

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
    pub reasons: Vec<Reason>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    pub code: String,
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
        let reasons = explanation.reasons.into_iter();
        Account {
            lines: explanation.lines,
            reasons: reasons
                .map(|r| Reason {
                    code: r.code,
                    text: r.text,
                })
                .collect(),
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
            for reason in &self.reasons {
                let _ = writeln!(text, "  [{}] {}", reason.code, human::clean(&reason.text));
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
            human::clean(&policy.name),
            human::clean(&policy.target),
            policy.size,
            policy.replicas_min,
            policy.replicas_max,
            policy.running
        );
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
            let _ = writeln!(
                text,
                "\nChanged from {} to {} replicas {} ago by {} (index {}):",
                change.from,
                change.to,
                self.header.age(change.at),
                human::clean(&change.node),
                change.index
            );
            account.write(&mut text, style);
        } else {
            text.push_str("\nNo change of size is remembered.\n");
        }
        text
    }

    fn note(&self) -> Option<String> {
        self.header.caution()
    }
}
