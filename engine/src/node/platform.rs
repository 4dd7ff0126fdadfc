//! Workloads whose size a platform carries out: what it says of them, and which
//! granted sizes are still to be written there.
//!
//! Comes in: observations and what became of writes. Goes out: [`Patch`]es, each
//! derived from the ledger and the newest observation, so that a new leader goes
//! on where the last one was. Only what is committed is ever written.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Node, Output};
use crate::ledger::scaled::{Meaning, Seen, Shown};
use crate::ledger::{Ledger, Workload};
use crate::policy::{self, Target};
use crate::unit::{Ms, Stamp};

/// What the platform says of one target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Observation {
    Scale(Scale),
    /// There is no such object, or it has no size; why, in words.
    Gone(String),
}

/// A target's `scale` subresource, and what keeps its replicas from running.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Scale {
    /// Of the object; another one under the same name has another.
    pub uid: String,
    /// A write says which one it is based on.
    pub resource_version: String,
    /// `spec.replicas`.
    pub replicas: u32,
    /// `status.replicas`.
    pub running: u32,
    /// `status.selector`, the label selector of its pods.
    pub selector: String,
    /// Why that selector finds no pods, in words; only who knows the platform's
    /// grammar can tell.
    pub selector_fault: Option<String>,
    /// Its pods that are on no node yet.
    pub unscheduled: Unscheduled,
    /// Why no more pods of it can be made or placed just now, in words.
    pub blocked: Option<String>,
}

/// Replicas that exist and are on no node yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Unscheduled {
    pub count: u32,
    /// What they ask for together, by [`Pick::key`](crate::demand::pods::Pick::key);
    /// without an entry it isn't known.
    pub asked: BTreeMap<String, Asked>,
}

/// What several replicas ask for of one resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Asked {
    pub milli: i64,
    /// Those among them that state nothing.
    pub unstated: u32,
}

/// A size to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    pub policy: policy::Name,
    pub target: Target,
    /// Of the target's API.
    pub target_version: String,
    pub from: u32,
    pub to: u32,
    /// Of the object that was seen.
    pub uid: String,
    /// The write must fail where the object has moved on from this.
    pub resource_version: String,
    /// Of the grant.
    pub stamp: Stamp,
}

/// Why a size was not written, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The object has moved on; its scale is observed anew.
    #[error("somebody else has changed it meanwhile")]
    Conflict,
    #[error("it doesn't exist: {0}")]
    Gone(String),
    /// It will go on being refused until somebody changes something.
    #[error("{0}")]
    Refused(String),
    /// It may have been written: the host reads it back as an observation.
    #[error("its outcome is unknown: {0}")]
    Unknown(String),
}

/// A write at the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Patching {
    /// Until then no other one of this workload is begun.
    until: Ms,
    /// It is under way.
    waiting: bool,
    /// In a row.
    failures: u32,
    /// Of the last failure.
    why: Option<String>,
}

impl Patching {
    pub(super) fn until(&self) -> Ms {
        self.until
    }
}

/// A write without an answer is given up after this, and derived anew.
pub const PATCH_PATIENCE_MS: u64 = 15_000;
/// After a failed write the next one waits so long, twice as long after each
/// further failure.
pub const PATCH_PAUSE_MS: u64 = 500;
/// The longest such wait.
pub const PATCH_PAUSE_MS_MAX: u64 = 30_000;

impl Node {
    /// What the platform last said of each scaled workload.
    pub fn observations(&self) -> &Arc<BTreeMap<Target, Observation>> {
        &self.observations
    }

    /// Whether the platform can be read and written just now.
    pub fn platform(&self) -> bool {
        self.platform
    }

    /// What else scales workloads, by workload, in words.
    pub fn rivals(&self) -> &BTreeMap<Target, String> {
        &self.rivals
    }

    /// Why the last write of a workload's size failed, where it did; only the
    /// leader knows.
    pub fn write_failure(&self, target: &Target) -> Option<&str> {
        let patching = self.lead.as_ref()?.patches.get(target)?;
        patching.why.as_deref()
    }

    /// The same of all that failed.
    pub fn write_failures(&self) -> BTreeMap<Target, String> {
        let patches = self.lead.iter().flat_map(|lead| &lead.patches);
        let failed = patches.filter_map(|(target, it)| Some((target.clone(), it.why.clone()?)));
        failed.collect()
    }

    /// The newest scale of a target, while it has one.
    pub(super) fn scale(&self, target: &Target) -> Option<&Scale> {
        match self.observations.get(target)? {
            Observation::Scale(scale) => Some(scale),
            Observation::Gone(_) => None,
        }
    }

