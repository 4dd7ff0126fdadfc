//! What this node's pods use, and what keeps them from running, by workload.
//!
//! Comes in: the pods of this node, the workloads' selectors, a reader of pods. Goes out:
//! replicas and troubles, added to a sample. Pods are sorted anew only when they or
//! the selectors have changed. Contains no rule about numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use starling_collect::Measure;
use starling_collect::cgroup::usage::{self, Throttled};
use starling_collect::cgroup::{ContainerRef, Measured, PodRef};
use starling_collect::gpu::Gpus;
use starling_collect::gpu::pods::Usage as OfGpus;
use starling_engine::demand::Sample;
use starling_engine::demand::pick::Of;
use starling_engine::demand::pods::Reading;
use starling_engine::ledger::part::Wanted;
use starling_engine::policy::{Resource, Target};
use starling_engine::unit::Ms;
use starling_health::Held;
use starling_kube::devices::Devices;
use starling_kube::pods::replicas::{self, Listed, Read, Usage};
use starling_kube::pods::{Pod, Snapshot, trouble};
use starling_kube::selector::Selector;

use super::gpus;

/// Pods that can't run and are named for each workload.
const TROUBLES_MAX: usize = 3;

/// What can't be measured for a shorter time is no news: a pod that starts or ends is
/// in no cgroup for a moment, and a kubelet speaks of it only after 10 to 15 s.
const LASTING_MS: u64 = 30_000;

pub type Selectors = BTreeMap<Target, Followed>;

/// What is needed to measure one workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    written: String,
    /// `None` where it can't be understood. The decision on such a target says so.
    selector: Option<Selector>,
    /// What it is sized by.
    by: BTreeSet<Resource>,
    /// The same of single containers.
    by_container: BTreeSet<Resource>,
}

/// What is read seldom of pods whose workloads aren't sized by it.
const SELDOM: [Resource; 7] = [
    Resource::Memory,
    Resource::Disk,
    Resource::Network,
    Resource::PsiCpu,
    Resource::PsiMemory,
    Resource::PsiIo,
    Resource::Throttling,
];

/// What containers have of their own.
const PRESSURE: [Resource; 3] = [Resource::PsiCpu, Resource::PsiMemory, Resource::PsiIo];

/// How these workloads are measured; `None` where it is as before.
pub fn selectors(
    former: &Selectors,
    measured: &BTreeMap<&Target, Wanted<'_>>,
) -> Option<Selectors> {
    let written = || {
        let all = measured.iter();
        all.filter(|(_, wanted)| !wanted.selector.is_empty())
    };
    let known = former.iter();
    let known = known.map(|(target, it)| {
        let by = (it.by.clone(), it.by_container.clone());
        (target, it.written.as_str(), by)
    });
    let wanted = written().map(|(target, wanted)| {
        let by = (by(wanted), by_container(wanted));
        (*target, wanted.selector, by)
    });
    if known.eq(wanted) {
        return None;
    }
    let understood = written().map(|(target, wanted)| {
        let known = former.get(*target);
        let known = known.filter(|known| known.written == wanted.selector);
        let sized = Followed {
            written: wanted.selector.to_owned(),
            selector: known.map_or_else(
                || Selector::parse(wanted.selector).ok(),
                |known| known.selector.clone(),
            ),
            by: by(wanted),
            by_container: by_container(wanted),
        };
        ((*target).clone(), sized)
    });
    Some(understood.collect())
}

/// What is read of replicas themselves, besides CPU.
fn by(wanted: &Wanted<'_>) -> BTreeSet<Resource> {
    let picks = wanted.picks.iter();
    let of_pods = picks.filter(|pick| !matches!(pick.of, Of::Node(_)));
    of_pods.filter_map(|pick| pick.resource()).collect()
}

/// What is read of single containers of theirs.
fn by_container(wanted: &Wanted<'_>) -> BTreeSet<Resource> {
    let picks = wanted.picks.iter();
    let of_containers = picks.filter_map(|pick| match pick.of {
        Of::Container(resource, _) => Some(resource),
        Of::Replica(_) | Of::Node(_) | Of::Custom(_) => None,
    });
    of_containers.collect()
}

