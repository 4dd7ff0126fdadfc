//! Measures the containers of this node's pods by their cgroups.
//!
//! Comes in: the pods that the node's own watch knows, once a second. Goes out:
//! CPU, disk and network as rates, the working set, throttling, processes, pressure and
//! kills for want of memory, for each container, what of it makes sense for the
//! pod, and what couldn't be measured and why. Reads only; blocks for the time that the reads
//! take. Never takes a cgroup that isn't one of those pods', and never invents a
//! value: what can't be read is missing, and stops nobody else from being measured.

pub mod counter;
pub mod file;
pub mod group;
pub mod layout;
pub mod memory;
pub mod network;
pub mod place;
pub mod problem;
pub mod record;
pub mod said;
pub mod usage;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use starling_engine::policy::Resource;
use starling_engine::unit::Ms;

use crate::{HostRoot, Measure};
use counter::Grown;
use file::{Descriptors, Reader};
use group::{Backoff, Group, Values};
use layout::{Layout, Roots};
use network::Networks;
use problem::{Problem, Why};

/// One pod of this node, as the API server knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodRef {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    /// The annotation `kubernetes.io/config.hash`. A static pod's cgroup carries
    /// it in place of the uid that the API server gave to its mirror.
    pub static_hash: Option<String>,
    /// It is in the node's network, and what that carries isn't the pod's.
    pub host_network: bool,
    /// What nobody sizes its workloads by, of memory, disk, network, pressure and
    /// throttling: it is read about every fourth time.
    pub seldom: BTreeSet<Resource>,
    /// Somebody sizes by what single containers of it wait for. Where nobody does, only the
    /// pod's own pressure is read.
    pub pressure_by_container: bool,
    /// Those that run, as the status says: sidecars too, and an init container
    /// while it runs. The sandbox isn't in the status, so it is never measured.
    pub containers: Vec<ContainerRef>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerRef {
    pub name: String,
    /// As in the status: `containerd://<64 hexadecimal digits>`. A restarted
    /// container has another one, so its counters start anew.
    pub container_id: String,
}

/// What one call of [`Cgroups::measure`] has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measured {
    /// By uid; every pod that was asked for is here.
    pub pods: BTreeMap<String, usage::Pod>,
    /// At most [`PROBLEMS_MAX`], in the order in which the pods were read.
    pub problems: Vec<Problem>,
    /// Problems beyond those.
    pub problems_left_out: usize,
}

/// Problems beyond those are only counted.
pub const PROBLEMS_MAX: usize = 32;
/// A node runs 110 pods as a rule, and 500 where somebody has raised that;
/// containers beyond this many aren't measured, and named as such. As many pods'
/// own cgroups are read; those beyond have no pressure.
pub const CONTAINERS_MAX: usize = 8_192;
/// One measurement reads no further container after this time. The next one
/// begins with those that were left, so nobody is left out forever.
pub const BUDGET_MS: u64 = 500;

const BUDGET: Duration = Duration::from_millis(BUDGET_MS);

/// Time since some fixed moment, on a clock that nobody can set.
type Clock = Box<dyn Fn() -> Duration + Send>;

/// Keeps the files of the containers that it measures open, and what they said last.
pub struct Cgroups {
    root: PathBuf,
    cpus_online: PathBuf,
    clock: Clock,
    descriptors: Descriptors,
    layout: Option<Layout>,
    roots: Roots,
    search: Backoff,
    /// By container id, and pods' own by uid.
    containers: HashMap<String, Group>,
    pods: HashMap<String, Group>,
    networks: Networks,
    /// Counts the measurements, so that a container that isn't asked for any
    /// more is known by its round.
    round: u64,
    /// Where the next measurement begins among the pods.
    first: usize,
    buffer: Vec<u8>,
}

impl fmt::Debug for Cgroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cgroups")
            .field("layout", &self.layout)
            .field("roots", &self.roots)
            .field("containers", &self.containers.len())
            .finish_non_exhaustive()
    }
}

