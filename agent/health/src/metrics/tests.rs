//! What a scrape says, and that Prometheus' conventions hold for all of it.

use std::collections::BTreeMap;

use starling_collect::gpu::driver::{Identity, Memory};
use starling_collect::gpu::{Device, Gpus, Instance};
use starling_collect::node::{Machine, disk, network, pressure, space};
use starling_collect::unread::Unread;

use super::*;
use crate::pods::{HELD_MAX, Held};
use crate::reading::{Certificate, Gossip, Log, POLICIES_MAX, Policy};
use crate::used::{Amount, SERIES_MAX, Used, Workload};

/// One of everything.
fn busy() -> Metrics {
    let metrics = Metrics::default();
    let ms = Duration::from_millis;
    metrics.sampled(ms(3));
    metrics.passed(ms(1));
    metrics.decided(Direction::Up, "ScaleUpLimit");
    metrics.decided(Direction::Down, "ScaleDownStabilized");
    metrics.proposed(Proposal::Committed, ms(8));
    metrics.proposed(Proposal::Unknown, ms(5_000));
    metrics.edited(Edit::Applied);
    metrics.polled(true, ms(4));
    metrics.polled(false, ms(900));
    metrics.patched(ms(1_200));
    metrics.asked_kubernetes("patch", Some(200), ms(7));
    metrics.asked_kubernetes("patch", None, ms(7));
    metrics
}

fn reading() -> Reading {
    Reading {
        log: Log {
            id: 3,
            term: 4,
            leader: Some(3),
            led_age: Some(Duration::from_millis(3_500)),
            leads: true,
            votes: true,
            voters: 3,
            applied_index: 98,
            committed_index: 100,
            elections: 2,
            ..Log::default()
        },
        gossip: Gossip {
            dropped: vec![("replayed", 5), ("malformed", 0)],
            oldest_age: Some(Duration::from_millis(1_500)),
            ..Gossip::default()
        },
        gossip_keys: vec!["0a1b2c3d".into(), "4e5f6071".into()],
        certificates: vec![Certificate {
            of: "agent",
            until_s: 1_800_000_000,
            due: true,
        }],
        members: 5,
        policies: vec![Policy {
            name: "default/web".into(),
            replicas: 4,
            min: 1,
            max: 10,
            failing: 2,
            fallen_back: 1,
        }],
        machine: machine().into(),
        used: used(0),
        ..Reading::default()
    }
}

/// One of everything, and so many workloads more.
fn used(more: usize) -> Used {
    let amount = |resource: &str, used, allocatable| Amount {
        resource: resource.into(),
        used,
        allocatable,
    };
    let of = |name: String| Workload {
        namespace: "shop".into(),
        name,
        amount: amount("cpu", 0.75, None),
    };
    let workloads = (0..=more).map(|n| of(format!("Deployment/web{n}")));
    Used {
        age: Some(Duration::from_millis(750)),
        of_node: vec![amount("cpu", 1.5, Some(4.0)), amount("psi-io", 0.25, None)],
        of_workloads: workloads.collect(),
    }
}

/// One of everything, too.
fn machine() -> Machine {
    let disk = disk::Rates {
        read_bytes: 4_096,
        busy_milli: 250,
        ..disk::Rates::default()
    };
    let interface = network::Rates {
        sent_bytes: 1_500,
        ..network::Rates::default()
    };
    let space = space::Space {
        capacity_bytes: 1_000,
        free_bytes: 400,
        inodes: 50,
        inodes_free: 20,
    };
    let io = pressure::Rates {
        some_milli: 30,
        full_milli: Some(5),
    };
    Machine {
        disks: [("sda".to_owned(), disk)].into(),
        interfaces: [("eth0".to_owned(), interface)].into(),
        file_systems: [("nodefs", space)].into(),
        pressures: [("io", io), ("cpu", pressure::Rates::default())].into(),
        gpus: gpus(),
        unread: vec![Unread::absent("psi-memory", "this kernel has no PSI")],
        silent: [("file system imagefs".to_owned(), Duration::from_secs(7))].into(),
    }
}

