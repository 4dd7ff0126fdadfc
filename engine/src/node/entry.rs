//! What one entry of the log is to hold of a pass, and where replicas will be after it.
//!
//! Comes in: items and moves, one after the other. Goes out: as many as there is room
//! for. Plans nothing.

use std::collections::BTreeMap;

use super::{PASS_BYTES_MAX, PASS_ITEMS_MAX};
use crate::ledger::{Item, Ledger, Move, Workload};
use crate::unit::NodeId;
use crate::weight;

/// What one entry of the log is to hold.
pub(super) struct Entry<'a> {
    ledger: &'a Ledger,
    items: Vec<Item>,
    moves: Vec<Move>,
    bytes: usize,
    /// Replicas of all workloads by node, as they will be once it is granted: what is
    /// placed next goes where there are fewer.
    placed: BTreeMap<NodeId, u32>,
}

impl<'a> Entry<'a> {
    pub(super) fn new(ledger: &'a Ledger) -> Self {
        Entry {
            ledger,
            items: Vec::new(),
            moves: Vec::new(),
            bytes: 0,
            placed: placed(ledger),
        }
    }

    pub(super) fn into_parts(self) -> (Vec<Item>, Vec<Move>) {
        (self.items, self.moves)
    }

    pub(super) fn has_member(&self, node: NodeId) -> bool {
        self.ledger.members.contains_key(&node)
    }

    pub(super) fn moves(&self) -> usize {
        self.moves.len()
    }

    pub(super) fn placed(&self) -> &BTreeMap<NodeId, u32> {
        &self.placed
    }

    /// Whether there was room for it. There always is for the first.
    pub(super) fn moves_on(&mut self, moved: Move, workload: &Workload) -> bool {
        let bytes = self.bytes.saturating_add(weight::bytes_max(&moved));
        if bytes > PASS_BYTES_MAX && !self.moves.is_empty() {
            return false;
        }
        self.place(&workload.shares, &moved.shares);
        self.moves.push(moved);
        self.bytes = bytes;
        true
    }

    fn place(&mut self, former: &BTreeMap<NodeId, u32>, now: &BTreeMap<NodeId, u32>) {
        for (node, n) in former {
            let sum = self.placed.entry(*node).or_default();
            *sum = sum.saturating_sub(*n);
        }
        add(&mut self.placed, now);
    }

    /// Whether there was room for it. There always is for the first.
    pub(super) fn takes(&mut self, item: Item, workload: &Workload) -> bool {
        let bytes = self.bytes.saturating_add(weight::bytes_max(&item));
        let full = self.items.len() >= PASS_ITEMS_MAX || bytes > PASS_BYTES_MAX;
        if full && !(self.items.is_empty() && self.moves.is_empty()) {
            return false;
        }
        if let Some(shares) = &item.shares {
            self.place(&workload.shares, shares);
        }
        self.items.push(item);
        self.bytes = bytes;
        true
    }
}

/// Replicas of all workloads by node.
fn placed(ledger: &Ledger) -> BTreeMap<NodeId, u32> {
    let mut placed = BTreeMap::new();
    for workload in ledger.workloads.values() {
        add(&mut placed, &workload.shares);
    }
    placed
}

fn add(placed: &mut BTreeMap<NodeId, u32>, shares: &BTreeMap<NodeId, u32>) {
    for (node, n) in shares {
        let sum = placed.entry(*node).or_default();
        *sum = sum.saturating_add(*n);
    }
}
