//! What this agent shows of itself to probes and to Prometheus.
//!
//! Comes in: the log, the loop's last snapshot, gossip's counters. Goes out: a
//! [`Reading`] when somebody asks. Waits for nothing but the ledger's lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use starling_api::view::{Snapshot, View};
use starling_collect::node::Machine;
use starling_consensus::tls::{Validities, now_s};
use starling_consensus::{Credentials, Leadership, Log};
use starling_engine::decide::Decision;
use starling_engine::decide::reason::{Outcome, Report};
use starling_engine::ledger::{Cause, Ledger};
use starling_engine::policy::Name;
use starling_engine::unit::{Ms, NodeId};
use starling_gossip::{Meter, Ring, Stats};
use starling_health::used::{Amount, Used, Workload};
use starling_health::{Certificate, Gossip, Held, Log as LogReading, Policy, Reading, Source};
use starling_proto::{v1, view};
use tokio::sync::watch;

use super::read;

/// The answering side of the health port.
pub struct Shown {
    pub view: View,
    pub gossip: Meter,
    pub ring: Ring,
    pub credentials: Credentials,
    pub machine: watch::Receiver<Arc<Machine>>,
    pub held: watch::Receiver<Arc<Vec<Held>>>,
}

impl Source for Shown {
    fn read(&self) -> Reading {
        let snapshot = Arc::clone(&self.view.snapshot.borrow());
        let mut leadership = self.view.log.leadership().borrow().clone();
        leadership.acting = self.view.log.acting();
        let now = self.view.log.clock().now();
        let ledger = self.view.log.ledger();
        let ledger = read(&ledger);
        Reading {
            log: log(&self.view.log, &leadership, &ledger),
            gossip: gossip(self.gossip.read(), &snapshot, now),
            gossip_keys: self.ring.names(),
            certificates: certificates(self.credentials.validities(), now_s()),
            members: ledger.members.len() as u64,
            warnings: snapshot.warnings.len() as u64,
            halted: snapshot.halted.clone().or_else(|| ledger.halted.clone()),
            policies: if leadership.acting {
                policies(&ledger, &snapshot.live)
            } else {
                Vec::new()
            },
            machine: Arc::clone(&self.machine.borrow()),
            held: Arc::clone(&self.held.borrow()),
            used: used(&snapshot, self.view.log.id(), now),
        }
    }
}

fn certificates(of: Validities, now_s: u64) -> Vec<Certificate> {
    let both = [("agent", of.certificate), ("authority", of.authority)];
    let shown = both.map(|(name, it)| Certificate {
        of: name,
        until_s: it.until_s,
        due: it.is_due(now_s),
    });
    shown.into()
}

fn log(log: &Log, leadership: &Leadership, ledger: &Ledger) -> LogReading {
    let (stats, backing) = (log.stats(), log.backing());
    LogReading {
        led: backing.led,
        led_age: backing.age,
        id: log.id().0,
        term: leadership.term,
        leader: leadership.leader.map(|id| id.0),
        leads: leadership.acting,
        votes: leadership.voters.contains(&log.id()),
        voters: leadership.voters.len() as u64,
        learners: leadership.learners.len() as u64,
        last_index: leadership.last_log_index,
        applied_index: leadership.committed_index,
        committed_index: stats.committed_index,
        leader_silence: stats.leader_silence,
        elections: stats.elections,
        leader_changes: stats.leader_changes,
        disk_syncs: stats.disk_syncs,
        entries_written: stats.entries_written,
        ledger_index: ledger.index,
    }
}

fn gossip(stats: Stats, snapshot: &Snapshot, now: Ms) -> Gossip {
    let alive = |id: &_| snapshot.alive.contains(id);
    let ages = snapshot.summaries.iter().filter(|(id, _)| alive(id));
    let mut ages: Vec<u64> = ages.map(|(_, summary)| now.since(summary.at)).collect();
    ages.sort_unstable();
    let at = |index: usize| ages.get(index).map(|ms| Duration::from_millis(*ms));
    Gossip {
        alive: snapshot.alive.len() as u64,
        sent: stats.sent,
        sent_bytes: stats.sent_bytes,
        received: stats.received,
        received_bytes: stats.received_bytes,
        heard: stats.heard,
        dropped: vec![
            ("unknown_key", stats.unknown_key),
            ("unsealable", stats.unsealable),
            ("replayed", stats.replayed),
            ("malformed", stats.malformed),
            ("misdirected", stats.misdirected),
            ("own_id", stats.own_id),
            ("too_many_nodes", stats.full),
            ("unsent", stats.unsent),
            ("timers", stats.timers_dropped),
        ],
        oldest_age: at(ages.len().saturating_sub(1)),
        median_age: at(ages.len() / 2),
    }
}

