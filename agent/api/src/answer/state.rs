//! How the cluster is in a word, why, and who is missing.
//!
//! Comes in: who leads, who votes, and whom gossip believes alive. Goes out: healthy,
//! degraded, no leader, or no quorum, with the reasons in words. Warnings that concern
//! one agent alone, such as a refused policy file, change nothing here.

use std::collections::BTreeSet;

use starling_consensus::voters_wanted;
use starling_engine::unit::NodeId;
use starling_proto::v1::{ClusterState, DigestState};

use super::Sight;

/// More names in a sentence are only counted; the lists of who is missing have them all.
const NAMES_MAX: usize = 10;

impl Sight<'_> {
    /// The second part is empty where the cluster is healthy, and only there.
    pub(super) fn state(&self, digests: DigestState) -> (ClusterState, Vec<String>) {
        let (voters, others) = self.missing();
        let all = self.leadership.voters.len();
        if !self.backing.led {
            let living = all - voters.len();
            if all == 0 {
                let why = "it isn't known here yet who votes".to_owned();
                return (ClusterState::NoLeader, vec![why]);
            }
            if living <= all / 2 {
                let why = format!(
                    "{} of {all} voters don't answer: {}",
                    voters.len(),
                    self.names(&voters)
                );
                return (ClusterState::NoQuorum, vec![why]);
            }
            if self.backing.alone {
                let leader = self.leader_name();
                let why = format!("no majority of the voters answers {leader}, which leads");
                return (ClusterState::NoQuorum, vec![why]);
            }
            let missing = match voters.len() {
                0 => String::new(),
                _ => format!("; {} is missing", self.names(&voters)),
            };
            let why = format!(
                "{living} of {all} voters answer and none of them leads: they elect one, or can't \
                 reach each other's peer ports{missing}"
            );
            return (ClusterState::NoLeader, vec![why]);
        }
        let mut why = Vec::new();
        if !voters.is_empty() {
            why.push(format!(
                "who votes and doesn't answer: {}",
                self.names(&voters)
            ));
        }
        if !others.is_empty() {
            why.push(format!("who doesn't answer: {}", self.names(&others)));
        }
        let wanted = voters_wanted(self.ledger.members.len(), self.voters_max);
        if all < wanted {
            why.push(format!("{all} of {wanted} that should vote do"));
        }
        if digests == DigestState::Different {
            why.push("nodes hold different ledgers".into());
        }
        let halted = self
            .snapshot
            .halted
            .as_ref()
            .or(self.ledger.halted.as_ref());
        if let Some(halted) = halted {
            why.push(format!(
                "{} has stopped acting: {halted}",
                self.name(self.me)
            ));
        }
        let state = if why.is_empty() {
            ClusterState::Healthy
        } else {
            ClusterState::Degraded
        };
        (state, why)
    }

    /// Voters, and other members, that gossip doesn't believe alive.
    pub(super) fn missing(&self) -> (BTreeSet<NodeId>, BTreeSet<NodeId>) {
        let voters = &self.leadership.voters;
        let gone = |id: &&NodeId| !self.alive(**id);
        let others = self.ledger.members.keys().filter(|id| !voters.contains(id));
        (
            voters.iter().filter(gone).copied().collect(),
            others.filter(gone).copied().collect(),
        )
    }

    fn names(&self, ids: &BTreeSet<NodeId>) -> String {
        let name = |id: &NodeId| match self.name(*id) {
            name if name.is_empty() => format!("member {id}"),
            name => name,
        };
        let mut names: Vec<String> = ids.iter().take(NAMES_MAX).map(name).collect();
        if ids.len() > NAMES_MAX {
            names.push(format!("{} more", ids.len() - NAMES_MAX));
        }
        names.join(", ")
    }
}
