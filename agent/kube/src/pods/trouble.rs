//! What keeps replicas on this node from running: images that can't be pulled,
//! containers that crash again and again.
//!
//! Comes in: one pod. Goes out: the first reason that a person can act on, in the
//! kubelet's own words. Never counts what is on its way (a container that is being
//! created).

use super::Pod;
use super::read::Container;

/// Why one pod doesn't run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The kubelet's word for it, such as `CrashLoopBackOff`.
    pub reason: String,
    pub container: String,
    pub message: String,
    pub restarts: u32,
}

/// Waiting for these is the ordinary way of a pod that starts.
const ORDINARY: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// `None` for a pod that runs, starts, ends or has ended.
pub fn of(pod: &Pod) -> Option<Trouble> {
    if pod.deleted || pod.has_ended() {
        return None;
    }
    pod.containers.iter().find_map(of_container)
}

fn of_container(container: &Container) -> Option<Trouble> {
    let waiting = container.waiting.as_ref()?;
    if waiting.reason.is_empty() || ORDINARY.contains(&waiting.reason.as_str()) {
        return None;
    }
    Some(Trouble {
        reason: waiting.reason.clone(),
        container: container.name.clone(),
        message: waiting.message.clone(),
        restarts: container.restarts,
    })
}