impl Cgroups {
    /// Looks for the cgroups of this host. That there are none isn't an error:
    /// each measurement says so, and looks again now and then.
    pub fn open(host: &HostRoot) -> Cgroups {
        let started = Instant::now();
        let clock = Box::new(move || started.elapsed());
        Cgroups::with(&host.sys, &host.proc, clock, Descriptors::from_limit())
    }

    fn with(sys: &Path, proc: &Path, clock: Clock, descriptors: Descriptors) -> Cgroups {
        let mut cgroups = Cgroups {
            root: sys.join("fs/cgroup"),
            cpus_online: sys.join("devices/system/cpu/online"),
            clock,
            descriptors,
            layout: None,
            roots: Roots::default(),
            search: Backoff::default(),
            containers: HashMap::new(),
            pods: HashMap::new(),
            networks: Networks::new(proc),
            round: 0,
            first: 0,
            buffer: vec![0; file::BYTES_MAX],
        };
        cgroups.look(cgroups.now());
        cgroups
    }

    /// What was found: which version, mounted where. `None` without cgroups.
    pub fn layout(&self) -> Option<&Layout> {
        self.layout.as_ref()
    }

    /// How many files are open for containers.
    pub fn open_files(&self) -> usize {
        self.descriptors.open()
    }

    /// Measures now. `now` is the time that the readings carry. Rates are means
    /// since the call before; the files of pods that aren't named any more are closed.
    pub fn measure(&mut self, now: Ms, pods: &[PodRef]) -> Measured {
        let began = self.now();
        self.round += 1;
        let cpus = counter::cpus(&self.cpus_online);
        let mut measured = Measured::default();
        let first = if self.first < pods.len() {
            self.first
        } else {
            0
        };
        self.first = 0;
        let mut lost = false;
        for at in (first..pods.len()).chain(0..first) {
            let Some(pod) = pods.get(at) else { continue };
            let mut usage = usage::Pod::default();
            let mut absent = false;
            for container in &pod.containers {
                let rate = |values: &Values| usage::rated(now, began, values, cpus);
                let (of_it, why) = match self.values(began, pod, container, rate) {
                    Ok((of_it, why)) => (Some(of_it), why),
                    Err(why) => (None, Some(why)),
                };
                if let Some(of_it) = of_it {
                    usage.containers.insert(container.name.clone(), of_it);
                }
                let Some(why) = why else { continue };
                if why == Why::NoTime && self.first == 0 {
                    self.first = at;
                }
                // A pod that isn't there is named once, not for each container.
                if !(absent && why.is_of_the_pod()) {
                    absent |= why.is_of_the_pod();
                    measured.note(pod, container, why);
                }
            }
            lost |= absent;
            let rate = |values: &Values| usage::rated(now, began, values, cpus).0;
            let own = self.own_values(began, pod, rate);
            usage.sum(pod.containers.len(), own.as_ref());
            if let Some(carried) = self.carried(began, pod) {
                [usage.received, usage.sent] = usage::carried(now, began, &carried);
            }
            measured.pods.insert(pod.uid.clone(), usage);
        }
        let round = self.round;
        self.containers.retain(|_, held| held.round == round);
        self.pods.retain(|_, held| held.round == round);
        self.networks.settle(round, self.now());
        if lost {
            self.look(self.now());
        } else {
            self.search = Backoff::default();
        }
        measured
    }

    /// What is made of one container's counters, from its open files; looks for its
    /// cgroup first where it isn't known yet.
    fn values<T>(
        &mut self,
        began: Duration,
        pod: &PodRef,
        named: &ContainerRef,
        made: impl FnOnce(&Values) -> T,
    ) -> Result<T, Why> {
        let at = self.now();
        let Some(layout) = &self.layout else {
            return Err(Why::NoCgroups(self.root.clone()));
        };
        let id = place::id(&named.container_id)?;
        let turn = self.containers.len();
        let held = match self.containers.get_mut(id) {
            Some(held) => held,
            None if turn >= CONTAINERS_MAX => return Err(Why::TooMany),
            None => {
                let new = Group::new(turn as u64);
                self.containers.entry(id.to_owned()).or_insert(new)
            }
        };
        held.round = self.round;
        if at.saturating_sub(began) >= BUDGET {
            return Ok(made(&held.unread(at, Why::NoTime)));
        }
        if held.place.is_none() {
            if !held.search.due(at)
                && let Some(why) = &held.missing
            {
                return Err(why.clone());
            }
            match place::find(layout.base(), &self.roots, pod, id) {
                Ok(place) => held.settle(place, &layout.sources),
                Err(why) => {
                    held.lose(at, why.clone());
                    return Err(why);
                }
            }
        }
        let mut reader = Reader {
            descriptors: &self.descriptors,
            clock: &self.clock,
            buffer: &mut self.buffer,
        };
        held.read(&layout.sources, pod, &mut reader).map(made)
    }

