//! KEDA's trigger `kubernetes-workload`: how many pods with some labels there are in the
//! policy's namespace (keda.md 4).
//!
//! Here is only what its settings mean; the pods are counted by the room of Kubernetes.

use std::collections::BTreeMap;

use crate::Goals;
use crate::settings::{self, Metadata, Wrong, flag, text};

/// KEDA's trigger type for a count of pods.
pub const KUBERNETES_WORKLOAD: &str = "kubernetes-workload";
pub(super) const GOALS: Goals = Goals {
    target: "value",
    default: None,
    activation: "activationValue",
};
const SELECTOR: &str = "podSelector";
const BY_NODE: &str = "groupByNode";
const KEYS: [&str; 4] = [SELECTOR, BY_NODE, GOALS.target, GOALS.activation];
const SELECTOR_BYTES_MAX: usize = 2_048;

/// What of the pods in a namespace counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pods<'a> {
    /// Of their labels, as Kubernetes writes it.
    pub selector: &'a str,
    /// The nodes on which they run count, each once.
    pub by_node: bool,
}

/// What a trigger of this type wants to know.
pub fn pods(metadata: &BTreeMap<String, String>) -> Pods<'_> {
    Pods {
        selector: text(metadata, SELECTOR).trim(),
        by_node: flag(metadata, BY_NODE) == Ok(true),
    }
}

pub(super) fn check(metadata: &Metadata) -> Wrong {
    let mut wrong = settings::strange(metadata, &KEYS);
    let selector = pods(metadata).selector;
    if selector.is_empty() {
        wrong.push((String::new(), format!("`{SELECTOR}` is missing")));
    }
    if selector.len() > SELECTOR_BYTES_MAX {
        let why = format!("is longer than {SELECTOR_BYTES_MAX} bytes");
        wrong.push((SELECTOR.to_owned(), why));
    }
    if let Err(why) = flag(metadata, BY_NODE) {
        wrong.push((BY_NODE.to_owned(), why));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use crate::trying::{metadata, told};

    use super::*;

    #[test]
    fn what_is_missing_wrong_or_strange_is_named() {
        let long = "a".repeat(SELECTOR_BYTES_MAX + 1);
        for (pairs, expected) in [
            (&[("podSelector", "app=web"), ("value", "5")][..], ""),
            (&[("value", "5")], "`podSelector` is missing"),
            (&[("podSelector", " ")], "`podSelector` is missing"),
            (
                &[("podSelector", &long)],
                "podSelector is longer than 2048 bytes",
            ),
            (
                &[("podSelector", "a"), ("groupByNode", "maybe")],
                "groupByNode must be true or false, is `maybe`",
            ),
            (
                &[("podSelector", "a"), ("namespace", "x")],
                "namespace is not supported; allowed: podSelector, groupByNode, value, \
                 activationValue",
            ),
        ] {
            assert_eq!(told(check(&metadata(pairs))), expected);
        }
    }

    #[test]
    fn it_says_which_pods_count() {
        let settings = metadata(&[("podSelector", " app in (a, b) "), ("groupByNode", "true")]);
        let expected = Pods {
            selector: "app in (a, b)",
            by_node: true,
        };
        assert_eq!(pods(&settings), expected);
    }
}
