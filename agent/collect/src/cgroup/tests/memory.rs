//! When the working set is read anew, what it says meanwhile, and when it is missing.

use super::*;

const MB: u64 = 1_000_000;

fn say(host: &Host, says: Says) {
    let place = place(UID, ID);
    if host.path("fs/cgroup/memory").exists() {
        host.say_v1(["cpuacct", "cpu", "memory"], &place, says);
    } else {
        host.say_v2("", &place, says);
    }
}

/// Of one container, in both versions of cgroups.
struct Watched {
    hosts: [(Host, Cgroups); 2],
    pods: [PodRef; 1],
    second: u64,
}

impl Watched {
    fn new(seldom: &[Resource]) -> Watched {
        let hosts = [Host::v2(), Host::v1()].map(|host| {
            say(&host, Says::default());
            let cgroups = host.cgroups();
            (host, cgroups)
        });
        let of = PodRef {
            seldom: seldom.iter().copied().collect(),
            ..pod(UID, "web", &[ID])
        };
        Watched {
            hosts,
            pods: [of],
            second: 0,
        }
    }

    /// What is read a second later: the working set, and how many seconds old it is.
    fn read(&mut self, charged: u64, inactive: u64) -> Option<(u64, u64)> {
        let says = Says {
            memory: charged,
            inactive,
            ..Says::default()
        };
        let now = Ms(60_000 + self.second * 1_000);
        self.second += 1;
        let read = self.hosts.each_mut().map(|(host, cgroups)| {
            say(host, says);
            let measured = cgroups.measure(now, &self.pods);
            assert_eq!(measured.problems, []);
            host.pass(1_000);
            measured.pods[UID].memory
        });
        assert_eq!(read[0], read[1], "both versions say the same");
        let reading = read[0]?;
        Some((reading.milli as u64 / 1_000, now.since(reading.at) / 1_000))
    }

    /// Reads what is the same in all of so many seconds.
    fn ages(&mut self, seconds: u64, charged: u64, inactive: u64) -> Vec<u64> {
        let read = (0..seconds).map(|_| {
            let (working_set, age) = self.read(charged, inactive).unwrap();
            assert_eq!(working_set, charged - inactive);
            age
        });
        read.collect()
    }
}

#[test]
fn a_working_set_that_stays_is_read_each_fourth_second() {
    let mut watched = Watched::new(&[]);
    let ages = watched.ages(10, 100 * MB, 36 * MB);
    assert_eq!(ages, [0, 0, 1, 2, 3, 0, 1, 2, 3, 0]);
}

#[test]
fn one_that_moves_by_more_than_a_64th_is_read_at_once_and_stands_until_then() {
    let mut watched = Watched::new(&[]);
    watched.ages(4, 100 * MB, 36 * MB);
    // 64 MB are in use: 1 MB is as much as may go unseen.
    assert_eq!(watched.read(101 * MB, 36 * MB), Some((64 * MB, 3)));
    let mut watched = Watched::new(&[]);
    watched.ages(3, 100 * MB, 36 * MB);
    assert_eq!(watched.read(102 * MB, 37 * MB), Some((65 * MB, 0)));
    assert_eq!(watched.read(100 * MB, 36 * MB), Some((64 * MB, 0)));
    // Each step is small, and all of them together aren't.
    let seen: Vec<_> = (1..=3)
        .map(|step| watched.read(100 * MB + step * 600_000, 36 * MB).unwrap())
        .collect();
    assert_eq!(seen[1..], [(64_600_000, 1), (65_800_000, 0)], "{seen:?}");
    // Of a small one the kernel itself doesn't know more.
    let mut watched = Watched::new(&[]);
    watched.ages(2, MB, 0);
    assert_eq!(watched.read(MB + MB / 2, 0), Some((MB, 1)));
    assert_eq!(watched.read(MB + MB / 2 + 50_000, 0), Some((1_550_000, 0)));
}

#[test]
fn pages_that_turn_over_while_as_much_is_charged_show_within_four_seconds() {
    let mut watched = Watched::new(&[]);
    watched.ages(2, 100 * MB, 90 * MB);
    // At its limit: files make room for what is taken.
    let seen: Vec<_> = (0..4)
        .map(|_| watched.read(100 * MB, 10 * MB).unwrap())
        .collect();
    assert_eq!(
        seen,
        [(10 * MB, 1), (10 * MB, 2), (10 * MB, 3), (90 * MB, 0)]
    );
}

#[test]
fn memory_that_nobody_sizes_by_is_read_each_fourth_second_however_it_moves() {
    let mut watched = Watched::new(&[Resource::Memory]);
    let ages: Vec<u64> = (1..=10)
        .map(|second| watched.read(second * 100 * MB, 0).unwrap().1)
        .collect();
    assert_eq!(ages, [0, 0, 1, 2, 3, 0, 1, 2, 3, 0]);
}

#[test]
fn a_part_that_cannot_be_read_when_it_is_due_leaves_no_working_set() {
    for lost in ["memory.current", "memory.stat"] {
        let host = Host::v2();
        let says = |memory| Says {
            memory,
            ..Says::default()
        };
        say(&host, says(0));
        let mut cgroups = host.cgroups();
        let pods = [pod(UID, "web", &[ID])];
        let mut read = |memory: u64, lost: Option<&str>| {
            say(&host, says(memory));
            if let Some(name) = lost {
                host.write(&format!("fs/cgroup{}/{name}", place(UID, ID)), "");
            }
            let memory = cgroups.measure(Ms(0), &pods).pods[UID].memory;
            host.pass(1_000);
            memory.map(|it| it.milli / 1_000)
        };
        assert_eq!([read(MB, None), read(MB, None)], [Some(1_000_000); 2]);
        assert_eq!(read(9 * MB, Some(lost)), None, "{lost}");
    }
}
