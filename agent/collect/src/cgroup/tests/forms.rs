//! Where drivers, runtimes, distributions and cluster makers put containers.

use super::*;

/// Measures one container twice, a second apart, and expects a quarter of a
/// core, 50 MB beside 20 MB of inactive files, and half of the periods throttled.
fn check(host: &Host, form: layout::Form, say: impl Fn(Says), pod: &PodRef) {
    let mut says = Says {
        cpu_ms: 10_000,
        memory: 70_000_000,
        inactive: 20_000_000,
        throttled: Some([100, 40, 900]),
    };
    say(says);
    let mut cgroups = host.cgroups();
    let layout = cgroups.layout().expect("a layout");
    assert_eq!(layout.form, form);
    let first = cgroups.measure(Ms(5_000), std::slice::from_ref(pod));
    assert_eq!(problems(&first), Vec::<String>::new());
    assert_eq!(first.pods[&pod.uid].cpu, None);
    host.pass(1_000);
    says.cpu_ms += 250;
    says.throttled = Some([110, 45, 1_100]);
    say(says);
    let second = cgroups.measure(Ms(6_000), std::slice::from_ref(pod));
    assert_eq!(problems(&second), Vec::<String>::new());
    let usage = &second.pods[&pod.uid];
    let reading = |milli, window_ms| {
        Some(Reading {
            milli,
            at: Ms(6_000),
            window_ms,
        })
    };
    assert_eq!(usage.cpu, reading(250, 1_000));
    assert_eq!(usage.memory, reading(50_000_000_000, 0));
    let throttled = usage.containers["c0"].throttled.expect("a quota");
    let expected = Throttled {
        periods: 10,
        throttled: 5,
        stopped_ms: 200,
        at: Ms(6_000),
        window_ms: 1_000,
    };
    assert_eq!((throttled, throttled.ratio_milli()), (expected, 500));
}

fn check_v2(place: &str, pod: &PodRef) {
    let host = Host::v2();
    check(
        &host,
        layout::Form::V2,
        |says| host.say_v2("", place, says),
        pod,
    );
}

const UID_: &str = "7b1f8a52_9c0e_4a3d_8f7e_0c6f5d2b9a11";

#[test]
fn version_2_with_systemd_in_each_class_of_quality_of_service() {
    for class in ["burstable", "besteffort"] {
        let place = format!(
            "/kubepods.slice/kubepods-{class}.slice/kubepods-{class}-pod{UID_}.slice/\
             cri-containerd-{ID}.scope"
        );
        check_v2(&place, &pod(UID, "web", &[ID]));
    }
    let guaranteed = format!("/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{ID}.scope");
    check_v2(&guaranteed, &pod(UID, "web", &[ID]));
}

#[test]
fn version_2_with_cgroupfs_in_each_class_of_quality_of_service() {
    for class in ["burstable/", "besteffort/", ""] {
        let place = format!("/kubepods/{class}pod{UID}/{ID}");
        check_v2(&place, &pod(UID, "web", &[ID]));
    }
}

#[test]
fn cri_o_and_docker_by_both_drivers() {
    let slice = format!("/kubepods.slice/kubepods-pod{UID_}.slice");
    for name in [format!("crio-{ID}.scope"), format!("docker-{ID}.scope")] {
        check_v2(&format!("{slice}/{name}"), &pod(UID, "web", &[ID]));
    }
    check_v2(
        &format!("/kubepods/pod{UID}/crio-{ID}"),
        &pod(UID, "web", &[ID]),
    );
}

#[test]
fn cri_os_monitor_isnt_taken_for_its_container() {
    let host = Host::v2();
    let slice = format!("/kubepods.slice/kubepods-pod{UID_}.slice");
    let idle = Says::default();
    host.say_v2("", &format!("{slice}/crio-conmon-{ID}.scope"), idle);
    let say = |says| host.say_v2("", &format!("{slice}/crio-{ID}.scope"), says);
    check(&host, layout::Form::V2, say, &pod(UID, "web", &[ID]));
}

#[test]
fn kubepods_nested_as_kind_and_other_cgroup_roots_nest_it() {
    let kind = format!(
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/\
         kubelet-kubepods-burstable-pod{UID_}.slice/cri-containerd-{ID}.scope"
    );
    let outer = format!("/system.slice/docker-{OTHER}.scope");
    let podman = format!("/machine.slice/libpod-{OTHER}.scope/container");
    for place in [
        kind.clone(),
        format!("{outer}{kind}"),
        format!("{podman}{kind}"),
        format!("/docker/{OTHER}/kubelet/kubepods/besteffort/pod{UID}/{ID}"),
        format!("/node3/kubepods/pod{UID}/{ID}"),
        format!("/node3.slice/node3-kubepods.slice/node3-kubepods-pod{UID_}.slice/{ID}"),
    ] {
        check_v2(&place, &pod(UID, "web", &[ID]));
    }
}

#[test]
fn a_static_pod_is_found_by_its_config_hash() {
    let hash = "99dcb84d2a34f7e338778606703258c4";
    let mut etcd = pod(UID, "etcd", &[ID]);
    etcd.static_hash = Some(hash.into());
    let slice = format!(
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{hash}.slice/\
         cri-containerd-{ID}.scope"
    );
    check_v2(&slice, &etcd);
    check_v2(&format!("/kubepods/burstable/pod{hash}/{ID}"), &etcd);
    // Some have the annotation and their own uid.
    check_v2(&place(UID, ID), &etcd);
}

