//! What isn't there, goes, comes back, lies or takes long: each a state that is
//! named and keeps nobody else from being measured.

use proptest::prelude::*;

use super::*;

fn says(cpu_ms: u64) -> Says {
    Says {
        cpu_ms,
        ..Says::default()
    }
}

#[test]
fn a_restarted_container_begins_with_no_rate() {
    let host = Host::v2();
    host.say_v2("", &place(UID, ID), says(50_000));
    let mut cgroups = host.cgroups();
    cgroups.measure(Ms(0), &[pod(UID, "web", &[ID])]);
    host.pass(1_000);
    host.say_v2("", &place(UID, OTHER), says(20));
    let restarted = [pod(UID, "web", &[OTHER])];
    let measured = cgroups.measure(Ms(1_000), &restarted);
    assert_eq!(measured.pods[UID].containers["c0"].cpu, None);
    assert_eq!(cgroups.open_files(), 3);
    host.pass(500);
    host.say_v2("", &place(UID, OTHER), says(120));
    let measured = cgroups.measure(Ms(1_500), &restarted);
    assert_eq!(cpu_milli(measured.pods[UID].cpu), Some((200, 500)));
}

#[test]
fn files_are_closed_when_their_pod_goes() {
    let host = Host::v1();
    let hierarchies = ["cpuacct", "cpu", "memory"];
    let uids: Vec<String> = (0..5)
        .map(|at| format!("0000000{at}{}", &UID[8..]))
        .collect();
    let mut pods = Vec::new();
    for uid in &uids {
        host.say_v1(hierarchies, &place(uid, ID), says(0));
        // One container's id is in one pod only; here the last digit tells them apart.
        let id = format!("{}{}", &ID[1..], &uid[7..8]);
        host.say_v1(hierarchies, &place(uid, &id), says(0));
        pods.push(pod(uid, "web", &[&id]));
    }
    let mut cgroups = host.cgroups();
    cgroups.measure(Ms(0), &pods);
    assert_eq!(cgroups.open_files(), 20);
    cgroups.measure(Ms(1_000), &pods[..2]);
    assert_eq!(cgroups.open_files(), 8);
    cgroups.measure(Ms(2_000), &[]);
    assert_eq!(cgroups.open_files(), 0);
}

#[test]
fn at_the_bound_on_descriptors_nothing_is_lost() {
    let host = Host::v2();
    host.say_v2("", &place(UID, ID), says(0));
    let mut cgroups = host.bounded(Descriptors::at_most(4));
    let pods = [pod(UID, "web", &[ID, OTHER])];
    for round in 0..3 {
        host.say_v2("", &place(UID, ID), says(round * 100));
        host.say_v2("", &place(UID, OTHER), says(round * 300));
        let measured = cgroups.measure(Ms(round * 1_000), &pods);
        let expected = (round > 0).then_some((400, 1_000));
        assert_eq!(cpu_milli(measured.pods[UID].cpu), expected);
        assert!(measured.pods[UID].memory.is_some());
        assert_eq!(cgroups.open_files(), 4);
        host.pass(1_000);
    }
}

#[test]
fn a_container_without_a_cgroup_is_named_and_found_when_it_comes() {
    let host = Host::v2();
    host.say_v2("", &place(UID, ID), says(0));
    let mut cgroups = host.cgroups();
    let pods = [pod(UID, "web", &[ID, OTHER])];
    let measured = cgroups.measure(Ms(0), &pods);
    assert_eq!(
        problems(&measured),
        [
            "shop/web, container c1: the pod's cgroup holds none with the container's id; it may \
          just have ended"
        ]
    );
    assert!(measured.pods[UID].containers.contains_key("c0"));
    // A sum that lacks a part is no sum.
    assert_eq!(measured.pods[UID].memory, None);
    host.say_v2("", &place(UID, OTHER), says(0));
    host.pass(1_000);
    let measured = cgroups.measure(Ms(1_000), &pods);
    assert_eq!(problems(&measured), Vec::<String>::new());
    assert!(measured.pods[UID].memory.is_some());
}

