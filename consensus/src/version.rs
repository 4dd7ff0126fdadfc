//! Which version of the ledger the agents support, and when the next one is put into force.
//!
//! Comes in: what each holder of the log says with every answer to the leader. Goes out:
//! a command that raises the version, from the leader, once all of them, learners too,
//! support it. An agent that meets a version which it doesn't support takes no further
//! part and says which release it needs; its disk stays as it is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use starling_engine::ledger::Command;
use starling_engine::ledger::version::{FIRST, Raised};
use starling_proto::log;

use crate::beat::beat;
use crate::core::Core;
use crate::form;
use crate::types::RaftEntry;

/// This agent's.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// At the bound nothing is remembered of further agents, and nothing is raised.
const AGENTS_MAX: usize = starling_engine::ledger::MEMBERS_MAX;
/// An agent that has said nothing for so long may be another release by now.
const FRESH: Duration = Duration::from_secs(3);
/// Between two looks whether all are ready.
const PAUSE: Duration = Duration::from_millis(500);

/// What other agents support.
#[derive(Default)]
pub struct Versions {
    told: Mutex<BTreeMap<u64, (u32, Instant)>>,
}

impl Versions {
    /// Agent `id` has just said that it supports so much.
    pub fn note(&self, id: u64, supports: u32, now: Instant) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < AGENTS_MAX || told.contains_key(&id) {
            told.insert(id, (supports, now));
        }
    }

    /// The highest version that all of these support; `None` where one hasn't said so
    /// lately.
    fn all(&self, ids: impl Iterator<Item = u64>, now: Instant) -> Option<u32> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lowest = u32::MAX;
        for id in ids {
            let (supports, at) = told.get(&id)?;
            if now.duration_since(*at) > FRESH {
                return None;
            }
            lowest = lowest.min(*supports);
        }
        Some(lowest)
    }
}

/// Refuses what needs a higher version than `supports`.
pub fn check(needs: Option<&Raised>, supports: u32) -> Result<(), log::Error> {
    match needs {
        Some(Raised { version, release }) if *version > supports => Err(log::Error::Newer {
            version: *version,
            release: release.clone(),
        }),
        _ => Ok(()),
    }
}

/// The same for entries.
pub fn check_entries(entries: &[RaftEntry], supports: u32) -> Result<(), log::Error> {
    let mut needs = entries.iter().map(form::needs);
    needs.try_for_each(|needs| check(needs, supports))
}

/// What the words of an agent that can't go on begin with.
pub fn words(why: &log::Error) -> String {
    format!(
        "this agent's release {RELEASE} is too old for the cluster's log, and takes no further part: \
         {why}; start a release that supports it on this machine, the data directory stays as it is"
    )
}

/// Runs until openraft ends.
pub async fn run(core: Arc<Core>) {
    loop {
        beat(PAUSE).await;
        if let Some(version) = ready(&core, Instant::now()) {
            let release = RELEASE.to_owned();
            let raised = Raised { version, release };
            match core.propose_here(Command::Raise(raised)).await {
                Ok(outcome) if outcome.refused.is_empty() => tracing::info!(
                    version,
                    "all holders of the log support a newer version of the ledger, which is in force \
                     from now on; agents of an older release can't come back"
                ),
                Ok(_) => {}
                Err(why) => tracing::debug!(%why, "the ledger's version isn't raised yet"),
            }
        }
    }
}

/// The version to raise to, if this agent leads and all others are ready.
fn ready(core: &Core, now: Instant) -> Option<u32> {
    let membership = core.member.get().filter(|member| member.leads())?;
    let own = core.config.ledger_version;
    let current = {
        let ledger = core.ledger.read().unwrap_or_else(PoisonError::into_inner);
        ledger.version()
    };
    if own <= current || own <= FIRST {
        return None;
    }
    let metrics = membership.metrics();
    let holders = metrics.membership_config.membership().nodes();
    let others = holders.map(|(id, _)| *id);
    let others = others.filter(|id| *id != membership.own.id);
    let version = core.versions.all(others, now)?.min(own);
    (version > current).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_ready_once_everybody_has_lately_said_so() {
        let versions = Versions::default();
        let now = Instant::now();
        assert_eq!(versions.all([2, 3].into_iter(), now), None);
        versions.note(2, 3, now);
        assert_eq!(versions.all([2, 3].into_iter(), now), None);
        versions.note(3, 2, now);
        assert_eq!(versions.all([2, 3].into_iter(), now), Some(2));
        let later = now + FRESH + Duration::from_millis(1);
        versions.note(2, 3, later);
        assert_eq!(versions.all([2, 3].into_iter(), later), None);
        assert_eq!(versions.all([2].into_iter(), later), Some(3));
    }

    #[test]
    fn what_needs_more_than_is_supported_is_refused_with_the_release() {
        let raised = Raised {
            version: 3,
            release: "0.9.0".into(),
        };
        assert_eq!(check(None, 1), Ok(()));
        assert_eq!(check(Some(&raised), 3), Ok(()));
        let why = check(Some(&raised), 2).unwrap_err().to_string();
        assert!(why.contains("0.9.0") && why.contains('3'), "{why}");
    }
}
