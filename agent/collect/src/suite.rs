//! What every reader of a node's pods must do, whether it reads cgroups or asks the
//! kubelet: one list of scenarios, and each reader's own way to show them to it.

use std::collections::BTreeSet;

use starling_engine::demand::pods::Reading;
use starling_engine::unit::Ms;

use crate::Measure;
use crate::cgroup::{ContainerRef, PodRef, usage};

/// What one container really uses; a kubelet or a kernel tells of it.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    /// A pod, and a container of it, by number.
    pub pod: u32,
    pub container: u32,
    /// Another one after each restart.
    pub start: u32,
    /// CPU time since it began.
    pub cpu_ms: u64,
    /// `None`: the file or the field isn't there.
    pub memory_bytes: Option<u64>,
}

/// Shows a reader what there is, so long after the last time.
pub trait World {
    fn reader(&mut self) -> Box<dyn Measure>;
    /// All that there is now; what was told before and isn't in it has gone.
    fn tell(&mut self, told: &[Told]);
    fn pass(&mut self, ms: u64);
}

/// As long as a kubelet takes to renew what it says.
const STEP_MS: u64 = 10_000;

pub fn id(told_start: u32, pod: u32, container: u32) -> String {
    format!("{pod:016x}{container:016x}{told_start:032x}")
}

pub fn uid(pod: u32) -> String {
    format!("{pod:08x}-0000-4000-8000-000000000000")
}

/// What the API server names: pods with the start of each of their containers.
fn asked(pods: &[(u32, &[u32])]) -> Vec<PodRef> {
    let of_pod = |(pod, starts): &(u32, &[u32])| PodRef {
        uid: uid(*pod),
        namespace: "shop".into(),
        name: format!("pod-{pod}"),
        containers: (0u32..)
            .zip(*starts)
            .map(|(container, start)| ContainerRef {
                name: format!("c{container}"),
                container_id: format!("containerd://{}", id(*start, *pod, container)),
            })
            .collect(),
        ..PodRef::default()
    };
    pods.iter().map(of_pod).collect()
}

struct Step {
    /// What the API server names.
    asked: &'static [(u32, &'static [u32])],
    told: Vec<Told>,
    /// For each pod asked for, and each of its containers: milli and bytes; then the sums.
    expected: Vec<(Vec<Used>, Used)>,
    /// Pods of which something is named as not measured.
    named: &'static [&'static str],
}

/// Milli-cores and bytes.
type Used = (Option<i64>, Option<i64>);
const NOTHING: Used = (None, None);

fn told(pod: u32, container: u32, start: u32, cpu_ms: u64, memory_bytes: u64) -> Told {
    Told {
        pod,
        container,
        start,
        cpu_ms,
        memory_bytes: Some(memory_bytes),
    }
}

fn used(usage: &usage::Container) -> Used {
    let milli = |reading: Option<Reading>| reading.map(|it| it.milli);
    (milli(usage.cpu), milli(usage.memory).map(|it| it / 1_000))
}

fn check(world: &mut dyn World, scenario: &str, steps: Vec<Step>) {
    let mut reader = world.reader();
    for (number, step) in steps.into_iter().enumerate() {
        world.tell(&step.told);
        let now = Ms(100_000 + number as u64 * STEP_MS);
        let pods = asked(step.asked);
        let measured = reader.measure(now, &pods);
        let at = format!("{scenario}, step {number}: {measured:?}");
        let whole = |usage: &usage::Pod| {
            let sums = usage::Container {
                cpu: usage.cpu,
                memory: usage.memory,
                ..usage::Container::default()
            };
            used(&sums)
        };
        let found: Vec<(Vec<Used>, Used)> = pods
            .iter()
            .map(|pod| {
                let usage = &measured.pods[&pod.uid];
                let each = pod.containers.iter().map(|container| {
                    let of_it = usage.containers.get(&container.name);
                    of_it.map_or(NOTHING, used)
                });
                (each.collect(), whole(usage))
            })
            .collect();
        assert_eq!(found, step.expected, "{at}");
        let named: BTreeSet<&str> = measured
            .problems
            .iter()
            .map(|problem| problem.pod.as_str())
            .collect();
        assert!(named.iter().eq(step.named), "{at}");
        for pod in measured.pods.values() {
            for reading in pod.containers.values().flat_map(|it| [it.cpu, it.memory]) {
                let Some(reading) = reading else { continue };
                assert!(now.since(reading.at) <= 1_000, "{at}");
                assert!([0, STEP_MS].contains(&reading.window_ms), "{at}");
            }
        }
        world.pass(STEP_MS);
    }
}

