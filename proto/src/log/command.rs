//! Commands, and what becomes of them, to and from their messages.
//!
//! Comes in and goes out: all that may be proposed, and every outcome. Whether a command
//! is granted is for the ledger to say.

use std::collections::BTreeMap;

use starling_engine::ledger::{self, scaled, version};
use starling_engine::unit::NodeId;

use super::stored::{LIST_MAX, Stored, at_most, stored};
use super::{Error, wire};

stored! { struct ledger::Entry = wire::Entry { at } needed { command } }
stored! {
    oneof ledger::Command = wire::Command, wire::command::Kind;
    unit { LookAround }
    plain { Raise }
    wrapped {}
    fields {
        Found = wire::command::Found { cluster, generation, authority } needed {},
        Admit = wire::command::Admit { nonce } needed { member },
        Readdress = wire::command::Readdress { node } needed { member },
        Away = wire::command::Away { node, away } needed {},
        Remove = wire::command::Remove { node } needed {},
        PutPolicy = wire::command::PutPolicy { source } needed { policy },
        RemovePolicy = wire::command::RemovePolicy { source } needed { name },
        Pass = wire::command::Pass { by, items, moves } needed {},
        DeleteWorkload = wire::command::DeleteWorkload {} needed { target },
    }
}
stored! { struct version::Raised = wire::Raised { version, release } needed {} }
stored! { struct ledger::Authority = wire::Authority { certificate, key } needed {} }
stored! { struct ledger::Member = wire::Member { name, peer_address, gossip_address, api_address, zone } needed {} }
stored! { struct ledger::Item = wire::Item { revision, from, to, shares, seen, changes, report } needed { policy } }
stored! { struct ledger::Move = wire::Move {} needed { target, stamp, shares } }
stored! { struct scaled::Seen = wire::Seen { uid, selector, replicas, ruled } needed {} }
stored! { struct ledger::Outcome = wire::Outcome { admitted, refused, became } needed {} }
stored! {
    oneof ledger::Became = wire::Became, wire::became::Kind;
    unit { Put, Copied, Same, Removed }
    plain {}
    wrapped {}
    fields {
        Handed = wire::became::Handed { to } needed {},
        Kept = wire::became::Kept { by } needed {},
    }
}
stored! { struct ledger::Refusal = wire::Refusal { subject } needed { why } }
stored! {
    oneof ledger::Why = wire::Why, wire::why::Kind;
    unit { UnknownPolicy, UnknownMember, DryRun, UnknownWorkload, StaleShares, LastMember }
    plain {
        Halted, OtherCluster, Unsound, Full, ShareOfStranger, NotPlaced, Unseen,
    }
    wrapped {}
    fields {
        TargetTaken = wire::why::TargetTaken {} needed { by, target },
        StaleRevision = wire::why::StaleRevision { decided, now } needed {},
        StaleSize = wire::why::StaleSize { decided, now } needed {},
        OutOfBounds = wire::why::OutOfBounds { to, floor, cap } needed {},
        TooManyShares = wire::why::TooManyShares { sum, size } needed {},
        NameTaken = wire::why::NameTaken { by } needed {},
        Sized = wire::why::Sized {} needed { by },
        NotHigher = wire::why::NotHigher { now } needed {},
    }
}

/// Replicas for each node.
impl Stored for BTreeMap<NodeId, u32> {
    type Wire = wire::Shares;

    fn out(&self) -> Result<Self::Wire, Error> {
        at_most("shares", self.len(), LIST_MAX)?;
        let share = |(node, replicas): (&NodeId, &u32)| wire::Share {
            node: node.0,
            replicas: *replicas,
        };
        Ok(wire::Shares {
            shares: self.iter().map(share).collect(),
        })
    }

    fn back(wire: Self::Wire) -> Result<Self, Error> {
        at_most("shares", wire.shares.len(), LIST_MAX)?;
        let mut all = BTreeMap::new();
        for wire::Share { node, replicas } in wire.shares {
            if all.insert(NodeId(node), replicas).is_some() {
                return Err(Error::Twice("node"));
            }
        }
        Ok(all)
    }
}
