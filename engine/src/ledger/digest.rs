//! The ledger's digest: equal ledgers have equal ones, on every node and in every
//! release of one ledger version.
//!
//! It is over the canonical form (see [`canonical`]) of all but the earlier digests. The
//! large collections stand in it with their sums ([`summed`]), so that it costs what
//! changed since the last one. Decides nothing.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::rebuilt::Rebuilt;
use super::version::Raised;
use super::{Authority, CHECKPOINT_EVERY, CHECKPOINTS_MAX, Checkpoint, Ledger, summed};
use crate::canonical;
use crate::unit::Ms;

/// What the digest is over. A field that is at its default isn't part of it, so that a
/// new one leaves the digests of ledgers that don't use it as they are.
#[derive(Serialize)]
struct State<'a> {
    cluster: &'a str,
    generation: u64,
    authority: &'a Option<Authority>,
    index: u64,
    time: Ms,
    members: summed::Sum,
    policies: summed::Sum,
    workloads: summed::Sum,
    decisions: summed::Sum,
    halted: &'a Option<String>,
    raised: &'a Option<Raised>,
    rebuilt: &'a Option<Rebuilt>,
}

impl Ledger {
    /// Takes note of the index, and of the digest where one is due.
    pub(super) fn advance(&mut self, index: u64) {
        self.index = index;
        if index.is_multiple_of(CHECKPOINT_EVERY) {
            self.settle();
            let digest = self.digest();
            if self.checkpoints.len() == CHECKPOINTS_MAX {
                self.checkpoints.pop_front();
            }
            self.checkpoints.push_back(Checkpoint { index, digest });
        }
    }

    /// Hashes what wasn't yet, so that the next digest costs only what changes from now
    /// on. Of a ledger that was read from somewhere that is all of it.
    pub fn settle(&mut self) {
        self.members.settle();
        self.policies.settle();
        self.workloads.settle();
        self.decisions.settle();
    }

    /// See the module.
    pub fn digest(&self) -> [u8; 16] {
        let Ledger {
            cluster,
            generation,
            authority,
            index,
            time,
            members,
            policies,
            workloads,
            decisions,
            checkpoints: _,
            halted,
            raised,
            rebuilt,
        } = self;
        let state = State {
            cluster,
            generation: *generation,
            authority,
            index: *index,
            time: *time,
            members: members.sum(),
            policies: policies.sum(),
            workloads: workloads.sum(),
            decisions: decisions.sum(),
            halted,
            raised,
            rebuilt,
        };
        let mut form = Vec::with_capacity(4_096);
        canonical::write(&state, &mut form);
        let mut digest = [0; 16];
        digest.copy_from_slice(&Sha256::digest(&form)[..16]);
        digest
    }
}
