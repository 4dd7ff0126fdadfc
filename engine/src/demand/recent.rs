//! What was read of this node and its replicas in the last seconds.
//!
//! Comes in: a sample, once a second. Goes out: the same one, with the readings before
//! it beside each, as far back as a policy's window reaches, and with what the node
//! itself uses beside each replica. Forgets a replica with the first sample that
//! doesn't hold it. Never copies readings: a full node has thousands of rows of them.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::pods::{EARLIER_MAX, Metric, Metrics, Reading};
use super::{Sample, series};
use crate::ledger::part::Part;
use crate::policy::Resource;
use crate::policy::resource::Unit;
use crate::unit::Ms;

/// A node's totals are read once in so long.
const SAMPLE_MS: u64 = 1_000;

#[derive(Debug, Default)]
pub struct Recent {
    /// By [`Pod::id`](super::pods::Pod::id).
    replicas: BTreeMap<String, Kept>,
    node: OfOne,
    /// Counts the samples.
    round: u64,
}

#[derive(Debug, Default)]
struct Kept {
    whole: OfOne,
    containers: BTreeMap<String, OfOne>,
    /// In which sample it was last.
    round: u64,
}

/// What was read of one thing.
type OfOne = BTreeMap<Resource, Series>;

#[derive(Debug)]
struct Series {
    newest: Reading,
    /// See [`Metric::earlier`]. Only this holds them while one is added: a sample is gone
    /// before the next one comes. Where one isn't, they are copied.
    earlier: Arc<Vec<Reading>>,
}

/// How far back readings are kept, in milliseconds, by resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach(BTreeMap<Resource, u64>);

impl Reach {
    /// As far as the longest mean that anybody asks for. Without being asked, rates are
    /// kept for the default mean, and gauges, which have none, not at all.
    pub fn of(part: &Part<'_>) -> Reach {
        let default = |resource: Resource| {
            let rate = !resource.is_gauge();
            (resource, if rate { series::STEADY_MS } else { 0 })
        };
        let mut reach: BTreeMap<_, _> = Resource::ALL.into_iter().map(default).collect();
        for pick in part.measured.values().flat_map(|wanted| &wanted.picks) {
            if let Some((resource, window_ms)) = pick.resource().zip(pick.window_ms) {
                let longest = reach.entry(resource).or_default();
                *longest = window_ms.clamp(*longest, series::MEAN_MS_MAX);
            }
        }
        Reach(reach)
    }

    fn ms(&self, resource: Resource) -> u64 {
        self.0.get(&resource).copied().unwrap_or(0)
    }
}

impl Recent {
    /// Takes the newest readings out of `sample`, which was taken at `now`, and puts
    /// those before them in.
    pub fn extend(&mut self, now: Ms, sample: &mut Sample, reach: &Reach) {
        let mut of_node = sample.totals.metrics(now);
        extend(&mut self.node, &mut of_node, reach);
        let of_node = Arc::new(of_node);
        self.round += 1;
        let round = self.round;
        for pod in sample.workloads.values_mut().flatten() {
            pod.node = Arc::clone(&of_node);
            if pod.id.is_empty() {
                continue;
            }
            if !self.replicas.contains_key(&pod.id) {
                self.replicas.insert(pod.id.clone(), Kept::default());
            }
            let Some(kept) = self.replicas.get_mut(&pod.id) else {
                continue;
            };
            kept.round = round;
            extend(&mut kept.whole, &mut pod.metrics, reach);
            kept.containers
                .retain(|name, _| pod.containers.contains_key(name));
            for (name, metrics) in &mut pod.containers {
                if !kept.containers.contains_key(name) {
                    kept.containers.insert(name.clone(), OfOne::new());
                }
                if let Some(kept) = kept.containers.get_mut(name) {
                    extend(kept, metrics, reach);
                }
            }
        }
        self.replicas.retain(|_, kept| kept.round == round);
    }
}

fn extend(kept: &mut OfOne, metrics: &mut Metrics, reach: &Reach) {
    kept.retain(|resource, _| metrics.contains_key(resource));
    for (resource, metric) in metrics {
        let reach_ms = reach.ms(*resource);
        let Some(newest) = metric.sample.filter(|_| reach_ms > 0) else {
            // What can't be read now has no mean, and nobody asks for one of the others.
            kept.remove(resource);
            continue;
        };
        let series = kept.entry(*resource).or_insert_with(|| Series {
            newest,
            earlier: Arc::default(),
        });
        metric.earlier = Some(series.before(newest, reach_ms));
    }
}