/// What this agent last told the others of its own node.
fn used(snapshot: &Snapshot, me: NodeId, now: Ms) -> Used {
    let Some(summary) = snapshot.summaries.get(&me) else {
        return Used::default();
    };
    let workloads = summary.workloads.iter().flat_map(|(target, usage)| {
        let amounts = amounts(view::workload::usage([usage]));
        amounts.into_iter().map(move |amount| Workload {
            namespace: target.namespace.clone(),
            name: format!("{}/{}", target.kind, target.name),
            amount,
        })
    });
    Used {
        age: Some(Duration::from_millis(now.since(summary.at))),
        of_node: amounts(view::workload::resources(&summary.totals)),
        of_workloads: workloads.collect(),
    }
}

/// By name, in base units.
fn amounts(of: HashMap<String, v1::ResourceAmount>) -> Vec<Amount> {
    let mut amounts: Vec<Amount> = of
        .into_iter()
        .map(|(resource, amount)| {
            let divisor = match amount.unit() {
                v1::Unit::MilliCores | v1::Unit::Milli => 1_000.0,
                _ => 1.0,
            };
            Amount {
                resource,
                used: amount.used as f64 / divisor,
                allocatable: amount.allocatable.map(|whole| whole as f64 / divisor),
            }
        })
        .collect();
    amounts.sort_by(|a, b| a.resource.cmp(&b.resource));
    amounts
}

fn policies(ledger: &Ledger, live: &BTreeMap<Name, Decision>) -> Vec<Policy> {
    let shown = ledger.policies.iter().map(|(name, in_force)| {
        let policy = &in_force.policy;
        let workload = ledger.workloads.get(&policy.target);
        let decision = live.get(name);
        let count = |is: fn(&Outcome) -> bool| {
            let inputs = decision.iter().flat_map(|it| &it.report.inputs);
            let found = inputs.filter(|input| is(&input.outcome)).count();
            u32::try_from(found).unwrap_or(u32::MAX)
        };
        Policy {
            name: format!("{}/{}", name.namespace, name.name),
            replicas: workload.map_or(0, |workload| workload.size),
            min: policy.replicas_min,
            max: policy.replicas_max,
            failing: count(|it| matches!(it, Outcome::Failed { .. } | Outcome::Stale)),
            fallen_back: count(|it| matches!(it, Outcome::Fallback { .. })),
        }
    });
    shown.collect()
}

/// What had the last word on a size: the last step that moved or held it, or the
/// trigger that proposed it.
pub fn reason(report: &Report) -> &'static str {
    let winner = || report.inputs.get(report.winner? as usize);
    match report.steps.last() {
        Some(step) => step.code(),
        None => winner().map_or("Unknown", |input| input.outcome.code()),
    }
}

