//! Pods' networks, by a process of each in a `/proc` that the test writes.

use super::*;

/// A process of a container: its cgroup, and what its network has carried.
fn process(host: &Host, pid: u32, id: &str, below: &str, [received, sent]: [u64; 2]) {
    let cgroup = format!("4:cpu,cpuacct:{}{below}\n", place(UID, id));
    host.write(&format!("proc/{pid}/cgroup"), &cgroup);
    carried(host, pid, [received, sent]);
}

fn carried(host: &Host, pid: u32, [received, sent]: [u64; 2]) {
    let text = format!(
        "Inter-|   Receive\n face |bytes\n    lo: 7 7 0 0 0 0 0 0 7 7 0 0 0 0 0 0\n  eth0: \
         {received} 1 0 0 0 0 0 0 {sent} 1 0 0 0 0 0 0\n"
    );
    host.write(&format!("proc/{pid}/net/dev"), &text);
}

fn say(host: &Host, id: &str) {
    host.say_v1(
        ["cpuacct", "cpu", "memory"],
        &place(UID, id),
        Says::default(),
    );
}

/// Bytes received and sent a second, in thousandths.
fn network(measured: &Measured) -> Option<(i64, i64)> {
    let pod = &measured.pods[UID];
    Some((pod.received?.milli, pod.sent?.milli))
}

fn second(host: &Host, cgroups: &mut Cgroups, pod: &PodRef) -> Option<(i64, i64)> {
    host.pass(1_000);
    network(&cgroups.measure(Ms(0), std::slice::from_ref(pod)))
}

#[test]
fn a_network_that_nobody_sizes_by_is_read_seldom() {
    let host = Host::v1();
    say(&host, ID);
    process(&host, 30, ID, "", [0, 0]);
    let mut cgroups = host.cgroups();
    let web = PodRef {
        seldom: [Resource::Network].into(),
        ..pod(UID, "web", &[ID])
    };
    let mut renewed = Vec::new();
    for second in 1..=12u64 {
        carried(&host, 30, [second * 1_000, 0]);
        host.pass(1_000);
        let now = Ms(second * 1_000);
        let measured = cgroups.measure(now, std::slice::from_ref(&web));
        if let Some(received) = measured.pods[UID].received {
            assert_eq!(received.milli, 1_000_000);
            renewed.extend((received.at == now).then_some(second));
        }
    }
    // It is found by the first measurement, and first read by the second.
    assert_eq!(renewed, [3, 7, 11]);
}

#[test]
fn a_pods_network_is_that_of_one_of_its_processes() {
    let host = Host::v1();
    say(&host, ID);
    // Of nobody, of the pod by way of a container of its own, and of the pod.
    host.write("proc/1/cgroup", "4:cpu,cpuacct:/\n");
    carried(&host, 1, [1, 1]);
    process(&host, 20, ID, "/docker/nested", [5, 5]);
    process(&host, 30, ID, "", [1_000, 50]);
    host.write("proc/uptime", "1 1\n");
    let mut cgroups = host.cgroups();
    let web = pod(UID, "web", &[ID]);
    assert_eq!(second(&host, &mut cgroups, &web), None, "it is found now");
    assert_eq!(second(&host, &mut cgroups, &web), None, "the first reading");
    carried(&host, 30, [3_000, 150]);
    assert_eq!(
        second(&host, &mut cgroups, &web),
        Some((2_000_000, 100_000))
    );
    assert_eq!(second(&host, &mut cgroups, &web), Some((0, 0)));
    // Counters that go back give nothing, and then what they grow by.
    carried(&host, 30, [10, 150]);
    assert_eq!(second(&host, &mut cgroups, &web), None);
    carried(&host, 30, [11, 150]);
    assert_eq!(second(&host, &mut cgroups, &web), Some((1_000, 0)));
    // More than any device carries.
    carried(&host, 30, [1 << 50, 151]);
    assert_eq!(second(&host, &mut cgroups, &web), None);
    let open = cgroups.open_files();
    cgroups.measure(Ms(0), &[]);
    assert_eq!(cgroups.open_files(), 0, "of {open}");
}

#[test]
fn a_new_sandbox_starts_anew() {
    let host = Host::v1();
    say(&host, ID);
    process(&host, 30, ID, "", [1_000, 50]);
    let mut cgroups = host.cgroups();
    let web = pod(UID, "web", &[ID]);
    for _ in 0..2 {
        second(&host, &mut cgroups, &web);
    }
    assert_eq!(second(&host, &mut cgroups, &web), Some((0, 0)));
    say(&host, OTHER);
    process(&host, 31, OTHER, "", [9_000, 50]);
    let web = pod(UID, "web", &[OTHER]);
    assert_eq!(second(&host, &mut cgroups, &web), None, "it is found now");
    assert_eq!(
        second(&host, &mut cgroups, &web),
        None,
        "nothing to compare with"
    );
    assert_eq!(second(&host, &mut cgroups, &web), Some((0, 0)));
}

#[test]
fn a_pid_that_another_container_has_by_now_is_not_believed() {
    let host = Host::v1();
    say(&host, ID);
    process(&host, 30, ID, "", [1_000, 50]);
    // No descriptor is left, so the file is opened for each reading.
    let mut cgroups = host.bounded(Descriptors::at_most(0));
    let web = pod(UID, "web", &[ID]);
    for _ in 0..2 {
        second(&host, &mut cgroups, &web);
    }
    assert_eq!(second(&host, &mut cgroups, &web), Some((0, 0)));
    process(&host, 30, OTHER, "", [9_000, 50]);
    for _ in 0..4 {
        assert_eq!(second(&host, &mut cgroups, &web), None);
    }
    // Another process of its own is.
    process(&host, 40, ID, "", [2_000, 60]);
    host.pass(60_000);
    for _ in 0..2 {
        second(&host, &mut cgroups, &web);
    }
    assert_eq!(second(&host, &mut cgroups, &web), Some((0, 0)));
}

#[test]
fn the_nodes_network_is_no_pods() {
    let host = Host::v1();
    say(&host, ID);
    process(&host, 30, ID, "", [1_000, 50]);
    let mut cgroups = host.cgroups();
    let mut web = pod(UID, "web", &[ID]);
    web.host_network = true;
    for _ in 0..4 {
        assert_eq!(second(&host, &mut cgroups, &web), None);
    }
}