/// Runs all scenarios, each in a world of its own.
pub fn run(mut world: impl FnMut() -> Box<dyn World>) {
    for (scenario, steps) in scenarios() {
        check(&mut *world(), scenario, steps);
    }
}

fn scenarios() -> Vec<(&'static str, Vec<Step>)> {
    const MB: u64 = 1_000_000;
    let one = |cpu_ms, memory| vec![told(1, 0, 1, cpu_ms, memory)];
    let alone = |used: Used| vec![(vec![used], used)];
    let step = |asked, told, expected| Step {
        asked,
        told,
        expected,
        named: &[],
    };
    let mb = |count: i64| Some(count * 1_000_000);
    vec![
        (
            "a rate comes with the second reading",
            vec![
                step(&[(1, &[1])], one(5_000, 30 * MB), alone((None, mb(30)))),
                step(
                    &[(1, &[1])],
                    one(7_500, 40 * MB),
                    alone((Some(250), mb(40))),
                ),
                step(&[(1, &[1])], one(7_500, 40 * MB), alone((Some(0), mb(40)))),
            ],
        ),
        (
            "a pod that nobody tells of is named, and the others are measured",
            vec![
                Step {
                    asked: &[(1, &[1]), (2, &[1])],
                    told: one(0, MB),
                    expected: vec![
                        (vec![(None, mb(1))], (None, mb(1))),
                        (vec![NOTHING], NOTHING),
                    ],
                    named: &["pod-2"],
                },
                Step {
                    asked: &[(1, &[1]), (2, &[1])],
                    told: one(1_000, MB),
                    expected: vec![
                        (vec![(Some(100), mb(1))], (Some(100), mb(1))),
                        (vec![NOTHING], NOTHING),
                    ],
                    named: &["pod-2"],
                },
            ],
        ),
        (
            "a container that was restarted begins anew, and nothing of the former one is its",
            vec![
                step(&[(1, &[1])], one(900_000, 30 * MB), alone((None, mb(30)))),
                // The API server knows of it first.
                Step {
                    asked: &[(1, &[2])],
                    told: one(900_100, 30 * MB),
                    expected: vec![(vec![NOTHING], NOTHING)],
                    named: &["pod-1"],
                },
                step(
                    &[(1, &[2])],
                    vec![told(1, 0, 2, 50, 5 * MB)],
                    alone((None, mb(5))),
                ),
                step(
                    &[(1, &[2])],
                    vec![told(1, 0, 2, 2_050, 5 * MB)],
                    alone((Some(200), mb(5))),
                ),
            ],
        ),
        (
            "a value that is missing is missing, in the sum too, and the rest is there",
            vec![
                step(
                    &[(1, &[1, 1])],
                    vec![told(1, 0, 1, 0, MB), told(1, 1, 1, 0, MB)],
                    vec![(vec![(None, mb(1)), (None, mb(1))], (None, mb(2)))],
                ),
                step(
                    &[(1, &[1, 1])],
                    vec![
                        told(1, 0, 1, 1_000, MB),
                        Told {
                            memory_bytes: None,
                            ..told(1, 1, 1, 500, 0)
                        },
                    ],
                    vec![(
                        vec![(Some(100), mb(1)), (Some(50), None)],
                        (Some(150), None),
                    )],
                ),
            ],
        ),
        (
            "a counter that goes back is no rate, and the next one counts from there",
            vec![
                step(&[(1, &[1])], one(50_000, MB), alone((None, mb(1)))),
                step(&[(1, &[1])], one(20_000, MB), alone((None, mb(1)))),
                step(&[(1, &[1])], one(21_000, MB), alone((Some(100), mb(1)))),
            ],
        ),
        (
            "more CPU time than the machine has is no rate",
            vec![
                step(&[(1, &[1])], one(0, MB), alone((None, mb(1)))),
                Step {
                    asked: &[(1, &[1])],
                    told: one(90_000, MB),
                    expected: alone((None, mb(1))),
                    named: &["pod-1"],
                },
                step(&[(1, &[1])], one(130_000, MB), alone((Some(4_000), mb(1)))),
            ],
        ),
        (
            "pods come and go, and one that comes back begins anew",
            vec![
                step(&[(1, &[1])], one(1_000, MB), alone((None, mb(1)))),
                step(&[], vec![], vec![]),
                step(&[(1, &[1])], one(9_000, MB), alone((None, mb(1)))),
                step(&[(1, &[1])], one(9_100, MB), alone((Some(10), mb(1)))),
            ],
        ),
    ]
}