impl Series {
    /// Those before `newest`, which is added. Keeps what lies within `reach_ms` of it.
    fn before(&mut self, newest: Reading, reach_ms: u64) -> Arc<Vec<Reading>> {
        match newest.at.cmp(&self.newest.at) {
            Ordering::Greater => {
                let former = std::mem::replace(&mut self.newest, newest);
                let begin = newest.at.minus(reach_ms);
                let earlier = Arc::make_mut(&mut self.earlier);
                earlier.push(former);
                let old = earlier.partition_point(|it| it.at <= begin);
                let over = earlier.len().saturating_sub(EARLIER_MAX);
                earlier.drain(..old.max(over));
            }
            // A pod of two workloads comes twice, and a reading that couldn't be renewed
            // stands for a while.
            Ordering::Equal => {}
            // Its oldest part dates a sum, and a container that comes to it may have been
            // read before the others.
            Ordering::Less => {
                let before = self.earlier.partition_point(|it| it.at < newest.at);
                return Arc::new(self.earlier[..before].to_vec());
            }
        }
        Arc::clone(&self.earlier)
    }
}

impl super::Totals {
    /// A node's totals as its replicas' triggers may read them: milli-units, in which
    /// what there is for replicas stands where a replica's request does. Rates are
    /// means over about a second.
    pub fn metrics(&self, at: Ms) -> Metrics {
        let of = |resource: Resource| {
            let name = resource.name();
            match resource {
                Resource::Disk => self.sum(super::DISK_READ, super::DISK_WRITE),
                Resource::Network => self.sum(super::NETWORK_RECEIVED, super::NETWORK_SENT),
                _ => {
                    let amount = self.0.get(name)?;
                    Some((amount.used, amount.allocatable))
                }
            }
        };
        let metric = |resource: Resource| {
            let (used, whole) = of(resource)?;
            // Cores, GPUs and parts of the time are in thousandths already.
            let scale = match resource.unit() {
                Unit::Bytes | Unit::BytesPerSecond => 1_000,
                Unit::Cores | Unit::Gpus | Unit::Part => 1,
            };
            let milli =
                |number: u64| i64::try_from(number.saturating_mul(scale)).unwrap_or(i64::MAX);
            let sample = Reading {
                milli: milli(used),
                at,
                window_ms: if resource.is_gauge() { 0 } else { SAMPLE_MS },
            };
            let metric = Metric {
                request_milli: whole.map(milli),
                sample: Some(sample),
                earlier: None,
            };
            Some((resource, metric))
        };
        Resource::ALL.into_iter().filter_map(metric).collect()
    }

    fn sum(&self, one: &str, other: &str) -> Option<(u64, Option<u64>)> {
        let (one, other) = (self.0.get(one)?, self.0.get(other)?);
        Some((one.used.saturating_add(other.used), None))
    }
}

#[cfg(test)]
mod tests {
    use super::super::pick::{Of, Pick};
    use super::super::pods::Pod;
    use super::super::{CPU, DISK_READ, DISK_WRITE, MEMORY, Totals};
    use super::*;
    use crate::ledger::part::Wanted;
    use crate::policy::Target;

    fn sample(id: &str, second: u64, milli: i64) -> Sample {
        let metric = Metric {
            sample: Some(Reading {
                milli,
                at: Ms(second * 1_000),
                window_ms: 1_000,
            }),
            ..Metric::default()
        };
        let metrics = Metrics::from([(Resource::Cpu, metric)]);
        let pod = Pod {
            id: id.into(),
            metrics: metrics.clone(),
            containers: [("main".into(), metrics)].into(),
            ..Pod::default()
        };
        let mut totals = Totals::default();
        totals.set(CPU, second * 100, Some(2_000));
        let web = (Target::process("web"), vec![pod.clone()]);
        Sample {
            totals,
            // One pod of two workloads.
            workloads: [web, (Target::process("also"), vec![pod])].into(),
            ..Sample::default()
        }
    }

    fn three_seconds() -> Reach {
        Reach([(Resource::Cpu, 3_000)].into())
    }

    fn earlier(recent: &mut Recent, second: u64, mut sample: Sample) -> Vec<i64> {
        recent.extend(Ms(second * 1_000), &mut sample, &three_seconds());
        let pods: Vec<&Pod> = sample.workloads.values().flatten().collect();
        assert_eq!(pods[0], pods[1], "both workloads have the same of it");
        let milli = |metrics: &Metrics| -> Vec<i64> {
            let earlier = metrics[&Resource::Cpu].earlier.iter();
            earlier
                .flat_map(|it| it.iter())
                .map(|it| it.milli)
                .collect()
        };
        assert_eq!(milli(&pods[0].metrics), milli(&pods[0].containers["main"]));
        milli(&pods[0].metrics)
    }

