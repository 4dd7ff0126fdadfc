//! Kubernetes as the platform of scaled workloads: one connection, this node's
//! pods, the targets of the policies, and the writes of their sizes.
//!
//! Comes in: the ledger, whether this agent leads, patches. Goes out: what the
//! platform says, as inputs of the engine. Only translates between the engine
//! and `starling-kube`; contains no rule about numbers.

pub mod gpus;
mod meter;
mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use starling_engine::ledger::Ledger;
use starling_engine::ledger::part::Part;
use starling_engine::node::Input;
use starling_engine::node::platform::{Failure, Patch};
use starling_engine::policy::{Form, Target};
use starling_kept::{Queue, again};
use starling_kube::client::Connection;
use starling_kube::devices::{self, Devices};
use starling_kube::pods::{self, Snapshot};
use starling_kube::target::Reference;
use starling_kube::{patches, scale, targets};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use meter::Selectors;
pub use meter::{Meter, Pods};
pub use reader::reader;

/// Events that wait for the loop; the watches wait beyond that.
const EVENTS_MAX: usize = 1_024;

/// The agent's end of it. The tasks end when it is dropped.
pub struct Platform {
    followed: watch::Sender<Arc<BTreeSet<Reference>>>,
    patches: mpsc::Sender<patches::Patch>,
    /// Whether this agent may write.
    fence: watch::Sender<bool>,
    pods: watch::Receiver<Arc<Snapshot>>,
    /// Which of them hold which devices.
    devices: watch::Receiver<Arc<Devices>>,
    selectors: Arc<Selectors>,
    /// The grants whose writes are not answered yet; one for each target.
    asked: BTreeMap<Target, u64>,
    /// Whether targets were to be watched, and of which policies: another set of
    /// these has another count or a newer revision.
    seen: Option<(bool, usize, Option<u64>)>,
    _tasks: JoinSet<()>,
}

impl Platform {
    /// Begins to follow the pods of `node`.
    pub fn start(
        connection: &Connection,
        node: &str,
    ) -> (Platform, mpsc::Receiver<targets::Event>) {
        let (followed, following) = watch::channel(Arc::default());
        let (patches, inbox) = mpsc::channel(patches::INBOX);
        let (fence, fenced) = watch::channel(false);
        let (found, finds) = mpsc::channel(EVENTS_MAX);
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let (shown, pods) = watch::channel(Arc::default());
        let scales = scale::Scales::new(connection.clone());
        let mut tasks = JoinSet::new();
        let (targets, writes) = (connection.clone(), scales.clone());
        let finds = Queue::new(finds);
        tasks.spawn(again("the watch over targets", move || {
            let silent = Silent(events.clone());
            let follow = targets::follow(
                targets.clone(),
                scales.clone(),
                following.clone(),
                finds.clone(),
                events.clone(),
            );
            async move {
                let _silent = silent;
                follow.await;
            }
        }));
        let inbox = Queue::new(inbox);
        tasks.spawn(again("the writing of sizes", move || {
            patches::run(writes.clone(), inbox.clone(), fenced.clone(), found.clone())
        }));
        let (connection, node) = (connection.clone(), node.to_owned());
        tasks.spawn(again("the watch over this node's pods", move || {
            let (connection, node, shown) = (connection.clone(), node.clone(), shown.clone());
            async move { pods::follow(&connection, &node, &shown).await }
        }));
        let (said, devices) = watch::channel(Arc::default());
        tasks.spawn(again("the watch over this node's devices", move || {
            let said = said.clone();
            async move {
                devices::follow(Path::new(devices::SOCKET), devices::EVERY, &said).await;
            }
        }));
        let platform = Platform {
            followed,
            patches,
            fence,
            pods,
            devices,
            selectors: Arc::default(),
            asked: BTreeMap::new(),
            seen: None,
            _tasks: tasks,
        };
        (platform, receiver)
    }

    /// Follows the targets that the ledger holds now. `watches`: this agent keeps
    /// what a leader needs warm; everybody else watches its own pods only.
    pub fn follow(&mut self, ledger: &Ledger, watches: bool) {
        let revisions = ledger.policies.values().map(|put| put.revision);
        let seen = (watches, ledger.policies.len(), revisions.max());
        if self.seen.replace(seen) == Some(seen) {
            return;
        }
        let policies = ledger.policies.values().map(|put| &put.policy);
        let scaled = policies.filter(|policy| policy.target.form() == Form::Scaled);
        let references: BTreeSet<Reference> = scaled
            .filter(|_| watches)
            .map(|policy| Reference {
                target: policy.target.clone(),
                version: policy.target_version.clone(),
            })
            .collect();
        self.followed.send_if_modified(|former| {
            let news = **former != references;
            if news {
                *former = Arc::new(references);
            }
            news
        });
    }

    /// Takes the selectors of scaled workloads from this agent's part.
    pub fn select(&mut self, part: &Part<'_>) {
        if let Some(selectors) = meter::selectors(&self.selectors, &part.measured) {
            self.selectors = Arc::new(selectors);
        }
    }

    /// Whether writes may go out.
    pub fn lead(&self, acting: bool) {
        self.fence
            .send_if_modified(|former| std::mem::replace(former, acting) != acting);
    }

    /// Writes a size; its outcome comes as an event. Where too many writes wait,
    /// the answer is given at once.
    pub fn patch(&mut self, patch: &Patch) -> Option<Input> {
        let sent = self.patches.try_send(patches::Patch::of(patch));
        if sent.is_ok() {
            self.asked.insert(patch.target.clone(), patch.stamp.index);
            return None;
        }
        Some(Input::Patched {
            target: patch.target.clone(),
            result: Err(Failure::Refused("too many writes wait".into())),
        })
    }

    /// The ledger index of the grant that was carried out, where this is the
    /// answer to a write that went well.
    pub fn carried_out(&mut self, event: &targets::Event) -> Option<u64> {
        let targets::Event::Patched { target, result } = event else {
            return None;
        };
        self.asked.remove(target).filter(|_| result.is_ok())
    }

    /// This node's pods, as they are now. `None` before they are known.
    pub fn pods(&self) -> Option<Pods> {
        let snapshot = Arc::clone(&self.pods.borrow());
        snapshot.listed.then(|| Pods {
            snapshot,
            selectors: Arc::clone(&self.selectors),
            devices: self.devices(),
        })
    }

    /// Which pods of this node hold which devices, as the kubelet last said.
    pub fn devices(&self) -> Arc<Devices> {
        Arc::clone(&self.devices.borrow())
    }
}

/// Says that the platform is silent once the watch over targets has ended: what was seen
/// last grows old, and a leader must grant nothing over it.
struct Silent(mpsc::Sender<targets::Event>);

impl Drop for Silent {
    fn drop(&mut self) {
        let events = self.0.clone();
        // Without a runtime the agent has ended, and nobody listens.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { events.send(targets::Event::Platform(false)).await });
        }
    }
}

/// An event of the platform, as the engine takes it.
pub fn input(event: targets::Event) -> Input {
    match event {
        targets::Event::Platform(reachable) => Input::Platform(reachable),
        targets::Event::Observed {
            target,
            observation,
        } => Input::Observed {
            target,
            observation,
        },
        targets::Event::Patched { target, result } => Input::Patched { target, result },
    }
}
