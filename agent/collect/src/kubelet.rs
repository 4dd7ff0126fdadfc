//! Measures the containers of this node's pods by what its kubelet says of them, where
//! an agent may not look at the node's own files.
//!
//! Comes in: the kubelet's summaries (`/stats/summary`), as others fetch them, and
//! the pods that the node's own watch knows. Goes out: the same as from cgroups, as
//! far as a kubelet has it: no disk I/O, throttling or kills, and every value as old
//! as the kubelet's own, up to 20 s. Never waits for a kubelet, and never gives what
//! the kubelet didn't renew as a new reading.

mod summary;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use starling_engine::demand::pods::Reading;
use starling_engine::unit::Ms;

use crate::cgroup::counter::{self, Counter, Moment, Step};
use crate::cgroup::problem::Why;
use crate::cgroup::usage::{self, Psi, Stall};
use crate::cgroup::{ContainerRef, Measured, PodRef};
use crate::{HostRoot, Measure};
use summary::{Cpu, Interfaces, Memory, Stalled, Summary};

/// A kubelet renews what it says every 10 to 15 s. Asked as often as this, what it
/// says is at most so much older here.
pub const ASK_EVERY: Duration = Duration::from_secs(5);
/// A value that a kubelet doesn't renew for so long is missing.
const STANDS_MS: u64 = 30_000;
/// Pods of one node beyond these are left out of a summary; see `CONTAINERS_MAX`.
const PODS_MAX: usize = 8_192;

/// A summary's bytes, or why the kubelet gave none.
pub type Answer = Result<Vec<u8>, String>;
/// The newest answer since the last call, if there was any. Never blocks.
pub type Latest = Box<dyn FnMut() -> Option<Answer> + Send>;
/// Time since 1970, on the clock that the node's kubelet has, too.
type Wall = Box<dyn Fn() -> Duration + Send>;

/// Keeps what the kubelet said last, and each container's counters.
pub struct Kubelet {
    latest: Latest,
    wall: Wall,
    cpus_online: PathBuf,
    said: BTreeMap<String, summary::Pod>,
    /// Why there is nothing newer.
    failure: Option<String>,
    /// Whether the node's kernel counts pressure: a kubelet says zeros otherwise.
    psi: bool,
    pods: BTreeMap<String, Pod>,
}

impl fmt::Debug for Kubelet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubelet")
            .field("said", &self.said.len())
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

impl Kubelet {
    pub fn new(host: &HostRoot, latest: Latest) -> Kubelet {
        let wall = Box::new(|| {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            since.unwrap_or_default()
        });
        Kubelet::with(host, latest, wall)
    }

    fn with(host: &HostRoot, latest: Latest, wall: Wall) -> Kubelet {
        Kubelet {
            latest,
            wall,
            cpus_online: host.sys.join("devices/system/cpu/online"),
            said: BTreeMap::new(),
            failure: Some("it wasn't asked yet".into()),
            psi: false,
            pods: BTreeMap::new(),
        }
    }

    fn hear(&mut self) {
        let Some(answer) = (self.latest)() else {
            return;
        };
        match answer.and_then(|bytes| Summary::read(&bytes)) {
            Ok(summary) => {
                self.psi = summary.counts_pressure();
                let pods = summary.pods.into_iter().take(PODS_MAX);
                self.said = pods.map(|pod| (pod.reference.uid.clone(), pod)).collect();
                self.failure = None;
            }
            // What it said before stands for a while.
            Err(why) => self.failure = Some(why),
        }
    }
}

