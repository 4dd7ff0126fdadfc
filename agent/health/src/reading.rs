//! What is so in an agent at the moment of a scrape or a probe.
//!
//! Comes in: a [`Reading`] from the agent, which asks its rooms. Goes out: the
//! numbers of `/metrics` that aren't counted event by event.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, EncodeMetric, MetricEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use starling_collect::node::Machine;

use crate::pods::{self, Held};
use crate::used::{self, Used};
use crate::{machine, process};

/// Policies with series of their own. Further ones, in the order of their names,
/// are only counted: a scrape of 3,000 series is large enough.
pub const POLICIES_MAX: usize = 1_000;

/// Whoever can be asked how an agent is. It must answer at once.
pub trait Source: Send + Sync + 'static {
    fn read(&self) -> Reading;
}

/// An agent at one moment.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    pub log: Log,
    pub gossip: Gossip,
    /// Names of the keys that open datagrams, that which seals first.
    pub gossip_keys: Vec<String>,
    pub certificates: Vec<Certificate>,
    pub members: u64,
    /// What operators are shown as wrong.
    pub warnings: u64,
    /// Why this agent has stopped acting for good, where it has.
    pub halted: Option<String>,
    /// Only where this agent leads, so that each policy is told of by one.
    pub policies: Vec<Policy>,
    /// What its node does, at the last measurement.
    pub machine: Arc<Machine>,
    /// What holds its node's pods back, at the last measurement.
    pub held: Arc<Vec<Held>>,
    /// What is used on its node, by resource.
    pub used: Used,
}

/// This agent's end of the log.
#[derive(Debug, Clone, Default)]
pub struct Log {
    pub id: u64,
    pub term: u64,
    pub leader: Option<u64>,
    /// This agent leads and may act.
    pub leads: bool,
    /// A leader that a majority answers stands behind what this agent knows.
    pub led: bool,
    /// Since such a leader last spoke here; none where none has since the start.
    pub led_age: Option<Duration>,
    pub votes: bool,
    pub voters: u64,
    pub learners: u64,
    pub last_index: u64,
    pub applied_index: u64,
    /// What this agent knows to be committed.
    pub committed_index: u64,
    /// Since the last word of a leader; none where this agent leads.
    pub leader_silence: Option<Duration>,
    /// Terms that have begun since the start.
    pub elections: u64,
    pub leader_changes: u64,
    pub disk_syncs: u64,
    pub entries_written: u64,
    pub ledger_index: u64,
}

impl Log {
    /// Entries that are committed and not applied here yet.
    pub fn lag(&self) -> u64 {
        self.committed_index.saturating_sub(self.applied_index)
    }
}

