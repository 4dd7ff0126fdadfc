//! The pods of this agent's own node, as far as measuring and sorting them needs.
//!
//! Comes in: a watch of the pods with this `spec.nodeName`. Goes out: a
//! [`Snapshot`], replaced whole at each change; while the API server is away the
//! last one stays. Never watches another node's pods, and never keeps what isn't
//! needed: environment, volumes and annotations are dropped while they are read.

pub mod read;
pub mod replicas;
pub mod trouble;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::Api;
use kube::api::ApiResource;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::client::{Connection, Failure};
use crate::watch::{Config, Event, Watch};
pub use read::Pod;

/// A kubelet runs 110 pods by default. Beyond this many a node's further pods are
/// left out, ended ones first; the cluster then counts the others as replicas
/// without a sample.
pub const PODS_MAX: usize = 1_000;
/// Pods left out that are remembered by name, to know how many there are; more
/// aren't counted.
const LEFT_OUT_MAX: usize = 10_000;

/// The pods of one node at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// By uid. At most [`PODS_MAX`].
    pub pods: BTreeMap<String, Arc<Pod>>,
    /// A whole list has come in at least once: what isn't here isn't on the node.
    pub listed: bool,
    /// Pods of this node that found no room.
    pub left_out: usize,
    /// Why the pods can't be watched just now; those above are then the last known.
    pub trouble: Option<Failure>,
}

/// Follows the pods of `node` and publishes each change. Ends only when nobody
/// listens any more.
pub async fn follow(connection: &Connection, node: &str, out: &watch::Sender<Arc<Snapshot>>) {
    let pod = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
    let api: Api<read::Object> = Api::all_with(connection.client.clone(), &pod);
    // The API server has an index for this one field, and answers from memory.
    let config = Config::default()
        .fields(&format!("spec.nodeName={node}"))
        .any_semantic();
    let mut watch = Watch::new(api, config);
    let mut store = Store::default();
    loop {
        let event = tokio::select! {
            event = watch.next() => event,
            () = out.closed() => return,
        };
        if let Err(failure) = &event {
            warn!(node, %failure, "the node's pods can't be watched just now");
        }
        if store.take(event) {
            out.send_replace(Arc::new(store.snapshot.clone()));
        }
    }
}

/// What is known, and the list that is coming in.
#[derive(Default)]
struct Store {
    snapshot: Snapshot,
    left_out: BTreeSet<String>,
    listing: Option<Listing>,
}

#[derive(Default)]
struct Listing {
    pods: BTreeMap<String, Arc<Pod>>,
    left_out: BTreeSet<String>,
}

impl Store {
    /// Takes one event in; whether the snapshot changed.
    fn take(&mut self, event: Result<Event<read::Object>, Failure>) -> bool {
        let event = match event {
            Ok(event) => event,
            Err(failure) => {
                let news = self.snapshot.trouble.is_none();
                self.snapshot.trouble = Some(failure);
                return news;
            }
        };
        match event {
            Event::Init => {
                self.listing = Some(Listing::default());
                return false;
            }
            Event::InitApply(object) => {
                if let (Some(listing), Some(pod)) = (&mut self.listing, Pod::of(object)) {
                    keep(&mut listing.pods, &mut listing.left_out, pod);
                }
                return false;
            }
            Event::InitDone => {
                let listing = self.listing.take().unwrap_or_default();
                self.snapshot.pods = listing.pods;
                self.left_out = listing.left_out;
                self.snapshot.listed = true;
            }
            Event::Apply(object) => {
                let Some(pod) = Pod::of(object) else {
                    return false;
                };
                keep(&mut self.snapshot.pods, &mut self.left_out, pod);
            }
            Event::Delete(object) => {
                let uid = object.metadata.uid.unwrap_or_default();
                self.snapshot.pods.remove(&uid);
                self.left_out.remove(&uid);
            }
        }
        let was_full = self.snapshot.left_out > 0;
        self.snapshot.left_out = self.left_out.len();
        self.snapshot.trouble = None;
        if self.left_out.is_empty() == was_full {
            tell_of_room(&self.snapshot);
        }
        true
    }
}

fn tell_of_room(snapshot: &Snapshot) {
    if snapshot.left_out > 0 {
        warn!(
            left_out = snapshot.left_out,
            "this node has more than {PODS_MAX} pods; the others aren't measured"
        );
    } else {
        info!("all pods of this node are measured again");
    }
}

/// Puts a pod in, if there is room or an ended one can make room.
fn keep(pods: &mut BTreeMap<String, Arc<Pod>>, left_out: &mut BTreeSet<String>, pod: Pod) {
    let uid = pod.uid.clone();
    if pods.len() >= PODS_MAX && !pods.contains_key(&uid) {
        let ended = pods.values().find(|kept| kept.has_ended());
        let Some(ended) = ended.filter(|_| !pod.has_ended()) else {
            if left_out.len() < LEFT_OUT_MAX {
                left_out.insert(uid);
            }
            return;
        };
        let ended = ended.uid.clone();
        pods.remove(&ended);
        if left_out.len() < LEFT_OUT_MAX {
            left_out.insert(ended);
        }
    }
    left_out.remove(&uid);
    pods.insert(uid, Arc::new(pod));
}
