//! Replicas sorted by HPA's rule 5 and summed so that rules 4 to 7 can be
//! computed from the sums alone.
//!
//! Comes in: what a node saw of its replicas. Goes out: [`Sums`], which merge in
//! any order to the same result. Never invents a sample: what has none is missing.

pub mod request;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pick::{Found, Pick};
use super::series::{self, Look};
use crate::policy::{Controller, Resource};
use crate::unit::Ms;

/// One replica as its node sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// What tells it apart on its node, the next one of the same name too. Without it
    /// only its newest readings count.
    pub id: String,
    /// What people know it by: a pod's name, a process's number. Nothing is decided by it.
    pub name: String,
    pub phase: Phase,
    pub deleted: bool,
    /// The Ready condition; `None` where it is absent.
    pub ready: Option<bool>,
    pub started_at: Option<Ms>,
    /// `None` counts as long ago, as Kubernetes' zero time does.
    pub ready_changed_at: Option<Ms>,
    pub metrics: Metrics,
    /// By container name, where containers are told apart.
    pub containers: BTreeMap<String, Metrics>,
    /// What its node has and uses.
    pub node: Arc<Metrics>,
    /// Metrics that others have of the replica, by name.
    pub custom: BTreeMap<String, Reading>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    Pending,
    #[default]
    Running,
    Failed,
    Succeeded,
}

/// What isn't there is neither asked for nor measured.
pub type Metrics = BTreeMap<Resource, Metric>;

/// How much there is for a replica and how much it used, in milli-units (1 core = 1,000;
/// 1 byte = 1,000; all of the time = 1,000).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metric {
    /// What a replica asked for; of a node, what it can give. A share of the time has
    /// all of the time.
    pub request_milli: Option<i64>,
    /// The newest.
    pub sample: Option<Reading>,
    /// Those before it, oldest first, as far back as a policy's window reaches; at most
    /// [`EARLIER_MAX`]. Shared with [`Recent`](super::recent::Recent), which keeps them,
    /// so that nothing is copied each second.
    pub earlier: Option<Arc<Vec<Reading>>>,
}

/// Two a second over the longest window; the oldest beyond that are forgotten.
pub const EARLIER_MAX: usize = 240;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    pub milli: i64,
    /// The end of the window that it covers.
    pub at: Ms,
    pub window_ms: u64,
}

/// Where rule 5 puts a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    Ready,
    Unready,
    Missing,
    Ignored,
}

/// Sorts one replica for one metric (hpa.md rule 5).
pub fn group(pod: &Pod, pick: Pick<'_>, controller: &Controller, now: Ms) -> Group {
    let found = pick.find(pod, since(pod, pick, controller, now));
    sorted(pod, found, pick, controller, now)
}

fn sorted(pod: &Pod, found: Found, pick: Pick<'_>, controller: &Controller, now: Ms) -> Group {
    if pod.deleted || matches!(pod.phase, Phase::Failed | Phase::Succeeded) {
        return Group::Ignored;
    }
    if pod.phase == Phase::Pending {
        return Group::Unready;
    }
    let Some(look) = found.look else {
        return Group::Missing;
    };
    if pick.is_cpu() && !counts_for_cpu(pod, look.mean, controller, now) {
        return Group::Unready;
    }
    Group::Ready
}

/// From when on readings count: those of a replica's start aren't of its work.
fn since(pod: &Pod, pick: Pick<'_>, controller: &Controller, now: Ms) -> Ms {
    let started = pod.started_at.unwrap_or_default();
    let starts = pick.is_cpu() && started.plus(controller.cpu_initialization_ms) > now;
    let ready = pod
        .ready_changed_at
        .filter(|_| starts && pod.ready == Some(true));
    ready.unwrap_or_default()
}

fn counts_for_cpu(pod: &Pod, sample: Reading, controller: &Controller, now: Ms) -> bool {
    let (Some(ready), Some(started)) = (pod.ready, pod.started_at) else {
        return false;
    };
    let changed = pod.ready_changed_at.unwrap_or_default();
    if started.plus(controller.cpu_initialization_ms) > now {
        // The sample must cover a whole window of readiness.
        ready && sample.at >= changed.plus(sample.window_ms)
    } else {
        // Unready ever since it started; one that became unready later counts.
        ready || started.plus(controller.initial_readiness_ms) <= changed
    }
}

/// The mergeable digest of any number of replicas, for one metric. Addition of
/// every field, saturating at the far end of 64 bits; the order of merging
/// doesn't matter below it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// All replicas, ignored ones too.
    pub pods: u32,
    /// Samples that came in, whatever became of them.
    pub samples: u32,
    /// Replicas that count: not pending, not deleted, ready as far as the metric asks.
    pub ready: u32,
    pub ready_usage_milli: i64,
    /// The same of the newest readings alone; what those before them were above what was
    /// usual, of replicas whose newest is clearly more than their mean; and by how much the
    /// newest differ from the mean by chance ([`Look`]).
    pub ready_newest_milli: i64,
    pub ready_before_milli: i64,
    pub ready_noise: u64,
    pub ready_request_milli: i64,
    pub unready: u32,
    pub unready_request_milli: i64,
    /// Replicas without a sample, by their request (rule 6 fills each one in).
    pub missing: BTreeMap<i64, u32>,
    /// Deleted or ended; in no other count but `pods`.
    pub ignored: u32,
    /// Replicas that state no request, wherever they were sorted.
    pub without_request: u32,
    /// Samples of replicas that nobody lists any more. HPA counts them in means.
    pub strangers: u32,
    pub strangers_usage_milli: i64,
    /// The oldest sample among those that count.
    pub oldest: Option<Ms>,
}

