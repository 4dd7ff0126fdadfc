//! Ways of sizing beside HPA's arithmetic for a whole pod: by a band of usage, by how long
//! work may wait, by an idle count, and by one container of several.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use starling_tests::installed::{Installed, installed, until};
use starling_tests::workload::{AT_ONCE, cpu_policy, deployment, number_policy};

const SOON: Duration = Duration::from_mins(1);
/// The longest that strategy `objective` holds a size after it was needed.
const HOLD_MAX: Duration = Duration::from_mins(5);
/// What may come on top: the rate is known after 8 s, a hold ends with its last stretch,
/// an eighth of it, and a pass and a write follow.
const AFTER_HOLD: Duration = Duration::from_mins(1);

/// Until the policy's one trigger proposes this size, at a value within these percents.
fn await_proposal(
    installed: &Installed,
    namespace: &str,
    size: u64,
    percents: RangeInclusive<i64>,
) {
    let what = format!("{size} replicas are proposed");
    until(&installed.cluster, &what, SOON, |_| {
        Ok(installed.input(namespace, "web").and_then(|input| {
            let percent = input["value_milli"].as_i64().unwrap_or(-1) / 1_000;
            if input["proposal"] == size && percents.contains(&percent) {
                Ok(())
            } else {
                Err(input.to_string())
            }
        }))
    });
}

#[test]
fn under_banded_nothing_changes_within_the_band_and_steps_are_capped_outside() {
    let Some(installed) = installed() else { return };
    let namespace = "banded";
    installed.namespace(namespace);
    installed.apply(namespace, &deployment("web", 3, 0));
    installed.await_rollout(namespace, "web");
    installed.keep_oldest(namespace, "web");
    installed.burn(namespace, "web", 120);
    // 30 to 80 % of the requests is the band, where nothing else is said.
    let banded = "  strategy: banded\n  banded: {cooldownPeriod: 5}";
    let policy = cpu_policy("Deployment", "web", banded);
    // A dry run until the pods are measured.
    installed.apply(namespace, &format!("{policy}  dryRun: true\n"));
    // 120 milli of three pods' 300: by the trigger's 70 % two would do.
    await_proposal(&installed, namespace, 3, 35..=45);
    installed.apply(namespace, &policy);
    installed.await_condition(namespace, "web", "Ready");
    // 88 %; four pods make it 66 %, which a second of catching up leaves within the band.
    installed.burn(namespace, "web", 265);
    installed.await_size(namespace, "deploy", "web", SOON, |size| size == 4);
    await_proposal(&installed, namespace, 4, 55..=75);
    // 20 %: two would make it 40 %, but one step is a third of them, at least one pod.
    installed.burn(namespace, "web", 80);
    installed.await_size(namespace, "deploy", "web", SOON, |size| size == 2);
    await_proposal(&installed, namespace, 2, 35..=45);
    let changes = installed.changes(namespace, "web");
    let capped = |&(from, to): &(u64, u64)| from.abs_diff(to) == 1;
    assert!(changes.iter().all(capped), "{changes:?}");
    installed.forget(namespace);
}

#[test]
fn under_objective_a_deployment_gets_the_replicas_that_the_work_needs_and_gives_them_back() {
    let Some(installed) = installed() else { return };
    let namespace = "objective";
    installed.namespace(namespace);
    installed.apply(namespace, &deployment("checkout", 1, 0));
    let address = installed.source(namespace, 40);
    // 40 arrivals a second of 100 ms each keep four slots busy. For 97 % of them to start
    // within 250 ms it takes six slots or so; five would do for 95 %. By the trigger's goal
    // one replica would do for a thousand arrivals.
    let policy = format!(
        r#"
apiVersion: starling.sh/v1alpha1
kind: ScalingPolicy
metadata: {{name: checkout}}
spec:
  scaleTargetRef: {{name: checkout}}
  minReplicaCount: 1
  maxReplicaCount: 10
  pollingInterval: 1
  strategy: objective
  objective: {{wait: 250ms, missRatio: 3%, serviceTime: 100ms, slots: 1, arrivals: arrivals}}
  triggers:
  - type: metrics-api
    name: arrivals
    metadata: {{url: "http://{address}/cgi-bin/get", valueLocation: number, targetValue: "1000"}}
"#
    );
    installed.apply(namespace, &policy);
    let grown = installed.await_size(namespace, "deploy", "checkout", SOON, |size| size > 1);
    assert!((5..=8).contains(&grown), "{grown} replicas");
    installed.await_rollout(namespace, "checkout");
    // The pods hardly compute, which says nothing of the work: by 24 a second and the
    // stated time it takes four or five. What was needed is held for six times as long
    // as the replicas took to start, a minute at least; the account says how long.
    let told = installed.tell(namespace, "source", "number", 24);
    let what = "the size is held for a time that is said";
    let left = until(&installed.cluster, what, SOON, |_| {
        let answer = installed.starling(&["explain", "checkout", "-n", namespace]);
        Ok(answer.and_then(|answer| {
            let limits = answer["live"]["limits"].as_array();
            let mut limits = limits.into_iter().flatten();
            let held = limits.find(|limit| limit["code"] == "ObjectiveHeld");
            let left = held.and_then(|held| held["remaining_ms"].as_u64());
            left.ok_or_else(|| answer["live"].to_string())
        }))
    });
    let left = Duration::from_millis(left);
    assert!(left <= HOLD_MAX, "{left:?}");
    let less = |size: u64| size < grown;
    let shrunk = installed.await_size(namespace, "deploy", "checkout", left + AFTER_HOLD, less);
    eprintln!(
        "{shrunk} replicas {:?} after there was less work, {left:?} were said",
        told.elapsed()
    );
    assert!((3..=5).contains(&shrunk), "{shrunk} replicas");
    installed.forget(namespace);
}

