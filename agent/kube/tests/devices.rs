//! The kubelet's `PodResources` socket, with a real gRPC server in the kubelet's place.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use starling_kube::devices::{self, DEVICES_MAX, Devices, HOLDERS_MAX, State};
use starling_proto::podresources::pod_resources_lister_server::{
    PodResourcesLister, PodResourcesListerServer,
};
use starling_proto::podresources::{
    ContainerDevices, ContainerResources, ListPodResourcesRequest, ListPodResourcesResponse,
    PodResources,
};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

const PATIENCE: Duration = Duration::from_secs(30);
/// So that a test needn't wait for the next question.
const EVERY: Duration = Duration::from_millis(20);

type Answer = Result<Vec<PodResources>, Status>;

/// What the kubelet says; `None` where it never answers.
#[derive(Clone)]
struct Kubelet(Arc<Mutex<Option<Answer>>>);

#[tonic::async_trait]
impl PodResourcesLister for Kubelet {
    async fn list(
        &self,
        _: Request<ListPodResourcesRequest>,
    ) -> Result<Response<ListPodResourcesResponse>, Status> {
        let answer = self.0.lock().unwrap().clone();
        let Some(answer) = answer else {
            return std::future::pending().await;
        };
        let pod_resources = answer?;
        Ok(Response::new(ListPodResourcesResponse { pod_resources }))
    }
}

struct Rig {
    folder: tempfile::TempDir,
    kubelet: Kubelet,
    server: Option<JoinHandle<()>>,
    seen: watch::Receiver<Arc<Devices>>,
    follower: JoinHandle<()>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.follower.abort();
        self.stop();
    }
}

impl Rig {
    /// Nobody listens yet.
    fn start() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let (out, seen) = watch::channel(Arc::default());
        let socket = folder.path().join("kubelet.sock");
        let follower = tokio::spawn(async move { devices::follow(&socket, EVERY, &out).await });
        Rig {
            folder,
            kubelet: Kubelet(Arc::new(Mutex::new(Some(Ok(Vec::new()))))),
            server: None,
            seen,
            follower,
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("kubelet.sock")
    }

    fn serve(&mut self) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        let service =
            PodResourcesListerServer::new(self.kubelet.clone()).max_encoding_message_size(64 << 20);
        let server = tonic::transport::Server::builder().add_service(service);
        let incoming = UnixListenerStream::new(listener);
        self.server = Some(tokio::spawn(async move {
            server.serve_with_incoming(incoming).await.unwrap();
        }));
    }

    fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }

    fn says(&self, answer: Option<Answer>) {
        *self.kubelet.0.lock().unwrap() = answer;
    }

    async fn until(&mut self, wanted: impl Fn(&Devices) -> bool) -> Arc<Devices> {
        let found = tokio::time::timeout(PATIENCE, self.seen.wait_for(|it| wanted(it))).await;
        let found = found.map(|it| it.unwrap().clone());
        found.unwrap_or_else(|_| panic!("still {:?}", self.seen.borrow()))
    }
}

fn pod(name: &str, containers: &[&[(&str, &[&str])]]) -> PodResources {
    let container = |devices: &&[(&str, &[&str])]| ContainerResources {
        name: "app".into(),
        devices: devices
            .iter()
            .map(|(resource, ids)| ContainerDevices {
                resource_name: (*resource).to_owned(),
                device_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            })
            .collect(),
    };
    PodResources {
        name: name.into(),
        namespace: "ml".into(),
        containers: containers.iter().map(container).collect(),
    }
}

fn shown(devices: &Devices) -> Vec<String> {
    let holders = devices.holders.iter();
    let lines = holders.map(|holder| {
        let devices = holder.devices.iter();
        let devices = devices.map(|it| format!("{}={}", it.resource, it.id));
        let devices: Vec<String> = devices.collect();
        format!("{}/{}: {}", holder.namespace, holder.pod, devices.join(" "))
    });
    lines.collect()
}

