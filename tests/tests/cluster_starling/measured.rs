//! What agents measure is what kubelets measure, and what they propose from it is what HPA
//! would, computed here pod by pod from the same cluster.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;
use starling_kubernetes_rig::turn;
use starling_tests::installed::{Installed, chart, installed, is_ready, text, until};
use starling_tests::workload::{cpu_policy, deployment};

/// Ends what never agrees; the first comparison does as a rule.
const AGREE: Duration = Duration::from_mins(4);
/// The same where agents have what their kubelet said up to 15 s before: a load that wasn't
/// steady spoils the next comparison, too.
const AGREE_BY_KUBELET: Duration = Duration::from_mins(8);
const SOON: Duration = Duration::from_mins(1);
/// A kubelet renews what it says within 15 s, and its mean is of the load after 15 more; on
/// a busy machine both take longer.
const BY_KUBELET: Duration = Duration::from_mins(3);

/// Long enough for single seconds not to matter.
const WINDOW: Duration = Duration::from_secs(20);

/// What a kubelet says of one container: it renews that every few seconds.
struct Said {
    at: String,
    /// Thousandths of a core, the mean since it was renewed before.
    cpu_milli: f64,
    /// The working set.
    memory_bytes: f64,
}

/// By pod and container; only what has both numbers.
type AllSaid = BTreeMap<(String, String), Said>;

/// What the kubelets of a namespace's pods say of their containers.
fn kubelets(installed: &Installed, namespace: &str) -> Result<AllSaid, String> {
    let pods = installed.pods(namespace, "app=web");
    let nodes = pods.iter().map(|pod| text(&pod["spec"]["nodeName"]));
    let nodes: BTreeSet<String> = nodes.filter(|node| !node.is_empty()).collect();
    let mut all = AllSaid::new();
    for node in nodes {
        let path = format!("/api/v1/nodes/{node}/proxy/stats/summary");
        let answer = installed.cluster.kubectl(["get", "--raw", &path]);
        let answer = answer.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_str(&answer).map_err(|error| error.to_string())?;
        let pods = answer["pods"].as_array().into_iter().flatten();
        for pod in pods.filter(|pod| pod["podRef"]["namespace"] == namespace) {
            for container in pod["containers"].as_array().into_iter().flatten() {
                let cpu_nano = container["cpu"]["usageNanoCores"].as_f64();
                let memory_bytes = container["memory"]["workingSetBytes"].as_f64();
                if let (Some(cpu_nano), Some(memory_bytes)) = (cpu_nano, memory_bytes) {
                    let said = Said {
                        at: text(&container["cpu"]["time"]),
                        cpu_milli: cpu_nano / 1e6,
                        memory_bytes,
                    };
                    let key = (text(&pod["podRef"]["name"]), text(&container["name"]));
                    all.insert(key, said);
                }
            }
        }
    }
    Ok(all)
}

/// What agents say that the pods of the namespace's one workload use: thousandths of a
/// core and bytes.
fn agents(installed: &Installed, namespace: &str) -> Result<(f64, f64), String> {
    let answer = installed.ask(&["top", "workloads", "-n", namespace])?;
    let usage = &answer["workloads"][0]["usage"];
    let used = |resource: &str| usage[resource]["used"].as_f64();
    let both = used("cpu").zip(used("memory"));
    both.ok_or_else(|| format!("no usage in {answer}"))
}