impl Measure for Kubelet {
    fn measure(&mut self, now: Ms, pods: &[PodRef]) -> Measured {
        self.hear();
        let clock = Clock {
            now,
            wall: (self.wall)(),
            cpus: counter::cpus(&self.cpus_online),
            psi: self.psi,
        };
        let mut measured = Measured::default();
        let mut held = std::mem::take(&mut self.pods);
        for pod in pods {
            // A static pod goes by its hash there.
            let keys = [Some(&pod.uid), pod.static_hash.as_ref()];
            let said = keys
                .into_iter()
                .flatten()
                .find_map(|key| self.said.get(key));
            let mut state = held.remove(&pod.uid).unwrap_or_default();
            if let Some(said) = said {
                state.take(&clock, said);
            }
            let mut usage = usage::Pod::default();
            // What it said before stands for a while, but that there is nothing newer
            // is named, once for each pod.
            if let (Some(why), Some(first)) = (&self.failure, pod.containers.first()) {
                measured.note(pod, first, Why::Kubelet(why.clone()));
            }
            for container in &pod.containers {
                let said = said.and_then(|said| said.container(&container.name));
                let own = state.containers.entry(container.name.clone()).or_default();
                if let Some(of_it) = own.take(&clock, container, said) {
                    usage.containers.insert(container.name.clone(), of_it);
                    if own.impossible {
                        measured.note(pod, container, Why::Impossible);
                    }
                } else if self.failure.is_none() {
                    measured.note(pod, container, Why::Unsaid);
                }
            }
            let named = |name: &str| pod.containers.iter().any(|it| it.name == name);
            state.containers.retain(|name, _| named(name));
            let own = usage::Container {
                psi: state.psi.at(now),
                ..usage::Container::default()
            };
            usage.sum(pod.containers.len(), Some(&own));
            // A kubelet counts a pod's, not a container's.
            usage.pids = fresh(now, state.pids);
            let network = state.network.map(|it| fresh(now, it));
            let [received, sent] = network.map(|it| it.filter(|_| !pod.host_network));
            (usage.received, usage.sent) = (received, sent);
            measured.pods.insert(pod.uid.clone(), usage);
            self.pods.insert(pod.uid.clone(), state);
        }
        measured
    }
}

/// One moment, by the engine's clock and by the kubelet's.
struct Clock {
    now: Ms,
    wall: Duration,
    /// What else holds for all of a node.
    cpus: u64,
    psi: bool,
}

impl Clock {
    /// A kubelet's time as the engine has it; what seems to come from the future,
    /// since its times are whole seconds, is from now.
    fn stamp(&self, at: Duration) -> Ms {
        let age = self.wall.saturating_sub(at);
        self.now
            .minus(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
    }
}

fn fresh(now: Ms, reading: Option<Reading>) -> Option<Reading> {
    reading.filter(|reading| now.since(reading.at) <= STANDS_MS)
}

/// What is the pod's own.
#[derive(Debug, Default)]
struct Pod {
    containers: BTreeMap<String, Container>,
    psi: Pressures,
    network_at: Option<Duration>,
    bytes: Counter<2>,
    network: [Option<Reading>; 2],
    pids_at: Option<Duration>,
    pids: Option<Reading>,
}

impl Pod {
    fn take(&mut self, clock: &Clock, said: &summary::Pod) {
        self.psi.take(clock, said.cpu, said.memory, said.io);
        if let Some(network) = &said.network
            && self.network_at != network.time
        {
            self.network_at = network.time;
            self.network = [None; 2];
            let counted = network.time.zip(network.interfaces());
            if let Some((at, Interfaces { received, sent })) = counted {
                let step = self.bytes.advance(whole(at), [received, sent]);
                if let Step::Grown(grown) = step {
                    self.network = [0, 1].map(|index| {
                        let milli = grown.per_second_milli(index)?;
                        Some(reading(clock, grown.at, milli, grown.window))
                    });
                }
            }
        }
        let at = said.cpu.and_then(|cpu| cpu.time);
        if at != self.pids_at {
            self.pids_at = at;
            self.pids = at.zip(said.processes()).map(|(at, count)| {
                let milli = i64::try_from(count.saturating_mul(1_000)).unwrap_or(i64::MAX);
                reading(clock, at, milli, Duration::ZERO)
            });
        }
    }
}

/// One container's counters and last readings, each with the time that it has.
#[derive(Debug, Default)]
struct Container {
    id: String,
    started: String,
    /// The API server names another container already, of which the kubelet says
    /// nothing yet: what began then is the one before.
    former: Option<String>,
    cpu_at: Option<Duration>,
    counted: Counter<1>,
    cpu: Option<Reading>,
    /// The kubelet's last rate was more than the machine's CPUs can give.
    impossible: bool,
    memory_at: Option<Duration>,
    memory: Option<Reading>,
    psi: Pressures,
}

impl Container {
    /// `None` where the kubelet says nothing of this very container.
    fn take(
        &mut self,
        clock: &Clock,
        named: &ContainerRef,
        said: Option<&summary::Container>,
    ) -> Option<usage::Container> {
        if self.id != named.container_id {
            let former = (!self.id.is_empty()).then(|| std::mem::take(&mut self.started));
            *self = Container {
                id: named.container_id.clone(),
                former,
                ..Container::default()
            };
        }
        if let Some(said) = said.filter(|said| self.former.as_ref() != Some(&said.start_time)) {
            self.former = None;
            if self.started != said.start_time {
                *self = Container {
                    id: std::mem::take(&mut self.id),
                    started: said.start_time.clone(),
                    ..Container::default()
                };
            }
            if let Some(cpu) = said.cpu {
                self.take_cpu(clock, cpu);
            }
            if let Some(memory) = said.memory {
                self.take_memory(clock, memory);
            }
            self.psi.take(clock, said.cpu, said.memory, said.io);
        }
        if self.started.is_empty() {
            return None;
        }
        Some(usage::Container {
            cpu: fresh(clock.now, self.cpu),
            memory: fresh(clock.now, self.memory),
            psi: self.psi.at(clock.now),
            ..usage::Container::default()
        })
    }

