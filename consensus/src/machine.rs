//! The ledger as openraft's state machine.
//!
//! Comes in: committed batches. Goes out: the applied [`Ledger`] and its index.
//! The ledger lives in memory; a restart rebuilds it from the last snapshot and
//! the committed entries after that.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use openraft::storage::RaftStateMachine;
use openraft::{
    EntryPayload, ErrorSubject, ErrorVerb, OptionalSend, RaftSnapshotBuilder, Snapshot,
};
use starling_engine::ledger::{Ledger, Outcome};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::store::disk::Disk;
use crate::store::log::storage_error;
use crate::store::snapshots::{Image, Snapshots};
use crate::types::{LogId, RaftEntry, SnapshotMeta, StorageError, StoredMembership, Types};

pub struct Machine {
    ledger: Arc<RwLock<Ledger>>,
    clock: Arc<Clock>,
    applied_index: watch::Sender<u64>,
    applied: Option<LogId>,
    membership: StoredMembership,
    store: SnapshotStore,
}

#[derive(Clone)]
struct SnapshotStore {
    disk: Disk,
    snapshots: Snapshots,
}

impl Machine {
    /// The state as the last snapshot has it.
    pub async fn restore(
        disk: Disk,
        snapshots: Snapshots,
        ledger: Arc<RwLock<Ledger>>,
        clock: Arc<Clock>,
        applied_index: watch::Sender<u64>,
    ) -> io::Result<Machine> {
        let mut machine = Machine {
            ledger,
            clock,
            applied_index,
            applied: None,
            membership: StoredMembership::default(),
            store: SnapshotStore { disk, snapshots },
        };
        if let Some(sealed) = machine.store.snapshots.current().await? {
            machine.adopt(Image::decode_aside(sealed).await?.0);
        }
        machine.note_needs().await?;
        Ok(machine)
    }

    fn adopt(&mut self, image: Image) {
        let index = image.ledger.index;
        self.clock.reach(image.ledger.time);
        *self.ledger.write().unwrap_or_else(PoisonError::into_inner) = image.ledger;
        self.applied = image.applied;
        self.membership = image.membership;
        self.applied_index.send_replace(index);
    }

    /// Under one lock; whether the ledger's version was raised.
    fn apply_all(
        &mut self,
        entries: impl IntoIterator<Item = RaftEntry>,
    ) -> (Vec<Vec<Outcome>>, bool) {
        let mut replies = Vec::new();
        let mut ledger = self.ledger.write().unwrap_or_else(PoisonError::into_inner);
        let before = ledger.version();
        for entry in entries {
            self.applied = Some(entry.log_id);
            replies.push(match entry.payload {
                EntryPayload::Blank => Vec::new(),
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    Vec::new()
                }
                EntryPayload::Normal(batch) => batch
                    .entries
                    .iter()
                    .map(|command| {
                        let index = ledger.index + 1;
                        ledger.apply(index, command)
                    })
                    .collect(),
            });
        }
        let index = ledger.index;
        let raises = ledger.version() > before;
        self.clock.reach(ledger.time);
        drop(ledger);
        self.applied_index
            .send_if_modified(|applied| std::mem::replace(applied, index) != index);
        (replies, raises)
    }

    /// An older release that is started here later has to know.
    async fn note_needs(&self) -> io::Result<()> {
        let raised = {
            let ledger = self.ledger.read().unwrap_or_else(PoisonError::into_inner);
            ledger.raised.clone()
        };
        self.store.snapshots.needs.note(raised).await
    }

    fn image(&self) -> Image {
        Image {
            applied: self.applied,
            membership: self.membership.clone(),
            ledger: self
                .ledger
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}

fn snapshot_error(verb: ErrorVerb, error: &io::Error) -> StorageError {
    storage_error(ErrorSubject::Snapshot(None), verb, error)
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Vec<Outcome>>, StorageError>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (replies, raises) = self.apply_all(entries);
        if raises {
            let noted = self.note_needs().await;
            noted.map_err(|e| storage_error(ErrorSubject::StateMachine, ErrorVerb::Write, &e))?;
        }
        Ok(replies)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            image: Some(self.image()),
            store: self.store.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Vec<u8>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        sealed: Box<Vec<u8>>,
    ) -> Result<(), StorageError> {
        let install = async {
            let (image, sealed) = Image::decode_aside(*sealed).await?;
            self.store
                .snapshots
                .put(&self.store.disk, meta.last_log_id, sealed)
                .await?;
            Ok(image)
        };
        let image = install
            .await
            .map_err(|e: io::Error| snapshot_error(ErrorVerb::Write, &e))?;
        self.adopt(image);
        let noted = self.note_needs().await;
        noted.map_err(|e| snapshot_error(ErrorVerb::Write, &e))
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let read = async {
            let Some(sealed) = self.store.snapshots.current().await? else {
                return Ok(None);
            };
            let (image, sealed) = Image::decode_aside(sealed).await?;
            Ok(Some(Snapshot {
                meta: image.meta(),
                snapshot: Box::new(sealed),
            }))
        };
        read.await
            .map_err(|e: io::Error| snapshot_error(ErrorVerb::Read, &e))
    }
}

/// Writes the state as it was when the builder was made.
pub struct Builder {
    image: Option<Image>,
    store: SnapshotStore,
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let image = self.image.take();
        let build = async {
            let image = image.ok_or_else(|| io::Error::other("a builder builds once"))?;
            let (meta, sealed) = tokio::task::spawn_blocking(move || {
                let sealed = image.encode()?;
                Ok::<_, io::Error>((image.meta(), sealed))
            })
            .await
            .map_err(io::Error::other)??;
            self.store
                .snapshots
                .put(&self.store.disk, meta.last_log_id, sealed.clone())
                .await?;
            Ok(Snapshot {
                meta,
                snapshot: Box::new(sealed),
            })
        };
        build
            .await
            .map_err(|e: io::Error| snapshot_error(ErrorVerb::Write, &e))
    }
}