#[test]
fn what_stays_away_is_looked_for_ever_more_seldom_but_always_again() {
    let host = Host::v2();
    host.say_v2("", &place(UID, ID), says(0));
    let mut cgroups = host.cgroups();
    let pods = [pod(UID, "web", &[OTHER])];
    for second in 0..600 {
        let measured = cgroups.measure(Ms(second * 1_000), &pods);
        assert_eq!(measured.problems.len(), 1);
        host.pass(1_000);
    }
    host.say_v2("", &place(UID, OTHER), says(0));
    let mut waited = 0;
    while !cgroups.measure(Ms(0), &pods).problems.is_empty() {
        waited += 1;
        host.pass(1_000);
        assert!(waited <= 30, "not found after {waited} s");
    }
    assert!(
        waited > 2,
        "found after {waited} s, so it was looked for each second"
    );
}

#[test]
fn a_kubelet_that_starts_later_is_found() {
    let host = Host::new();
    let mut cgroups = host.cgroups();
    let pods = [pod(UID, "web", &[ID, OTHER])];
    let measured = cgroups.measure(Ms(0), &pods);
    let text = problems(&measured).join("\n");
    assert!(
        text.starts_with("shop/web: there are no cgroups in "),
        "{text}"
    );
    assert!(
        text.ends_with("mount the host's /sys and name it in HOST_SYS"),
        "{text}"
    );
    host.write("fs/cgroup/cgroup.controllers", "cpu memory\n");
    host.pass(1_000);
    cgroups.measure(Ms(0), &pods);
    let text = problems(&cgroups.measure(Ms(0), &pods)).join("\n");
    assert!(
        text.starts_with("shop/web: there is no kubepods cgroup under "),
        "{text}"
    );
    host.say_v2("", &place(UID, ID), says(0));
    host.say_v2("", &place(UID, OTHER), says(0));
    let mut waited = 0;
    while !cgroups.measure(Ms(0), &pods).problems.is_empty() {
        waited += 1;
        host.pass(1_000);
        assert!(waited <= 5, "not found after {waited} s");
    }
}

#[test]
fn a_second_nodes_tree_is_found_when_a_pod_is_in_none_of_the_known_ones() {
    let host = Host::v2();
    let other = UID.replace('7', "8");
    host.say_v2("", &format!("/node1{}", place(&other, OTHER)), says(0));
    let mut cgroups = host.cgroups();
    host.say_v2("", &format!("/node2{}", place(UID, ID)), says(0));
    let pods = [pod(UID, "web", &[ID])];
    host.pass(1_000);
    let measured = cgroups.measure(Ms(0), &pods);
    assert_eq!(
        problems(&measured),
        [
            "shop/web: no cgroup carries the pod's uid, in 1 kubepods cgroups; it may just be starting"
        ]
    );
    host.pass(1_000);
    assert_eq!(
        problems(&cgroups.measure(Ms(0), &pods)),
        Vec::<String>::new()
    );
}

#[test]
fn problems_are_named_once_for_a_pod_and_bounded() {
    let host = Host::v2();
    host.say_v2("", &place(UID, ID), says(0));
    let mut cgroups = host.cgroups();
    let mut pods: Vec<PodRef> = (0..100)
        .map(|at| {
            pod(
                &format!("lost-{at}"),
                &format!("lost-{at}"),
                &[OTHER, "other-id"],
            )
        })
        .collect();
    pods.push(pod(UID, "web", &[ID]));
    let measured = cgroups.measure(Ms(0), &pods);
    assert_eq!(measured.problems.len(), PROBLEMS_MAX);
    assert_eq!(measured.problems_left_out, 100 - PROBLEMS_MAX);
    assert_eq!(measured.problems[1].pod, "lost-1");
    assert_eq!(measured.pods.len(), 101);
    assert!(measured.pods[UID].memory.is_some());
}

#[test]
fn ids_that_lead_elsewhere_are_refused() {
    let host = Host::v2();
    host.say_v2("", &place(UID, ID), says(0));
    let mut cgroups = host.cgroups();
    let pods = [
        pod("../../burstable/x", "evil", &[OTHER]),
        pod(UID, "web", &["../x", ID]),
    ];
    let measured = cgroups.measure(Ms(0), &pods);
    assert_eq!(
        problems(&measured),
        [
            "shop/evil: no cgroup carries the pod's uid, in 1 kubepods cgroups; it may just be \
             starting",
            "shop/web, container c0: its id can't be a cgroup's name: \"containerd://../x\"",
        ]
    );
}

