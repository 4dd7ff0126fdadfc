//! What the runs came to, as a table for people and as JSON for programs:
//! each policy on each trace, and each policy against the two peers.

use serde::Serialize;

use crate::score::Total;

/// One policy on one trace: means over the seeds.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub trace: String,
    pub profile: &'static str,
    pub policy: &'static str,
    #[serde(flatten)]
    pub total: Total,
}

/// One policy against another one on all traces that both ran on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Against {
    pub policy: &'static str,
    pub baseline: &'static str,
    pub traces: usize,
    /// Geometric mean of the ratios of replica-hours.
    pub replica_hours_ratio: f64,
    /// Violation minutes of all traces together.
    pub violation_minutes: f64,
    pub baseline_violation_minutes: f64,
    /// Changes of size of all traces together.
    pub changes_ratio: f64,
    /// The largest ratio of changes on one trace.
    pub changes_ratio_max: f64,
    pub dominated: usize,
    pub not_dominated: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub seeds: u64,
    pub rows: Vec<Row>,
    pub against: Vec<Against>,
}

impl Report {
    pub fn new(seeds: u64, rows: Vec<Row>, baselines: &[&'static str]) -> Report {
        let mut policies: Vec<&'static str> = Vec::new();
        for row in &rows {
            if !policies.contains(&row.policy) {
                policies.push(row.policy);
            }
        }
        let mut all = Vec::new();
        for baseline in baselines {
            for policy in policies.iter().filter(|policy| *policy != baseline) {
                all.extend(against(&rows, policy, baseline));
            }
        }
        Report {
            seeds,
            rows,
            against: all,
        }
    }

    pub fn print(&self) {
        println!(
            "{:<28} {:<8} {:<10} {:>9} {:>10} {:>8} {:>7} {:>5}",
            "trace", "profile", "policy", "violation", "replica", "changes", "flips", "peak"
        );
        println!(
            "{:<28} {:<8} {:<10} {:>9} {:>10}",
            "", "", "", "minutes", "hours"
        );
        for row in &self.rows {
            let total = &row.total;
            println!(
                "{:<28} {:<8} {:<10} {:>9.1} {:>10.1} {:>8.0} {:>7.0} {:>5.0}",
                row.trace,
                row.profile,
                row.policy,
                total.violation_minutes,
                total.replica_hours,
                total.changes,
                total.flips,
                total.peak
            );
        }
        println!();
        for line in &self.against {
            println!(
                "{:<10} against {:<8} replica-hours × {:.3}, violation minutes {:.1} for {:.1}, \
                 changes × {:.2} (most {:.1}), dominates {} of {}{}",
                line.policy,
                line.baseline,
                line.replica_hours_ratio,
                line.violation_minutes,
                line.baseline_violation_minutes,
                line.changes_ratio,
                line.changes_ratio_max,
                line.dominated,
                line.traces,
                if line.not_dominated.is_empty() {
                    String::new()
                } else {
                    format!(", not {}", line.not_dominated.join(", "))
                }
            );
        }
    }
}

fn against(rows: &[Row], policy: &'static str, baseline: &'static str) -> Option<Against> {
    let ours = rows.iter().filter(|row| row.policy == policy);
    let pairs: Vec<(&Row, &Row)> = ours
        .filter_map(|row| {
            let mut peers = rows.iter().filter(|peer| peer.policy == baseline);
            let peer = peers.find(|peer| peer.trace == row.trace && peer.profile == row.profile)?;
            Some((row, peer))
        })
        .collect();
    if pairs.is_empty() {
        return None;
    }
    let ratio = |part: f64, whole: f64| part.max(1e-9) / whole.max(1e-9);
    let hours: f64 = pairs
        .iter()
        .map(|(row, peer)| ratio(row.total.replica_hours, peer.total.replica_hours).ln())
        .sum();
    let changes = |row: &Row| row.total.changes.max(1.0);
    let not_dominated: Vec<String> = pairs
        .iter()
        .filter(|(row, peer)| !row.total.dominates(&peer.total))
        .map(|(row, _)| row.trace.clone())
        .collect();
    Some(Against {
        policy,
        baseline,
        traces: pairs.len(),
        replica_hours_ratio: (hours / pairs.len() as f64).exp(),
        violation_minutes: pairs
            .iter()
            .map(|pair| pair.0.total.violation_minutes)
            .sum(),
        baseline_violation_minutes: pairs
            .iter()
            .map(|pair| pair.1.total.violation_minutes)
            .sum(),
        changes_ratio: pairs.iter().map(|pair| changes(pair.0)).sum::<f64>()
            / pairs.iter().map(|pair| changes(pair.1)).sum::<f64>(),
        changes_ratio_max: pairs
            .iter()
            .map(|(row, peer)| changes(row) / changes(peer))
            .fold(0.0, f64::max),
        dominated: pairs.len() - not_dominated.len(),
        not_dominated,
    })
}