fn mean(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

/// CPU and memory as agents and as kubelets have them over the same time: from now for as
/// long as [`WINDOW`], and until each of so many containers has been told of twice more.
fn over_the_same_time(
    installed: &Installed,
    namespace: &str,
    containers: usize,
) -> Result<[(f64, f64); 2], String> {
    let began = Instant::now();
    let before = kubelets(installed, namespace)?;
    if before.len() != containers {
        return Err(format!("kubelets tell of {} containers", before.len()));
    }
    let mut ours = Vec::new();
    let mut theirs: BTreeMap<_, BTreeMap<String, Said>> = BTreeMap::new();
    let twice = |theirs: &BTreeMap<_, BTreeMap<String, Said>>| {
        theirs.len() == containers && theirs.values().all(|renewed| renewed.len() >= 2)
    };
    while began.elapsed() < WINDOW || !twice(&theirs) {
        if began.elapsed() > SOON {
            return Err("kubelets don't renew what they tell".into());
        }
        ours.push(agents(installed, namespace)?);
        for (key, said) in kubelets(installed, namespace)? {
            if before.get(&key).is_some_and(|before| before.at != said.at) {
                let renewed = theirs.entry(key).or_default();
                renewed.insert(said.at.clone(), said);
            }
        }
    }
    let sum = |of: fn(&Said) -> f64| -> f64 {
        let containers = theirs.values();
        containers
            .map(|renewed| mean(renewed.values().map(of)))
            .sum()
    };
    let theirs = (sum(|said| said.cpu_milli), sum(|said| said.memory_bytes));
    let ours = (
        mean(ours.iter().map(|(cpu, _)| *cpu)),
        mean(ours.iter().map(|(_, memory)| *memory)),
    );
    Ok([ours, theirs])
}

/// Three pods that burn 130 milli each. Each holds 64 MiB in a file system in memory, which
/// its working set has, and has written a file of 32 MiB, whose pages in memory it hasn't.
fn steady() -> String {
    let holds = "command: [/bin/sh, -c, 'dd if=/dev/zero of=/held/it bs=1M count=64; \
                 dd if=/dev/zero of=/written bs=1M count=32; exec load']
        volumeMounts: [{name: held, mountPath: /held}]
        resources:";
    let pods = deployment("web", 3, 130).replace("resources:", holds);
    format!("{pods}      volumes: [{{name: held, emptyDir: {{medium: Memory}}}}]\n")
}

/// Until agents and kubelets say the same of a steady load, to a twentieth, and what they
/// say is the load.
fn agree(installed: &Installed, namespace: &str, within: Duration) {
    installed.namespace(namespace);
    let policy = cpu_policy("Deployment", "web", "  dryRun: true");
    installed.apply(namespace, &format!("{}---{policy}", steady()));
    installed.await_rollout(namespace, "web");
    // A kubelet's CPU is a mean over up to 10 s, an agent's over one second, so single ones
    // differ; means over the same 20 s don't. They may where the machine has other work and
    // the load isn't steady: then the next 20 s count.
    let [ours, theirs] = until(&installed.cluster, "both agree", within, |_| {
        Ok(
            over_the_same_time(installed, namespace, 3).and_then(|[ours, theirs]| {
                let near = |ours: f64, theirs: f64| (ours - theirs).abs() <= theirs / 20.0;
                let agree = near(ours.0, theirs.0) && near(ours.1, theirs.1);
                let loaded = theirs.0 > 300.0 && theirs.1 > 3.0 * 64e6;
                if agree && loaded {
                    Ok([ours, theirs])
                } else {
                    Err(format!("agents say {ours:?}, kubelets {theirs:?}"))
                }
            }),
        )
    });
    eprintln!("milli-cores and bytes: agents say {ours:?}, kubelets {theirs:?}");
    installed.forget(namespace);
}

#[test]
fn what_agents_measure_of_a_steady_load_is_within_a_twentieth_of_what_kubelets_measure() {
    let Some(installed) = installed() else { return };
    agree(&installed, "steady", AGREE);
}

#[test]
fn agents_that_see_nothing_of_their_node_measure_by_its_kubelet_and_size_by_that() {
    let Some(_turn) = turn::alone() else { return };
    // A cluster of its own, which ends with the test.
    let installed = Installed::start(2, &chart(&["measure=kubelet"]));
    for agent in &installed.agents() {
        let volumes = agent["spec"]["volumes"].as_array().unwrap();
        let paths = volumes.iter().map(|it| text(&it["hostPath"]["path"]));
        let paths: Vec<String> = paths.filter(|path| !path.is_empty()).collect();
        assert_eq!(paths, ["/var/lib/starling"]);
    }
    agree(&installed, "steady", AGREE_BY_KUBELET);
    let namespace = "grows";
    installed.namespace(namespace);
    installed.web(namespace);
    installed.burn(namespace, "web", 200);
    installed.await_size(namespace, "deploy", "web", BY_KUBELET, |size| size == 3);
    // Nothing that could be measured was left out.
    let status = installed.told(&["status"]);
    assert!(!status.to_string().contains("kubelet"), "{status}");
}

/// A StatefulSet whose pods burn 120 milli each in two containers. All but `web-3` become
/// ready, and those of a template with `selector` are on no node.
fn mixed(replicas: u32, request_milli: u32, selector: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: web}}
spec:
  serviceName: web
  replicas: {replicas}
  podManagementPolicy: Parallel
  # A new template is for new pods only.
  updateStrategy: {{type: OnDelete}}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      nodeSelector: {selector}
      containers:
      - name: load
        image: localhost/starling-test/load:1
        imagePullPolicy: Never
        command: [/bin/sh, -c, '[ "$(hostname)" = web-3 ] || touch /www/ready; exec load']
        env: [{{name: MILLI, value: "80"}}]
        readinessProbe: {{httpGet: {{path: /ready, port: 8080}}, periodSeconds: 2}}
        resources: {{requests: {{cpu: {request_milli}m, memory: 16Mi}}}}
      - name: beside
        image: localhost/starling-test/load:1
        imagePullPolicy: Never
        command: [/bin/sh, -c, 'echo 40 >/tmp/milli; exec burn']
        resources: {{requests: {{cpu: 20m, memory: 16Mi}}}}
"#
    )
}

