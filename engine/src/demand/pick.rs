//! Which of a replica's metrics a trigger reads, and over how long.
//!
//! Comes in: a trigger. Goes out: a [`Pick`], the name that it has in summaries, and
//! what it finds in a replica. Never fills in what isn't there.

use super::pods::{Metric, Pod};
use super::series::{self, Look};
use crate::policy::{Resource, Source, Trigger};
use crate::unit::Ms;

/// Which metric of a replica is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick<'a> {
    pub of: Of<'a>,
    /// The mean over so long; `None` for what [`series::steady`] says.
    pub window_ms: Option<u64>,
}

/// Whose metric it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of<'a> {
    Replica(Resource),
    Container(Resource, &'a str),
    /// The node's that the replica runs on.
    Node(Resource),
    /// One that others have of the replica.
    Custom(&'a str),
}

/// What was found of one replica.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub request_milli: Option<i64>,
    pub look: Option<Look>,
}

impl<'a> Pick<'a> {
    /// What agents measure for a trigger; `None` where others are asked for it.
    pub fn of(trigger: &'a Trigger) -> Option<Pick<'a>> {
        let of = match &trigger.source {
            Source::Resource(resource) => Of::Replica(*resource),
            Source::Container {
                resource,
                container,
            } => Of::Container(*resource, container),
            Source::Nodes(resource) => Of::Node(*resource),
            Source::Pods { .. }
            | Source::Object { .. }
            | Source::External { .. }
            | Source::Unknown { .. }
            | Source::Formula { .. } => return None,
        };
        let window_ms = trigger.window_ms;
        Some(Pick { of, window_ms })
    }

    pub fn replica(resource: Resource) -> Pick<'a> {
        Pick::from(Of::Replica(resource))
    }

    pub fn container(resource: Resource, name: &'a str) -> Pick<'a> {
        Pick::from(Of::Container(resource, name))
    }

    pub fn custom(name: &'a str) -> Pick<'a> {
        Pick::from(Of::Custom(name))
    }

    /// What it is called in summaries: `cpu`, `cpu/CONTAINER`, `node/cpu`,
    /// `pods/METRIC`; with a window of its own `cpu@60000`, in milliseconds.
    pub fn key(self) -> String {
        let key = match self.of {
            Of::Replica(resource) => resource.name().to_owned(),
            Of::Container(resource, name) => format!("{}/{name}", resource.name()),
            Of::Node(resource) => format!("node/{}", resource.name()),
            Of::Custom(name) => format!("pods/{name}"),
        };
        match self.window_ms {
            None => key,
            Some(window_ms) => format!("{key}@{window_ms}"),
        }
    }

    /// `since`: what was read before it doesn't count, unless nothing else was read.
    pub(super) fn find(self, pod: &Pod, since: Ms) -> Found {
        if let Of::Custom(name) = self.of {
            return Found {
                request_milli: None,
                look: pod.custom.get(name).copied().map(Look::at),
            };
        }
        let metric = self.metric(pod);
        Found {
            request_milli: metric.and_then(|metric| metric.request_milli),
            look: metric.and_then(|metric| self.look(metric, since)),
        }
    }

    fn metric(self, pod: &Pod) -> Option<&Metric> {
        match self.of {
            Of::Replica(resource) => pod.metrics.get(&resource),
            Of::Container(resource, name) => pod.containers.get(name)?.get(&resource),
            Of::Node(resource) => pod.node.get(&resource),
            Of::Custom(_) => None,
        }
    }

    fn look(self, metric: &Metric, since: Ms) -> Option<Look> {
        let newest = metric.sample?;
        let earlier = metric.earlier.as_deref().map_or(&[][..], Vec::as_slice);
        Some(match self.window_ms {
            Some(window_ms) => Look::at(series::mean(newest, earlier, window_ms, since)),
            None => series::steady(newest, earlier, since),
        })
    }

    /// `None` of what others have.
    pub fn resource(self) -> Option<Resource> {
        match self.of {
            Of::Replica(resource) | Of::Container(resource, _) | Of::Node(resource) => {
                Some(resource)
            }
            Of::Custom(_) => None,
        }
    }

    pub(super) fn is_cpu(self) -> bool {
        matches!(
            self.of,
            Of::Replica(Resource::Cpu) | Of::Container(Resource::Cpu, _)
        )
    }
}

impl<'a> From<Of<'a>> for Pick<'a> {
    fn from(of: Of<'a>) -> Pick<'a> {
        Pick {
            of,
            window_ms: None,
        }
    }
}
