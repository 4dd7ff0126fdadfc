//! Workloads grow and shrink by what the agents measure and by what sources say.

use std::time::{Duration, Instant};

use starling_tests::installed::{Installed, installed, text, until};
use starling_tests::sizes::Sizes;
use starling_tests::workload::{AT_ONCE, cpu_policy, deployment, number_policy};

const SOON: Duration = Duration::from_mins(1);
/// At least one run has to be as fast: whatever else takes a core meanwhile slows one down.
/// `cluster_latency`, an example, makes as many as one likes.
const GROWS_WITHIN: Duration = Duration::from_secs(3);
const RUNS: usize = 4;

#[test]
fn load_on_its_pods_makes_a_deployment_grow_and_rest_lets_it_shrink() {
    let Some(installed) = installed() else { return };
    let namespace = "grow";
    installed.namespace(namespace);
    let mut took: Vec<Duration> = Vec::new();
    for run in 0..RUNS {
        // Agents remember 15 s of a pod's use: a load that has just come and gone counts as
        // noise, in which the next one is no clear rise. So each run has a pod of its own.
        let name = format!("web{run}");
        let policy = cpu_policy("Deployment", &name, AT_ONCE);
        let yaml = format!("{}---{policy}", deployment(&name, 1, 0));
        installed.apply(namespace, &yaml);
        installed.await_rollout(namespace, &name);
        installed.await_condition(namespace, &name, "Ready");
        await_idle(&installed, namespace, &name);
        // The sum of what all pods burn stays the same however many there are, as with real
        // requests: one pod's 200 milli are 200 % of its request, and 70 % of three pods'.
        let mut sizes = Sizes::of(&installed.cluster, namespace, &name);
        let began = installed.burn(namespace, &name, 200);
        took.push(sizes.next("it grows", |size| size >= 2).at - began);
        let soon = took.iter().any(|it| *it < GROWS_WITHIN);
        installed.await_size(namespace, "deploy", &name, SOON, |size| size == 3);
        installed.burn(namespace, &name, 0);
        installed.await_size(namespace, "deploy", &name, SOON, |size| size == 1);
        if soon {
            break;
        }
    }
    eprintln!("from load to scale write: {took:.2?}");
    // An HPA with metrics-server takes 22 s in the mean, on a cluster as this one.
    let best = took.iter().min().unwrap();
    assert!(*best < GROWS_WITHIN, "{took:.2?}");
    installed.forget(namespace);
}

/// Until the one pod of a Deployment is known to be idle: what it used while it started is
/// a small part of the mean.
fn await_idle(installed: &Installed, namespace: &str, name: &str) {
    let what = format!("{name} is measured, and idle");
    until(&installed.cluster, &what, SOON, |_| {
        Ok(installed.input(namespace, name).and_then(|input| {
            let percent_milli = input["value_milli"].as_i64();
            let low = percent_milli.is_some_and(|value| value < 20_000);
            let idle = low && input["pods"]["counted"] == 1;
            idle.then_some(()).ok_or_else(|| input.to_string())
        }))
    });
}

#[test]
fn a_number_brings_a_deployment_from_zero_and_back() {
    let Some(installed) = installed() else { return };
    let namespace = "numbers";
    installed.namespace(namespace);
    installed.apply(namespace, &deployment("worker", 0, 0));
    let address = installed.source(namespace, 0);
    let policy = number_policy("worker", &address, AT_ONCE);
    installed.apply(namespace, &policy);
    installed.await_condition(namespace, "worker", "Ready");
    let began = Instant::now();
    installed.tell(namespace, "source", "number", 25);
    installed.await_size(namespace, "deploy", "worker", SOON, |size| size >= 1);
    eprintln!("from 0 to 1, as kubectl sees it: {:?}", began.elapsed());
    installed.await_size(namespace, "deploy", "worker", SOON, |size| size == 3);
    for of in ["ScalingPolicy", "Deployment"] {
        await_event(&installed, namespace, of, "worker");
    }
    // Name, target, bounds, size, what is wanted, and whether it is active and ready.
    let shown = ["worker", "worker", "0", "6", "3", "3", "True", "True"];
    until(&installed.cluster, "the columns show it", SOON, |cluster| {
        let columns = ["get", "scalingpolicies", "-n", namespace, "--no-headers"];
        let columns = cluster.kubectl(columns)?;
        let right = columns.split_whitespace().take(8).eq(shown);
        Ok(right.then_some(()).ok_or(columns))
    });
    installed.tell(namespace, "source", "number", 0);
    installed.await_size(namespace, "deploy", "worker", SOON, |size| size == 0);
    installed.forget(namespace);
}