/// What is needed to measure this node's pods at one moment.
#[derive(Default)]
pub struct Pods {
    pub snapshot: Arc<Snapshot>,
    pub selectors: Arc<Selectors>,
    /// See [`super::gpus::by_pod`].
    pub devices: Arc<Devices>,
}

/// By their cgroups, or by what their kubelet says.
pub type Reader = Box<dyn Measure + Send>;

/// Measures this node's pods.
pub struct Meter {
    reader: Reader,
    /// Pods that the last measurement left out: since when, and why.
    problems: BTreeMap<String, (Ms, String)>,
    /// Those that a quota or the want of memory holds back.
    held: Vec<Held>,
    /// What was sorted last, and what came of it.
    sorted: Pods,
    workloads: BTreeMap<Target, Vec<Listed>>,
    asked: Vec<PodRef>,
}

impl Meter {
    pub fn new(reader: Reader) -> Meter {
        Meter {
            reader,
            problems: BTreeMap::new(),
            held: Vec::new(),
            sorted: Pods::default(),
            workloads: BTreeMap::new(),
            asked: Vec::new(),
        }
    }

    /// Adds the replicas that `pods` are to `sample`. Blocks.
    pub fn measure(&mut self, now: Ms, pods: Pods, gpus: &Gpus, sample: &mut Sample) {
        self.sort(pods);
        let measured = self.reader.measure(now, &self.asked);
        let former = std::mem::take(&mut self.problems);
        self.problems = problems(&measured)
            .into_iter()
            .map(|(pod, why)| {
                let since = former.get(&pod).map_or(now, |(since, _)| *since);
                (pod, (since, why))
            })
            .collect();
        self.held = held(&self.asked, &measured);
        let of_gpus = gpus::by_pod(now, gpus, &self.sorted.devices, &self.asked);
        let nothing = BTreeSet::new();
        for (target, listed) in &self.workloads {
            let sized = self.sorted.selectors.get(target);
            let of_containers = sized.map_or(&nothing, |sized| &sized.by_container);
            let replicas = listed.iter().map(|listed| {
                let uid = &listed.pod.uid;
                let usage = measured.pods.get(uid).map(|it| usage(it, of_gpus.get(uid)));
                listed.replica(&usage.unwrap_or_default(), of_containers)
            });
            sample.workloads.insert(target.clone(), replicas.collect());
            if let Some(words) = troubles(listed.iter().map(|listed| &listed.pod)) {
                sample.troubles.insert(target.clone(), words);
            }
        }
    }

    /// What couldn't be measured for a while now, and why, by pod.
    pub fn problems(&self, now: Ms) -> BTreeMap<String, String> {
        let problems = self.problems.iter();
        let lasting = problems.filter(|(_, (since, _))| now.since(*since) >= LASTING_MS);
        lasting
            .map(|(pod, (_, why))| (pod.clone(), why.clone()))
            .collect()
    }

    /// The pods that a quota of CPU or the want of memory holds back.
    pub fn held(&self) -> &[Held] {
        &self.held
    }

    fn sort(&mut self, pods: Pods) {
        let same = Arc::ptr_eq(&self.sorted.snapshot, &pods.snapshot)
            && Arc::ptr_eq(&self.sorted.selectors, &pods.selectors);
        if same {
            self.sorted.devices = pods.devices;
            return;
        }
        let selectors = pods.selectors.iter();
        let workloads = selectors.filter_map(|(target, sized)| {
            Some((
                target.clone(),
                target.namespace.as_str(),
                sized.selector.as_ref()?,
            ))
        });
        let by_workload = replicas::by_workload(&pods.snapshot, workloads);
        let listed = |pods: Vec<Arc<Pod>>| pods.into_iter().map(Listed::of).collect();
        let workloads = by_workload.into_iter();
        self.workloads = workloads
            .map(|(target, pods)| (target, listed(pods)))
            .collect();
        let mut asked: BTreeMap<&str, PodRef> = BTreeMap::new();
        for (target, of_it) in &self.workloads {
            for Listed { pod, .. } in of_it {
                let asked = asked.entry(&pod.uid).or_insert_with(|| reference(pod));
                // A pod of several workloads is measured for all of them.
                if let Some(sized) = pods.selectors.get(target) {
                    let decides = |it: &Resource| sized.by.contains(it) && can_move(pod, *it);
                    asked.seldom.retain(|resource| !decides(resource));
                    let mut of_containers = sized.by_container.iter();
                    asked.pressure_by_container |= of_containers.any(|it| PRESSURE.contains(it));
                }
            }
        }
        self.asked = asked.into_values().collect();
        self.sorted = pods;
    }
}