#[test]
fn files_without_sense_are_named_and_stop_nobody() {
    let host = Host::v2();
    host.say_v2("", &place(UID, ID), says(0));
    host.say_v2("", &place(UID, OTHER), says(0));
    let mut cgroups = host.cgroups();
    let pods = [pod(UID, "web", &[ID, OTHER])];
    cgroups.measure(Ms(0), &pods);
    host.pass(1_000);
    let of = |name: &str| format!("fs/cgroup{}/{name}", place(UID, ID));
    for name in ["cpu.stat", "memory.stat", "memory.current"] {
        host.write(&of(name), "nonsense\n");
    }
    host.say_v2("", &place(UID, OTHER), says(70));
    let measured = cgroups.measure(Ms(1_000), &pods);
    assert_eq!(
        problems(&measured),
        ["shop/web, container c0: its cgroup can't be read: cpu.stat says nothing known"]
    );
    let usage = &measured.pods[UID];
    assert_eq!(cpu_milli(usage.containers["c1"].cpu), Some((70, 1_000)));
    // One file alone takes only its own value with it.
    host.pass(1_000);
    host.say_v2("", &place(UID, ID), says(90));
    host.write(&of("memory.stat"), "");
    let measured = cgroups.measure(Ms(2_000), &pods);
    let usage = measured.pods[UID].containers["c0"];
    assert_eq!(
        (cpu_milli(usage.cpu), usage.memory),
        (Some((45, 2_000)), None)
    );
}

#[test]
fn more_cpu_time_than_the_machine_has_is_named_and_no_rate() {
    let host = Host::v2();
    host.say_v2("", &place(UID, ID), says(0));
    let mut cgroups = host.cgroups();
    let pods = [pod(UID, "web", &[ID])];
    cgroups.measure(Ms(0), &pods);
    host.pass(1_000);
    host.say_v2("", &place(UID, ID), says(9_000));
    let measured = cgroups.measure(Ms(1_000), &pods);
    assert_eq!(measured.pods[UID].cpu, None);
    assert_eq!(
        problems(&measured),
        ["shop/web, container c0: its CPU time grew by more than this machine's CPUs can give"]
    );
    host.pass(1_000);
    host.say_v2("", &place(UID, ID), says(12_000));
    let measured = cgroups.measure(Ms(2_000), &pods);
    assert_eq!(cpu_milli(measured.pods[UID].cpu), Some((3_000, 1_000)));
}

#[test]
fn those_that_time_was_too_short_for_come_first_next_time() {
    let host = Host::v2();
    let ids: Vec<String> = (0..6).map(|at| format!("{}{at}", &ID[1..])).collect();
    let uids: Vec<String> = (0..6)
        .map(|at| format!("0000000{at}{}", &UID[8..]))
        .collect();
    let mut pods = Vec::new();
    for (uid, id) in uids.iter().zip(&ids) {
        host.say_v2("", &place(uid, id), says(0));
        pods.push(pod(uid, uid, &[id]));
    }
    let mut cgroups = host.cgroups();
    // Eight looks at the clock for each container, so three fit into 500 ms.
    host.step_ns.store(20_000_000, Ordering::Relaxed);
    let measured_ones = |measured: &Measured| -> Vec<bool> {
        let memory = |uid: &String| measured.pods[uid].memory.is_some();
        uids.iter().map(memory).collect()
    };
    let first = cgroups.measure(Ms(0), &pods);
    let read = measured_ones(&first);
    let count = read.iter().filter(|read| **read).count();
    assert!((1..6).contains(&count), "{read:?}");
    assert!(
        problems(&first)[0]
            .ends_with("not read, since this measurement took longer than 500 ms; it is next")
    );
    let second = cgroups.measure(Ms(1_000), &pods);
    let then = measured_ones(&second);
    assert!(!read[count] && then[count], "{read:?} {then:?}");
}