#[test]
fn version_1_with_a_hierarchy_for_each_controller() {
    let host = Host::v1();
    let place = format!("node3/kubepods/burstable/pod{UID}/{ID}");
    let say = |says| host.say_v1(["cpuacct", "cpu", "memory"], &place, says);
    check(&host, layout::Form::V1, say, &pod(UID, "web", &[ID]));
}

#[test]
fn version_1_with_controllers_together_and_without_links() {
    let host = Host::new();
    host.write("fs/cgroup/cpu,cpuacct/cgroup.procs", "");
    host.write("fs/cgroup/memory/cgroup.procs", "");
    // A mount point without its mount.
    fs::create_dir(host.path("fs/cgroup/cpu")).unwrap();
    let place = format!("kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{ID}.scope");
    let say = |says| host.say_v1(["cpu,cpuacct", "cpu,cpuacct", "memory"], &place, says);
    check(&host, layout::Form::V1, say, &pod(UID, "web", &[ID]));
}

#[test]
fn hybrid_reads_each_controller_where_it_is() {
    let host = Host::v1();
    host.write("fs/cgroup/unified/cgroup.controllers", "hugetlb\n");
    let place = place(UID, ID);
    let wrong = Says::default();
    host.say_v2("unified", &place, wrong);
    let say = |says| host.say_v1(["cpuacct", "cpu", "memory"], &place, says);
    check(&host, layout::Form::Hybrid, say, &pod(UID, "web", &[ID]));
    // Memory moved to version 2, and what accounts for CPU isn't mounted.
    let host = Host::new();
    host.write("fs/cgroup/cpu/cgroup.procs", "");
    host.write("fs/cgroup/unified/cgroup.controllers", "memory\n");
    host.write(
        &format!("fs/cgroup/unified{place}/cgroup.events"),
        "populated 1\n",
    );
    let say = |says| {
        host.say_v1(["cpu", "cpu", "cpu"], &place, says);
        host.say_v2(
            "unified",
            &place,
            Says {
                throttled: None,
                ..says
            },
        );
    };
    check(&host, layout::Form::Hybrid, say, &pod(UID, "web", &[ID]));
}

#[test]
fn without_the_memory_controller_cpu_is_measured() {
    let host = Host::new();
    for controller in ["cpu", "cpuacct"] {
        host.write(&format!("fs/cgroup/{controller}/cgroup.procs"), "");
    }
    host.say_v1(
        ["cpuacct", "cpu", "elsewhere"],
        &place(UID, ID),
        Says::default(),
    );
    let mut cgroups = host.cgroups();
    let pods = [pod(UID, "web", &[ID])];
    cgroups.measure(Ms(0), &pods);
    host.pass(1_000);
    let measured = cgroups.measure(Ms(1_000), &pods);
    let usage = &measured.pods[UID];
    assert_eq!(cpu_milli(usage.cpu), Some((0, 1_000)));
    assert_eq!(usage.memory, None);
}

#[test]
fn nodes_that_share_a_kernel_show_all_trees_and_each_takes_its_pods_by_uid() {
    let host = Host::v1();
    let uids: Vec<String> = (1..=5)
        .map(|node| format!("0000000{node}{}", &UID[8..]))
        .collect();
    let say = |node: u64, cpu_ms| {
        let uid = &uids[node as usize - 1];
        let place = format!("node{node}/kubepods/besteffort/pod{uid}/{ID}");
        let says = Says {
            cpu_ms,
            ..Says::default()
        };
        host.say_v1(["cpuacct", "cpu", "memory"], &place, says);
    };
    (1..=5).for_each(|node| say(node, 0));
    let mut cgroups = host.cgroups();
    let pods = [pod(&uids[3], "web", &[ID])];
    cgroups.measure(Ms(0), &pods);
    host.pass(2_000);
    (1..=5).for_each(|node| say(node, node * 200));
    let measured = cgroups.measure(Ms(2_000), &pods);
    assert_eq!(cpu_milli(measured.pods[&uids[3]].cpu), Some((400, 2_000)));
    assert_eq!(measured.pods.len(), 1);
}

#[test]
fn a_pod_is_the_sum_of_its_containers_without_the_sandbox() {
    let host = Host::v2();
    let say = |id: &str, cpu_ms| {
        let says = Says {
            cpu_ms,
            memory: 3_000,
            inactive: 5_000,
            ..Says::default()
        };
        host.say_v2("", &place(UID, id), says);
    };
    let pause = ID.replace('4', "9");
    for id in [ID, OTHER, &pause] {
        say(id, 0);
    }
    let mut cgroups = host.cgroups();
    let pods = [pod(UID, "web", &[ID, OTHER])];
    cgroups.measure(Ms(0), &pods);
    host.pass(1_000);
    say(ID, 100);
    say(OTHER, 30);
    say(&pause, 700);
    let measured = cgroups.measure(Ms(1_000), &pods);
    let usage = &measured.pods[UID];
    assert_eq!(cpu_milli(usage.cpu), Some((130, 1_000)));
    assert_eq!(cpu_milli(usage.containers["c1"].cpu), Some((30, 1_000)));
    // More inactive than used can only be two moments: that is nothing, not less.
    assert_eq!(cpu_milli(usage.memory), Some((0, 0)));
}