/// Nothing without a quota is ever held back: what counts that stays at zero.
fn can_move(pod: &Pod, resource: Resource) -> bool {
    let mut containers = pod.containers.iter();
    resource != Resource::Throttling || containers.any(|it| it.limits_milli.contains_key("cpu"))
}

/// Those with a quota, and those of which something was killed.
fn held(asked: &[PodRef], measured: &Measured) -> Vec<Held> {
    let held = asked.iter().filter_map(|pod| {
        let usage = measured.pods.get(&pod.uid)?;
        let oom_kills = usage.oom_kills.map(|kills| kills.count);
        let oom_kills = oom_kills.filter(|count| *count > 0);
        let throttled_milli = usage.throttled.filter(|it| it.periods > 0);
        let throttled_milli = throttled_milli.map(|it| it.ratio_milli());
        let any = oom_kills.is_some() || throttled_milli.is_some();
        any.then(|| Held {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            oom_kills,
            throttled_milli,
        })
    });
    held.collect()
}

fn problems(measured: &Measured) -> BTreeMap<String, String> {
    let mut words: BTreeMap<String, String> = BTreeMap::new();
    for problem in &measured.problems {
        let subject = format!("{}/{}", problem.namespace, problem.pod);
        let why = match &problem.container {
            Some(container) => format!("container {container}: {}", problem.why),
            None => problem.why.to_string(),
        };
        // The first one stands for all of its pod's.
        words.entry(subject).or_insert(why);
    }
    if measured.problems_left_out > 0 {
        let more = format!("{} more are not shown", measured.problems_left_out);
        words.insert("~".into(), more);
    }
    words
}

fn reference(pod: &Pod) -> PodRef {
    let running = pod.containers.iter().filter(|container| container.running);
    let containers = running.filter_map(|container| {
        Some(ContainerRef {
            name: container.name.clone(),
            container_id: container.id.clone()?,
        })
    });
    PodRef {
        uid: pod.uid.clone(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        static_hash: pod.config_hash.clone(),
        host_network: pod.host_network,
        seldom: SELDOM.into(),
        pressure_by_container: false,
        containers: containers.collect(),
    }
}

fn usage<'a>(pod: &'a usage::Pod, of_gpus: Option<&OfGpus>) -> Usage<'a> {
    let gpus = of_gpus.copied().unwrap_or_default();
    let whole = [
        (Resource::Network, pod.network()),
        (Resource::Gpu, gpus.gpu),
        (Resource::GpuMemory, gpus.memory),
    ];
    // A pod that computes on a GPU which it doesn't hold asks for none.
    let held = Some(gpus.gpu_request_milli).filter(|held| *held > 0);
    let held = held.map(|held| (Resource::Gpu, held));
    let memory = gpus.memory_request_milli.filter(|_| held.is_some());
    let memory = memory.map(|memory| (Resource::GpuMemory, memory));
    let containers = pod.containers.iter();
    Usage {
        whole: (shares(&pod.psi, pod.throttled).into_iter().chain(whole)).collect(),
        requests_milli: held.into_iter().chain(memory).collect(),
        containers: containers
            .map(|(name, container)| (name.as_str(), of_container(container)))
            .collect(),
    }
}

fn of_container(container: &usage::Container) -> Read {
    let shares = shares(&container.psi, container.throttled);
    let rest = [
        (Resource::Cpu, container.cpu),
        (Resource::Memory, container.memory),
        (Resource::Disk, container.disk()),
    ];
    shares.into_iter().chain(rest).collect()
}

