//! What runs on all nodes, from whichever agent is asked.

use std::sync::Arc;

use starling_api::view::{Replica, Snapshot};
use starling_engine::policy::{Resource, Target};
use starling_proto::{v1, view};
use tonic::Code;

use crate::harness::{Agent, Home, client, eventually, now};

/// What an agent knows that runs these and believes `others` alive.
fn runs(names: &[&str], others: &[&Agent]) -> Arc<Snapshot> {
    let replica = |name: &&str| Replica {
        target: Target::process("web").into(),
        name: (*name).into(),
        used: vec![(Resource::Cpu, 250, Some(500))],
        read_at: Some(now().minus(7_000)),
        ..Replica::default()
    };
    Arc::new(Snapshot {
        at: now(),
        replicas: Arc::new(names.iter().map(replica).collect()),
        alive: others.iter().map(|other| other.log.id()).collect(),
        ..Snapshot::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn any_agent_lists_the_replicas_of_all_nodes_and_names_those_that_are_silent() {
    let home = Home::new();
    let a = home.leader().await;
    let mut b = home.agent("b", &[&a]).await;
    for agent in [&a, &b] {
        eventually("both are members", || async {
            (agent.log.ledger().read().unwrap().members.len() == 2).then_some(())
        })
        .await;
    }
    a.snapshot.send_replace(runs(&["3", "1", "2"], &[&b]));
    b.snapshot.send_replace(runs(&["5", "4"], &[&a]));

    for agent in [&a, &b] {
        let mut client = client(&agent.address, &home.user()).await.unwrap();
        // On a busy machine a first connection may take longer than the other one is given.
        eventually("the other one answers", || {
            let mut client = client.clone();
            async move {
                let asked = v1::ListReplicasRequest::default();
                let reply = client.list_replicas(asked).await.unwrap().into_inner();
                reply.silent_nodes.is_empty().then_some(())
            }
        })
        .await;
        for page_size in [0, 1, 2, 4] {
            let mut seen = Vec::new();
            let mut page_token = String::new();
            loop {
                let asked = v1::ListReplicasRequest {
                    page_size,
                    page_token,
                    ..Default::default()
                };
                let reply = client.list_replicas(asked).await.unwrap().into_inner();
                let by = reply.header.as_ref().map(|header| header.node_id);
                assert_eq!(by, Some(agent.log.id().0));
                assert!(reply.silent_nodes.is_empty(), "{reply:?}");
                assert!(page_size == 0 || reply.replicas.len() <= page_size as usize);
                seen.extend(reply.replicas);
                page_token = reply.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
            let mut names: Vec<(&str, &str)> = seen
                .iter()
                .map(|it| (it.node_name.as_str(), it.name.as_str()))
                .collect();
            names.sort_unstable();
            let all = [("a", "1"), ("a", "2"), ("a", "3"), ("b", "4"), ("b", "5")];
            assert_eq!(names, all, "{page_size} a page");
            let cpu = &seen[0].usage["cpu"];
            assert_eq!((cpu.used, cpu.requested), (250, Some(500)));
            let age = seen[0].sample_age.as_ref().map(view::duration_ms);
            assert!(age >= Some(7_000), "{age:?}");
        }
        let asked = v1::ListReplicasRequest {
            namespace: "elsewhere".into(),
            ..Default::default()
        };
        let reply = client.list_replicas(asked).await.unwrap().into_inner();
        assert!(reply.replicas.is_empty(), "{reply:?}");
        let asked = v1::ListReplicasRequest {
            page_token: "bm9uZQ".into(),
            ..Default::default()
        };
        let status = client.list_replicas(asked).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }

    b.end_api().await;
    let mut client = client(&a.address, &home.user()).await.unwrap();
    let list = v1::ListReplicasRequest::default;
    let reply = client.list_replicas(list()).await.unwrap().into_inner();
    assert_eq!(reply.replicas.len(), 3);
    let silent = &reply.silent_nodes;
    assert_eq!((silent.len(), silent[0].node_name.as_str()), (1, "b"));
    assert!(!silent[0].reason.is_empty(), "{silent:?}");

    a.snapshot.send_replace(runs(&["1"], &[]));
    let reply = client.list_replicas(list()).await.unwrap().into_inner();
    assert_eq!(reply.silent_nodes[0].reason, "it seems to be dead");
}