    /// The kubelet's own rate has exact times, while those that it tells are whole
    /// seconds; the counter says whether the rate can be believed.
    fn take_cpu(&mut self, clock: &Clock, cpu: Cpu) {
        if cpu.time == self.cpu_at {
            return;
        }
        self.cpu_at = cpu.time;
        (self.cpu, self.impossible) = (None, false);
        let Some((at, ns)) = cpu.time.zip(cpu.usage_core_nano_seconds) else {
            return;
        };
        let Step::Grown(grown) = self.counted.advance(whole(at), [ns]) else {
            return;
        };
        let milli = match cpu.usage_nano_cores {
            Some(nano) => i64::try_from(nano / 1_000_000)
                .ok()
                .filter(|milli| u64::try_from(*milli).is_ok_and(|it| it <= clock.cpus * 1_125))
                .map(|milli| milli.min(i64::try_from(clock.cpus * 1_000).unwrap_or(i64::MAX))),
            None => grown.cpu_milli(clock.cpus),
        };
        self.impossible = milli.is_none();
        self.cpu = milli.map(|milli| reading(clock, grown.at, milli, grown.window));
    }

    fn take_memory(&mut self, clock: &Clock, memory: Memory) {
        if memory.time == self.memory_at {
            return;
        }
        self.memory_at = memory.time;
        let bytes = memory.time.zip(memory.working_set_bytes);
        self.memory = bytes.map(|(at, bytes)| {
            let milli = i64::try_from(bytes.saturating_mul(1_000)).unwrap_or(i64::MAX);
            reading(clock, at, milli, Duration::ZERO)
        });
    }
}

/// Of CPU, memory and I/O.
#[derive(Debug, Default)]
struct Pressures([Pressure; 3]);

#[derive(Debug, Default)]
struct Pressure {
    at: Option<Duration>,
    some: Counter<1>,
    full: Counter<1>,
    stall: Stall,
}

impl Pressures {
    fn take(
        &mut self,
        clock: &Clock,
        cpu: Option<Cpu>,
        memory: Option<Memory>,
        io: Option<summary::Io>,
    ) {
        let said = [
            cpu.map(|it| (it.time, it.psi)),
            memory.map(|it| (it.time, it.psi)),
            io.map(|it| (it.time, it.psi)),
        ];
        for (pressure, said) in self.0.iter_mut().zip(said) {
            if let Some((at, psi)) = said {
                pressure.take(clock, at, psi);
            }
        }
    }

    fn at(&self, now: Ms) -> Psi {
        let of = |pressure: &Pressure| Stall {
            some: fresh(now, pressure.stall.some),
            full: fresh(now, pressure.stall.full),
        };
        let [cpu, memory, io] = &self.0;
        Psi {
            cpu: of(cpu),
            memory: of(memory),
            io: of(io),
        }
    }
}

impl Pressure {
    fn take(&mut self, clock: &Clock, at: Option<Duration>, psi: Option<Stalled>) {
        if at == self.at {
            return;
        }
        self.at = at;
        self.stall = Stall::default();
        let Some((at, psi)) = at.zip(psi) else { return };
        if !clock.psi {
            return;
        }
        let share = |counter: &mut Counter<1>, us| match counter.advance(whole(at), [us]) {
            Step::Grown(grown) => {
                let milli = grown.share_milli(0)?;
                Some(reading(clock, grown.at, milli, grown.window))
            }
            Step::None | Step::Soon | Step::Unsure => None,
        };
        self.stall = Stall {
            some: share(&mut self.some, psi.some_us),
            full: share(&mut self.full, psi.full_us),
        };
    }
}

/// A kubelet doesn't say how long reading took.
fn whole(at: Duration) -> Moment {
    Moment {
        at,
        took: Duration::ZERO,
    }
}

fn reading(clock: &Clock, at: Duration, milli: i64, window: Duration) -> Reading {
    Reading {
        milli,
        at: clock.stamp(at),
        window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
    }
}
