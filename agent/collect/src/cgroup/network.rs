//! What pods receive and send: no cgroup counts that, but each process of a pod shows the
//! pod's interfaces in `/proc/<pid>/net/dev`.
//!
//! Comes in: the host's `/proc` and the pods that run. Goes out: how much their counters
//! grew. The kernel names a cgroup's processes only to those in their pid namespace, which
//! an agent in a pod isn't, so a pod's process is looked for by `/proc/<pid>/cgroup`, once
//! for each pod. Never takes the node's interfaces for those of a pod.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use starling_engine::policy::Resource;

use super::counter::{Counter, Grown, Step};
use super::file::{BYTES_MAX, Held, Reader};
use super::group::{Backoff, Slow, stands};
use super::{CONTAINERS_MAX, PodRef, place};

/// One search looks at so many processes, some 20 ms; the next one goes on after them.
const LOOKS_MAX: usize = 2_048;
/// While a pod has no process that can be seen, all are looked at again, at first after a
/// second, then ever more seldom, at last as often as this says.
const SEARCH_WAIT_MAX: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Networks {
    proc: PathBuf,
    /// By uid; at most [`CONTAINERS_MAX`], those beyond have no network.
    pods: HashMap<String, Network>,
    search: Backoff,
    /// The last search got to here.
    after: u32,
}

#[derive(Debug, Default)]
struct Network {
    /// Of the container that the process is in. Another sandbox, which has a network of
    /// its own, has other containers.
    process: Option<(u32, String)>,
    held: Held,
    counter: Counter<2>,
    last: Option<Grown<2>>,
    /// When it is next, where it is read seldom.
    slow: Slow,
    /// The last measurement that asked for it.
    round: u64,
    /// Where a process of it may be found.
    containers: Vec<String>,
}

impl Networks {
    pub fn new(proc: &Path) -> Networks {
        Networks {
            proc: proc.to_owned(),
            pods: HashMap::new(),
            search: Backoff::default(),
            after: 0,
        }
    }

    /// Bytes received and sent since the last measurement. `None` where the pod has no
    /// network of its own, or nothing is known of it yet.
    pub fn read(&mut self, round: u64, pod: &PodRef, reader: &mut Reader<'_>) -> Option<Grown<2>> {
        if pod.host_network {
            return None;
        }
        self.of(round, pod)?;
        let at = (reader.clock)();
        let Networks { proc, pods, .. } = self;
        let network = pods.get_mut(&pod.uid)?;
        let (pid, container) = network.process.as_ref()?;
        if pod.seldom.contains(&Resource::Network) && !network.slow.due(at) {
            network.last = stands(at, Step::Soon, network.last);
            return network.last;
        }
        let open = || open(proc, *pid, container);
        let read = network.held.read(open, reader);
        let Some((moment, counts)) = read.ok().and_then(|(text, moment)| {
            let counts = bytes(text)?;
            Some((moment, counts))
        }) else {
            network.lose();
            return None;
        };
        let step = network.counter.advance(moment, counts);
        network.last = stands(at, step, network.last);
        network.last
    }

    /// The last growth, as far as it may still stand, where there is no time to read.
    pub fn unread(&mut self, round: u64, pod: &PodRef, at: Duration) -> Option<Grown<2>> {
        if pod.host_network {
            return None;
        }
        let network = self.of(round, pod)?;
        stands(at, Step::Soon, network.last)
    }

    fn of(&mut self, round: u64, pod: &PodRef) -> Option<&mut Network> {
        if !self.pods.contains_key(&pod.uid) {
            if self.pods.len() >= CONTAINERS_MAX {
                return None;
            }
            let network = Network {
                slow: Slow::new(self.pods.len() as u64),
                ..Network::default()
            };
            self.pods.insert(pod.uid.clone(), network);
            self.search = Backoff::default();
        }
        let network = self.pods.get_mut(&pod.uid)?;
        network.round = round;
        let ids = pod.containers.iter();
        let ids = ids.filter_map(|container| place::id(&container.container_id).ok());
        if !network
            .containers
            .iter()
            .map(String::as_str)
            .eq(ids.clone())
        {
            network.containers = ids.map(str::to_owned).collect();
            let gone = |(_, id): &(u32, String)| !network.containers.contains(id);
            if network.process.as_ref().is_some_and(gone) {
                network.lose();
            }
            self.search = Backoff::default();
        }
        Some(network)
    }

