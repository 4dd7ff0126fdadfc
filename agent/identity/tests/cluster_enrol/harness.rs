//! A real API server with a node and pods on it, and an agent that certifies.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, SigningKey as _};
use starling_consensus::accept::connections;
use starling_consensus::tls::{Callers, Connector};
use starling_consensus::{Credentials, Tls};
use starling_engine::ledger::{self, Ledger};
use starling_identity::{Desk, Settings};
use starling_keys::{Authority, Node, Role, file, new_ring, unsigned};
use starling_kube::client::{Source, connect};
use starling_kube::cluster::ClusterObject;
use starling_kube::discovery::Wanted;
use starling_kubernetes_rig::Cluster;
use starling_proto::enrol::enrol_service_client::EnrolServiceClient;
use starling_proto::enrol::enrol_service_server::EnrolServiceServer;
use starling_proto::enrol::{CertifyRequest, CertifyResponse};
use tempfile::TempDir;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Server};

pub const SYSTEM: &str = "starling-system";
pub const AUDIENCE: &str = "starling/test";

/// What a `DaemonSet` would have made: accounts, a node, and pods on it.
pub const OBJECTS: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: starling-system}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: starling, namespace: starling-system}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: other, namespace: starling-system}
---
apiVersion: v1
kind: Node
metadata: {name: node-a.example.org}
---
apiVersion: v1
kind: Pod
metadata: {name: agent, namespace: starling-system}
spec:
  nodeName: node-a.example.org
  serviceAccountName: starling
  containers: [{name: c, image: none}]
---
apiVersion: v1
kind: Pod
metadata: {name: stranger, namespace: starling-system}
spec:
  nodeName: node-a.example.org
  serviceAccountName: other
  containers: [{name: c, image: none}]
---
apiVersion: v1
kind: Pod
metadata: {name: waiting, namespace: starling-system}
spec:
  schedulerName: nobody
  serviceAccountName: starling
  containers: [{name: c, image: none}]
";

pub fn token(cluster: &Cluster, account: &str, pod: Option<&str>, audience: &str) -> String {
    let audience = format!("--audience={audience}");
    let mut words = vec!["create", "token", account, "-n", SYSTEM, &audience];
    if let Some(pod) = pod {
        words.extend(["--bound-object-kind=Pod", "--bound-object-name", pod]);
    }
    cluster.kubectl(words).unwrap().trim().to_owned()
}

/// The same token as it will be in a week, signed by the API server's own key.
pub fn expired(cluster: &Cluster, good: &str) -> String {
    let [header, claims, _] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("{good} is no token");
    };
    let mut claims: serde_json::Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    for time in ["iat", "nbf", "exp"] {
        let at_s = claims[time].as_u64().unwrap();
        claims[time] = (at_s - 7 * 24 * 3_600).into();
    }
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let key = cluster.logs().with_file_name("pki").join("accounts.key");
    let key = KeyPair::from_pem(&std::fs::read_to_string(key).unwrap()).unwrap();
    let signature = fixed(&key.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Two numbers of 32 bytes, as tokens have them, of their DER form.
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut fixed = Vec::new();
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        fixed.extend(std::iter::repeat_n(0, 32 - number.len()));
        fixed.extend(number);
        rest = &rest[2 + length..];
    }
    fixed
}

/// A log holder: its desk, and the directory with its own keys and token.
pub struct Holder {
    pub address: SocketAddr,
    pub ledger: Arc<RwLock<Ledger>>,
    pub home: TempDir,
    pub authority: String,
    pub key: String,
}

pub async fn settings(kubeconfig: &Path, home: &Path) -> Settings {
    let source = Source::Kubeconfig {
        file: Some(kubeconfig.to_owned()),
        context: None,
    };
    let connection = connect(&source).await.unwrap();
    Settings {
        cluster: "test".into(),
        node: "holder".into(),
        data_dir: home.join("data"),
        token: home.join("token"),
        object: ClusterObject::new(connection.client.clone(), SYSTEM, "starling-cluster"),
        connection,
        pods: Wanted {
            namespace: SYSTEM.into(),
            service: "starling-peers".into(),
            own: "10.0.0.1".into(),
            peer_port: 7_400,
            api_port: 7_402,
        },
    }
}

impl Holder {
    pub async fn start(kubeconfig: &Path, own_token: &str) -> Holder {
        let home = TempDir::new().unwrap();
        let authority = Authority::found("test").unwrap();
        let node: Node = "holder".parse().unwrap();
        let leaf = authority.issue(Role::Node(&node)).unwrap();
        let keys = home.path().join("keys");
        let ring = new_ring("test").unwrap();
        file::write_directory(&keys, &[("gossip.keys", &ring)]).unwrap();
        std::fs::write(home.path().join("token"), own_token).unwrap();
        let ledger = Arc::new(RwLock::new(Ledger {
            authority: Some(ledger::Authority {
                certificate: authority.certificate.clone(),
                key: authority.key_pem(),
            }),
            ..Ledger::default()
        }));
        let credentials = Credentials::new(&Tls {
            ca: authority.certificate.clone(),
            certificate: leaf.certificate,
            key: leaf.key,
        })
        .unwrap();
        let settings = settings(kubeconfig, home.path()).await;
        let desk = Desk::new(settings, "id-1".into(), keys, ledger.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = connections(listener, 64, credentials, Callers::Anyone);
        let server = Server::builder().add_service(EnrolServiceServer::new(desk));
        tokio::spawn(server.serve_with_incoming(incoming));
        Holder {
            address,
            ledger,
            home,
            key: authority.key_pem(),
            authority: authority.certificate,
        }
    }

    pub async fn client(&self) -> EnrolServiceClient<Channel> {
        let connector = Connector::anonymous(&self.authority).unwrap();
        let channel = Endpoint::from_shared(format!("http://{}", self.address))
            .unwrap()
            .connect_with_connector(connector)
            .await
            .unwrap();
        EnrolServiceClient::new(channel)
    }

    pub async fn ask(&self, request: CertifyRequest) -> Result<CertifyResponse, Status> {
        let answer = self.client().await.certify(request).await;
        answer.map(tonic::Response::into_inner)
    }
}

pub fn request(token: &str) -> CertifyRequest {
    CertifyRequest {
        cluster_id: "id-1".into(),
        token: token.into(),
        agent_request: unsigned().unwrap().request,
        user_request: unsigned().unwrap().request,
    }
}
