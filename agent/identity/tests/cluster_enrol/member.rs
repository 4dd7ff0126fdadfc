//! An agent with a log of its own and a certificate of any age.

use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, Issuer, KeyPair, date_time_ymd};
use starling_consensus::{Config, Credentials, Founding, Log, Seeds, Timing, Tls, Upkeep};
use starling_engine::ledger;
use starling_identity::{Established, Settings, Store};
use starling_keys::{file, new_ring};
use starling_kube::cluster::Cluster;
use starling_kube::discovery::Discovery;

pub fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

pub struct Member {
    pub log: Log,
    pub established: Established,
    pub certificate: String,
}

/// When a certificate was made and when it ends, in seconds from now.
#[derive(Clone, Copy)]
pub struct Age {
    pub since_s: u64,
    pub until_s: i64,
}

/// Certificate and key for these names.
fn certify(authority: &ledger::Authority, names: &[&str], age: Age) -> (String, String) {
    let key = KeyPair::from_pem(&authority.key).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, key).unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    let epoch = date_time_ymd(1970, 1, 1);
    let (from_s, until_s) = (
        now_s() - age.since_s,
        now_s().saturating_add_signed(age.until_s),
    );
    params.not_before = epoch + Duration::from_secs(from_s);
    params.not_after = epoch + Duration::from_secs(until_s);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    (certificate.pem(), key.serialize_pem())
}

impl Member {
    /// Founds a log in which it is the only member, with its API at `api_address`.
    /// `holds` says whether the ledger gets the authority.
    pub async fn start(
        settings: &Settings,
        api_address: &str,
        authority: &ledger::Authority,
        age: Age,
        holds: bool,
    ) -> Member {
        let node = settings.node.as_str();
        let (certificate, key) = certify(authority, &["peer.starling", node], age);
        let (user, user_key) = certify(authority, &["client.starling"], age);
        let ring = new_ring("test").unwrap();
        let store = Store::open(&settings.data_dir, node).unwrap();
        let files = [
            ("ca.pem", authority.certificate.as_str()),
            ("node.pem", &certificate),
            ("node.key", &key),
            ("gossip.keys", &ring),
            ("client.pem", &user),
            ("client.key", &user_key),
        ];
        let dir = settings.data_dir.join("identity");
        file::write_directory(&dir.join("keys-1"), &files).unwrap();
        symlink("keys-1", store.current()).unwrap();

        let credentials = Credentials::new(&Tls {
            ca: authority.certificate.clone(),
            certificate: certificate.clone(),
            key,
        })
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = Config {
            data_dir: settings.data_dir.clone(),
            member: ledger::Member {
                name: node.into(),
                peer_address: listener.local_addr().unwrap().to_string(),
                gossip_address: "127.0.0.1:1".into(),
                api_address: api_address.into(),
                zone: String::new(),
            },
            cluster: "test".into(),
            seeds: Vec::new().into(),
            bootstrap: true,
            cluster_id: Some("id-1".into()),
            founding: Founding::default(),
            authority: holds.then(|| authority.clone()),
            timing: Timing::default(),
            upkeep: Upkeep::default(),
            ledger_version: starling_engine::ledger::version::HIGHEST,
            credentials: credentials.clone(),
        };
        let log = Log::start(config, listener).await.unwrap();
        let discovery = Discovery::start(settings.connection.client.clone(), settings.pods.clone());
        Member {
            log,
            established: Established {
                cluster: Cluster {
                    id: "id-1".into(),
                    name: "test".into(),
                    generation: 1,
                    founder: node.into(),
                    authority: authority.certificate.clone(),
                    recovered_by: String::new(),
                },
                credentials,
                gossip: Vec::new(),
                bootstrap: true,
                authority: None,
                seeds: Seeds::from(Vec::new()),
                discovery,
                store,
            },
            certificate,
        }
    }
}