/// An event of a change of size, with its reason in words that name the source.
fn await_event(installed: &Installed, namespace: &str, kind: &str, name: &str) {
    let what = format!("an event of {kind} {name} says why");
    until(&installed.cluster, &what, SOON, |cluster| {
        let events = cluster.get(["events", "-n", namespace])?;
        let all = events["items"].as_array().into_iter().flatten();
        let mut notes = all
            .filter(|it| it["involvedObject"]["kind"] == kind)
            .filter(|it| it["involvedObject"]["name"] == name)
            .filter(|it| it["reason"] == "SuccessfulRescale")
            .map(|it| text(&it["message"]));
        let told = notes.any(|note| note.contains("metrics-api asks for 3 replicas"));
        Ok(told.then_some(()).ok_or_else(|| events.to_string()))
    });
}

#[test]
fn what_behavior_says_of_windows_and_rates_holds() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "rates");
    installed.namespace(namespace);
    installed.apply(namespace, &deployment("worker", 1, 0));
    let address = installed.source(namespace, 5);
    let behavior = "  behavior:
    scaleUp: {policies: [{type: Pods, value: 2, periodSeconds: 5}]}
    scaleDown:
      stabilizationWindowSeconds: 10
      policies:
      - {type: Pods, value: 1, periodSeconds: 5}
      - {type: Percent, value: 100, periodSeconds: 5}
      selectPolicy: Min";
    let policy = number_policy("worker", &address, behavior);
    installed.apply(namespace, &policy);
    installed.await_condition(namespace, "worker", "Ready");
    let mut sizes = Sizes::of(cluster, namespace, "worker");
    installed.tell(namespace, "source", "number", 50);
    let up = [3, 5].map(|wanted| sizes.next("it grows by two", |size| size == wanted).at);
    let told = installed.tell(namespace, "source", "number", 25);
    let down = [4, 3].map(|wanted| sizes.next("it shrinks by one", |size| size == wanted).at);
    assert_eq!(sizes.all(), [1, 3, 5, 4, 3]);
    eprintln!(
        "grew twice in {:?}, began to shrink after {:?}, and on after {:?}",
        up[1] - up[0],
        down[0] - told,
        down[1] - down[0]
    );
    // Writes are seen some time after they are decided on, so periods of 5 s may look
    // shorter; the window of 10 s begins with the last answer of 50, a poll before the 25.
    let seen = Duration::from_secs(3);
    assert!(up[1] - up[0] + seen > Duration::from_secs(5));
    assert!(down[0] - told + seen > Duration::from_secs(10));
    assert!(down[1] - down[0] + seen > Duration::from_secs(5));
    // Switched off in one direction, whatever the number says.
    let never = "  behavior: {scaleDown: {selectPolicy: Disabled}}";
    installed.apply(namespace, &number_policy("worker", &address, never));
    installed.tell(namespace, "source", "number", 5);
    until(cluster, "it would shrink", SOON, |_| {
        Ok(installed.input(namespace, "worker").and_then(|input| {
            let fits = input["value_milli"] == 5_000;
            fits.then_some(()).ok_or_else(|| input.to_string())
        }))
    });
    let later = sizes.during(Duration::from_secs(8));
    assert!(later.is_empty(), "{later:?}");
    installed.forget(namespace);
}

#[test]
fn a_dry_run_decides_and_records_but_never_writes() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "dry");
    installed.namespace(namespace);
    let yaml = format!(
        "{}---{}",
        deployment("web", 1, 200),
        cpu_policy("Deployment", "web", "  dryRun: true")
    );
    installed.apply(namespace, &yaml);
    until(cluster, "the dry run wants more", SOON, |cluster| {
        let policy = cluster.get(["scalingpolicy", "web", "-n", namespace])?;
        let wanted = policy["status"]["desiredReplicas"].as_u64();
        Ok(match wanted {
            Some(wanted) if wanted >= 2 => Ok(wanted),
            _ => Err(policy["status"].to_string()),
        })
    });
    let mut sizes = Sizes::of(cluster, namespace, "web");
    let later = sizes.during(Duration::from_secs(3));
    assert!(later.is_empty(), "{later:?}");
    cluster
        .kubectl(["delete", "scalingpolicy", "web", "-n", namespace])
        .unwrap();
    let later = sizes.during(Duration::from_secs(3));
    assert!(later.is_empty(), "{later:?}");
    assert_eq!(sizes.all(), [1]);
    installed.forget(namespace);
}
