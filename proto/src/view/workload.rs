//! What nodes and workloads use, and workloads themselves, as the public API
//! shows them.
//!
//! Comes in: summaries of nodes, and what the ledger holds of a workload. Goes
//! out: resources by name, each with its unit. Never makes up an amount: one that
//! nobody stated is absent.

use std::collections::{BTreeMap, HashMap};

use starling_engine::demand::{self, Measure, Totals, Usage};
use starling_engine::ledger::Workload;
use starling_engine::policy::resource::Unit;
use starling_engine::policy::{Form, Resource, Target};

use super::{target, time};
use crate::v1;

/// A machine's resources.
pub fn resources(totals: &Totals) -> HashMap<String, v1::ResourceAmount> {
    let amounts = totals.0.iter().map(|(name, amount)| {
        let shown = v1::ResourceAmount {
            used: amount.used,
            requested: amount.requested,
            allocatable: amount.allocatable,
            unit: of_node(name).into(),
        };
        (name.clone(), shown)
    });
    amounts.collect()
}

fn of_node(resource: &str) -> v1::Unit {
    match resource {
        demand::CPU => v1::Unit::MilliCores,
        demand::MEMORY | demand::DISK_SPACE | demand::GPU_MEMORY => v1::Unit::Bytes,
        demand::DISK_READ
        | demand::DISK_WRITE
        | demand::NETWORK_RECEIVED
        | demand::NETWORK_SENT => v1::Unit::BytesPerSecond,
        demand::GPU | demand::DISK_BUSY | demand::PSI_CPU | demand::PSI_MEMORY | demand::PSI_IO => {
            v1::Unit::Milli
        }
        _ => v1::Unit::Count,
    }
}

/// What a workload's replicas use, on one node or on several, by metric.
pub fn usage<'a>(seen: impl IntoIterator<Item = &'a Usage>) -> HashMap<String, v1::ResourceAmount> {
    let mut sums: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    for usage in seen {
        for (name, measure) in &usage.metrics {
            let (used, requested, samples) = sums.entry(name).or_default();
            *used = used.saturating_add(measure.used_milli);
            *requested = requested.saturating_add(requested_milli(measure));
            *samples += u64::from(measure.sums.samples);
        }
    }
    let amounts = sums.into_iter().map(|(name, (used, requested, samples))| {
        let (unit, divisor) = of_workload(name);
        let replicas = if is_mean(name) { samples.max(1) } else { 1 };
        let shown = v1::ResourceAmount {
            used: used / divisor / replicas,
            // Replicas that ask for nothing and none that say so look alike.
            requested: (requested > 0).then_some(requested / divisor),
            allocatable: None,
            unit: unit.into(),
        };
        (name.to_owned(), shown)
    });
    amounts.collect()
}

/// What one replica uses, as the newest readings say, in thousandths.
pub fn replica(
    used: impl IntoIterator<Item = (Resource, i64, Option<i64>)>,
) -> HashMap<String, v1::ResourceAmount> {
    let amounts = used.into_iter().map(|(resource, milli, requested)| {
        let (unit, divisor) = of_resource(resource);
        let whole = |milli: i64| u64::try_from(milli).unwrap_or(0) / divisor;
        let shown = v1::ResourceAmount {
            used: whole(milli),
            // Nobody asks for a part of the time.
            requested: requested
                .filter(|_| resource.unit() != Unit::Part)
                .map(whole),
            allocatable: None,
            unit: unit.into(),
        };
        (resource.name().to_owned(), shown)
    });
    amounts.collect()
}

/// The unit of a metric, and how many thousandths of it one is.
fn of_workload(metric: &str) -> (v1::Unit, u64) {
    match measured(metric) {
        Some(resource) => of_resource(resource),
        None => (v1::Unit::Milli, 1),
    }
}

/// The unit of what a replica uses, and how many thousandths of it one is.
fn of_resource(resource: Resource) -> (v1::Unit, u64) {
    match resource.unit() {
        Unit::Cores => (v1::Unit::MilliCores, 1),
        Unit::Bytes => (v1::Unit::Bytes, 1_000),
        Unit::BytesPerSecond => (v1::Unit::BytesPerSecond, 1_000),
        Unit::Gpus | Unit::Part => (v1::Unit::Milli, 1),
    }
}

/// A part of the time, or what nodes use, of several replicas is shown as a mean: a sum
/// would exceed all of the time, or count a node once for each of its replicas.
fn is_mean(metric: &str) -> bool {
    metric.starts_with(OF_NODES) || measured(metric).is_some_and(|it| it.unit() == Unit::Part)
}

/// How summaries begin the names of what is read of the replicas' nodes.
const OF_NODES: &str = "node/";

/// The resource behind `cpu`, `cpu/CONTAINER`, `node/cpu` and `cpu@WINDOW`; none behind
/// `pods/METRIC`, which others have.
fn measured(metric: &str) -> Option<Resource> {
    let name = metric.strip_prefix(OF_NODES).unwrap_or(metric);
    let name = name.split(['/', '@']).next()?;
    let mut known = Resource::ALL.into_iter();
    known.find(|resource| resource.name() == name)
}

fn requested_milli(measure: &Measure) -> u64 {
    let sums = &measure.sums;
    let missing = sums.missing.iter();
    let missing = missing.map(|(request, pods)| request.saturating_mul(i64::from(*pods)));
    let all = missing.fold(
        sums.ready_request_milli
            .saturating_add(sums.unready_request_milli),
        i64::saturating_add,
    );
    u64::try_from(all).unwrap_or(0)
}

/// One workload on one node.
pub fn on_node(of: &Target, seen: &Usage, granted: u32) -> v1::WorkloadUsage {
    v1::WorkloadUsage {
        target: Some(target(of)),
        running: seen.running,
        ready: seen.ready,
        granted,
        usage: usage([seen]),
    }
}