    #[test]
    fn what_was_read_before_stands_beside_the_newest_as_far_as_windows_reach() {
        let mut recent = Recent::default();
        let mut next = |second, of| earlier(&mut recent, second, sample("a", of, of as i64));
        assert_eq!(next(1, 1), [0; 0]);
        assert_eq!(next(2, 2), [1]);
        assert_eq!(next(3, 2), [1], "a reading that stands is one");
        assert_eq!(next(4, 3), [1, 2]);
        assert_eq!(next(5, 4), [2, 3], "three seconds, the newest among them");
        assert_eq!(next(9, 9), [0; 0], "those before a gap are too old");
    }

    #[test]
    fn another_replica_of_the_name_and_one_that_came_back_begin_anew() {
        let mut recent = Recent::default();
        earlier(&mut recent, 1, sample("a", 1, 1));
        assert_eq!(earlier(&mut recent, 2, sample("b", 2, 2)), [0; 0]);
        assert_eq!(earlier(&mut recent, 3, sample("a", 3, 3)), [0; 0]);
        assert_eq!(
            recent.replicas.len(),
            1,
            "those that are gone are forgotten"
        );
        earlier(&mut recent, 4, sample("", 4, 4));
        assert_eq!(
            earlier(&mut recent, 5, sample("", 5, 5)),
            [0; 0],
            "nobody's"
        );
        let mut unread = sample("a", 6, 6);
        earlier(&mut recent, 6, unread.clone());
        for pod in unread.workloads.values_mut().flatten() {
            pod.metrics.insert(Resource::Cpu, Metric::default());
            pod.containers.clear();
        }
        recent.extend(Ms(7_000), &mut unread, &three_seconds());
        let after = earlier(&mut recent, 8, sample("a", 8, 8));
        assert_eq!(after, [0; 0], "a hole is not bridged");
    }

    #[test]
    fn a_reading_from_before_the_newest_has_only_those_before_it() {
        let mut recent = Recent::default();
        for second in [1, 2, 3] {
            earlier(&mut recent, second, sample("a", second, second as i64));
        }
        assert_eq!(earlier(&mut recent, 3, sample("a", 2, 2)), [1]);
        assert_eq!(earlier(&mut recent, 4, sample("a", 4, 4)), [2, 3]);
    }

    #[test]
    fn readings_are_kept_as_long_as_somebody_asks_for_a_mean_of_them() {
        let target = Target::process("web");
        let asked = |of, window_ms| Pick { of, window_ms };
        let picks = vec![
            asked(Of::Container(Resource::Disk, "main"), Some(60_000)),
            asked(Of::Node(Resource::Disk), Some(2_000)),
            asked(Of::Replica(Resource::Memory), Some(9_000)),
            asked(Of::Replica(Resource::GpuMemory), None),
            asked(Of::Replica(Resource::PsiIo), Some(u64::MAX)),
            asked(Of::Custom("queue"), Some(90_000)),
        ];
        let wanted = Wanted {
            picks,
            ..Wanted::default()
        };
        let part = Part {
            measured: [(&target, wanted)].into(),
            ..Part::default()
        };
        let reach = Reach::of(&part);
        for (resource, ms) in [
            (Resource::Disk, 60_000),
            (Resource::Memory, 9_000),
            (Resource::GpuMemory, 0),
            (Resource::PsiIo, series::MEAN_MS_MAX),
            (Resource::Cpu, series::STEADY_MS),
        ] {
            assert_eq!(reach.ms(resource), ms, "{resource:?}");
        }
    }

    #[test]
    fn a_node_s_totals_are_what_its_replicas_triggers_read() {
        let mut totals = Totals::default();
        totals.set(CPU, 500, Some(2_000));
        totals.set(MEMORY, 3, Some(u64::MAX));
        totals.set(DISK_READ, 7, None);
        let read = |totals: &Totals, of| {
            let metrics = totals.metrics(Ms(9));
            let metric = metrics.get(&of)?;
            Some((metric.sample?.milli, metric.request_milli))
        };
        assert_eq!(read(&totals, Resource::Cpu), Some((500, Some(2_000))));
        assert_eq!(
            read(&totals, Resource::Memory),
            Some((3_000, Some(i64::MAX)))
        );
        assert_eq!(read(&totals, Resource::Disk), None, "a part isn't the sum");
        totals.set(DISK_WRITE, 3, None);
        assert_eq!(read(&totals, Resource::Disk), Some((10_000, None)));
        assert_eq!(read(&totals, Resource::Gpu), None);
    }
}
