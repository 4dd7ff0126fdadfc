//! What is refused at the door, and why.

use std::time::Duration;

use starling_consensus::{Error, Tls};
use starling_proto::raft::peer_client::PeerClient;
use starling_proto::raft::{Envelope, IdentifyRequest, JoinRequest, ReadIndexRequest};
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::harness::{Agent, Authority, CLUSTER, form};

pub fn client(address: &str, tls: &Tls) -> PeerClient<Channel> {
    let tls = ClientTlsConfig::new()
        .domain_name("peer.starling")
        .ca_certificate(Certificate::from_pem(&tls.ca))
        .identity(Identity::from_pem(&tls.certificate, &tls.key));
    let channel = Endpoint::from_shared(format!("https://{address}"))
        .unwrap()
        .tls_config(tls)
        .unwrap()
        .connect_lazy();
    PeerClient::new(channel)
}

#[tokio::test]
async fn a_call_for_another_agent_cluster_or_generation_is_refused() {
    let authority = Authority::new();
    let mut agents = Agent::some(&authority, 1);
    let _logs = form(&mut agents).await;
    let tls = authority.sign(&["peer.starling", "caller"]);
    let mut client = client(&agents[0].config.member.peer_address, &tls);
    let right = Envelope {
        target: 1,
        sender: 9,
        cluster: CLUSTER.into(),
        generation: 1,
    };
    let mut code = async |envelope: Envelope| {
        let request = ReadIndexRequest {
            envelope: Some(envelope),
        };
        client
            .read_index(request)
            .await
            .map_or_else(|s| s.code(), |_| Code::Ok)
    };
    assert_eq!(code(right.clone()).await, Code::Ok);
    let wrong = [
        Envelope {
            target: 2,
            ..right.clone()
        },
        Envelope {
            cluster: "other".into(),
            ..right.clone()
        },
        Envelope {
            generation: 2,
            ..right
        },
    ];
    for envelope in wrong {
        assert_eq!(
            code(envelope.clone()).await,
            Code::FailedPrecondition,
            "{envelope:?}"
        );
    }
}

#[tokio::test]
async fn a_certificate_that_is_no_agents_is_refused() {
    let authority = Authority::new();
    let mut agents = Agent::some(&authority, 1);
    let _logs = form(&mut agents).await;
    let address = agents[0].config.member.peer_address.clone();

    let user = authority.sign(&["client.starling"]);
    let status = client(&address, &user)
        .identify(IdentifyRequest {})
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("peer.starling"), "{status}");

    let stranger = Tls {
        ca: authority.certificate.clone(),
        ..Authority::new().sign(&["peer.starling"])
    };
    assert!(
        client(&address, &stranger)
            .identify(IdentifyRequest {})
            .await
            .is_err()
    );

    let agent = authority.sign(&["peer.starling"]);
    let answer = client(&address, &agent)
        .identify(IdentifyRequest {})
        .await
        .unwrap();
    assert_eq!(answer.into_inner().cluster, CLUSTER);
}

#[tokio::test]
async fn an_agent_of_another_cluster_is_not_let_in() {
    let authority = Authority::new();
    let mut agents = Agent::some(&authority, 2);
    let mut stranger = agents.pop().unwrap();
    let _logs = form(&mut agents).await;
    stranger.config.cluster = "other".into();
    let waiting = tokio::time::timeout(Duration::from_secs(2), stranger.try_start()).await;
    assert!(waiting.is_err(), "it keeps waiting for its own cluster");

    let mut client = client(
        &agents[0].config.member.peer_address,
        &authority.sign(&["peer.starling", "x"]),
    );
    let mut join = async |cluster: &str, nonce: &str, name: &str| {
        let request = JoinRequest {
            cluster: cluster.into(),
            nonce: nonce.into(),
            member: Some(starling_proto::raft::Member {
                name: name.into(),
                peer_address: "127.0.0.1:1".into(),
                ..Default::default()
            }),
        };
        client
            .join(request)
            .await
            .map_or_else(|s| s.code(), |_| Code::Ok)
    };
    let nonce = "0123456789abcdef0123456789abcdef";
    assert_eq!(join("other", nonce, "x").await, Code::FailedPrecondition);
    assert_eq!(join(CLUSTER, "founder", "x").await, Code::InvalidArgument);
    assert_eq!(join(CLUSTER, nonce, "y").await, Code::PermissionDenied);
    assert_eq!(join(CLUSTER, nonce, "x").await, Code::Ok);
}

#[tokio::test]
async fn a_living_agent_keeps_its_name() {
    let authority = Authority::new();
    let mut agents = Agent::some(&authority, 2);
    let mut logs = form(&mut agents).await;
    let (first, second) = (logs[0].id(), logs[1].id());
    let mut copies = Agent::some(&authority, 2);
    for copy in &mut copies {
        copy.config.bootstrap = false;
        copy.config.seeds = vec![agents[0].config.member.peer_address.clone()].into();
        let waiting = tokio::time::timeout(Duration::from_secs(3), copy.try_start()).await;
        assert!(waiting.is_err(), "it is let in under another's name");
    }
    let members = |log: &starling_consensus::Log| {
        let ledger = log.ledger();
        let ledger = ledger.read().unwrap();
        ledger.members.keys().copied().collect::<Vec<_>>()
    };
    assert_eq!(members(&logs[0]), [first, second]);

    // One that is gone for good gives its name up.
    let gone = logs.remove(1);
    gone.shutdown().await;
    drop(gone);
    copies[1].move_away();
    let successor = copies[1].start().await;
    assert!(!members(&logs[0]).contains(&second));
    assert!(members(&logs[0]).contains(&successor.id()));
}

#[tokio::test]
async fn a_data_directory_of_another_cluster_is_refused_by_name() {
    let mut agents = Agent::some(&Authority::new(), 1);
    let log = agents[0].start().await;
    log.shutdown().await;
    drop(log);
    agents[0].config.cluster = "other".into();
    let Err(error) = agents[0].try_start().await else {
        panic!("it took another cluster's directory");
    };
    assert!(matches!(error, Error::OtherCluster { .. }), "{error:?}");
    let words = error.to_string();
    assert!(
        words.contains(CLUSTER) && words.contains("other"),
        "{words}"
    );
}

#[tokio::test]
async fn a_data_directory_in_use_or_unusable_is_refused() {
    let authority = Authority::new();
    let mut agents = Agent::some(&authority, 3);
    let _log = agents[0].start().await;
    agents[1].config.data_dir = agents[0].config.data_dir.clone();
    match agents[1].try_start().await {
        Err(Error::Locked { path }) => assert_eq!(path, agents[0].config.data_dir),
        other => panic!("{:?}", other.err()),
    }
    let file = agents[2].dir.path().join("file");
    std::fs::write(&file, "no directory").unwrap();
    agents[2].config.data_dir = file;
    match agents[2].try_start().await {
        Err(error @ Error::DataDir { .. }) => assert!(error.to_string().contains("file")),
        other => panic!("{:?}", other.err()),
    }
}
