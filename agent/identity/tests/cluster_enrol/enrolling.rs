//! Certificates for tokens that a real API server has made, and refusals.

use std::time::{Duration, Instant};

use starling_identity::CERTIFICATES_AT_ONCE_MAX;
use starling_keys::{file, unsigned, validity};
use starling_kube::cluster::Cluster as Object;
use starling_kube::discovery::Discovery;
use starling_kubernetes_rig::{Cluster, turn};
use starling_proto::enrol::CertifyRequest;
use tempfile::TempDir;
use tonic::Code;

use crate::harness::{AUDIENCE, Holder, OBJECTS, SYSTEM, expired, request, settings, token};

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_for_the_node_that_the_api_server_names_and_for_nobody_else() {
    let Some(_turn) = turn::beside() else { return };
    let cluster = Cluster::start(0).unwrap();
    cluster.apply(OBJECTS).unwrap();
    let good = token(&cluster, "starling", Some("agent"), AUDIENCE);
    let holder = Holder::start(cluster.kubeconfig(), &good).await;

    // Whoever is who it says it is gets its papers, by the token's node.
    let (agent, user) = (unsigned().unwrap(), unsigned().unwrap());
    let answer = holder
        .ask(CertifyRequest {
            agent_request: agent.request,
            user_request: user.request,
            ..request(&good)
        })
        .await
        .unwrap();
    assert_eq!(answer.authority, holder.authority);
    let dir = holder.home.path().join("new");
    let files = [
        ("ca.pem", answer.authority.as_str()),
        ("node.pem", &answer.agent_certificate),
        ("node.key", &agent.key),
        ("client.pem", &answer.user_certificate),
        ("client.key", &user.key),
        ("gossip.keys", &answer.gossip_keys),
    ];
    file::write_directory(&dir, &files).unwrap();
    starling_keys::load(&dir, "node-a.example.org").unwrap();
    starling_keys::load_client(&dir).unwrap();
    let valid = validity(&answer.agent_certificate).unwrap();
    let life_h = (valid.until_s - valid.from_s) as f64 / 3_600.0;
    assert!((24.0..=25.1).contains(&life_h), "{life_h}");

    refusals(&cluster, &holder, &good).await;
    limits(&holder, &good).await;

    // A pod that is gone is nobody any more.
    let delete = [
        "delete",
        "pod",
        "agent",
        "-n",
        SYSTEM,
        "--force",
        "--grace-period=0",
    ];
    cluster.kubectl(delete).unwrap();
    let limit = Duration::from_mins(1);
    let mut last = String::new();
    let gone = tokio::time::timeout(limit, async {
        loop {
            match holder.ask(request(&good)).await {
                Err(status) if status.code() == Code::Unauthenticated => return,
                other => last = format!("{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    assert!(gone.await.is_ok(), "{last}");
}

async fn refusals(cluster: &Cluster, holder: &Holder, good: &str) {
    let refused = async |what: &str, request: CertifyRequest, code: Code, words: &str| {
        let status = holder.ask(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{what}: {status}");
        assert!(status.message().contains(words), "{what}: {status}");
    };
    let audience = token(cluster, "starling", Some("agent"), "starling/other");
    let account = token(cluster, "other", Some("stranger"), AUDIENCE);
    let unbound = token(cluster, "starling", None, AUDIENCE);
    let nowhere = token(cluster, "starling", Some("waiting"), AUDIENCE);
    let expired = expired(cluster, good);
    let mut forged = good.to_owned();
    forged.truncate(good.rfind('.').unwrap() + 1);
    forged.push_str("c2lnbmF0dXJl");
    for (what, token, code, words) in [
        (
            "another audience",
            audience.as_str(),
            Code::Unauthenticated,
            "audience",
        ),
        (
            "another account",
            &account,
            Code::PermissionDenied,
            "system:serviceaccount:starling-system:other",
        ),
        (
            "bound to nothing",
            &unbound,
            Code::PermissionDenied,
            "bound to no pod",
        ),
        (
            "bound to a pod on no node",
            &nowhere,
            Code::PermissionDenied,
            "bound to no pod",
        ),
        ("an expired one", &expired, Code::Unauthenticated, "expired"),
        (
            "a forged signature",
            &forged,
            Code::Unauthenticated,
            "doesn't believe",
        ),
        (
            "garbage",
            "garbage",
            Code::Unauthenticated,
            "doesn't believe",
        ),
        ("nothing", "", Code::InvalidArgument, "1 to 16384"),
    ] {
        refused(what, request(token), code, words).await;
    }
    let other = CertifyRequest {
        cluster_id: "id-2".into(),
        ..request(good)
    };
    refused("another cluster", other, Code::FailedPrecondition, "id-1").await;
    let long = request(&"x".repeat(17 << 10));
    refused("a long token", long, Code::InvalidArgument, "16384").await;
    let nonsense = CertifyRequest {
        agent_request: b"nonsense".to_vec(),
        ..request(good)
    };
    refused("no request", nonsense, Code::InvalidArgument, "request").await;
    let large = CertifyRequest {
        user_request: vec![0; 5 << 10],
        ..request(good)
    };
    refused("a large request", large, Code::InvalidArgument, "4096").await;

    let authority = holder.ledger.write().unwrap().authority.take();
    let words = "holds no authority";
    refused(
        "no authority",
        request(good),
        Code::FailedPrecondition,
        words,
    )
    .await;
    holder.ledger.write().unwrap().authority = authority;
}

/// So many wait for the API server at once; the others are sent elsewhere.
async fn limits(holder: &Holder, good: &str) {
    let client = holder.client().await;
    let mut asking = Vec::new();
    for _ in 0..CERTIFICATES_AT_ONCE_MAX * 8 {
        let (mut client, request) = (client.clone(), request(good));
        asking.push(tokio::spawn(async move { client.certify(request).await }));
    }
    let (mut granted, mut refused) = (0, 0);
    for one in asking {
        match one.await.unwrap() {
            Ok(_) => granted += 1,
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                refused += 1;
            }
        }
    }
    assert!(granted > 0 && refused > 0, "{granted} and {refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_api_server_away_nobody_is_certified_and_it_says_why() {
    let Some(_turn) = turn::alone() else { return };
    let cluster = Cluster::start(0).unwrap();
    cluster.apply(OBJECTS).unwrap();
    let good = token(&cluster, "starling", Some("agent"), AUDIENCE);
    let holder = Holder::start(cluster.kubeconfig(), &good).await;
    holder.ask(request(&good)).await.unwrap();
    cluster.freeze_api_server().unwrap();
    let refused = async || {
        let began = Instant::now();
        let status = holder.ask(request(&good)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        let words = status.message();
        assert!(words.contains("can't be asked whose"), "{words}");
        began.elapsed()
    };
    // It gives the API server 3 s, and would wait for 10 s as for any other call. What a busy
    // machine adds is not added each time.
    let soon = Duration::from_secs(9);
    assert!(refused().await < soon || refused().await < soon, "it waits");
    cluster.resume_api_server().unwrap();
    holder.ask(request(&good)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_makes_the_cluster_object_and_pods_are_found_by_their_service() {
    let Some(_turn) = turn::beside() else { return };
    let cluster = Cluster::start(0).unwrap();
    cluster.apply(OBJECTS).unwrap();
    let home = TempDir::new().unwrap();
    let settings = settings(cluster.kubeconfig(), home.path()).await;
    let object = &settings.object;
    assert_eq!(object.get().await.unwrap(), None);
    let mut making = Vec::new();
    for n in 0..8 {
        let object = object.clone();
        making.push(tokio::spawn(async move {
            let says = Object {
                id: format!("id-{n}"),
                name: "test".into(),
                generation: 1,
                founder: format!("node-{n}"),
                authority: "PEM".into(),
                recovered_by: String::new(),
            };
            (object.create(&says).await.unwrap(), says)
        }));
    }
    let mut made = Vec::new();
    for one in making {
        if let (true, says) = one.await.unwrap() {
            made.push(says);
        }
    }
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(object.get().await.unwrap(), made.pop());

    let patch = [
        "patch",
        "configmap",
        "starling-cluster",
        "-n",
        SYSTEM,
        "--type=merge",
        "-p",
    ];
    let broken = [&patch[..], &[r#"{"data":{"generation":"x"}}"#]].concat();
    cluster.kubectl(broken).unwrap();
    let error = object.get().await.unwrap_err().to_string();
    assert!(error.contains("`generation` is no number"), "{error}");

    let discovery = Discovery::start(settings.connection.client.clone(), settings.pods.clone());
    let mut seeds = discovery.seeds();
    for ips in [&["10.9.0.1", "10.9.0.2"][..], &["10.9.0.3"]] {
        cluster.apply(&slice(ips)).unwrap();
        let wanted: Vec<String> = ips.iter().map(|ip| format!("{ip}:7400")).collect();
        let found = seeds.wait_for(|seeds| {
            let mut seeds = seeds.clone();
            seeds.sort_unstable();
            seeds == wanted
        });
        let found = tokio::time::timeout(Duration::from_secs(30), found).await;
        assert!(found.is_ok(), "{wanted:?}");
    }
}

fn slice(ips: &[&str]) -> String {
    let endpoints: Vec<String> = ips
        .iter()
        .map(|ip| format!("- {{addresses: ['{ip}'], conditions: {{ready: true}}}}\n"))
        .collect();
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: starling-peers-1, \
         namespace: {SYSTEM}, labels: {{kubernetes.io/service-name: starling-peers}}}}\n\
         addressType: IPv4\nports: [{{name: peer, port: 7400}}]\nendpoints:\n{}",
        endpoints.concat()
    )
}
