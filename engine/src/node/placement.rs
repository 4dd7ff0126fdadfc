//! Which node runs how many of a workload's replicas.

use std::collections::{BTreeMap, BTreeSet};

use crate::unit::NodeId;

/// Spreads `size` replicas over `eligible` nodes, starting from `former`
/// shares. Replicas on `lost` nodes are placed anew; others move only when the
/// size asks for it, since a moved replica is a stopped one. A node that is
/// neither eligible nor lost can't be told to stop one just now, so its replicas
/// are the last to be given up. Where no node is
/// eligible, the rest stays unplaced. `load` (all workloads' replicas by node)
/// breaks ties, then the lower id.
pub fn spread(
    size: u32,
    former: &BTreeMap<NodeId, u32>,
    eligible: &BTreeSet<NodeId>,
    lost: &BTreeSet<NodeId>,
    load: &BTreeMap<NodeId, u32>,
) -> BTreeMap<NodeId, u32> {
    let mut shares: BTreeMap<NodeId, u32> = former
        .iter()
        .filter(|(node, _)| !lost.contains(node))
        .map(|(node, n)| (*node, *n))
        .collect();
    let load_of = |node: &NodeId| load.get(node).copied().unwrap_or(0);
    let mut placed: u64 = shares.values().map(|n| u64::from(*n)).sum();
    while placed > u64::from(size) {
        let most = shares
            .iter()
            .filter(|(_, n)| **n > 0)
            .max_by_key(|(node, n)| (eligible.contains(node), **n, load_of(node), node.0))
            .map(|(node, _)| *node);
        let Some(n) = most.and_then(|node| shares.get_mut(&node)) else {
            break;
        };
        *n -= 1;
        placed -= 1;
    }
    while placed < u64::from(size) {
        let least = eligible
            .iter()
            .min_by_key(|node| {
                let here = shares.get(node).copied().unwrap_or(0);
                (here, load_of(node), node.0)
            })
            .copied();
        let Some(node) = least else { break };
        *shares.entry(node).or_default() += 1;
        placed += 1;
    }
    shares.retain(|_, n| *n > 0);
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(pairs: &[(u64, u32)]) -> BTreeMap<NodeId, u32> {
        pairs.iter().map(|(id, n)| (NodeId(*id), *n)).collect()
    }

    fn nodes(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().map(|id| NodeId(*id)).collect()
    }

    fn check(
        size: u32,
        former: &[(u64, u32)],
        eligible: &[u64],
        lost: &[u64],
        expected: &[(u64, u32)],
    ) {
        let load = BTreeMap::new();
        let result = spread(size, &shares(former), &nodes(eligible), &nodes(lost), &load);
        assert_eq!(result, shares(expected));
    }

    #[test]
    fn replicas_are_spread_evenly_and_taken_from_the_fullest() {
        check(4, &[], &[1, 2, 3], &[], &[(1, 2), (2, 1), (3, 1)]);
        check(
            2,
            &[(1, 2), (2, 1), (3, 1)],
            &[1, 2, 3],
            &[],
            &[(1, 1), (2, 1)],
        );
    }

    #[test]
    fn running_replicas_do_not_move_for_balance_alone() {
        check(6, &[(1, 3), (2, 3)], &[1, 2, 3], &[], &[(1, 3), (2, 3)]);
        check(
            7,
            &[(1, 3), (2, 3)],
            &[1, 2, 3],
            &[],
            &[(1, 3), (2, 3), (3, 1)],
        );
    }

    #[test]
    fn the_replicas_of_a_lost_node_are_placed_anew() {
        check(
            6,
            &[(1, 2), (2, 2), (3, 2)],
            &[1, 3],
            &[2],
            &[(1, 3), (3, 3)],
        );
    }

    #[test]
    fn a_node_that_is_neither_eligible_nor_lost_keeps_what_it_has() {
        check(5, &[(1, 2), (2, 2)], &[1], &[], &[(1, 3), (2, 2)]);
    }

    #[test]
    fn a_node_that_cannot_be_told_to_stop_replicas_gives_them_up_last() {
        check(3, &[(1, 2), (2, 3)], &[1], &[], &[(2, 3)]);
        check(2, &[(1, 2), (2, 3)], &[1], &[], &[(2, 2)]);
    }

    #[test]
    fn without_an_eligible_node_replicas_stay_unplaced() {
        check(3, &[], &[], &[], &[]);
        check(3, &[(1, 1)], &[], &[], &[(1, 1)]);
    }

    #[test]
    fn a_tie_goes_to_the_node_with_fewer_replicas_in_all() {
        let load = shares(&[(1, 9), (2, 1)]);
        let result = spread(1, &BTreeMap::new(), &nodes(&[1, 2]), &nodes(&[]), &load);
        assert_eq!(result, shares(&[(2, 1)]));
    }
}