    /// The same of the pod's own cgroup, which is where its containers are. That it says
    /// nothing is ordinary: version 1 has nothing there to read.
    fn own_values<T>(
        &mut self,
        began: Duration,
        pod: &PodRef,
        made: impl FnOnce(&Values) -> T,
    ) -> Option<T> {
        let at = self.now();
        let layout = self.layout.as_ref().filter(|it| !it.of_pod.is_empty())?;
        let turn = self.pods.len();
        if !self.pods.contains_key(&pod.uid) && turn < CONTAINERS_MAX {
            self.pods.insert(pod.uid.clone(), Group::new(turn as u64));
        }
        let held = self.pods.get_mut(&pod.uid)?;
        held.round = self.round;
        if at.saturating_sub(began) >= BUDGET {
            return Some(made(&held.unread(at, Why::NoTime)));
        }
        if held.place.is_none() {
            if !held.search.due(at) {
                return None;
            }
            let place_of = |named: &ContainerRef| {
                let id = place::id(&named.container_id).ok()?;
                self.containers.get(id)?.place.as_deref()?.parent()
            };
            let place = pod.containers.iter().find_map(place_of)?;
            held.settle(place.to_owned(), &layout.of_pod);
        }
        let mut reader = Reader {
            descriptors: &self.descriptors,
            clock: &self.clock,
            buffer: &mut self.buffer,
        };
        let read = held.read(&layout.of_pod, pod, &mut reader);
        read.ok().map(made)
    }

    /// What the pod's network has carried since the last measurement.
    fn carried(&mut self, began: Duration, pod: &PodRef) -> Option<Grown<2>> {
        let at = self.now();
        if at.saturating_sub(began) >= BUDGET {
            return self.networks.unread(self.round, pod, at);
        }
        let mut reader = Reader {
            descriptors: &self.descriptors,
            clock: &self.clock,
            buffer: &mut self.buffer,
        };
        self.networks.read(self.round, pod, &mut reader)
    }

    /// Finds the hierarchies and the kubepods cgroups in them, unless that was
    /// tried a moment ago.
    fn look(&mut self, at: Duration) {
        if !self.search.due(at) {
            return;
        }
        self.search.wait(at, LOOK_WAIT_MAX);
        if self.layout.is_none() {
            self.layout = Layout::detect(&self.root);
        }
        let Some(layout) = &self.layout else { return };
        let roots = Roots::find(layout.base());
        if roots != self.roots {
            self.roots = roots;
            self.search = Backoff::default();
            for held in self.containers.values_mut() {
                held.search = Backoff::default();
            }
        }
    }

    fn now(&self) -> Duration {
        (self.clock)()
    }
}

impl Measure for Cgroups {
    fn measure(&mut self, now: Ms, pods: &[PodRef]) -> Measured {
        Cgroups::measure(self, now, pods)
    }
}

/// All cgroups are searched for kubepods again while a pod isn't found, at
/// first each second, then ever more seldom, at last as often as this says.
const LOOK_WAIT_MAX: Duration = Duration::from_mins(1);

impl Measured {
    pub(crate) fn note(&mut self, pod: &PodRef, container: &ContainerRef, why: Why) {
        if self.problems.len() >= PROBLEMS_MAX {
            self.problems_left_out += 1;
            return;
        }
        self.problems.push(Problem {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            container: (!why.is_of_the_pod()).then(|| container.name.clone()),
            why,
        });
    }
}