/// What this agent shows, or believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificate {
    /// `agent` or `authority`.
    pub of: &'static str,
    /// When it ends, in seconds since the epoch.
    pub until_s: u64,
    /// It should have been renewed by now.
    pub due: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Gossip {
    /// This node among them.
    pub alive: u64,
    pub sent: u64,
    pub sent_bytes: u64,
    pub received: u64,
    pub received_bytes: u64,
    pub heard: u64,
    /// Why datagrams were dropped, and how many.
    pub dropped: Vec<(&'static str, u64)>,
    /// Age of the oldest summary of a node that is alive.
    pub oldest_age: Option<Duration>,
    pub median_age: Option<Duration>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// `namespace/name`.
    pub name: String,
    pub replicas: u32,
    pub min: u32,
    pub max: u32,
    /// Triggers that fail, those aside for which the fallback stands in.
    pub failing: u32,
    /// Triggers for which the fallback stands in.
    pub fallen_back: u32,
}

/// Writes one number after the other.
pub(crate) struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    pub(crate) fn describe<'s>(
        &'s mut self,
        name: &'s str,
        unit: Option<&'s Unit>,
        kind: MetricType,
        help: &str,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0
            .encode_descriptor(name, &format!("{help}."), unit, kind)
    }

    fn gauge<N: EncodeGaugeValue>(
        &mut self,
        name: &str,
        unit: Option<&Unit>,
        value: N,
        help: &str,
    ) -> fmt::Result {
        let encoder = self.describe(name, unit, MetricType::Gauge, help)?;
        ConstGauge::new(value).encode(encoder)
    }

    fn counter<N>(&mut self, name: &str, unit: Option<&Unit>, value: N, help: &str) -> fmt::Result
    where
        ConstCounter<N>: EncodeMetric,
    {
        let encoder = self.describe(name, unit, MetricType::Counter, help)?;
        ConstCounter::new(value).encode(encoder)
    }

    /// One series for each label value.
    fn series<V: EncodeMetric>(
        &mut self,
        name: &str,
        kind: MetricType,
        label: &'static str,
        values: impl Iterator<Item = (String, V)>,
        help: &str,
    ) -> fmt::Result {
        let mut encoder = self.describe(name, None, kind, help)?;
        for (value, number) in values {
            let labels = [(label, value)];
            number.encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// As one collector, under the prefix of the registry it is put into.
#[derive(Debug)]
pub(crate) struct Shown(pub Reading);

impl Collector for Shown {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page(encoder);
        log(&self.0.log, &mut page)?;
        gossip(&self.0.gossip, &mut page)?;
        identity(&self.0, &mut page)?;
        page.gauge(
            "members",
            None,
            self.0.members,
            "Agents that the ledger knows",
        )?;
        page.gauge(
            "warnings",
            None,
            self.0.warnings,
            "What this agent shows its operators as wrong",
        )?;
        page.gauge(
            "halted",
            None,
            u64::from(self.0.halted.is_some()),
            "1 where this agent has stopped acting for good",
        )?;
        policies(&self.0.policies, &mut page)?;
        machine::encode(&self.0.machine, &mut page)?;
        pods::encode(&self.0.held, &mut page)?;
        used::encode(&self.0.used, &mut page)
    }
}

fn log(log: &Log, page: &mut Page) -> fmt::Result {
    let entries = Unit::Other("entries".into());
    let gauges = [
        (
            "raft_term",
            log.term,
            "The log's term as this agent knows it",
        ),
        (
            "raft_is_leader",
            u64::from(log.leads),
            "1 where this agent leads and may act",
        ),
        (
            "raft_has_leader",
            u64::from(log.led),
            "1 where a leader that a majority answers stands behind what this agent knows",
        ),
        (
            "raft_is_voter",
            u64::from(log.votes),
            "1 where this agent votes",
        ),
        ("raft_voters", log.voters, "Agents that vote"),
        (
            "raft_learners",
            log.learners,
            "Agents that keep the log and don't vote",
        ),
        (
            "raft_last_index",
            log.last_index,
            "The last entry of this agent's log",
        ),
        (
            "raft_applied_index",
            log.applied_index,
            "The last entry that is applied to this agent's ledger",
        ),
        (
            "ledger_index",
            log.ledger_index,
            "The last command that is applied to this agent's ledger",
        ),
    ];
    for (name, value, help) in gauges {
        page.gauge(name, None, value, help)?;
    }
    page.gauge(
        "raft_lag",
        Some(&entries),
        log.lag(),
        "Entries that this agent knows to be committed and has not applied",
    )?;
    if let Some(age) = log.led_age {
        page.gauge(
            "raft_led_age",
            Some(&Unit::Seconds),
            age.as_secs_f64(),
            "Since a leader that a majority answers last spoke here: so old may be what this \
             agent tells of sizes; 0 where this agent is that leader",
        )?;
    }
    if let Some(silence) = log.leader_silence {
        page.gauge(
            "raft_leader_silence",
            Some(&Unit::Seconds),
            silence.as_secs_f64(),
            "Since the last word of a leader; absent where this agent leads",
        )?;
    }
    let counters = [
        (
            "raft_elections",
            log.elections,
            "Terms that began while this agent ran",
        ),
        (
            "raft_leader_changes",
            log.leader_changes,
            "How often another agent came to lead while this one ran",
        ),
        (
            "raft_disk_syncs",
            log.disk_syncs,
            "How often this agent's log was synced to disk",
        ),
        (
            "raft_written_entries",
            log.entries_written,
            "Entries that this agent has written to its log",
        ),
    ];
    for (name, value, help) in counters {
        page.counter(name, None, value, help)?;
    }
    Ok(())
}

fn gossip(gossip: &Gossip, page: &mut Page) -> fmt::Result {
    page.gauge(
        "gossip_alive_nodes",
        None,
        gossip.alive,
        "Nodes that gossip believes alive, this one among them",
    )?;
    let ages = [
        (
            "gossip_oldest_summary_age",
            gossip.oldest_age,
            "Age of the oldest summary of a node that is alive",
        ),
        (
            "gossip_median_summary_age",
            gossip.median_age,
            "Age that half of the summaries of live nodes don't exceed",
        ),
    ];
    for (name, age, help) in ages {
        if let Some(age) = age {
            page.gauge(name, Some(&Unit::Seconds), age.as_secs_f64(), help)?;
        }
    }
    let counters = [
        (
            "gossip_sent_datagrams",
            None,
            gossip.sent,
            "Datagrams that this agent has sent",
        ),
        (
            "gossip_sent",
            Some(&Unit::Bytes),
            gossip.sent_bytes,
            "Bytes of the datagrams that this agent has sent",
        ),
        (
            "gossip_received_datagrams",
            None,
            gossip.received,
            "Datagrams that have arrived, dropped or not",
        ),
        (
            "gossip_received",
            Some(&Unit::Bytes),
            gossip.received_bytes,
            "Bytes of the datagrams that have arrived",
        ),
        (
            "gossip_heard_summaries",
            None,
            gossip.heard,
            "Summaries that were newer than what was known",
        ),
    ];
    for (name, unit, value, help) in counters {
        page.counter(name, unit, value, help)?;
    }
    let dropped = gossip.dropped.iter();
    page.series(
        "gossip_dropped_datagrams",
        MetricType::Counter,
        "reason",
        dropped.map(|(reason, count)| ((*reason).to_owned(), ConstCounter::new(*count))),
        "Datagrams, or parts of them, that were not used or not sent, by why",
    )
}

fn identity(reading: &Reading, page: &mut Page) -> fmt::Result {
    let certificates = || reading.certificates.iter();
    page.series(
        "certificate_expiry_timestamp_seconds",
        MetricType::Gauge,
        "of",
        certificates().map(|it| (it.of.to_owned(), ConstGauge::new(it.until_s))),
        "When this agent's certificate ends, and the authority that it believes, since the epoch",
    )?;
    page.series(
        "certificate_due",
        MetricType::Gauge,
        "of",
        certificates().map(|it| (it.of.to_owned(), ConstGauge::new(u64::from(it.due)))),
        "1 where a certificate should be renewed now: 30 days before its end, or in the last \
         quarter of a shorter life",
    )?;
    let keys = reading.gossip_keys.iter().enumerate();
    page.series(
        "gossip_keys",
        MetricType::Gauge,
        "key",
        keys.map(|(place, name)| (name.clone(), ConstGauge::new(u64::from(place == 0)))),
        "The keys that open datagrams here, by a name that says nothing of the key: 1 for the \
         one that seals, 0 for others",
    )
}

/// Name, value and help of one number that each policy has.
type Number = (&'static str, fn(&Policy) -> u32, &'static str);

fn policies(policies: &[Policy], page: &mut Page) -> fmt::Result {
    let listed = &policies[..policies.len().min(POLICIES_MAX)];
    let numbers: [Number; 5] = [
        (
            "policy_replicas",
            |policy| policy.replicas,
            "The size that a policy's target has been given; told by the leader",
        ),
        (
            "policy_min_replicas",
            |policy| policy.min,
            "The smallest size that a policy allows; told by the leader",
        ),
        (
            "policy_max_replicas",
            |policy| policy.max,
            "The largest size that a policy allows; told by the leader",
        ),
        (
            "policy_failing_triggers",
            |policy| policy.failing,
            "Triggers of a policy that fail and have no fallback yet; told by the leader",
        ),
        (
            "policy_fallback_triggers",
            |policy| policy.fallen_back,
            "Triggers of a policy for which its fallback stands in; told by the leader",
        ),
    ];
    for (name, number, help) in numbers {
        let series = listed
            .iter()
            .map(|policy| (policy.name.clone(), ConstGauge::new(number(policy))));
        page.series(name, MetricType::Gauge, "policy", series, help)?;
    }
    page.gauge(
        "policies_unlisted",
        None,
        (policies.len() - listed.len()) as u64,
        "Policies that have no series of their own here, because there are too many",
    )
}

/// This process, under the names that all clients of Prometheus use.
#[derive(Debug)]
pub(crate) struct Usage(pub process::Usage);

impl Collector for Usage {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page(encoder);
        let Usage(usage) = self;
        page.counter(
            "process_cpu",
            Some(&Unit::Seconds),
            usage.cpu_seconds,
            "Processor time that this process has used, in user and kernel mode",
        )?;
        page.gauge(
            "process_resident_memory",
            Some(&Unit::Bytes),
            usage.resident_bytes,
            "Memory of this process that is resident",
        )?;
        page.gauge(
            "process_virtual_memory",
            Some(&Unit::Bytes),
            usage.virtual_bytes,
            "Address space of this process",
        )?;
        page.gauge(
            "process_threads",
            None,
            usage.threads,
            "Threads of this process",
        )?;
        if let Some(start) = usage.start_seconds {
            page.gauge(
                "process_start_time",
                Some(&Unit::Seconds),
                start,
                "When this process started, since the epoch",
            )?;
        }
        if let Some(open) = usage.open_files {
            page.gauge(
                "process_open_fds",
                None,
                open,
                "File descriptors that this process has open",
            )?;
        }
        if let Some(max) = usage.open_files_max {
            page.gauge(
                "process_max_fds",
                None,
                max,
                "File descriptors that this process may have open",
            )?;
        }
        Ok(())
    }
}