/// One that is split, and doesn't say how busy it is, and one that is lost.
fn gpus() -> Gpus {
    let memory = |used_bytes| {
        Some(Memory {
            used_bytes,
            total_bytes: 800,
        })
    };
    let named = |uuid: &str| Identity {
        uuid: uuid.into(),
        ..Identity::default()
    };
    let split = Device {
        identity: named("GPU-1"),
        memory: memory(300),
        power_milliwatts: Some(250_500),
        temperature_celsius: Some(51),
        instances: Some(vec![Instance {
            uuid: "MIG-1".into(),
            memory: memory(100),
            processes: None,
        }]),
        ..Device::default()
    };
    let lost = Device {
        identity: named("GPU-2"),
        lost: true,
        ..Device::default()
    };
    let whole = Device {
        identity: named("GPU-3"),
        utilization_milli: Some(400),
        ..Device::default()
    };
    Gpus {
        devices: vec![split, lost, whole],
        ..Gpus::default()
    }
}

fn page(metrics: &Metrics, format: Format) -> String {
    metrics.encode(Some(reading()), format).unwrap()
}

#[test]
fn what_happened_and_what_is_so_stand_on_the_page() {
    let page = page(&busy(), Format::OpenMetrics);
    for line in [
        "starling_build_info{version=\"0.1.0\"} 1",
        "starling_sample_duration_seconds_count 1",
        "starling_pass_duration_seconds_count 1",
        "starling_decisions_total{direction=\"up\",reason=\"ScaleUpLimit\"} 1",
        "starling_proposals_total{outcome=\"unknown\"} 1",
        "starling_commit_duration_seconds_count 1",
        "starling_policy_changes_total{change=\"applied\"} 1",
        "starling_trigger_poll_duration_seconds_count 2",
        "starling_trigger_poll_failures_total 1",
        "starling_sample_to_patch_seconds_bucket{le=\"1.5\"} 1",
        "starling_kubernetes_requests_total{verb=\"patch\",code=\"200\"} 1",
        "starling_kubernetes_requests_total{verb=\"patch\",code=\"0\"} 1",
        "starling_kubernetes_request_duration_seconds_count{verb=\"patch\"} 2",
        "starling_raft_term 4",
        "starling_raft_is_leader 1",
        "starling_raft_has_leader 0",
        "starling_raft_led_age_seconds 3.5",
        "starling_raft_lag_entries 2",
        "starling_raft_elections_total 2",
        "starling_gossip_oldest_summary_age_seconds 1.5",
        "starling_gossip_dropped_datagrams_total{reason=\"replayed\"} 5",
        "starling_certificate_expiry_timestamp_seconds{of=\"agent\"} 1800000000",
        "starling_certificate_due{of=\"agent\"} 1",
        "starling_gossip_keys{key=\"0a1b2c3d\"} 1",
        "starling_gossip_keys{key=\"4e5f6071\"} 0",
        "starling_members 5",
        "starling_policy_replicas{policy=\"default/web\"} 4",
        "starling_policy_failing_triggers{policy=\"default/web\"} 2",
        "starling_policy_fallback_triggers{policy=\"default/web\"} 1",
        "starling_node_disk_read_bytes_per_second{device=\"sda\"} 4096.0",
        "starling_node_disk_busy_ratio{device=\"sda\"} 0.25",
        "starling_node_network_sent_bytes_per_second{interface=\"eth0\"} 1500.0",
        "starling_node_file_system_free_bytes{file_system=\"nodefs\"} 400.0",
        "starling_node_pressure_ratio{resource=\"io\",tasks=\"full\"} 0.005",
        "starling_node_pressure_ratio{resource=\"cpu\",tasks=\"some\"} 0.0",
        "starling_node_gpu_memory_used_bytes{gpu=\"GPU-1\"} 300.0",
        "starling_node_gpu_memory_used_bytes{gpu=\"MIG-1\"} 100.0",
        "starling_node_gpu_power_watts{gpu=\"GPU-1\"} 250.5",
        "starling_node_gpu_busy_ratio{gpu=\"GPU-3\"} 0.4",
        "starling_node_gpu_lost{gpu=\"GPU-2\"} 1.0",
        "starling_node_unread{what=\"psi-memory\",fault=\"false\"} 1.0",
        "starling_node_sample_age_seconds 0.75",
        "starling_node_resource_used{resource=\"psi-io\"} 0.25",
        "starling_node_resource_allocatable{resource=\"cpu\"} 4.0",
        "starling_workload_resource_used{namespace=\"shop\",workload=\"Deployment/web0\",resource=\"cpu\"} 0.75",
        "starling_node_reader_silent_seconds{reader=\"file system imagefs\"} 7.0",
    ] {
        assert!(page.lines().any(|l| l == line), "no line {line} in\n{page}");
    }
    assert!(!page.contains("busy_ratio{gpu=\"GPU-1\"}"), "{page}");
    assert!(page.contains("\nprocess_resident_memory_bytes "), "{page}");
    assert!(page.contains("\nprocess_cpu_seconds_total "), "{page}");
    assert!(page.ends_with("# EOF\n"), "{page}");
}

