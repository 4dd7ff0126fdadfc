//! The ledger to and from its message.
//!
//! Comes in and goes out: the whole state, as snapshots hold it. What is found in more
//! than the ledger's own bounds, or twice, is refused. Nothing is hashed here: a ledger
//! that was read knows no sums yet.

use std::collections::VecDeque;

use starling_engine::ledger::{
    self, Admitted, CHECKPOINTS_MAX, DECISIONS_MAX, Ledger, MEMBERS_MAX, POLICIES_MAX,
    WORKLOADS_MAX, rebuilt, scaled, summed,
};
use starling_engine::policy::Target;
use starling_engine::unit::{self, NodeId};

use super::stored::{Stored, at_most, needed, stored};
use super::{Error, wire};

stored! { struct ledger::InForce = wire::InForce { revision, created_at, source, copies } needed { policy } }
stored! { struct ledger::Workload = wire::Workload { policy, size, scaled, would } needed { stamp, shares, history } }
stored! { struct unit::Stamp = wire::Stamp { generation, index } needed {} }
stored! { struct scaled::Scaled = wire::Scaled { uid, selector, carried, superseded, by_hand, off, ruled } needed {} }
stored! { struct scaled::ByHand = wire::ByHand { at, from, to, anew } needed {} }
stored! { struct ledger::Record = wire::SizeChange { index, at, from, to } needed { policy, cause } }
stored! {
    oneof ledger::Cause = wire::Cause, wire::cause::Kind;
    unit { ByHand, Recreated }
    plain {}
    wrapped {}
    fields {
        Decided = wire::cause::Decided { by } needed { report },
        Bounds = wire::cause::Bounds { floor, cap } needed {},
    }
}
stored! {
    oneof rebuilt::Rebuilt = wire::Rebuilt, wire::rebuilt::Kind;
    unit { Begins }
    plain { Since }
    wrapped {}
    fields {}
}
stored! { struct ledger::Checkpoint = wire::Checkpoint { index, digest } needed {} }

impl Stored for Ledger {
    type Wire = wire::Ledger;

    fn out(&self) -> Result<Self::Wire, Error> {
        let Ledger {
            cluster,
            generation,
            authority,
            index,
            time,
            members,
            policies,
            workloads,
            decisions,
            checkpoints,
            halted,
            raised,
            rebuilt,
        } = self;
        at_most("members", members.len(), MEMBERS_MAX)?;
        at_most("policies", policies.len(), POLICIES_MAX)?;
        at_most("workloads", workloads.len(), WORKLOADS_MAX)?;
        at_most("changes of size", decisions.len(), DECISIONS_MAX)?;
        at_most("digests", checkpoints.len(), CHECKPOINTS_MAX)?;
        Ok(wire::Ledger {
            cluster: cluster.out()?,
            generation: *generation,
            authority: authority.out()?,
            index: *index,
            time: time.out()?,
            members: members.iter().map(member_out).collect::<Result<_, _>>()?,
            policies: policies
                .values()
                .map(Stored::out)
                .collect::<Result<_, _>>()?,
            workloads: workloads
                .iter()
                .map(workload_out)
                .collect::<Result<_, _>>()?,
            decisions: all_out(decisions)?,
            checkpoints: all_out(checkpoints)?,
            halted: halted.out()?,
            raised: raised.out()?,
            rebuilt: rebuilt.out()?,
        })
    }

    fn back(wire: Self::Wire) -> Result<Self, Error> {
        at_most("members", wire.members.len(), MEMBERS_MAX)?;
        at_most("policies", wire.policies.len(), POLICIES_MAX)?;
        at_most("workloads", wire.workloads.len(), WORKLOADS_MAX)?;
        at_most("changes of size", wire.decisions.len(), DECISIONS_MAX)?;
        at_most("digests", wire.checkpoints.len(), CHECKPOINTS_MAX)?;
        let policy = |in_force| {
            let in_force = ledger::InForce::back(in_force)?;
            Ok((in_force.policy.name.clone(), in_force))
        };
        Ok(Ledger {
            cluster: String::back(wire.cluster)?,
            generation: wire.generation,
            authority: Stored::back(wire.authority)?,
            index: wire.index,
            time: Stored::back(wire.time)?,
            members: all_back("member", wire.members, member_back)?,
            policies: all_back("policy", wire.policies, policy)?,
            workloads: all_back("workload", wire.workloads, workload_back)?,
            decisions: queue_back::<ledger::Record>(wire.decisions)?.into(),
            checkpoints: queue_back(wire.checkpoints)?,
            halted: Stored::back(wire.halted)?,
            raised: Stored::back(wire.raised)?,
            rebuilt: Stored::back(wire.rebuilt)?,
        })
    }
}

fn all_out<'a, T: Stored + 'a>(
    all: impl IntoIterator<Item = &'a T>,
) -> Result<Vec<T::Wire>, Error> {
    all.into_iter().map(T::out).collect()
}

fn queue_back<T: Stored>(wire: Vec<T::Wire>) -> Result<VecDeque<T>, Error> {
    wire.into_iter().map(T::back).collect()
}

/// Each key once.
fn all_back<W, K: Ord, V>(
    what: &'static str,
    wire: Vec<W>,
    entry: impl Fn(W) -> Result<(K, V), Error>,
) -> Result<summed::Map<K, V>, Error> {
    let found = wire.len();
    let all: summed::Map<K, V> = wire.into_iter().map(entry).collect::<Result<_, _>>()?;
    if all.len() != found {
        return Err(Error::Twice(what));
    }
    Ok(all)
}

fn member_out((id, admitted): (&NodeId, &Admitted)) -> Result<wire::Admitted, Error> {
    let Admitted {
        nonce,
        member,
        away_since,
    } = admitted;
    Ok(wire::Admitted {
        id: id.out()?,
        nonce: nonce.out()?,
        member: Some(member.out()?),
        away_since: away_since.out()?,
    })
}

fn member_back(wire: wire::Admitted) -> Result<(NodeId, Admitted), Error> {
    let admitted = Admitted {
        nonce: String::back(wire.nonce)?,
        member: needed("member", wire.member)?,
        away_since: Stored::back(wire.away_since)?,
    };
    Ok((NodeId(wire.id), admitted))
}

fn workload_out(
    (target, workload): (&Target, &ledger::Workload),
) -> Result<wire::KnownWorkload, Error> {
    Ok(wire::KnownWorkload {
        target: Some(target.out()?),
        workload: Some(workload.out()?),
    })
}

fn workload_back(wire: wire::KnownWorkload) -> Result<(Target, ledger::Workload), Error> {
    Ok((
        needed("target", wire.target)?,
        needed("workload", wire.workload)?,
    ))
}
