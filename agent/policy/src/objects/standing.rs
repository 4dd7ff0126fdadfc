//! How an object stands: in force, or why not, in words and as a condition's reason.

use starling_engine::decide::reason::Status;
use starling_engine::policy::{Name, Target, Violation};

use crate::yaml::clip;

/// What became of one object's wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The ledger holds what it says.
    InForce,
    /// It is being proposed.
    Wanted,
    /// It isn't known yet whether something else scales its workload.
    Unsure,
    /// It can't be understood.
    Invalid {
        violations: Vec<Violation>,
        /// An earlier version of it stays in force.
        former: bool,
    },
    /// A file has put a policy of this name into force.
    NameTaken { source: String },
    /// Another policy has its workload.
    TargetTaken { target: Target, by: Name },
    /// Another autoscaler has its workload.
    AlreadyScaled { target: Target, by: String },
    /// The ledger refused it.
    Refused(String),
}

/// More violations are counted, not told: a condition is read by people.
const TOLD_MAX: usize = 20;

impl Standing {
    /// The status of the condition `Ready`.
    pub fn ready(&self) -> Status {
        match self {
            Standing::InForce => Status::True,
            Standing::Wanted | Standing::Unsure => Status::Unknown,
            _ => Status::False,
        }
    }

    /// The condition's reason; stable.
    pub fn code(&self) -> &'static str {
        match self {
            Standing::InForce => "InForce",
            Standing::Wanted => "Pending",
            Standing::Unsure => "LookingForOthers",
            Standing::Invalid { .. } => "Invalid",
            Standing::NameTaken { .. } => "NameTaken",
            Standing::TargetTaken { .. } => "TargetTaken",
            Standing::AlreadyScaled { .. } => "AlreadyScaled",
            Standing::Refused(_) => "Refused",
        }
    }

    /// The condition's message: what is so, why, and what to do.
    pub fn words(&self) -> String {
        match self {
            Standing::InForce => "the policy is in force as it is written".to_owned(),
            Standing::Wanted => "the policy is being put into force".to_owned(),
            Standing::Unsure => "it isn't known yet whether an HPA or a ScaledObject scales the \
                                 workload; the policy waits for that"
                .to_owned(),
            Standing::Invalid { violations, former } => {
                let told = violations.iter().take(TOLD_MAX);
                let mut words: Vec<String> = told.map(|it| clip_message(&it.to_string())).collect();
                if violations.len() > TOLD_MAX {
                    words.push(format!("and {} more", violations.len() - TOLD_MAX));
                }
                let stays = if *former {
                    "; the last good version stays in force"
                } else {
                    ""
                };
                format!("{}{stays}", words.join("; "))
            }
            Standing::NameTaken { source } => format!(
                "a policy of this name is in force already, put there by {}; remove one of the \
                 two, or rename it",
                clip(source)
            ),
            Standing::TargetTaken { target, by } => format!(
                "policy {by} scales {target} already, and a workload can have one policy; remove \
                 one of the two, or change scaleTargetRef"
            ),
            Standing::AlreadyScaled { target, by } => format!(
                "{by} scales {target} already; delete it, and this policy comes into force by \
                 itself (with dryRun: true it may stand beside it)"
            ),
            Standing::Refused(why) => {
                format!("the cluster refused the policy: {why}; it is tried again each minute")
            }
        }
    }
}

/// Longer words of one violation are cut.
const WORDS_CHARS_MAX: usize = 400;

fn clip_message(text: &str) -> String {
    match text.char_indices().nth(WORDS_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