    /// Forgets the pods that the last measurement didn't ask for, and looks for a process
    /// of those that have none.
    pub fn settle(&mut self, round: u64, at: Duration) {
        self.pods.retain(|_, network| network.round == round);
        let without = self.pods.iter();
        let without = without.filter(|(_, network)| network.process.is_none());
        let wanted: HashMap<String, String> = without
            .flat_map(|(uid, network)| {
                let ids = network.containers.iter();
                ids.map(|id| (id.clone(), uid.clone()))
            })
            .collect();
        if wanted.is_empty() || !self.search.due(at) {
            return;
        }
        let mut pids = pids(&self.proc, self.after);
        let more = pids.len() > LOOKS_MAX;
        pids.truncate(LOOKS_MAX);
        self.after = match pids.last() {
            Some(last) if more => *last,
            _ => 0,
        };
        // Of a process that the container itself has put into a cgroup below its own the
        // network may be another one, so it is the second choice.
        let mut found: HashMap<&str, (bool, u32, &str)> = HashMap::new();
        for pid in pids {
            let Ok(text) = cgroups(&self.proc, pid) else {
                continue;
            };
            let Some((below, (id, uid))) =
                containers(&text).find_map(|(below, id)| Some((below, wanted.get_key_value(id)?)))
            else {
                continue;
            };
            let this = (below, pid, id.as_str());
            let best = found.entry(uid).or_insert(this);
            *best = this.min(*best);
        }
        for (uid, (_, pid, id)) in &found {
            if let Some(network) = self.pods.get_mut(*uid) {
                network.process = Some((*pid, (*id).to_owned()));
            }
        }
        if !more {
            self.search.wait(at, SEARCH_WAIT_MAX);
        }
    }
}

impl Network {
    /// Its process has ended, or it has another sandbox: all starts anew.
    fn lose(&mut self) {
        self.process = None;
        self.held.close();
        self.counter = Counter::default();
        self.last = None;
        self.slow.again();
    }
}

/// Those above `after`, the lowest first: a container's first process before what it
/// started, as a rule.
fn pids(proc: &Path, after: u32) -> Vec<u32> {
    let entries = std::fs::read_dir(proc).into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut pids: Vec<u32> = pids.filter(|pid| *pid > after).collect();
    pids.sort_unstable();
    pids
}

/// The file stays that of this network, whoever has the pid later.
fn open(proc: &Path, pid: u32, container: &str) -> io::Result<File> {
    let file = File::open(proc.join(pid.to_string()).join("net/dev"))?;
    let text = cgroups(proc, pid)?;
    let is_it = containers(&text).any(|(_, id)| id == container);
    is_it.then_some(file).ok_or(io::ErrorKind::NotFound.into())
}

fn cgroups(proc: &Path, pid: u32) -> io::Result<String> {
    let file = File::open(proc.join(pid.to_string()).join("cgroup"))?;
    let mut text = String::new();
    file.take(BYTES_MAX as u64).read_to_string(&mut text)?;
    Ok(text)
}

/// Names in a process' cgroups that a container's may have, such as `…/<id>` or
/// `…/cri-containerd-<id>.scope`, and whether there are others below.
fn containers(cgroups: &str) -> impl Iterator<Item = (bool, &str)> {
    let paths = cgroups
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2));
    paths.flat_map(|path| {
        path.rsplit('/').enumerate().map(|(above, part)| {
            let stem = part.strip_suffix(".scope").unwrap_or(part);
            let id = stem.rsplit_once('-').map_or(stem, |(_, id)| id);
            (above > 0, id)
        })
    })
}

/// Received and sent by all interfaces but loopback (see `proc_pid_net(5)`). `None` where
/// there is none, or more than can be read at once.
fn bytes(text: &[u8]) -> Option<[u64; 2]> {
    if text.len() >= BYTES_MAX {
        return None;
    }
    let text = str::from_utf8(text).ok()?;
    let mut sums = None;
    for line in text.lines().skip(2) {
        let (name, counts) = line.split_once(':')?;
        if name.trim() == "lo" {
            continue;
        }
        let mut counts = counts.split_ascii_whitespace();
        let received: u64 = counts.next()?.parse().ok()?;
        let sent: u64 = counts.nth(7)?.parse().ok()?;
        let [a, b] = sums.unwrap_or([0_u64; 2]);
        sums = Some([a.wrapping_add(received), b.wrapping_add(sent)]);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_interfaces_but_loopback_count() {
        let head = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n";
        let lo = "    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n";
        let eth = "  eth0: 10 1 0 0 0 0 0 0 20 2 0 0 0 0 0 0\n";
        let net = " net1:1 1 0 0 0 0 0 0 2 2 0 0 0 0 0 0\n";
        let read = |lines: &[&str]| bytes(format!("{head}{}", lines.concat()).as_bytes());
        assert_eq!(read(&[lo, eth, net]), Some([11, 22]));
        assert_eq!(read(&[lo]), None);
        assert_eq!(read(&[lo, "eth0: 10 1\n"]), None, "cut off");
        assert_eq!(read(&[&eth.repeat(400)]), None, "more than is read at once");
    }

    #[test]
    fn a_container_is_found_in_the_cgroups_of_each_driver_and_version() {
        let id = "4f2c0d1e".repeat(8);
        let found = |line: String| {
            let mut found = containers(&line).filter(|(_, part)| *part == id);
            found.next().map(|(below, _)| below)
        };
        let slice = "0::/kubepods.slice/kubepods-pod7b.slice";
        assert_eq!(
            found(format!("{slice}/cri-containerd-{id}.scope")),
            Some(false)
        );
        assert_eq!(found(format!("{slice}/crio-{id}.scope/init")), Some(true));
        assert_eq!(
            found(format!("4:cpu,cpuacct:/kubepods/burstable/pod7b/{id}")),
            Some(false)
        );
        assert_eq!(found(format!("0::/../../pod7b/{id}")), Some(false));
        assert_eq!(found("0::/system.slice/sshd.service".into()), None);
    }
}
