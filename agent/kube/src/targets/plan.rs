//! Which watches are needed to follow some targets.
//!
//! Comes in: the targets. Goes out: one watch for each kind and namespace where
//! those are few, or one over the whole cluster. Never goes back from the whole
//! cluster to single namespaces while a kind is followed: each change is a list.

use std::collections::{BTreeMap, BTreeSet};

use starling_engine::policy::Target;

use crate::scale::kinds::Kind;
use crate::target::Reference;

/// Targets of one kind in at most this many namespaces are watched by namespace.
pub const NAMESPACES_FEW: usize = 4;

/// What one watch covers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    pub group: String,
    pub kind: String,
    /// `None` is the whole cluster.
    pub namespace: Option<String>,
}

impl Scope {
    pub fn covers(&self, target: &Target) -> bool {
        let place = self.namespace.as_ref();
        self.group == target.group
            && self.kind == target.kind
            && place.is_none_or(|namespace| *namespace == target.namespace)
    }
}

#[derive(Debug, Default)]
pub struct Planner {
    /// Kinds that are watched in the whole cluster.
    wide: BTreeSet<(String, String)>,
}

impl Planner {
    /// The watches, each with the kind as to be looked up.
    pub fn plan(&mut self, followed: &BTreeSet<Reference>) -> BTreeMap<Scope, Kind> {
        let mut kinds: BTreeMap<(String, String), (Kind, BTreeSet<&str>)> = BTreeMap::new();
        for reference in followed {
            let target = &reference.target;
            let key = (target.group.clone(), target.kind.clone());
            let (_, namespaces) = kinds
                .entry(key)
                .or_insert_with(|| (reference.into(), BTreeSet::new()));
            namespaces.insert(&target.namespace);
        }
        self.wide.retain(|kind| kinds.contains_key(kind));
        let mut watches = BTreeMap::new();
        for ((group, kind), (look_up, namespaces)) in kinds {
            let key = (group.clone(), kind.clone());
            let scope = |namespace: Option<&str>| Scope {
                group: group.clone(),
                kind: kind.clone(),
                namespace: namespace.map(str::to_owned),
            };
            if namespaces.len() > NAMESPACES_FEW || self.wide.contains(&key) {
                self.wide.insert(key);
                watches.insert(scope(None), look_up);
            } else {
                for namespace in namespaces {
                    watches.insert(scope(Some(namespace)), look_up.clone());
                }
            }
        }
        watches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(kind: &str, namespace: &str) -> Reference {
        Reference {
            target: Target {
                group: "apps".into(),
                kind: kind.into(),
                namespace: namespace.into(),
                name: "web".into(),
            },
            version: "v1".into(),
        }
    }

    #[test]
    fn few_namespaces_are_watched_one_by_one_and_many_at_once_for_good() {
        let mut planner = Planner::default();
        let namespaces = ["a", "b", "c", "d", "e"];
        let few = namespaces[..4].iter().map(|n| reference("Deployment", n));
        let few: BTreeSet<_> = few.chain([reference("StatefulSet", "a")]).collect();
        let scopes = |planner: &mut Planner, followed: &BTreeSet<Reference>| {
            let plan = planner.plan(followed);
            let shown = plan.keys().map(|s| (s.kind.clone(), s.namespace.clone()));
            shown.collect::<Vec<_>>()
        };
        let named = |kind: &str, namespace: &str| (kind.to_owned(), Some(namespace.to_owned()));
        let expected = [
            named("Deployment", "a"),
            named("Deployment", "b"),
            named("Deployment", "c"),
            named("Deployment", "d"),
            named("StatefulSet", "a"),
        ];
        assert_eq!(scopes(&mut planner, &few), expected);

        let mut many = few.clone();
        many.insert(reference("Deployment", "e"));
        let wide = [("Deployment".to_owned(), None), named("StatefulSet", "a")];
        assert_eq!(scopes(&mut planner, &many), wide);
        assert_eq!(scopes(&mut planner, &few), wide);
        assert!(scopes(&mut planner, &BTreeSet::new()).is_empty());
        assert_eq!(scopes(&mut planner, &few), expected);
    }
}