/// What is told as a part of the time.
fn shares(psi: &usage::Psi, throttled: Option<Throttled>) -> [(Resource, Option<Reading>); 4] {
    [
        (Resource::PsiCpu, psi.cpu.some),
        (Resource::PsiMemory, psi.memory.some),
        (Resource::PsiIo, psi.io.some),
        (Resource::Throttling, throttled.map(Throttled::ratio)),
    ]
}

/// What keeps some of these from running, in words.
fn troubles<'a>(pods: impl IntoIterator<Item = &'a Arc<Pod>>) -> Option<String> {
    let found = pods.into_iter().filter_map(|pod| {
        let trouble = trouble::of(pod)?;
        Some(format!(
            "pod {} container {}: {} {}",
            pod.name, trouble.container, trouble.reason, trouble.message
        ))
    });
    let words: Vec<String> = found.collect();
    let shown = words[..words.len().min(TROUBLES_MAX)].join("; ");
    match words.len().saturating_sub(TROUBLES_MAX) {
        _ if words.is_empty() => None,
        0 => Some(shown),
        more => Some(format!("{shown}; and {more} more")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use starling_collect::cgroup::problem::{Problem, Why};
    use starling_engine::demand::pick::Pick;
    use starling_kube::pods::read::{Container, Waiting};

    use super::*;

    fn stuck(name: &str) -> Arc<Pod> {
        let waiting = Waiting {
            reason: "ErrImagePull".into(),
            message: "no such image".into(),
        };
        Arc::new(Pod {
            name: name.into(),
            containers: vec![Container {
                name: "app".into(),
                waiting: Some(waiting),
                ..Container::default()
            }],
            ..Pod::default()
        })
    }

    #[test]
    fn pods_that_do_not_run_are_named_and_the_rest_counted() {
        let words = "pod a container app: ErrImagePull no such image";
        assert_eq!(troubles(&[stuck("a")]).as_deref(), Some(words));
        let many: Vec<_> = ["a", "b", "c", "d", "e"].map(stuck).into();
        let told = troubles(&many).unwrap_or_default();
        assert!(told.ends_with("; and 2 more"), "{told}");
        assert_eq!(troubles(&[Arc::new(Pod::default())]), None);
    }

    /// Fails to measure one pod, as long as it is told to.
    struct Fails(Arc<AtomicBool>);

    impl Measure for Fails {
        fn measure(&mut self, _: Ms, _: &[PodRef]) -> Measured {
            let problem = |container: &str| Problem {
                namespace: "shop".into(),
                pod: "web".into(),
                container: Some(container.into()),
                why: Why::Gone,
            };
            let mut measured = Measured::default();
            if self.0.load(Ordering::Relaxed) {
                measured.problems = vec![problem("a"), problem("b")];
            }
            measured
        }
    }

    #[test]
    fn what_cannot_be_measured_is_told_once_it_lasts() {
        let fails = Arc::new(AtomicBool::new(true));
        let mut meter = Meter::new(Box::new(Fails(Arc::clone(&fails))));
        let mut told = |now: u64| {
            let now = Ms(now * 1_000);
            meter.measure(
                now,
                Pods::default(),
                &Gpus::default(),
                &mut Sample::default(),
            );
            meter.problems(now)
        };
        for second in 0..30 {
            assert_eq!(told(second), BTreeMap::new(), "after {second} s");
        }
        let words = ("shop/web".into(), "container a: its cgroup has gone".into());
        assert_eq!(told(30), BTreeMap::from([words]));
        fails.store(false, Ordering::Relaxed);
        assert_eq!(told(31), BTreeMap::new());
        fails.store(true, Ordering::Relaxed);
        assert_eq!(told(32), BTreeMap::new(), "anew");
    }

    #[test]
    fn pods_with_a_quota_or_with_kills_are_held_back_and_others_are_not() {
        let pod = |uid: &str| PodRef {
            uid: uid.into(),
            namespace: "shop".into(),
            name: uid.into(),
            ..PodRef::default()
        };
        let usage = |kills, periods, throttled| usage::Pod {
            oom_kills: Some(usage::Count {
                count: kills,
                at: Ms(0),
            }),
            throttled: Some(usage::Throttled {
                periods,
                throttled,
                ..usage::Throttled::default()
            }),
            ..usage::Pod::default()
        };
        let pods = [
            ("calm", usage(0, 0, 0)),
            ("killed", usage(2, 0, 0)),
            ("slow", usage(0, 10, 4)),
        ];
        let measured = Measured {
            pods: pods.map(|(uid, usage)| (uid.to_owned(), usage)).into(),
            ..Measured::default()
        };
        let held = held(&["calm", "killed", "slow", "unread"].map(pod), &measured);
        let rows: Vec<_> = held
            .iter()
            .map(|it| (it.pod.as_str(), it.oom_kills, it.throttled_milli))
            .collect();
        assert_eq!(rows, [("killed", Some(2), None), ("slow", None, Some(400))]);
    }

    #[test]
    fn selectors_are_parsed_once_and_one_that_cannot_be_stays_known() {
        let target = Target::process;
        let (web, db, new) = (target("web"), target("db"), target("new"));
        let wanted = |selector| Wanted {
            selector,
            ..Wanted::default()
        };
        let mut written = BTreeMap::from([
            (&web, wanted("app=web")),
            (&db, wanted("app in (")),
            (&new, wanted("")),
        ]);
        let first = selectors(&Selectors::new(), &written).unwrap_or_default();
        let usable: Vec<bool> = first.values().map(|it| it.selector.is_some()).collect();
        assert_eq!(usable, [false, true]);
        assert!(selectors(&first, &written).is_none());
        written.remove(&db);
        let fewer = selectors(&first, &written).unwrap_or_default();
        assert_eq!(fewer.len(), 1);
        let by_disk = Pick::container(Resource::Disk, "app");
        written.insert(
            &web,
            Wanted {
                picks: vec![by_disk, Pick::from(Of::Node(Resource::PsiIo))],
                ..wanted("app=web")
            },
        );
        let other = selectors(&fewer, &written).unwrap_or_default();
        assert_eq!(other[&web].by, BTreeSet::from([Resource::Disk]));
    }

    #[test]
    fn what_no_workload_of_a_pod_is_sized_by_is_read_seldom() {
        let pod = |name: &str, limits: &[(&str, i64)]| {
            let limits = limits.iter().map(|(of, milli)| ((*of).to_owned(), *milli));
            let pod = Pod {
                uid: name.into(),
                labels: [("app".to_owned(), name.to_owned())].into(),
                containers: vec![Container {
                    limits_milli: limits.collect(),
                    ..Container::default()
                }],
                ..Pod::default()
            };
            (name.to_owned(), Arc::new(pod))
        };
        let sized = |selector: &str, by: &[Resource]| Followed {
            written: selector.into(),
            selector: Selector::parse(selector).ok(),
            by: by.iter().copied().collect(),
            by_container: BTreeSet::new(),
        };
        let target = |name: &str| Target {
            namespace: String::new(),
            ..Target::process(name)
        };
        let mut meter = Meter::new(Box::new(Fails(Arc::default())));
        meter.sort(Pods {
            snapshot: Arc::new(Snapshot {
                pods: [pod("a", &[("cpu", 500)]), pod("b", &[("memory", 5)])].into(),
                ..Snapshot::default()
            }),
            selectors: Arc::new(Selectors::from([
                (
                    target("all"),
                    sized("app in (a, b)", &[Resource::PsiIo, Resource::Throttling]),
                ),
                (target("one"), sized("app=a", &[Resource::Disk])),
            ])),
            devices: Arc::default(),
        });
        let seldom = |at: usize, resource| meter.asked[at].seldom.contains(&resource);
        assert!(!seldom(0, Resource::PsiIo) && !seldom(0, Resource::Disk));
        assert!(!seldom(1, Resource::PsiIo) && seldom(1, Resource::Disk));
        assert!(seldom(0, Resource::Network) && seldom(0, Resource::Memory));
        // The other one has no quota.
        assert!(!seldom(0, Resource::Throttling) && seldom(1, Resource::Throttling));
    }
}