#[test]
fn an_idle_deployment_rests_at_its_idle_count_after_the_cooldown_and_wakes_at_its_minimum() {
    let Some(installed) = installed() else { return };
    let namespace = "idle";
    installed.namespace(namespace);
    installed.apply(namespace, &deployment("worker", 0, 0));
    let address = installed.source(namespace, 0);
    let policy = number_policy("worker", &address, "")
        .replace("Count: 0", "Count: 2\n  idleReplicaCount: 0")
        .replace("cooldownPeriod: 2", "cooldownPeriod: 10");
    installed.apply(namespace, &policy);
    installed.await_condition(namespace, "worker", "Ready");
    // One replica would do for 5.
    installed.tell(namespace, "source", "number", 5);
    installed.await_size(namespace, "deploy", "worker", SOON, |size| size == 2);
    installed.await_rollout(namespace, "worker");
    let began = Instant::now();
    installed.tell(namespace, "source", "number", 0);
    installed.await_size(namespace, "deploy", "worker", SOON, |size| size == 0);
    let rested = began.elapsed();
    eprintln!("at rest {rested:?} after the last work");
    // The number was last asked for up to a second before, or more on a busy machine.
    assert!(rested > Duration::from_secs(5), "{rested:?}");
    installed.tell(namespace, "source", "number", 25);
    installed.await_size(namespace, "deploy", "worker", SOON, |size| size == 3);
    let changes = installed.changes(namespace, "worker");
    assert_eq!(changes[..2], [(0, 2), (2, 0)]);
    installed.forget(namespace);
}

/// Beside the container that is told what to burn one that burns 120 milli and asks for 20.
const BESIDE: &str = "
      - name: beside
        image: localhost/starling-test/load:1
        imagePullPolicy: Never
        command: [/bin/sh, -c, 'echo 120 >/tmp/milli; exec burn']
        resources: {requests: {cpu: 20m, memory: 16Mi}}
";

#[test]
fn a_metric_of_one_container_leaves_the_others_out() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "container");
    installed.namespace(namespace);
    let pods = deployment("web", 1, 0);
    installed.apply(namespace, &format!("{}{BESIDE}", pods.trim_end()));
    installed.await_rollout(namespace, "web");
    installed.keep_oldest(namespace, "web");
    let policy = format!(
        "
apiVersion: starling.sh/v1alpha1
kind: ScalingPolicy
metadata: {{name: web}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: web}}
  minReplicaCount: 1
  maxReplicaCount: 6
  metrics:
  - type: ContainerResource
    containerResource:
      name: cpu
      container: load
      target: {{type: Utilization, averageUtilization: 70}}
{AT_ONCE}
"
    );
    installed.apply(namespace, &policy);
    let pod = installed.oldest(namespace, "web");
    let burn = |milli: u32| {
        let set = format!("echo {milli} >/tmp/milli");
        let exec = ["exec", &pod, "-n", namespace, "-c", "load"];
        let words = [&exec[..], &["--", "/bin/sh", "-c", &set]].concat();
        cluster.kubectl(words).unwrap();
    };
    // 40 % of what `load` asks for, and 133 % of what the pod does: two, by its 70 %.
    burn(40);
    await_proposal(&installed, namespace, 1, 25..=55);
    installed.await_size(namespace, "deploy", "web", SOON, |size| size == 1);
    // 67 % of three; all of what the pods use were 156 %.
    burn(200);
    installed.await_size(namespace, "deploy", "web", SOON, |size| size == 3);
    installed.await_rollout(namespace, "web");
    await_proposal(&installed, namespace, 3, 60..=77);
    burn(0);
    installed.await_size(namespace, "deploy", "web", SOON, |size| size == 1);
    installed.forget(namespace);
}
