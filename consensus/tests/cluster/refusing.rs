//! What is refused at the door, and why.

use std::time::Duration;

use prost::Message as _;
use starling_consensus::{Error, Log, Tls};
use starling_engine::ledger::Command;
use starling_engine::ledger::version::{FIRST, HIGHEST, Raised};
use starling_proto::log::wire;
use starling_proto::raft::peer_client::PeerClient;
use starling_proto::raft::{
    Envelope, IdentifyRequest, JoinRequest, ProposeRequest, RaftRequest, ReadIndexRequest,
    ReaddressRequest, RecallRequest, SnapshotHead, SnapshotPart, StandRequest, snapshot_part,
};
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::harness::{Agent, Authority, CLUSTER, acting, agree, commit, eventually, form};

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
    let logs = form(&mut agents).await;
    let tls = authority.sign(&["peer.starling", "agent-0"]);
    let mut client = client(&agents[0].config.member.peer_address, &tls);
    let right = Envelope {
        target: 1,
        sender: 1,
        cluster: CLUSTER.into(),
        generation: 1,
        cluster_id: logs[0].cluster_id().into(),
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
            cluster_id: "another".into(),
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
        .identify(IdentifyRequest::default())
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
            .identify(IdentifyRequest::default())
            .await
            .is_err()
    );

    let agent = authority.sign(&["peer.starling"]);
    let answer = client(&address, &agent)
        .identify(IdentifyRequest::default())
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
            cluster_id: String::new(),
            ledger_version: HIGHEST,
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

/// With its keys and its settings, but without its data.
#[tokio::test]
async fn a_copied_machine_evicts_nobody() {
    let authority = Authority::new();
    let mut agents = Agent::some(&authority, 3);
    let logs = form(&mut agents).await;
    let ids: Vec<_> = logs.iter().map(starling_consensus::Log::id).collect();
    let mut copy = Agent::some(&authority, 3).remove(2);
    copy.config.member = agents[2].config.member.clone();
    copy.config.credentials = agents[2].config.credentials.clone();
    let seeds = [0, 1].map(|n: usize| agents[n].config.member.peer_address.clone());
    copy.config.seeds = seeds.to_vec().into();
    let waiting = tokio::time::timeout(Duration::from_secs(3), copy.try_start()).await;
    assert!(waiting.is_err(), "it has taken the living one's place");
    commit(&logs[2], "the living one goes on").await;
    let members: Vec<_> = logs[0]
        .ledger()
        .read()
        .unwrap()
        .members
        .keys()
        .copied()
        .collect();
    assert_eq!(members, ids);
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

/// With the real certificate of another member.
#[tokio::test]
async fn nobody_speaks_for_another_member() {
    let authority = Authority::new();
    let mut agents = Agent::some(&authority, 3);
    let logs = form(&mut agents).await;
    commit(&logs[0], "x").await;
    agree(&logs.iter().collect::<Vec<_>>()).await;
    let all: Vec<_> = logs.iter().collect();
    let leader = acting(&all).await;
    let (target, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let name = agents[other].config.member.name.as_str();
    let tls = authority.sign(&["peer.starling", name]);
    let mut client = client(&agents[target].config.member.peer_address, &tls);
    let term = logs[leader].leadership().borrow().term;
    let said = |sender: u64| {
        Some(Envelope {
            target: logs[target].id().0,
            sender,
            cluster: CLUSTER.into(),
            generation: 1,
            cluster_id: logs[target].cluster_id().into(),
        })
    };
    let vote = |id: u64| wire::VoteRequest {
        vote: Some(wire::Vote {
            term: term + 1_000,
            node: id,
            committed: false,
        }),
        last: None,
    };
    let raft = |sender: u64, id: u64| RaftRequest {
        envelope: said(sender),
        body: vote(id).encode_to_vec(),
        alone: false,
    };
    let denied = |status: Result<(), tonic::Status>, what: &str| {
        let status = status.expect_err(what);
        assert_eq!(status.code(), Code::PermissionDenied, "{what}: {status}");
    };
    let own = logs[other].id().0;
    // Another member's id, one that nobody has, and its own on behalf of another.
    let first = logs[leader].id().0;
    for (sender, body) in [(first, first), (9_999, 9_999), (own, first)] {
        let request = || raft(sender, body);
        denied(client.vote(request()).await.map(drop), "a vote");
    }
    for sender in [first, 9_999] {
        denied(
            client.append(raft(sender, sender)).await.map(drop),
            "an append",
        );
        let head = SnapshotPart {
            part: Some(snapshot_part::Part::Head(SnapshotHead {
                envelope: said(sender),
                ..SnapshotHead::default()
            })),
        };
        let sent = client.snapshot(tokio_stream::iter([head])).await;
        denied(sent.map(drop), "a snapshot");
        let propose = ProposeRequest {
            envelope: said(sender),
            command: Vec::new(),
        };
        denied(client.propose(propose).await.map(drop), "a proposal");
        let read = ReadIndexRequest {
            envelope: said(sender),
        };
        denied(client.read_index(read).await.map(drop), "a read");
        let recall = RecallRequest {
            envelope: said(sender),
        };
        denied(client.recall(recall).await.map(drop), "a recall");
        let stand = StandRequest {
            envelope: said(sender),
            term,
            last_index: 0,
        };
        denied(client.stand(stand).await.map(drop), "a stand");
        let member = starling_proto::raft::Member {
            name: name.into(),
            peer_address: "127.0.0.1:1".into(),
            ..Default::default()
        };
        let readdress = ReaddressRequest {
            cluster: CLUSTER.into(),
            generation: 1,
            sender,
            member: Some(member),
            cluster_id: logs[target].cluster_id().into(),
        };
        denied(client.readdress(readdress).await.map(drop), "an address");
    }
    commit(&logs[target], "undisturbed").await;
    // A slow disk may have had an election; none of them had one by what was forged.
    assert!(logs[leader].leadership().borrow().term < term + 1_000);
    acting(&all).await;
}

#[tokio::test]
async fn members_forward_only_what_users_may_change() {
    let authority = Authority::new();
    let mut agents = Agent::some(&authority, 3);
    for agent in &mut agents {
        agent.config.ledger_version = HIGHEST;
    }
    let logs = form(&mut agents).await;
    let all: Vec<_> = logs.iter().collect();
    // Before that some commands are refused at their own agent.
    let raised = |log: &Log| log.ledger().read().unwrap().version() == HIGHEST;
    eventually("the ledger's version is raised", || async {
        all.iter().all(|log| raised(log)).then_some(())
    })
    .await;
    let leader = acting(&all).await;
    agree(&all).await;
    let other = (leader + 1) % 3;
    let member = agents[other].config.member.clone();
    let refused = [
        Command::Found {
            cluster: CLUSTER.into(),
            generation: 7,
            authority: None,
        },
        Command::Admit {
            nonce: "n".into(),
            member: member.clone(),
        },
        Command::Readdress {
            node: logs[leader].id(),
            member,
        },
        Command::Away {
            node: logs[leader].id(),
            away: true,
        },
        Command::Pass {
            by: logs[leader].id(),
            items: Vec::new(),
            moves: Vec::new(),
        },
        Command::Raise(Raised {
            version: FIRST,
            release: "of somebody".into(),
        }),
        Command::LookAround,
    ];
    for command in refused {
        let answer = logs[other].propose(command.clone()).await;
        let why = match answer {
            Err(Error::Unknown(why)) => why,
            other => panic!("{command:?}: {other:?}"),
        };
        assert!(why.contains("can't be proposed for others"), "{why}");
    }
    commit(&logs[other], "a user's").await;
}
