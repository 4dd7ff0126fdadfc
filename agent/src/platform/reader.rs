//! What measures this node's pods, as the settings say: their cgroups, or their kubelet.
//!
//! Comes in: the settings. Goes out: a reader that never waits for a kubelet, since a
//! task of its own asks it. The task ends with the reader.

use std::sync::{Arc, Mutex, PoisonError};

use starling_collect::HostRoot;
use starling_collect::cgroup::Cgroups;
use starling_collect::kubelet::{ASK_EVERY, Answer, Kubelet};
use starling_kept::again;
use starling_kube::{client, kubelet};
use tokio::task::JoinSet;
use tracing::info;

use super::meter::Reader;
use crate::config::Kubernetes;

/// Begins to ask the kubelet, where that one is to tell.
pub fn reader(host: &HostRoot, settings: Option<&Kubernetes>) -> Result<Reader, client::Error> {
    let Some((node, settings)) = settings.and_then(|it| Some((it.kubelet()?, it))) else {
        return Ok(Box::new(Cgroups::open(host)));
    };
    info!(%node, "the kubelet tells what pods use");
    let insecure = settings.kubelet_insecure_tls.unwrap_or_default();
    let connection = kubelet::connect(node, insecure)?;
    // The newest answer alone: one that nobody took is of no use any more.
    let newest: Arc<Mutex<Option<Answer>>> = Arc::default();
    let heard = Arc::clone(&newest);
    let put = move |slot: &Mutex<Option<Answer>>, answer: Option<Answer>| {
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *slot, answer)
    };
    let mut task = JoinSet::new();
    task.spawn(again("the asking of the kubelet", move || {
        let (connection, heard) = (connection.clone(), Arc::clone(&heard));
        async move {
            let tell = |answer| drop(put(&heard, Some(answer)));
            kubelet::follow(&connection, ASK_EVERY, tell).await;
        }
    }));
    let latest = move || {
        // Whoever drops the reader ends the task.
        let _asks = &task;
        put(&newest, None)
    };
    Ok(Box::new(Kubelet::new(host, Box::new(latest))))
}
