//! The cluster as a stream shows it, and the difference between two moments.

use std::collections::BTreeMap;

use prost::Message;
use starling_engine::policy::Name;
use starling_proto::{v1, view};

use crate::answer::Sight;
use crate::page::BYTES_MAX;

/// One moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Picture {
    pub header: v1::ReplyHeader,
    pub status: v1::ClusterStatus,
    pub members: BTreeMap<u64, v1::Member>,
    pub nodes: BTreeMap<u64, v1::Node>,
    pub policies: BTreeMap<Name, v1::Policy>,
}

impl Picture {
    pub fn of(sight: &Sight<'_>) -> Picture {
        Picture {
            header: sight.header(v1::Consistency::Stale),
            status: sight.status(),
            members: sight.members(None).map(|(_, m)| (m.id, m)).collect(),
            nodes: sight.nodes(None).map(|(_, n)| (n.id, n)).collect(),
            policies: sight
                .policies(None, "")
                .map(|(_, p)| (Name::new(p.namespace.as_str(), p.name.as_str()), p))
                .collect(),
        }
    }

    /// All of it, in messages of bounded size.
    pub fn whole(&self) -> Vec<v1::ClusterUpdate> {
        parts(v1::ClusterUpdate {
            status: Some(self.status.clone()),
            members: self.members.values().cloned().collect(),
            nodes: self.nodes.values().cloned().collect(),
            policies: self.policies.values().cloned().collect(),
            ..v1::ClusterUpdate::default()
        })
    }

    /// What turns `before` into this, in messages of bounded size; none where
    /// nothing but ages changed.
    pub fn since(&self, before: &Picture) -> Vec<v1::ClusterUpdate> {
        let (members, removed_member_ids) = changed(&before.members, &self.members, ageless_member);
        let (nodes, removed_node_ids) = changed(&before.nodes, &self.nodes, ageless_node);
        let (policies, removed_policies) =
            changed(&before.policies, &self.policies, ageless_policy);
        let update = v1::ClusterUpdate {
            status: (self.status != before.status).then(|| self.status.clone()),
            members,
            removed_member_ids,
            nodes,
            removed_node_ids,
            policies,
            removed_policies: removed_policies.iter().map(view::name).collect(),
        };
        if update == v1::ClusterUpdate::default() {
            Vec::new()
        } else {
            parts(update)
        }
    }
}

/// Items of `now` that are new or differ, and keys that are gone.
fn changed<K: Ord + Clone, T: Clone + PartialEq>(
    before: &BTreeMap<K, T>,
    now: &BTreeMap<K, T>,
    ageless: impl Fn(&T) -> T,
) -> (Vec<T>, Vec<K>) {
    let differs = |key: &K, item: &T| {
        before
            .get(key)
            .is_none_or(|other| other != item && ageless(other) != ageless(item))
    };
    let items = now
        .iter()
        .filter(|(k, i)| differs(k, i))
        .map(|(_, i)| i.clone())
        .collect();
    let gone = before
        .keys()
        .filter(|key| !now.contains_key(key))
        .cloned()
        .collect();
    (items, gone)
}

fn ageless_member(member: &v1::Member) -> v1::Member {
    v1::Member {
        heard_age: None,
        ..member.clone()
    }
}

fn ageless_node(node: &v1::Node) -> v1::Node {
    v1::Node {
        sample_age: None,
        ..node.clone()
    }
}

fn ageless_policy(policy: &v1::Policy) -> v1::Policy {
    let mut policy = v1::Policy {
        evaluated_age: None,
        // That it began, and ended, is a difference.
        platform_silent: policy.platform_silent.map(|_| view::duration(0)),
        ..policy.clone()
    };
    for trigger in &mut policy.triggers {
        trigger.value_age = None;
    }
    policy
}

/// Cuts an update so that each part fits a message. Removals are small and go first.
fn parts(update: v1::ClusterUpdate) -> Vec<v1::ClusterUpdate> {
    if update.encoded_len() <= BYTES_MAX {
        return vec![update];
    }
    let v1::ClusterUpdate {
        members,
        nodes,
        policies,
        ..
    } = update;
    let mut parts = Parts {
        done: Vec::new(),
        bytes: 0,
        part: v1::ClusterUpdate {
            status: update.status,
            removed_member_ids: update.removed_member_ids,
            removed_node_ids: update.removed_node_ids,
            removed_policies: update.removed_policies,
            ..v1::ClusterUpdate::default()
        },
    };
    parts.bytes = parts.part.encoded_len();
    for member in members {
        parts.room_for(&member).members.push(member);
    }
    for node in nodes {
        parts.room_for(&node).nodes.push(node);
    }
    for policy in policies {
        parts.room_for(&policy).policies.push(policy);
    }
    parts.done.push(parts.part);
    parts.done
}

struct Parts {
    done: Vec<v1::ClusterUpdate>,
    part: v1::ClusterUpdate,
    bytes: usize,
}

impl Parts {
    /// The part that the item goes into: the present one, or the next where it
    /// would grow too large.
    fn room_for(&mut self, item: &impl Message) -> &mut v1::ClusterUpdate {
        // An item's tag and length take at most 6 bytes.
        let bytes = item.encoded_len() + 6;
        if self.bytes + bytes > BYTES_MAX && self.bytes > 0 {
            self.done.push(std::mem::take(&mut self.part));
            self.bytes = 0;
        }
        self.bytes += bytes;
        &mut self.part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(policies: impl IntoIterator<Item = (&'static str, u32)>) -> Picture {
        let policy = |(name, size): (&str, u32)| {
            let triggers = vec![v1::Trigger {
                value_age: Some(view::duration(7)),
                ..Default::default()
            }];
            let policy = v1::Policy {
                name: name.into(),
                size,
                triggers,
                ..Default::default()
            };
            (Name::from(name), policy)
        };
        Picture {
            policies: policies.into_iter().map(policy).collect(),
            ..Picture::default()
        }
    }

    #[test]
    fn a_difference_holds_what_is_new_changed_or_gone_and_nothing_else() {
        let before = picture([("same", 1), ("changed", 1), ("gone", 1)]);
        let now = picture([("same", 1), ("changed", 2), ("new", 1)]);
        let [update] = now.since(&before).try_into().unwrap();
        let names: Vec<_> = update.policies.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["changed", "new"]);
        assert_eq!(update.removed_policies, [view::name(&"gone".into())]);
        assert_eq!(update.status, None);
    }

    #[test]
    fn growing_older_is_no_difference() {
        let before = picture([("same", 1)]);
        let mut now = before.clone();
        let same = now.policies.get_mut(&Name::from("same")).unwrap();
        same.triggers[0].value_age = Some(view::duration(1_007));
        same.evaluated_age = Some(view::duration(1_007));
        now.header.data_age = Some(view::duration(900));
        assert!(now.since(&before).is_empty());
    }

    #[test]
    fn a_large_snapshot_is_cut_into_parts_that_fit_and_lose_nothing() {
        let mut large = Picture::default();
        for n in 0..3_000 {
            let name = format!("policy-{n:04}");
            let policy = v1::Policy {
                name: name.clone(),
                source: "x".repeat(3_000),
                ..Default::default()
            };
            large.policies.insert(name.as_str().into(), policy);
        }
        let parts = large.whole();
        assert!(parts.len() > 1);
        assert!(parts.iter().all(|part| part.encoded_len() <= BYTES_MAX));
        assert!(parts[0].status.is_some() && parts[1].status.is_none());
        assert_eq!(
            parts.iter().map(|part| part.policies.len()).sum::<usize>(),
            3_000
        );
    }
}