/// One pod as HPA sees it, before its rules on CPU.
struct Pod {
    /// On no node, or not ready since its start.
    idle: bool,
    request_milli: f64,
    usage_milli: f64,
}

fn listed(installed: &Installed, namespace: &str) -> Result<Vec<Pod>, String> {
    let said = kubelets(installed, namespace)?;
    let pods = installed.pods(namespace, "app=web");
    let pod = |pod: &Value| {
        let pending = pod["status"]["phase"] == "Pending";
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        let (mut request_milli, mut usage_milli) = (0.0, 0.0);
        for container in containers {
            let request = text(&container["resources"]["requests"]["cpu"]);
            let request = request.strip_suffix('m').and_then(|it| it.parse().ok());
            request_milli += request.unwrap_or(0.0);
            let key = (text(&pod["metadata"]["name"]), text(&container["name"]));
            usage_milli += match said.get(&key) {
                Some(said) => said.cpu_milli,
                None if pending => 0.0,
                None => return Err(format!("{key:?} isn't measured yet")),
            };
        }
        Ok(Pod {
            idle: pending || !is_ready(pod),
            request_milli,
            usage_milli,
        })
    };
    pods.iter().map(pod).collect()
}

/// HPA's arithmetic for a utilization of CPU (hpa.md, rules 3 to 7), for pods younger than
/// five minutes.
fn hpa(pods: &[Pod], target_percent: f64, current: u64) -> u64 {
    let sum = |of: fn(&Pod) -> f64, idle: bool| -> f64 {
        pods.iter().filter(|pod| pod.idle == idle).map(of).sum()
    };
    let usage = sum(|pod| pod.usage_milli, false);
    let request = sum(|pod| pod.request_milli, false);
    let ratio = |request: f64| (100.0 * usage / request).trunc() / target_percent;
    let counted = pods.iter().filter(|pod| !pod.idle).count();
    let idle = pods.len() - counted;
    let first = ratio(request);
    // What would be more with idle ones in it is less, and they count as using nothing.
    let (ratio, count) = if first > 1.0 && idle > 0 {
        let all = ratio(request + sum(|pod| pod.request_milli, true));
        (all, counted + idle)
    } else {
        (first, counted)
    };
    if (0.9..=1.1).contains(&ratio) || (first > 1.0 && ratio < 1.0) {
        return current;
    }
    (ratio * count as f64).ceil() as u64
}

#[test]
fn what_is_proposed_is_what_hpa_computes_pod_by_pod() {
    let Some(installed) = installed() else { return };
    let (cluster, namespace) = (&installed.cluster, "hpa");
    installed.namespace(namespace);
    // One pod that asks for 180, three that ask for 80, of which one never becomes ready,
    // and one that no node suits: each template is in force once its pods are there.
    let templates = [(1, 160, "{}"), (4, 60, "{}"), (5, 60, "{nowhere: here}")];
    for (replicas, request_milli, selector) in templates {
        installed.apply(namespace, &mixed(replicas, request_milli, selector));
        until(cluster, "its pods are there", SOON, |_| {
            let pods = installed.pods(namespace, "app=web").len();
            Ok(if pods == replicas as usize {
                Ok(())
            } else {
                Err(format!("{pods} of {replicas} are"))
            })
        });
    }
    // Three ready pods use 360 milli of 340, 105 %. Above the target the other two count as
    // using nothing of what they ask for: 72 % of five pods, so 7.5 pods for 48 %. With the
    // unready pod's use it were 10, without those two 6.6, by one request for all 9.4, by
    // the first container alone 6.3. Below the target the two don't count: 1.9 pods for
    // 168 %; as using nothing they made it 2.1.
    for (target, expected) in [(48, 8), (168, 2)] {
        let policy = cpu_policy("StatefulSet", "web", "  dryRun: true");
        let policy = policy.replace("\"70\"", &format!("\"{target}\""));
        installed.apply(namespace, &policy);
        // One second's sample may be off; three in a row aren't.
        let agreed = Cell::new(0);
        until(cluster, "Starling proposes what HPA would", AGREE, |_| {
            let look = || {
                let input = installed.input(namespace, "web")?;
                let pods = listed(&installed, namespace)?;
                let wanted = hpa(&pods, f64::from(target), 5);
                let right = input["goal_milli"] == target * 1_000
                    && input["pods"]["counted"] == 3
                    && input["pods"]["unready"] == 2
                    && input["pods"]["missing"] == 0
                    && (input["proposal"] == wanted && wanted == expected);
                agreed.set(if right { agreed.get() + 1 } else { 0 });
                if agreed.get() == 3 {
                    Ok(())
                } else {
                    Err(format!("HPA would want {wanted}, Starling says {input}"))
                }
            };
            Ok(look())
        });
    }
    let size = installed.size(namespace, "sts", "web");
    assert_eq!(size, 5);
    installed.forget(namespace);
}