#[tokio::test]
async fn pods_are_known_with_all_devices_of_their_containers() {
    let mut rig = Rig::start();
    let gpu = "nvidia.com/gpu";
    rig.says(Some(Ok(vec![
        pod(
            "whole",
            &[&[(gpu, &["GPU-1", "GPU-2"])], &[("x.com/nic", &["0"])]],
        ),
        pod("shared", &[&[(gpu, &["GPU-3::1"])]]),
        pod("part", &[&[("nvidia.com/mig-1g.5gb", &["MIG-1"])]]),
        pod("none", &[&[]]),
    ])));
    rig.serve();
    let told = rig.until(|it| it.state == State::Told).await;
    let expected = [
        "ml/whole: nvidia.com/gpu=GPU-1 nvidia.com/gpu=GPU-2 x.com/nic=0",
        "ml/shared: nvidia.com/gpu=GPU-3::1",
        "ml/part: nvidia.com/mig-1g.5gb=MIG-1",
    ];
    assert_eq!(shown(&told), expected);
    rig.says(Some(Ok(vec![pod("new", &[&[(gpu, &["GPU-1"])]])])));
    let told = rig.until(|it| it.holders.len() == 1).await;
    assert_eq!(shown(&told), ["ml/new: nvidia.com/gpu=GPU-1"]);
}

#[tokio::test]
async fn without_a_socket_that_is_a_state_and_devices_outlast_a_kubelet_that_restarts() {
    let mut rig = Rig::start();
    let absent = rig.until(|it| it.state == State::Absent).await;
    assert_eq!(absent.holders, []);
    rig.says(Some(Ok(vec![pod(
        "a",
        &[&[("nvidia.com/gpu", &["GPU-1"])]],
    )])));
    rig.serve();
    rig.until(|it| it.state == State::Told).await;

    // Ended, with the socket left behind; then without it.
    rig.stop();
    let refused =
        |it: &Devices| matches!(&it.state, State::Failing(why) if why.contains("refused"));
    let kept = rig.until(refused).await;
    assert_eq!(shown(&kept), ["ml/a: nvidia.com/gpu=GPU-1"]);
    std::fs::remove_file(rig.socket()).unwrap();
    let kept = rig.until(|it| it.state == State::Absent).await;
    assert_eq!(kept.holders.len(), 1);

    rig.says(Some(Ok(Vec::new())));
    rig.serve();
    let told = rig.until(|it| it.state == State::Told).await;
    assert_eq!(told.holders, []);
}

#[tokio::test]
async fn a_kubelet_that_refuses_or_hangs_is_named() {
    let mut rig = Rig::start();
    rig.says(Some(Err(Status::unavailable("starting"))));
    rig.serve();
    rig.until(|it| it.state == State::Failing("starting".into()))
        .await;
    rig.says(None);
    let late = State::Failing("no answer within 2 seconds".into());
    rig.until(|it| it.state == late).await;
    rig.says(Some(Ok(Vec::new())));
    rig.until(|it| it.state == State::Told).await;
}

#[tokio::test]
async fn an_answer_is_bounded() {
    let mut rig = Rig::start();
    let ids: Vec<String> = (0..=DEVICES_MAX).map(|n| format!("GPU-{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let many = || (0..=HOLDERS_MAX).map(|n| pod(&format!("p{n}"), &[&[("r", &["GPU-1"])]]));
    let mut pods = vec![pod("greedy", &[&[("nvidia.com/gpu", &ids)]])];
    pods.extend(many());
    rig.says(Some(Ok(pods)));
    rig.serve();
    let told = rig.until(|it| it.state == State::Told).await;
    assert_eq!(told.holders.len(), HOLDERS_MAX);
    assert_eq!(told.holders[0].devices.len(), DEVICES_MAX);

    let huge = "x".repeat(8 << 20);
    rig.says(Some(Ok(vec![pod("huge", &[&[("r", &[&huge])]])])));
    let refused = rig.until(|it| matches!(it.state, State::Failing(_))).await;
    assert_eq!(refused.holders.len(), HOLDERS_MAX, "the last ones stay");
}

#[tokio::test]
async fn a_path_that_is_no_socket_is_named() {
    let (out, mut seen) = watch::channel(Arc::default());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubelet.sock");
    std::fs::write(&file, "").unwrap();
    let follower =
        tokio::spawn(async move { devices::follow(Path::new(&file), EVERY, &out).await });
    let failing = seen.wait_for(|it: &Arc<Devices>| matches!(it.state, State::Failing(_)));
    assert!(tokio::time::timeout(PATIENCE, failing).await.is_ok());
    drop(seen);
    // Nobody listens any more.
    tokio::time::timeout(PATIENCE, follower)
        .await
        .unwrap()
        .unwrap();
}