#[test]
fn while_readings_take_long_the_last_rate_stands_for_a_while_with_its_time() {
    let host = Host::v2();
    host.say_v2("", &place(UID, ID), says(0));
    let mut cgroups = host.cgroups();
    let pods = [pod(UID, "web", &[ID])];
    cgroups.measure(Ms(10_000), &pods);
    let mut cpu_ms = 0;
    let mut second = |now: u64, took_ms: u64| {
        host.pass(1_000);
        cpu_ms += 100;
        host.say_v2("", &place(UID, ID), says(cpu_ms));
        host.step_ns.store(took_ms * 1_000_000, Ordering::Relaxed);
        let measured = cgroups.measure(Ms(now), &pods);
        host.step_ns.store(0, Ordering::Relaxed);
        (measured.pods[UID].clone(), problems(&measured))
    };
    let (before, _) = second(11_000, 0);
    assert_eq!(cpu_milli(before.cpu), Some((100, 1_000)));
    let (during, named) = second(12_000, 80);
    assert_eq!(during.cpu, before.cpu);
    assert_eq!(during.memory, before.memory, "it hasn't moved");
    assert_eq!(
        named,
        [
            "shop/web, container c0: reading took so long that the rate would be wrong; the next \
          window is longer"
        ]
    );
    // The doubt is the same, and small beside two seconds.
    let (after, named) = second(13_000, 80);
    assert_eq!(named, Vec::<String>::new());
    let rate = after.cpu.expect("a rate");
    assert!(rate.at > Ms(13_000) && rate.window_ms > 2_000, "{rate:?}");
    assert_eq!(rate.milli, 200_000 / rate.window_ms as i64);
}

#[test]
fn a_rate_that_isnt_renewed_ends_after_a_few_seconds() {
    let host = Host::v2();
    host.say_v2("", &place(UID, ID), says(0));
    let mut cgroups = host.cgroups();
    let pods = [pod(UID, "web", &[ID])];
    cgroups.measure(Ms(0), &pods);
    host.pass(1_000);
    let rate = cgroups.measure(Ms(1_000), &pods).pods[UID].cpu;
    assert!(rate.is_some());
    // Looks at the clock so slow that there is no time for any reading.
    host.step_ns.store(600_000_000, Ordering::Relaxed);
    let unread = cgroups.measure(Ms(2_000), &pods);
    assert_eq!(unread.pods[UID].cpu.map(|cpu| cpu.milli), Some(0));
    assert!(problems(&unread)[0].contains("not read"), "{unread:?}");
    host.pass(5_000);
    let unread = cgroups.measure(Ms(7_000), &pods);
    assert_eq!(
        (unread.pods[UID].cpu, unread.pods[UID].memory),
        (None, None)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_files_of_any_content_give_an_absurd_usage(
        rounds in prop::collection::vec(
            (0u64..=3_000, any::<[u64; 4]>(), 0u32..=63, any::<bool>(), ".{0,40}"),
            1..8,
        ),
    ) {
        for (v1, host) in [(false, Host::v2()), (true, Host::v1())] {
            let mut cgroups = host.cgroups();
            let pods = [pod(UID, "web", &[ID])];
            for (step_ms, numbers, shift, plain, text) in &rounds {
                let [a, b, c, d] = numbers.map(|number| number >> shift);
                let of = |name: &str| {
                    let place = place(UID, ID);
                    let hierarchy = if v1 { name.split('.').next().unwrap() } else { "" };
                    format!("fs/cgroup/{hierarchy}{place}/{name}")
                };
                let files = if v1 {
                    vec![
                        ("cpuacct.usage", format!("{a}\n")),
                        ("cpu.stat", format!("nr_periods {b}\nnr_throttled {c}\nthrottled_time {d}\n")),
                        ("memory.usage_in_bytes", format!("{d}\n")),
                        ("memory.stat", format!("total_inactive_file {c}\n")),
                    ]
                } else {
                    vec![
                        ("cpu.stat", format!(
                            "usage_usec {a}\nnr_periods {b}\nnr_throttled {c}\nthrottled_usec {d}\n"
                        )),
                        ("memory.current", format!("{d}\n")),
                        ("memory.stat", format!("inactive_file {c}\n")),
                    ]
                };
                for (name, sense) in files {
                    host.write(&of(name), if *plain { &sense } else { text });
                }
                host.pass(*step_ms);
                let measured = cgroups.measure(Ms(0), &pods);
                let usage = &measured.pods[UID];
                if let Some(cpu) = usage.cpu {
                    prop_assert!((0..=4_000).contains(&cpu.milli), "{cpu:?}");
                    prop_assert!((100..=60_000).contains(&cpu.window_ms), "{cpu:?}");
                }
                if let Some(memory) = usage.memory {
                    prop_assert!(memory.milli >= 0);
                }
                for container in usage.containers.values() {
                    let ratio = container.throttled.map_or(0, |throttled| throttled.ratio_milli());
                    prop_assert!(ratio <= 1_000);
                }
            }
        }
    }
}