    /// What the newest scale says that the ledger doesn't know.
    pub(super) fn news(&self, target: &Target, workload: &Workload) -> Option<Seen> {
        let (scale, scaled) = self.scale(target).zip(workload.scaled.as_ref())?;
        let shown = Shown {
            uid: &scale.uid,
            selector: &scale.selector,
            replicas: scale.replicas,
            ruled: self.rivals.contains_key(target),
        };
        if scaled.knows(workload.size, shown) {
            return None;
        }
        self.seen(target)
    }

    /// What of the newest scale the ledger keeps.
    fn seen(&self, target: &Target) -> Option<Seen> {
        self.scale(target).map(|scale| Seen {
            uid: scale.uid.clone(),
            selector: scale.selector.clone(),
            replicas: scale.replicas,
            ruled: self.rivals.contains_key(target),
        })
    }

    pub(super) fn observe(&mut self, target: &Target, observation: Observation, ledger: &Ledger) {
        if ledger.workloads.contains_key(target) {
            Arc::make_mut(&mut self.observations).insert(target.clone(), observation);
        }
    }

    pub(super) fn patched(
        &mut self,
        now: Ms,
        target: &Target,
        result: Result<Scale, Failure>,
        ledger: &Ledger,
    ) {
        let Some(lead) = &mut self.lead else { return };
        match result {
            Ok(scale) => {
                lead.patches.remove(target);
                // What keeps pods from running isn't part of an answer to a write.
                let former = match self.observations.get(target) {
                    Some(Observation::Scale(former)) => former.clone(),
                    _ => Scale::default(),
                };
                let scale = Scale {
                    selector_fault: former.selector_fault,
                    unscheduled: former.unscheduled,
                    blocked: former.blocked,
                    ..scale
                };
                self.observe(target, Observation::Scale(scale), ledger);
            }
            Err(failure) => {
                let former = lead.patches.get(target);
                let failures = former.map_or(0, |f| f.failures).saturating_add(1);
                let pause_ms = match failure {
                    // Right after the next observation.
                    Failure::Conflict => PATCH_PAUSE_MS,
                    _ => (PATCH_PAUSE_MS << failures.min(10)).min(PATCH_PAUSE_MS_MAX),
                };
                let patching = Patching {
                    until: now.plus(pause_ms),
                    waiting: false,
                    failures,
                    why: Some(failure.to_string()),
                };
                lead.patches.insert(target.clone(), patching);
            }
        }
    }

    /// Every granted size that the platform doesn't have yet.
    pub(super) fn due_patches(&mut self, now: Ms, ledger: &Ledger) -> Vec<Output> {
        let Some(mut lead) = self.lead.take() else {
            return Vec::new();
        };
        lead.patches
            .retain(|target, _| ledger.workloads.contains_key(target));
        let seen = self.observations.keys();
        let due = seen.filter_map(|target| self.due(&mut lead.patches, now, target, ledger));
        let outputs = due.collect();
        self.lead = Some(lead);
        outputs
    }

    /// The same for one workload of which there is news.
    pub(super) fn due_patch(&mut self, now: Ms, target: &Target, ledger: &Ledger) -> Vec<Output> {
        let Some(mut lead) = self.lead.take() else {
            return Vec::new();
        };
        let due = self.due(&mut lead.patches, now, target, ledger);
        self.lead = Some(lead);
        due.into_iter().collect()
    }

    fn due(
        &self,
        patches: &mut BTreeMap<Target, Patching>,
        now: Ms,
        target: &Target,
        ledger: &Ledger,
    ) -> Option<Output> {
        let scale = self.scale(target).filter(|_| self.platform)?;
        let workload = ledger.workloads.get(target)?;
        // Almost always; the rest is only looked at where something may be due.
        if scale.replicas == workload.size {
            return None;
        }
        let policy = &ledger.policies.get(workload.policy.as_ref()?)?.policy;
        let meaning = (workload.scaled.as_ref()?).meaning(workload.size, &self.seen(target)?);
        let pending = matches!(meaning, Meaning::Pending | Meaning::Late);
        // What was granted under other bounds isn't written any more: the next pass
        // grants another size (I5).
        let bounded = policy.bounds().contains(&workload.size);
        let former = patches.get(target);
        let waits = former.is_some_and(|former| now < former.until);
        if !pending || policy.dry_run || !bounded || waits {
            return None;
        }
        let patching = Patching {
            until: now.plus(PATCH_PATIENCE_MS),
            waiting: true,
            failures: former.map_or(0, |f| f.failures),
            why: former.and_then(|f| f.why.clone()),
        };
        patches.insert(target.clone(), patching);
        Some(Output::Patch(Patch {
            policy: policy.name.clone(),
            target: target.clone(),
            target_version: policy.target_version.clone(),
            from: scale.replicas,
            to: workload.size,
            uid: scale.uid.clone(),
            resource_version: scale.resource_version.clone(),
            stamp: workload.stamp,
        }))
    }
}
