//! What this node's pods use of its GPUs: what the driver tells, joined with what
//! the kubelet says about who holds which.
//!
//! Comes in: GPUs and devices at one moment. Goes out: readings by pod, and what is
//! missing for them. Only translates between `starling-kube` and `starling-collect`.

use std::collections::BTreeMap;
use std::time::Instant;

use starling_collect::cgroup::PodRef;
use starling_collect::gpu::Gpus;
use starling_collect::gpu::pods::{self, Holder, Usage};
use starling_engine::unit::Ms;
use starling_kube::devices::{Devices, SOCKET, State};

/// Ids that no device has and that are named in a warning; more are only counted.
const UNKNOWN_MAX: usize = 3;

/// What each of these pods uses and asks for, by uid; only those that hold a GPU or
/// compute on one are here.
pub fn by_pod(
    now: Ms,
    gpus: &Gpus,
    devices: &Devices,
    asked: &[PodRef],
) -> BTreeMap<String, Usage> {
    pods::by_pod(now, Instant::now(), gpus, &holders(devices), asked)
}

/// Why pods' use of the GPUs here can't be told, in words; nothing where there are
/// no GPUs.
pub fn troubles(gpus: &Gpus, devices: &Devices) -> BTreeMap<String, String> {
    let mut troubles = BTreeMap::new();
    if gpus.devices.is_empty() {
        return troubles;
    }
    let why = match &devices.state {
        State::Unasked | State::Told => None,
        State::Absent => Some(format!(
            "there are GPUs here, and the kubelet's socket {SOCKET} isn't there; mount its \
             directory, as daemonset/components/gpu does"
        )),
        State::Failing(why) => Some(format!("the kubelet's socket {SOCKET}: {why}")),
    };
    troubles.extend(why.map(|why| ("who holds which GPU".to_owned(), why)));
    let unknown = pods::unknown(gpus, &holders(devices));
    if !unknown.is_empty() {
        let named: Vec<&str> = (unknown.iter().take(UNKNOWN_MAX).map(String::as_str)).collect();
        let more = unknown.len() - named.len();
        let why = format!(
            "the kubelet gave pods {}{}, which the driver doesn't tell of; what they use of \
             GPUs is missing",
            named.join(", "),
            if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            },
        );
        troubles.insert("GPUs of pods".into(), why);
    }
    troubles
}

/// The GPUs among the devices.
fn holders(devices: &Devices) -> Vec<Holder> {
    let holders = devices.holders.iter().map(|holder| {
        let devices = holder.devices.iter();
        let gpus = devices.filter(|device| pods::is_gpu(&device.resource, &device.id));
        Holder {
            namespace: holder.namespace.clone(),
            pod: holder.pod.clone(),
            devices: gpus.map(|device| device.id.clone()).collect(),
        }
    });
    holders.collect()
}

#[cfg(test)]
mod tests {
    use starling_collect::gpu::Device;
    use starling_collect::gpu::driver::{Identity, Memory};
    use starling_kube::devices;

    use super::*;

    fn gpus() -> Gpus {
        let memory = Memory {
            used_bytes: 10,
            total_bytes: 100,
        };
        let identity = Identity {
            uuid: "GPU-1".into(),
            ..Identity::default()
        };
        Gpus {
            at: Some(Instant::now()),
            devices: vec![Device {
                identity,
                utilization_milli: Some(250),
                memory: Some(memory),
                ..Device::default()
            }],
            ..Gpus::default()
        }
    }

    fn held(ids: &[(&str, &str)]) -> Devices {
        let devices = ids.iter().map(|(resource, id)| devices::Device {
            resource: (*resource).to_owned(),
            id: (*id).to_owned(),
        });
        let holder = devices::Holder {
            namespace: "ml".into(),
            pod: "train".into(),
            devices: devices.collect(),
        };
        Devices {
            holders: vec![holder],
            state: State::Told,
        }
    }

    #[test]
    fn a_pod_has_the_gpu_that_the_kubelet_gave_it_and_other_devices_are_none() {
        let pod = PodRef {
            uid: "u1".into(),
            namespace: "ml".into(),
            name: "train".into(),
            ..PodRef::default()
        };
        let devices = held(&[("nvidia.com/gpu", "GPU-1"), ("x.com/nic", "0000:3b:02.1")]);
        let usages = by_pod(Ms(5_000), &gpus(), &devices, &[pod]);
        let usage = usages["u1"];
        assert_eq!(usage.gpu.map(|it| it.milli), Some(250));
        assert_eq!(usage.memory.map(|it| it.milli), Some(10_000));
        assert_eq!(usage.gpu_request_milli, 1_000);
        assert_eq!(usage.memory_request_milli, Some(100_000));
        assert!(troubles(&gpus(), &devices).is_empty());
    }

    #[test]
    fn what_is_missing_for_pods_is_told_only_where_there_are_gpus() {
        let absent = Devices {
            state: State::Absent,
            ..Devices::default()
        };
        assert!(troubles(&Gpus::default(), &absent).is_empty());
        let told = troubles(&gpus(), &absent);
        assert!(told["who holds which GPU"].contains(SOCKET), "{told:?}");
        let ids = ["GPU-5", "GPU-6", "GPU-7", "GPU-8"].map(|id| ("nvidia.com/gpu", id));
        let told = troubles(&gpus(), &held(&ids));
        let words = &told["GPUs of pods"];
        assert!(words.contains("GPU-5, GPU-6, GPU-7 and 1 more"), "{words}");
    }
}