impl Sums {
    /// Sorts and sums what one node saw of a workload's replicas.
    pub fn of<'a>(
        pods: impl IntoIterator<Item = &'a Pod>,
        pick: Pick<'_>,
        controller: &Controller,
        now: Ms,
    ) -> Sums {
        let mut sums = Sums::default();
        for pod in pods {
            sums.add(pod, pick.find(pod, Ms::default()), pick, controller, now);
        }
        sums
    }

    /// `found`: what `pick` finds in all readings of the replica.
    pub(super) fn add(
        &mut self,
        pod: &Pod,
        found: Found,
        pick: Pick<'_>,
        controller: &Controller,
        now: Ms,
    ) {
        let since = since(pod, pick, controller, now);
        let found = if since == Ms::default() {
            found
        } else {
            pick.find(pod, since)
        };
        let request = found.request_milli.unwrap_or(0);
        add(&mut self.pods, 1);
        add(&mut self.samples, u32::from(found.look.is_some()));
        add(
            &mut self.without_request,
            u32::from(found.request_milli.is_none()),
        );
        match sorted(pod, found, pick, controller, now) {
            Group::Ignored => add(&mut self.ignored, 1),
            Group::Missing => add(self.missing.entry(request).or_default(), 1),
            Group::Unready => {
                add(&mut self.unready, 1);
                sum(&mut self.unready_request_milli, request);
            }
            Group::Ready => {
                let look = found.look.unwrap_or_else(|| Look::at(Reading::default()));
                add(&mut self.ready, 1);
                sum(&mut self.ready_usage_milli, look.mean.milli);
                sum(&mut self.ready_newest_milli, look.newest_milli);
                sum(&mut self.ready_before_milli, look.before_milli);
                self.ready_noise = self.ready_noise.saturating_add(look.noise);
                sum(&mut self.ready_request_milli, request);
                self.oldest = older(self.oldest, Some(look.mean.at));
            }
        }
    }

    /// Adds what another node saw.
    pub fn merge(&mut self, other: &Sums) {
        add(&mut self.pods, other.pods);
        add(&mut self.samples, other.samples);
        add(&mut self.ready, other.ready);
        sum(&mut self.ready_usage_milli, other.ready_usage_milli);
        sum(&mut self.ready_newest_milli, other.ready_newest_milli);
        sum(&mut self.ready_before_milli, other.ready_before_milli);
        self.ready_noise = self.ready_noise.saturating_add(other.ready_noise);
        sum(&mut self.ready_request_milli, other.ready_request_milli);
        add(&mut self.unready, other.unready);
        sum(&mut self.unready_request_milli, other.unready_request_milli);
        for (request, count) in &other.missing {
            add(self.missing.entry(*request).or_default(), *count);
        }
        add(&mut self.ignored, other.ignored);
        add(&mut self.without_request, other.without_request);
        add(&mut self.strangers, other.strangers);
        sum(&mut self.strangers_usage_milli, other.strangers_usage_milli);
        self.oldest = older(self.oldest, other.oldest);
    }

    /// Adds replicas that should run and that no fresh summary speaks of.
    pub fn add_missing(&mut self, count: u32, request_milli: Option<i64>) {
        if count == 0 {
            return;
        }
        add(&mut self.pods, count);
        if request_milli.is_none() {
            add(&mut self.without_request, count);
        }
        let request = request_milli.unwrap_or(0);
        add(self.missing.entry(request).or_default(), count);
    }

    /// Adds the sample of a replica that no node lists.
    pub fn add_stranger(&mut self, milli: i64) {
        add(&mut self.samples, 1);
        add(&mut self.strangers, 1);
        sum(&mut self.strangers_usage_milli, milli);
    }

    /// Where the newest use clearly isn't the mean's any more, it counts. To be asked of
    /// all replicas together: the more there are, the less is chance.
    pub fn settle(&mut self) {
        let (mean, newest) = (self.ready_usage_milli, self.ready_newest_milli);
        if series::is_clear(mean, newest, self.ready_before_milli, self.ready_noise) {
            self.ready_usage_milli = newest;
        }
        self.ready_newest_milli = self.ready_usage_milli;
        self.ready_before_milli = 0;
        self.ready_noise = 0;
    }

    /// Replicas without a sample.
    pub fn missing_count(&self) -> u32 {
        self.missing.values().fold(0, |n, m| n.saturating_add(*m))
    }

    /// More replicas lack a sample than have one that counts.
    pub fn mostly_missing(&self) -> bool {
        self.missing_count() > self.ready
    }
}

/// Running and ready replicas, deleted ones included, as HPA counts them for
/// values that describe the whole workload (rule 8); `None` where none is listed.
pub fn running_and_ready(pods: &[Pod]) -> Option<u32> {
    let ready = pods
        .iter()
        .filter(|pod| pod.phase == Phase::Running && pod.ready == Some(true));
    (!pods.is_empty()).then(|| u32::try_from(ready.count()).unwrap_or(u32::MAX))
}

fn add(count: &mut u32, more: u32) {
    *count = count.saturating_add(more);
}

fn sum(total: &mut i64, more: i64) {
    *total = total.saturating_add(more);
}

fn older(a: Option<Ms>, b: Option<Ms>) -> Option<Ms> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
