//! What happens in an agent and is counted or timed.
//!
//! Comes in: one call for each event, from the room where it happens. Goes out:
//! the text of `/metrics`, in the `OpenMetrics` format or Prometheus' older one.
//!
//! Every label has a closed set of values. Durations are in seconds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, prometheus_text, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::process;
use crate::reading::{Reading, Shown, Usage};

/// Work on this machine: a measurement, a pass.
const WORK_BUCKETS: [f64; 12] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
];
/// Calls to somebody else: a commit, a trigger, the Kubernetes API.
const CALL_BUCKETS: [f64; 12] = [
    0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// From a sample to what came of it; 2.5 s is the promise.
const REACTION_BUCKETS: [f64; 10] = [0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0];

/// How a size has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Up,
    Down,
}

/// What became of a proposal to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proposal {
    Committed,
    /// Committed, and the ledger refused at least a part.
    Refused,
    /// Not committed as far as is known, or nobody answered in time.
    Unknown,
}

/// What became of a policy that this agent was to put, change or remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    Applied,
    Changed,
    Removed,
    Refused,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decided {
    direction: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Edited {
    change: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    verb: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    verb: &'static str,
    code: u16,
}

type Durations = Family<Asked, Histogram, fn() -> Histogram>;

/// The counters of one agent. Cheap to clone; all clones count together.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    samples: Histogram,
    passes: Histogram,
    decisions: Family<Decided, Counter>,
    proposals: Family<Outcome, Counter>,
    commits: Histogram,
    edits: Family<Edited, Counter>,
    polls: Histogram,
    poll_failures: Counter,
    pushes: Counter,
    reaction: Histogram,
    api_requests: Family<Answered, Counter>,
    api_durations: Durations,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut registry = Registry::with_prefix("starling");
        let metrics = Metrics {
            registry: Arc::default(),
            samples: Histogram::new(WORK_BUCKETS),
            passes: Histogram::new(WORK_BUCKETS),
            decisions: Family::default(),
            proposals: Family::default(),
            commits: Histogram::new(CALL_BUCKETS),
            edits: Family::default(),
            polls: Histogram::new(CALL_BUCKETS),
            poll_failures: Counter::default(),
            pushes: Counter::default(),
            reaction: Histogram::new(REACTION_BUCKETS),
            api_requests: Family::default(),
            api_durations: Family::new_with_constructor(|| Histogram::new(CALL_BUCKETS)),
        };
        metrics.register(&mut registry);
        Metrics {
            registry: Arc::new(registry),
            ..metrics
        }
    }
}

