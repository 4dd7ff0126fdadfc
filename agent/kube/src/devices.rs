//! Which devices this node's pods hold, as the kubelet says.
//!
//! Comes in: the kubelet's `PodResources` socket, asked now and then. Goes out:
//! [`Devices`], replaced whole at each change; while the kubelet is away the last
//! ones stay, since nobody else gives devices to pods. A socket that isn't there is
//! a state: not every agent has it mounted. Never asks for long or for much.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use starling_proto::podresources::pod_resources_lister_client::PodResourcesListerClient;
use starling_proto::podresources::{ListPodResourcesRequest, ListPodResourcesResponse};
use tokio::sync::watch;
use tonic::transport::Endpoint;

/// Where every kubelet has it.
pub const SOCKET: &str = "/var/lib/kubelet/pod-resources/kubelet.sock";
/// How often the kubelet is asked: a pod's devices are known that late at most.
pub const EVERY: Duration = Duration::from_secs(5);
/// An answer that takes longer counts as none. A kubelet has it in memory.
const DEADLINE: Duration = Duration::from_secs(2);
/// A larger answer is refused; one of 500 pods with 16 devices each is a tenth of it.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Pods beyond this many are left out, those with devices first in the kubelet's order.
pub const HOLDERS_MAX: usize = 1_000;
/// Devices of one pod beyond this many are left out.
pub const DEVICES_MAX: usize = 256;

/// What is known of the devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    /// Each pod that holds any. At most [`HOLDERS_MAX`].
    pub holders: Vec<Holder>,
    pub state: State,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    pub namespace: String,
    pub pod: String,
    /// Of all its containers. At most [`DEVICES_MAX`].
    pub devices: Vec<Device>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    /// `nvidia.com/gpu`, `nvidia.com/mig-1g.5gb`.
    pub resource: String,
    /// By the device plugin's own names.
    pub id: String,
}

/// Whether the holders are as new as they should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum State {
    #[default]
    Unasked,
    Told,
    /// There is no socket: no kubelet, or it isn't mounted.
    Absent,
    /// In words.
    Failing(String),
}

/// Asks the kubelet at `socket` every `every`, and publishes what has changed. Ends
/// only when nobody listens any more.
pub async fn follow(socket: &Path, every: Duration, out: &watch::Sender<Arc<Devices>>) {
    let mut due = tokio::time::interval(every);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = due.tick() => {}
            () = out.closed() => return,
        }
        let answer = tokio::time::timeout(DEADLINE, list(socket)).await;
        let state = match answer {
            Ok(Ok(response)) => {
                publish(out, |_| Devices {
                    holders: holders(response),
                    state: State::Told,
                });
                continue;
            }
            Ok(Err(state)) => state,
            Err(_) => State::Failing(format!("no answer within {} seconds", DEADLINE.as_secs())),
        };
        publish(out, |former| Devices {
            holders: former.holders.clone(),
            state,
        });
    }
}

fn publish(out: &watch::Sender<Arc<Devices>>, now: impl FnOnce(&Devices) -> Devices) {
    out.send_if_modified(|former| {
        let now = now(former);
        let news = **former != now;
        if news {
            *former = Arc::new(now);
        }
        news
    });
}

async fn list(socket: &Path) -> Result<ListPodResourcesResponse, State> {
    let failing = |why: String| State::Failing(why);
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()));
    let endpoint = endpoint.map_err(|e| failing(e.to_string()))?;
    let channel = endpoint.connect().await.map_err(|e| unreachable(&e))?;
    let mut client =
        PodResourcesListerClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    let answer = client.list(ListPodResourcesRequest {}).await;
    let refused = |status: tonic::Status| failing(status.message().to_owned());
    Ok(answer.map_err(refused)?.into_inner())
}

/// Why there is no connection, from the first cause that the system gave.
fn unreachable(error: &tonic::transport::Error) -> State {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return match error.kind() {
                io::ErrorKind::NotFound => State::Absent,
                io::ErrorKind::PermissionDenied => State::Failing(
                    "this user may not connect to it; the socket is root's, so the agent must \
                     run as root"
                        .into(),
                ),
                _ => State::Failing(error.to_string()),
            };
        }
        cause = error.source();
    }
    State::Failing(error.to_string())
}

fn holders(response: ListPodResourcesResponse) -> Vec<Holder> {
    let holders = response.pod_resources.into_iter().filter_map(|pod| {
        let devices = pod.containers.into_iter().flat_map(|it| it.devices);
        let devices = devices.flat_map(|devices| {
            let resource = devices.resource_name;
            let device = move |id| Device {
                resource: resource.clone(),
                id,
            };
            devices.device_ids.into_iter().map(device)
        });
        let devices: Vec<Device> = devices.take(DEVICES_MAX).collect();
        (!devices.is_empty()).then_some(Holder {
            namespace: pod.namespace,
            pod: pod.name,
            devices,
        })
    });
    holders.take(HOLDERS_MAX).collect()
}