/// The kind of every family, by name.
fn families(page: &str) -> BTreeMap<String, String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let pairs = types.map(|line| line.split_once(' ').unwrap());
    pairs
        .map(|(name, kind)| (name.into(), kind.into()))
        .collect()
}

#[test]
fn every_number_has_a_help_text_and_a_name_by_the_conventions() {
    let page = page(&busy(), Format::OpenMetrics);
    let families = families(&page);
    assert!(families.len() > 30, "{families:?}");
    for (name, kind) in &families {
        let help = format!("# HELP {name} ");
        let help = page.lines().find_map(|line| line.strip_prefix(&help));
        let help = help.unwrap_or_else(|| panic!("{name} has no help"));
        assert!(help.ends_with('.') && help.len() > 15, "{name}: {help}");
        let prefixed = name.starts_with("starling_") || name.starts_with("process_");
        assert!(prefixed && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        for word in ["millis", "_ms", "kilobytes", "minutes", "_total", "percent"] {
            assert!(!name.contains(word), "{name} is not in base units");
        }
        if kind == "histogram" {
            assert!(name.ends_with("_seconds"), "{name}");
        }
    }
}

#[test]
fn a_family_is_written_once_and_no_series_twice() {
    let page = page(&busy(), Format::OpenMetrics);
    let types = page.lines().filter(|l| l.starts_with("# TYPE ")).count();
    assert_eq!(types, families(&page).len());
    let mut seen = std::collections::BTreeSet::new();
    for line in page.lines().filter(|l| !l.starts_with('#')) {
        let series = line.rsplit_once(' ').unwrap().0;
        assert!(seen.insert(series), "{series} stands there twice");
    }
}

#[test]
fn a_scraper_that_knows_only_plain_text_gets_it() {
    let plain = "text/plain;version=0.0.4;q=1,*/*;q=0.1";
    assert_eq!(Format::accepted(Some(plain)), Format::Prometheus);
    let both = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    assert_eq!(Format::accepted(Some(both)), Format::OpenMetrics);
    assert_eq!(Format::accepted(None), Format::OpenMetrics);
    let page = page(&busy(), Format::Prometheus);
    assert!(
        page.contains("# TYPE starling_decisions_total counter\n"),
        "{page}"
    );
    assert!(!page.contains("# EOF"), "{page}");
}

#[test]
fn policies_beyond_the_bound_are_counted_and_not_listed() {
    let policy = |n: usize| Policy {
        name: format!("default/p{n}"),
        replicas: 1,
        min: 1,
        max: 2,
        ..Policy::default()
    };
    let many = Reading {
        policies: (0..POLICIES_MAX + 3).map(policy).collect(),
        ..Reading::default()
    };
    let page = Metrics::default()
        .encode(Some(many), Format::OpenMetrics)
        .unwrap();
    let listed = page
        .lines()
        .filter(|line| line.starts_with("starling_policy_replicas{"))
        .count();
    assert_eq!(listed, POLICIES_MAX);
    assert!(page.contains("\nstarling_policies_unlisted 3\n"), "{page}");
}

#[test]
fn pods_that_are_held_back_are_named_each_with_what_is_known() {
    let held = |at: usize, oom_kills, throttled_milli| Held {
        namespace: "shop".into(),
        pod: format!("web-{at}"),
        oom_kills,
        throttled_milli,
    };
    let mut pods = vec![held(0, Some(3), None), held(1, Some(0), Some(250))];
    pods.extend((2..HELD_MAX + 5).map(|at| held(at, None, Some(0))));
    let reading = Reading {
        held: pods.into(),
        ..Reading::default()
    };
    let page = Metrics::default()
        .encode(Some(reading), Format::OpenMetrics)
        .unwrap();
    for line in [
        r#"starling_pod_oom_kills{namespace="shop",pod="web-0"} 3.0"#,
        r#"starling_pod_oom_kills{namespace="shop",pod="web-1"} 0.0"#,
        r#"starling_pod_throttled_ratio{namespace="shop",pod="web-1"} 0.25"#,
    ] {
        assert!(page.lines().any(|it| it == line), "{line} in {page}");
    }
    let count = |name: &str| page.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(count("starling_pod_oom_kills{"), 2);
    assert_eq!(count("starling_pod_throttled_ratio{"), HELD_MAX - 1);
}

#[test]
fn workloads_beyond_the_bound_are_counted_and_not_listed() {
    let many = Reading {
        used: used(SERIES_MAX + 1),
        ..Reading::default()
    };
    let page = Metrics::default()
        .encode(Some(many), Format::OpenMetrics)
        .unwrap();
    let lines = page.lines();
    let listed = lines.filter(|line| line.starts_with("starling_workload_resource_used{"));
    assert_eq!(listed.count(), SERIES_MAX);
    let counted = "\nstarling_workload_resources_unlisted 2.0\n";
    assert!(page.contains(counted), "{page}");
}

#[test]
fn what_could_not_be_measured_has_no_series() {
    let reading = Reading {
        machine: Machine::default().into(),
        ..Reading::default()
    };
    let page = Metrics::default()
        .encode(Some(reading), Format::OpenMetrics)
        .unwrap();
    assert!(!page.contains("starling_node_"), "{page}");
}

#[test]
fn before_the_agent_has_joined_there_are_only_its_own_numbers() {
    let page = Metrics::default()
        .encode(None, Format::OpenMetrics)
        .unwrap();
    assert!(!page.contains("starling_raft"), "{page}");
    assert!(page.contains("process_threads"), "{page}");
}

#[test]
fn alerts_and_dashboards_ask_for_numbers_that_exist() {
    let page = page(&busy(), Format::Prometheus);
    let series: Vec<&str> = page
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(['{', ' ']).next().unwrap())
        .collect();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = folder.join("../../daemonset/components/monitoring");
    for file in ["prometheus-rule.yaml", "starling.json"] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let mut asked = 0;
        for (at, _) in text.match_indices("{job=") {
            let word = |c: char| c.is_ascii_lowercase() || c == '_';
            let name = &text[text[..at].trim_end_matches(word).len()..at];
            if name.starts_with("starling_") || name.starts_with("process_") {
                assert!(
                    series.contains(&name),
                    "{file} asks for {name}, there is none"
                );
                asked += 1;
            }
        }
        assert!(asked > 8, "{file} asks for {asked} numbers only");
    }
}
