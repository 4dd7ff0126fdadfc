//! The cluster's status, its members and its machines.

use std::collections::BTreeMap;
use std::ops::Bound;

use starling_consensus::tls::Validity;
use starling_engine::demand::About;
use starling_engine::ledger::rebuilt::Rebuilt;
use starling_engine::ledger::{Admitted, Checkpoint};
use starling_engine::unit::{Ms, NodeId};
use starling_proto::{v1, view};

use super::Sight;

impl Sight<'_> {
    pub fn status(&self) -> v1::ClusterStatus {
        let checkpoints = self.checkpoints();
        let others = checkpoints.iter().filter(|(id, _)| **id != self.me);
        let digests = digest_state(&self.ledger.checkpoints, others.map(|(_, told)| told));
        let leadership = self.leadership;
        let alive = self
            .ledger
            .members
            .keys()
            .filter(|id| self.alive(**id))
            .count();
        let granted = self
            .ledger
            .workloads
            .values()
            .map(|w| u64::from(w.granted()))
            .sum();
        let running = self.running().values().map(|n| u64::from(*n)).sum();
        let (state, why) = self.state(digests);
        let (voters, others) = self.missing();
        let safe_ms = self.ledger.all_act_in_ms(self.now);
        let looks = matches!(self.ledger.rebuilt, Some(Rebuilt::Since(_)));
        v1::ClusterStatus {
            cluster: self.ledger.cluster.clone(),
            generation: self.ledger.generation,
            term: leadership.term,
            leader_id: leadership.leader.map(|id| id.0),
            leader_name: self.leader_name(),
            voter_ids: leadership.voters.iter().map(|id| id.0).collect(),
            learner_ids: leadership.learners.iter().map(|id| id.0).collect(),
            last_log_index: leadership.last_log_index,
            committed_index: leadership.committed_index,
            applied_index: self.ledger.index,
            applied_time: Some(view::time(self.ledger.time)),
            checkpoints: checkpoints
                .iter()
                .map(|(id, checkpoint)| view::checkpoint(*id, self.name(*id), checkpoint))
                .collect(),
            digest_state: digests.into(),
            state: state.into(),
            state_reasons: why,
            missing_voters: voters.iter().map(|id| self.name(*id)).collect(),
            missing_members: others.iter().map(|id| self.name(*id)).collect(),
            warnings: self.warnings(digests, alive),
            safe_mode_left: safe_ms.map(view::duration),
            safe_mode_until: safe_ms
                .filter(|_| looks)
                .map(|left_ms| view::time(self.now.plus(left_ms))),
            halted_reason: self.snapshot.halted.clone().unwrap_or_default(),
            members: self.ledger.members.len() as u32,
            members_alive: alive as u32,
            policies: self.ledger.policies.len() as u32,
            replicas_granted: granted,
            replicas_running: running,
            decisions_remembered: self.ledger.decisions.len() as u32,
            ledger_version: self.ledger.version(),
            agents: self.agents(),
        }
    }

    /// What each member last said of itself.
    fn agents(&self) -> Vec<v1::AgentStatus> {
        let all = self.admitted(None).map(|(id, admitted)| {
            let summary = self.snapshot.summaries.get(&id);
            let about = summary.and_then(|summary| summary.about.as_ref());
            let certificate = about.map(certificate);
            v1::AgentStatus {
                node_id: id.0,
                node_name: admitted.member.name.clone(),
                release: about.map(|about| about.release.clone()).unwrap_or_default(),
                ledger_version: about.map(|about| about.ledger_version),
                certificate_end_time: certificate
                    .map(|it| view::time(Ms(it.until_s.saturating_mul(1_000)))),
                // A certificate ends by the calendar, of which the log's clock is
                // right to the day.
                certificate_due: certificate.is_some_and(|it| it.is_due(self.now.0 / 1_000)),
            }
        });
        all.collect()
    }

    /// The newest digest of each node that told one, and this one's own.
    fn checkpoints(&self) -> BTreeMap<NodeId, Checkpoint> {
        let summaries = self.snapshot.summaries.iter();
        let told = summaries.filter_map(|(id, summary)| Some((*id, summary.checkpoint?)));
        let own = self.ledger.checkpoints.back().map(|own| (self.me, *own));
        told.chain(own).collect()
    }

    /// What the loop reported, and what can be seen from here.
    fn warnings(&self, digests: v1::DigestState, alive: usize) -> Vec<v1::Warning> {
        let mut warnings: Vec<v1::Warning> = self
            .snapshot
            .warnings
            .iter()
            .map(|(subject, text)| v1::Warning {
                subject: subject.clone(),
                text: text.clone(),
            })
            .collect();
        let mut warn = |subject: &str, text: String| {
            warnings.push(v1::Warning {
                subject: subject.into(),
                text,
            });
        };
        if digests == v1::DigestState::Different {
            warn(
                "ledger",
                "nodes hold different ledgers at the same index: stop the one that differs, \
                 move its data directory aside and let it rejoin"
                    .into(),
            );
        }
        if !self.backing.led {
            warn(
                "leader",
                "no leader stands behind this: workloads keep their size until a majority of the \
                 voters can reach each other"
                    .into(),
            );
        }
        // The answering agent's own is among what its loop reported.
        let others = self.agents().into_iter();
        for it in others.filter(|it| it.certificate_due && it.node_id != self.me.0) {
            let (name, end) = (it.node_name, it.certificate_end_time.unwrap_or_default());
            let (end, over) = (view::ms(&end), view::ms(&end) <= self.now);
            let day = view::day(end);
            warn(
                &format!("certificate of {name}"),
                format!(
                    "it {} on {day}; `starling status --agent {name}` says what to do",
                    if over { "expired" } else { "expires" }
                ),
            );
        }
        let members = self.ledger.members.len();
        if alive < members {
            warn(
                "members",
                format!("{} of {members} members don't answer", members - alive),
            );
        }
        warnings
    }

    /// By id, beyond `after`; the key is the id.
    pub fn members(&self, after: Option<u64>) -> impl Iterator<Item = (String, v1::Member)> {
        self.admitted(after).map(|(id, admitted)| {
            let summary = self.snapshot.summaries.get(&id);
            let member = &admitted.member;
            let applied = if id == self.me {
                Some(self.ledger.index)
            } else {
                summary.and_then(|s| s.checkpoint).map(|c| c.index)
            };
            let shown = v1::Member {
                id: id.0,
                name: member.name.clone(),
                peer_address: member.peer_address.clone(),
                gossip_address: member.gossip_address.clone(),
                api_address: member.api_address.clone(),
                alive: self.alive(id),
                role: self.role(id).into(),
                applied_index: applied,
                heard_age: summary.map(|s| view::duration(self.now.since(s.at))),
                zone: member.zone.clone(),
                away_time: admitted.away_since.map(view::time),
            };
            (id.to_string(), shown)
        })
    }

    fn role(&self, id: NodeId) -> v1::Role {
        let leadership = self.leadership;
        if leadership.leader == Some(id) {
            v1::Role::Leader
        } else if leadership.voters.contains(&id) {
            v1::Role::Voter
        } else if leadership.learners.contains(&id) {
            v1::Role::Learner
        } else {
            v1::Role::Member
        }
    }

    /// By id, beyond `after`; the key is the id.
    pub fn nodes(&self, after: Option<u64>) -> impl Iterator<Item = (String, v1::Node)> {
        self.admitted(after).map(|(id, admitted)| {
            let summary = self.snapshot.summaries.get(&id);
            let workloads = summary.into_iter().flat_map(|summary| &summary.workloads);
            let shown = v1::Node {
                id: id.0,
                name: admitted.member.name.clone(),
                alive: self.alive(id),
                sample_age: summary.map(|s| view::duration(self.now.since(s.at))),
                resources: summary
                    .map(|s| view::workload::resources(&s.totals))
                    .unwrap_or_default(),
                workloads: workloads
                    .map(|(target, usage)| {
                        let granted = self
                            .ledger
                            .workloads
                            .get(target)
                            .and_then(|w| w.shares.get(&id))
                            .copied();
                        view::workload::on_node(target, usage, granted.unwrap_or(0))
                    })
                    .collect(),
            };
            (id.to_string(), shown)
        })
    }

    fn admitted(&self, after: Option<u64>) -> impl Iterator<Item = (NodeId, &Admitted)> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(NodeId(after)));
        self.ledger
            .members
            .range((from, Bound::Unbounded))
            .map(|(id, admitted)| (*id, admitted))
    }
}

fn certificate(about: &About) -> Validity {
    Validity {
        from_s: about.certificate_from_s,
        until_s: about.certificate_until_s,
    }
}

/// Compares what other nodes told with this ledger's own digests, and among
/// each other. Digests of different indexes say nothing.
fn digest_state<'a>(
    own: impl IntoIterator<Item = &'a Checkpoint>,
    told: impl IntoIterator<Item = &'a Checkpoint>,
) -> v1::DigestState {
    let mut known: BTreeMap<u64, [u8; 16]> = own.into_iter().map(|c| (c.index, c.digest)).collect();
    let mut state = v1::DigestState::Unspecified;
    for checkpoint in told {
        match known.insert(checkpoint.index, checkpoint.digest) {
            Some(other) if other != checkpoint.digest => return v1::DigestState::Different,
            Some(_) => state = v1::DigestState::Equal,
            None => {}
        }
    }
    state
}