impl Metrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "build",
            "The version that runs here",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register_with_unit(
            "sample_duration",
            "How long it took to measure this node and what runs on it; its count is the \
             samples taken",
            Unit::Seconds,
            self.samples.clone(),
        );
        registry.register_with_unit(
            "pass_duration",
            "How long a pass over all policies took; its count is the passes made while this \
             agent led",
            Unit::Seconds,
            self.passes.clone(),
        );
        registry.register(
            "decisions",
            "Changes of size that this agent decided and the log took, by what had the last \
             word; each is counted by one agent only",
            self.decisions.clone(),
        );
        registry.register(
            "proposals",
            "Proposals of this agent to the log, by what became of them",
            self.proposals.clone(),
        );
        registry.register_with_unit(
            "commit_duration",
            "From a proposal of this agent to its commit",
            Unit::Seconds,
            self.commits.clone(),
        );
        registry.register(
            "policy_changes",
            "Policies that this agent put into force, changed, removed, or was refused",
            self.edits.clone(),
        );
        registry.register_with_unit(
            "trigger_poll_duration",
            "How long an external trigger that this agent asked took to answer or fail; its count \
             is the questions that it asked",
            Unit::Seconds,
            self.polls.clone(),
        );
        registry.register(
            "trigger_poll_failures",
            "Questions of this agent to external triggers that were not answered with a number",
            self.poll_failures.clone(),
        );
        registry.register(
            "trigger_pushes",
            "Signs of external triggers' sources, by themselves, to this agent that something \
             has changed",
            self.pushes.clone(),
        );
        registry.register_with_unit(
            "sample_to_patch",
            "From the oldest sample that a decision rests on to the write of the new size",
            Unit::Seconds,
            self.reaction.clone(),
        );
        registry.register(
            "kubernetes_requests",
            "Requests to the Kubernetes API, by verb and status; code 0 is no answer",
            self.api_requests.clone(),
        );
        registry.register_with_unit(
            "kubernetes_request_duration",
            "How long the Kubernetes API took to answer or fail, by verb; a watch counts until \
             it is open",
            Unit::Seconds,
            self.api_durations.clone(),
        );
    }

    /// This node was measured.
    pub fn sampled(&self, took: Duration) {
        self.samples.observe(took.as_secs_f64());
    }

    /// All policies were gone through.
    pub fn passed(&self, took: Duration) {
        self.passes.observe(took.as_secs_f64());
    }

    /// A change of size that this agent decided is committed. `reason` is one of
    /// the engine's stable codes, of which there are a few dozen.
    pub fn decided(&self, direction: Direction, reason: &'static str) {
        let direction = match direction {
            Direction::Up => "up",
            Direction::Down => "down",
        };
        let labels = Decided { direction, reason };
        self.decisions.get_or_create(&labels).inc();
    }

    /// A proposal has come to its end.
    pub fn proposed(&self, outcome: Proposal, took: Duration) {
        let labels = Outcome {
            outcome: match outcome {
                Proposal::Committed => "committed",
                Proposal::Refused => "refused",
                Proposal::Unknown => "unknown",
            },
        };
        self.proposals.get_or_create(&labels).inc();
        if outcome != Proposal::Unknown {
            self.commits.observe(took.as_secs_f64());
        }
    }

    /// A change of a policy is committed, or refused.
    pub fn edited(&self, edit: Edit) {
        let change = match edit {
            Edit::Applied => "applied",
            Edit::Changed => "changed",
            Edit::Removed => "removed",
            Edit::Refused => "refused",
        };
        self.edits.get_or_create(&Edited { change }).inc();
    }

    /// An external trigger has answered, or failed.
    pub fn polled(&self, answered: bool, took: Duration) {
        self.polls.observe(took.as_secs_f64());
        if !answered {
            self.poll_failures.inc();
        }
    }

    /// A source has said by itself that something has changed.
    pub fn pushed(&self) {
        self.pushes.inc();
    }

    /// A size was written that rests on a sample of so long ago.
    pub fn patched(&self, since_sample: Duration) {
        self.reaction.observe(since_sample.as_secs_f64());
    }

    /// The Kubernetes API has answered with an HTTP status, or not at all. `verb` is
    /// one of the few that the API knows.
    pub fn asked_kubernetes(&self, verb: &'static str, code: Option<u16>, took: Duration) {
        // Anything else is no status of HTTP.
        let code = code.filter(|code| (100..600).contains(code)).unwrap_or(0);
        let answered = Answered { verb, code };
        self.api_requests.get_or_create(&answered).inc();
        let durations = self.api_durations.get_or_create(&Asked { verb });
        durations.observe(took.as_secs_f64());
    }

    /// The text of a scrape.
    pub(crate) fn encode(
        &self,
        reading: Option<Reading>,
        format: Format,
    ) -> Result<String, fmt::Error> {
        let mut own = Registry::default();
        if let Some(usage) = process::usage() {
            own.register_collector(Box::new(Usage(usage)));
        }
        let mut present = Registry::with_prefix("starling");
        if let Some(reading) = reading {
            present.register_collector(Box::new(Shown(reading)));
        }
        let mut page = String::new();
        for registry in [self.registry.as_ref(), &present, &own] {
            match format {
                Format::OpenMetrics => text::encode_registry(&mut page, registry)?,
                Format::Prometheus => prometheus_text::encode(&mut page, registry)?,
            }
        }
        if format == Format::OpenMetrics {
            text::encode_eof(&mut page)?;
        }
        Ok(page)
    }
}

/// How numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    OpenMetrics,
    /// Version 0.0.4, for scrapers that know no other.
    Prometheus,
}

impl Format {
    /// Whoever names only plain text gets it.
    pub fn accepted(accept: Option<&str>) -> Format {
        match accept {
            Some(accept)
                if accept.contains("text/plain") && !accept.contains("openmetrics-text") =>
            {
                Format::Prometheus
            }
            _ => Format::OpenMetrics,
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Prometheus => prometheus_text::CONTENT_TYPE,
        }
    }
}

#[cfg(test)]
mod tests;
