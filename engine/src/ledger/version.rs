//! Which version of the ledger is in force: what commands there are, what they mean, and
//! what the state holds.
//!
//! Comes in: a committed command that raises it. Goes out: the version. It never falls, and
//! nothing of a newer version is proposed before it is raised, so that agents of two
//! releases can keep one log. Whether all agents are ready is for the leader to know.

use serde::{Deserialize, Serialize};

use super::{Command, Ledger, Refusal, Why};

/// The first, in force where none was raised.
pub const FIRST: u32 = 1;
/// From which on the ledger says that a cluster was rebuilt, and its leader that it looks
/// around.
pub const REBUILT: u32 = 2;
/// The highest that this release supports.
pub const HIGHEST: u32 = PATIENCE;
/// From which on policies have formulas.
pub const FORMULAS: u32 = 2;
/// From which on policies say how long an answer counts and when a fallback ends, and the
/// last answer of a trigger that fails counts for a while.
pub const PATIENCE: u32 = 3;

/// A version that is in force, and the release that raised it: whoever doesn't support
/// it is told so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised {
    pub version: u32,
    pub release: String,
}

impl Command {
    /// The lowest version with which this may be proposed: an agent that supports no such
    /// version couldn't read it.
    pub fn version(&self) -> u32 {
        match self {
            Command::PutPolicy { policy, .. } if policy.has_patience() => PATIENCE,
            Command::PutPolicy { policy, .. } if policy.has_formula_parts() => FORMULAS,
            Command::LookAround => REBUILT,
            _ => FIRST,
        }
    }
}

impl Ledger {
    /// The version that is in force.
    pub fn version(&self) -> u32 {
        self.raised.as_ref().map_or(FIRST, |raised| raised.version)
    }

    pub(super) fn raise(&mut self, raised: &Raised) -> Result<(), Refusal> {
        let now = self.version();
        if raised.version <= now {
            return Err(Refusal::new("the cluster", Why::NotHigher { now }));
        }
        self.raised = Some(raised.clone());
        Ok(())
    }
}