/// What the ledger knows of a workload; without one only what it is. The caller
/// adds what was measured, its policy, and what blocks it.
pub fn workload(of: &Target, known: Option<&Workload>) -> v1::Workload {
    let scaled = known.and_then(|it| it.scaled.as_ref());
    v1::Workload {
        target: Some(target(of)),
        form: match of.form() {
            Form::Placed => v1::WorkloadForm::Placed,
            Form::Scaled => v1::WorkloadForm::Scaled,
        }
        .into(),
        size: known.map_or(0, Workload::granted),
        carried_size: scaled.and_then(|it| it.carried),
        uid: scaled.map(|it| it.uid.clone()).unwrap_or_default(),
        selector: scaled.map(|it| it.selector.clone()).unwrap_or_default(),
        manual_change: scaled
            .and_then(|it| it.by_hand.as_ref())
            .map(|change| v1::ManualChange {
                time: Some(time(change.at)),
                previous_size: change.from,
                size: change.to,
            }),
        switched_off: scaled.is_some_and(|it| it.off),
        ..v1::Workload::default()
    }
}

#[cfg(test)]
mod tests {
    use starling_engine::demand::pods::Sums;
    use starling_engine::ledger::scaled::{ByHand, Scaled};
    use starling_engine::unit::{Ms, Stamp};

    use super::*;

    fn measure(used_milli: u64, requested: i64) -> Measure {
        Measure {
            used_milli,
            sums: Sums {
                ready_request_milli: requested,
                missing: [(requested, 2)].into(),
                ..Sums::default()
            },
            request_milli: None,
        }
    }

    #[test]
    fn usage_is_summed_over_nodes_by_metric_and_each_has_its_unit() {
        let node = |used| Usage {
            metrics: [
                ("cpu".to_owned(), measure(used, 100)),
                ("memory".to_owned(), measure(used * 1_000, 0)),
                ("pods/queue".to_owned(), measure(used, 0)),
            ]
            .into(),
            ..Usage::default()
        };
        let shown = usage([&node(250), &node(50)]);
        let of = |name: &str| (shown[name].used, shown[name].requested, shown[name].unit());
        assert_eq!(of("cpu"), (300, Some(600), v1::Unit::MilliCores));
        assert_eq!(of("memory"), (300, None, v1::Unit::Bytes));
        assert_eq!(of("pods/queue"), (300, None, v1::Unit::Milli));
    }

    #[test]
    fn parts_of_the_time_and_what_nodes_use_are_means_over_the_replicas() {
        let node = |used_milli, samples| {
            let measure = || Measure {
                used_milli,
                sums: Sums {
                    samples,
                    ..Sums::default()
                },
                request_milli: None,
            };
            let names = ["psi-cpu", "node/memory", "disk@60000", "gpu", "cpu/app"];
            Usage {
                metrics: names.map(|name| (name.to_owned(), measure())).into(),
                ..Usage::default()
            }
        };
        let shown = usage([&node(600_000, 2), &node(0, 1)]);
        let of = |name: &str| (shown[name].used, shown[name].unit());
        assert_eq!(of("psi-cpu"), (200_000, v1::Unit::Milli));
        assert_eq!(of("node/memory"), (200, v1::Unit::Bytes));
        assert_eq!(of("disk@60000"), (600, v1::Unit::BytesPerSecond));
        assert_eq!(of("gpu"), (600_000, v1::Unit::Milli));
        assert_eq!(of("cpu/app"), (600_000, v1::Unit::MilliCores));
    }

    #[test]
    fn a_nodes_resources_keep_their_names_and_what_nobody_stated_is_absent() {
        let mut totals = Totals::default();
        totals.set("memory", 7, Some(9));
        totals.set("nvidia.com/gpu", 1, Some(4));
        totals.set("disk-read", 3, None);
        totals.set("disk-space", 3, Some(5));
        totals.set("psi-io", 250, None);
        let shown = resources(&totals);
        assert_eq!(shown["nvidia.com/gpu"].unit(), v1::Unit::Count);
        assert_eq!(shown["nvidia.com/gpu"].allocatable, Some(4));
        assert_eq!(shown["disk-read"].allocatable, None);
        assert_eq!(shown["disk-read"].unit(), v1::Unit::BytesPerSecond);
        assert_eq!(shown["disk-space"].unit(), v1::Unit::Bytes);
        assert_eq!(shown["psi-io"].unit(), v1::Unit::Milli);
        assert!(!shown.contains_key("cpu"));
    }

    #[test]
    fn a_scaled_workload_says_what_the_platform_has_and_who_changed_it() {
        let known = Workload {
            size: 4,
            stamp: Stamp {
                generation: 1,
                index: 1,
            },
            scaled: Some(Scaled {
                carried: Some(3),
                selector: "app=web".into(),
                by_hand: Some(ByHand {
                    at: Ms(5_000),
                    from: 2,
                    to: 4,
                    anew: false,
                }),
                ..Scaled::default()
            }),
            ..Workload::default()
        };
        let of = Target {
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: "shop".into(),
            name: "web".into(),
        };
        let shown = workload(&of, Some(&known));
        assert_eq!(shown.form(), v1::WorkloadForm::Scaled);
        assert_eq!((shown.size, shown.carried_size), (4, Some(3)));
        let change = shown.manual_change.unwrap();
        assert_eq!((change.previous_size, change.size), (2, 4));
        assert_eq!(shown.selector, "app=web");
        let placed = workload(&Target::process("web"), None);
        assert_eq!(placed.form(), v1::WorkloadForm::Placed);
        assert_eq!(placed.carried_size, None);
    }
}
