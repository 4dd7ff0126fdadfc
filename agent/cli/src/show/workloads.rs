//! `starling top workloads`: what has a size, and what its replicas use.
//!
//! Comes in: workloads as the API shows them. Goes out: a table, and all that is
//! known for programs. Adds nothing up: the answering agent has.

use serde::Serialize;
use starling_proto::{v1, view};

use super::policies::Share;
use super::top::{Resources, bytes, cpu, resources};
use super::{Header, Target, ago, arrange, is_stale, notes, sample_age, some, time};
use crate::output::{Show, Style, left, right, table};

#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "it is the JSON's name")]
pub struct Workloads {
    pub header: Header,
    pub workloads: Vec<Workload>,
    #[serde(skip)]
    pub all_namespaces: bool,
    /// What came of a wish that no row fits, in words.
    #[serde(skip)]
    pub arranged: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Workload {
    pub target: Target,
    pub form: &'static str,
    pub policy: Option<String>,
    /// Granted by the log.
    pub size: u32,
    pub running: u32,
    pub ready: u32,
    pub shares: Vec<Share>,
    pub usage: Resources,
    /// Of the oldest sample in the sums.
    pub sample_age_ms: Option<u64>,
    /// The oldest sample says little of now.
    pub stale: bool,
    /// What the platform was last known to have.
    pub carried_size: Option<u32>,
    pub uid: Option<String>,
    pub selector: Option<String>,
    pub manual_change: Option<ManualChange>,
    pub switched_off: bool,
    pub blocked_reason: Option<String>,
    /// For how long the platform, which says how many run, hasn't answered.
    pub platform_silent_ms: Option<u64>,
}

impl Workload {
    /// How many run, and since when that is not known any better.
    pub(super) fn running(&self) -> String {
        format!("{}{}", self.running, ago(self.platform_silent_ms))
    }
}

/// A size that somebody else set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ManualChange {
    pub time: Option<String>,
    pub previous_size: u32,
    pub size: u32,
}

impl From<v1::Workload> for Workload {
    fn from(workload: v1::Workload) -> Workload {
        let age_ms = workload.sample_age.as_ref().map(view::duration_ms);
        Workload {
            form: match workload.form() {
                v1::WorkloadForm::Unspecified => "unknown",
                v1::WorkloadForm::Placed => "placed",
                v1::WorkloadForm::Scaled => "scaled",
            },
            target: workload.target.into(),
            policy: some(workload.policy),
            size: workload.size,
            running: workload.running,
            ready: workload.ready,
            shares: workload.shares.into_iter().map(Share::from).collect(),
            usage: resources(workload.usage),
            sample_age_ms: age_ms,
            stale: is_stale(age_ms),
            carried_size: workload.carried_size,
            uid: some(workload.uid),
            selector: some(workload.selector),
            manual_change: workload.manual_change.map(|change| ManualChange {
                time: time(change.time.as_ref()),
                previous_size: change.previous_size,
                size: change.size,
            }),
            switched_off: workload.switched_off,
            blocked_reason: some(workload.blocked_reason),
            platform_silent_ms: workload.platform_silent.as_ref().map(view::duration_ms),
        }
    }
}

impl arrange::Row for Workload {
    fn resources(&self) -> &Resources {
        &self.usage
    }

    fn names(&self) -> Vec<String> {
        let Target {
            namespace, name, ..
        } = &self.target;
        vec![format!("{namespace}/{name}"), self.target.to_string()]
    }
}

impl Show for Workloads {
    fn text(&self, style: Style) -> String {
        let columns = [
            left("NAMESPACE").only_if(self.all_namespaces),
            left("WORKLOAD"),
            right("SIZE"),
            right("RUNNING"),
            right("READY"),
            right("CPU"),
            right("MEMORY"),
            right("NODES"),
            right("AGE"),
            left("POLICY").only_wide(),
            left("FORM").only_wide(),
            left("SELECTOR").only_wide(),
            left("BLOCKED").only_wide(),
        ];
        let rows = self.workloads.iter().map(|workload| {
            [
                workload.target.namespace.clone(),
                workload.target.to_string(),
                // Without a policy nobody grants a size.
                workload
                    .policy
                    .as_ref()
                    .map(|_| workload.size.to_string())
                    .unwrap_or_default(),
                workload.running(),
                workload.ready.to_string(),
                cpu(&workload.usage),
                bytes(&workload.usage, "memory"),
                workload.shares.len().to_string(),
                sample_age(workload.sample_age_ms),
                workload.policy.clone().unwrap_or_default(),
                workload.form.into(),
                workload.selector.clone().unwrap_or_default(),
                workload.blocked_reason.clone().unwrap_or_default(),
            ]
            .into_iter()
            .chain(arrange::cells(&workload.usage))
        });
        let columns = columns.into_iter().chain(arrange::columns(&self.workloads));
        table(columns, rows, style)
    }

    fn note(&self) -> Option<String> {
        let empty = if self.all_namespaces {
            "Nothing has a size; apply a ScalingPolicy, or put a `kind: Process` document into an \
             agent's policy directory."
        } else {
            "Nothing in this namespace has a size; -A shows all namespaces."
        };
        notes(
            self.header.caution(),
            (self.arranged.as_deref()).or(self.workloads.is_empty().then_some(empty)),
        )
    }
}