/// How old the sample is that the size granted at `index` rests on: that of the
/// trigger that proposed it, or the oldest of all where none did.
pub fn since_sample(ledger: &Ledger, index: u64, now: Ms) -> Option<Duration> {
    let mut newest_first = ledger.decisions.iter().rev();
    let record = newest_first.find(|record| record.index <= index)?;
    let Cause::Decided { report, .. } = &record.cause else {
        return None;
    };
    let winner = report.winner.and_then(|at| report.inputs.get(at as usize));
    let age_ms = match winner {
        Some(input) => input.age_ms,
        None => report.inputs.iter().filter_map(|input| input.age_ms).max(),
    };
    let ms = now.since(report.at).saturating_add(age_ms?);
    (record.index == index).then(|| Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use starling_engine::decide::reason::{Failure, Input, Step};
    use starling_engine::demand::Summary;
    use starling_engine::ledger::{InForce, Record};
    use starling_engine::policy::{self, FallbackBehavior, Goal};

    use super::*;

    #[test]
    fn ages_are_those_of_nodes_that_are_alive() {
        let heard = |ms: u64| Summary {
            at: Ms(10_000 - ms),
            ..Summary::default()
        };
        let summaries = [(1, 100), (2, 300), (3, 200), (4, 9_000)]
            .map(|(id, age)| (NodeId(id), heard(age).into()));
        let snapshot = Snapshot {
            summaries: summaries.into(),
            alive: [1, 2, 3].map(NodeId).into(),
            ..Snapshot::default()
        };
        let shown = gossip(Stats::default(), &snapshot, Ms(10_000));
        assert_eq!(shown.oldest_age, Some(Duration::from_millis(300)));
        assert_eq!(shown.median_age, Some(Duration::from_millis(200)));
        assert_eq!(shown.alive, 3);
    }

    #[test]
    fn what_the_node_uses_is_told_in_base_units_and_others_are_not_told_of() {
        let mut own = Summary::default();
        own.totals.set("cpu", 1_500, Some(4_000));
        own.totals.set("memory", 7, None);
        let mut other = Summary::default();
        other.totals.set("gpu", 7, None);
        let summaries = [(NodeId(1), own.into()), (NodeId(2), other.into())];
        let snapshot = Snapshot {
            summaries: summaries.into(),
            ..Snapshot::default()
        };
        let used = used(&snapshot, NodeId(1), Ms(700));
        assert_eq!(used.age, Some(Duration::from_millis(700)));
        let shown = used.of_node.iter();
        let shown: Vec<_> = shown
            .map(|it| (it.resource.as_str(), it.used, it.allocatable))
            .collect();
        assert_eq!(shown, [("cpu", 1.5, Some(4.0)), ("memory", 7.0, None)]);
    }

    #[test]
    fn triggers_that_fail_are_counted_as_the_last_pass_saw_them() {
        let mut ledger = Ledger::default();
        for name in ["decided", "untouched"] {
            let put = InForce {
                policy: policy::Policy::default(),
                revision: 1,
                created_at: Ms(0),
                source: String::new(),
                copies: BTreeSet::new(),
            };
            ledger.policies.insert(name.into(), put);
        }
        let failed = Outcome::Failed {
            reason: Failure::UnknownType,
            failures: 1,
            kept: None,
        };
        let stands_in = Outcome::Fallback {
            stated: 3,
            replicas: 3,
            failures: 4,
            successes: 1,
            behavior: FallbackBehavior::Static,
            reason: None,
            needed: None,
        };
        let fine = Outcome::Proposes {
            replicas: 3,
            within_tolerance: false,
        };
        let inputs = [failed, Outcome::Stale, stands_in, fine, Outcome::Unheard];
        let report = Report {
            inputs: inputs.map(input).into(),
            ..Report::default()
        };
        let decision = Decision {
            target: 3,
            changes: Vec::new(),
            report,
            evidence: None,
        };
        let shown = policies(&ledger, &BTreeMap::from([("decided".into(), decision)]));
        let counts: Vec<_> = shown
            .iter()
            .map(|it| (it.failing, it.fallen_back))
            .collect();
        assert_eq!(counts, [(2, 1), (0, 0)]);
    }

    fn input(outcome: Outcome) -> Input {
        Input {
            trigger: "queue".into(),
            source: "redis".into(),
            goal: Goal::AverageValue { milli: 1_000 },
            value: Some(1),
            age_ms: Some(0),
            pods: None,
            band: None,
            outcome,
        }
    }

    #[test]
    fn a_decision_is_counted_under_what_had_the_last_word() {
        let input = input(Outcome::Proposes {
            replicas: 3,
            within_tolerance: false,
        });
        let mut report = Report {
            inputs: vec![input],
            winner: Some(0),
            ..Report::default()
        };
        assert_eq!(reason(&report), "ValidMetricFound");
        report.steps.push(Step::AboveMax { max: 2 });
        assert_eq!(reason(&report), "AboveMax");
        assert_eq!(reason(&Report::default()), "Unknown");
    }

    #[test]
    fn a_reaction_is_as_long_as_the_sample_is_old_that_the_grant_rests_on() {
        let mut ledger = Ledger::default();
        let input = |age_ms| Input {
            trigger: "cpu".into(),
            source: "cpu".into(),
            goal: Goal::AverageValue { milli: 1_000 },
            value: Some(1),
            age_ms: Some(age_ms),
            pods: None,
            band: None,
            outcome: Outcome::Stale,
        };
        ledger.decisions.push_back(Record {
            index: 7,
            at: Ms(10_000),
            policy: Name::default(),
            from: 1,
            to: 2,
            cause: Cause::Decided {
                by: NodeId(1),
                report: Report {
                    at: Ms(10_000),
                    inputs: vec![input(5_000), input(800)],
                    winner: Some(1),
                    ..Report::default()
                },
            },
        });
        let since = |index| since_sample(&ledger, index, Ms(10_150));
        assert_eq!(since(7), Some(Duration::from_millis(950)));
        assert_eq!(since(8), None);
    }
}
