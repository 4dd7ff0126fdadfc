//! What an agent says in its log while it runs: who leads, what it decided, and
//! what is wrong, each once.
//!
//! Comes in: what is so now. Goes out: a line for what is new. Keeps the warnings
//! that users are shown. Never changes anything.

use std::collections::BTreeMap;

use starling_collect::unread::Unread;
use starling_consensus::Leadership;
use starling_engine::ledger::{Cause, Ledger, Record};
use starling_engine::unit::NodeId;
use starling_health::{Direction, Metrics};
use starling_proto::view::policy::summary;
use tracing::{info, warn};

use super::shown::reason;

/// Of one area; the rest is only counted.
const WARNINGS_MAX: usize = 100;

/// What was said already.
#[derive(Debug, Default)]
pub struct Told {
    leader: Option<NodeId>,
    /// A leader stood behind this agent at the last look.
    led: bool,
    /// Index of the last change of size; `None` before the first look, since
    /// those of former runs are no news.
    size: Option<u64>,
    warnings: BTreeMap<String, String>,
    /// What this machine lacks, which is no fault.
    lacking: BTreeMap<String, String>,
}

impl Told {
    /// What is wrong, by subject.
    pub fn warnings(&self) -> &BTreeMap<String, String> {
        &self.warnings
    }

    pub fn leader(&mut self, seen: &Leadership, ledger: &Ledger) {
        if seen.leader == self.leader {
            return;
        }
        self.leader = seen.leader;
        let Some(id) = seen.leader else {
            warn!(
                term = seen.term,
                "no leader is known; sizes stay as they are"
            );
            return;
        };
        let name = ledger.members.get(&id).map(|m| m.member.name.as_str());
        info!(leader = name, id = id.0, term = seen.term, "an agent leads");
    }

    /// A follower goes on naming the leader that it has lost; this tells of the loss.
    pub fn led(&mut self, led: bool) {
        let before = std::mem::replace(&mut self.led, led);
        if before && !led {
            warn!("no leader that a majority answers speaks to this agent; sizes stay as they are");
        }
    }

    /// The changes of size that `me` decided: each is told and counted by one
    /// agent only.
    pub fn sizes(&mut self, ledger: &Ledger, me: NodeId, metrics: &Metrics) {
        let told = self.size.replace(ledger.index);
        let new = |record: &&Record| told.is_some_and(|told| record.index > told);
        // Newest first, so that a look costs no more than there is news.
        let news: Vec<_> = ledger.decisions.iter().rev().take_while(new).collect();
        for record in news.into_iter().rev() {
            let (policy, from, to) = (&record.policy, record.from, record.to);
            let Cause::Decided { by, report } = &record.cause else {
                continue;
            };
            if *by == me {
                let direction = if to > from {
                    Direction::Up
                } else {
                    Direction::Down
                };
                metrics.decided(direction, reason(report));
                info!(%policy, from, to, "{}", summary(report));
            }
        }
    }

    /// How many workloads had no room in what a node tells the others, by its name.
    pub fn left_out(&mut self, by_node: &BTreeMap<String, u64>) {
        let left_out = by_node.iter().filter(|(_, count)| **count > 0);
        let problems = left_out.map(|(node, count)| {
            let words = format!(
                "{count} workloads of {node}, the last by name, have no room in what it tells the \
                 others: what runs of them counts as missing, and no more is placed there; spread \
                 workloads (or their `kind: Process` documents) over more machines"
            );
            (node.clone(), words)
        });
        self.warn("workloads", problems.collect());
    }

    /// What of this machine can't be measured: faults are warnings; what it lacks is
    /// said once.
    pub fn unread(&mut self, unread: &[Unread]) {
        let (faults, lacking): (Vec<_>, Vec<_>) = unread.iter().partition(|it| it.fault);
        let words = |them: Vec<&Unread>| {
            let pairs = them.into_iter().map(|it| (it.what.clone(), it.why.clone()));
            pairs.collect::<BTreeMap<_, _>>()
        };
        self.warn("measuring", words(faults));
        let lacking = words(lacking);
        for (what, why) in lacking.iter().take(WARNINGS_MAX) {
            if self.lacking.get(what) != Some(why) {
                info!(what, "not measured here: {why}");
            }
        }
        self.lacking = lacking;
    }

    /// Replaces all warnings whose subject begins with `area`.
    pub fn warn(&mut self, area: &str, problems: BTreeMap<String, String>) {
        let of_area = |subject: &String| subject.starts_with(area);
        let former: BTreeMap<String, String> = self
            .warnings
            .extract_if(.., |subject, _| of_area(subject))
            .collect();
        let left_out = problems.len().saturating_sub(WARNINGS_MAX);
        let mut shown: BTreeMap<String, String> = problems.into_iter().take(WARNINGS_MAX).collect();
        if left_out > 0 {
            // Sorted behind all others.
            shown.insert("~".into(), format!("{left_out} more are not shown"));
        }
        for (subject, words) in shown {
            let subject = format!("{area}: {subject}");
            if former.get(&subject) != Some(&words) {
                warn!(%subject, "{words}");
            }
            self.warnings.insert(subject, words);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(count: usize) -> BTreeMap<String, String> {
        let problem = |n| (format!("file {n:04}"), String::from("is wrong"));
        (0..count).map(problem).collect()
    }

    #[test]
    fn warnings_are_bounded_and_those_of_other_areas_stay() {
        let mut told = Told::default();
        told.warn("workers", problems(1));
        told.warn("policies", problems(1_000));
        assert_eq!(told.warnings().len(), 1 + WARNINGS_MAX + 1);
        let rest = told.warnings().get("policies: ~");
        assert_eq!(rest.map(String::as_str), Some("900 more are not shown"));
        told.warn("policies", BTreeMap::new());
        assert_eq!(told.warnings().len(), 1);
    }

    #[test]
    fn what_a_machine_lacks_is_no_warning_and_what_fails_is_one() {
        let mut told = Told::default();
        let lacks = Unread::absent("psi-io", "this kernel has none");
        let fails = Unread::fault("disks", "denied");
        told.unread(&[lacks.clone(), fails]);
        let warnings: Vec<_> = told.warnings().keys().collect();
        assert_eq!(warnings, ["measuring: disks"]);
        told.unread(&[lacks]);
        assert!(told.warnings().is_empty());
    }

    #[test]
    fn workloads_that_the_cluster_does_not_hear_of_are_a_warning() {
        let mut told = Told::default();
        told.left_out(&[("a".to_owned(), 0), ("b".to_owned(), 3)].into());
        let subjects: Vec<_> = told.warnings().keys().collect();
        assert_eq!(subjects, ["workloads: b"]);
        told.left_out(&[("b".to_owned(), 0)].into());
        assert!(told.warnings().is_empty());
    }
}
