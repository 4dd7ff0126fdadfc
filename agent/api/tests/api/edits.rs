//! What users take away over the API.

use starling_engine::ledger::{Command, Item};
use starling_proto::v1;
use tonic::Code;

use crate::harness::{Agent, Home, client, eventually, policy};

/// Places all of a policy's replicas on the agent itself, as a pass does.
async fn place(agent: &Agent, name: &str, size: u32) {
    let item = {
        let ledger = agent.log.ledger();
        let ledger = ledger.read().unwrap();
        let put = &ledger.policies[&name.into()];
        Item {
            policy: name.into(),
            revision: put.revision,
            from: ledger.workloads[&put.policy.target].size,
            to: size,
            shares: Some([(agent.log.id(), size)].into()),
            seen: None,
            changes: Vec::new(),
            report: None,
        }
    };
    let by = agent.log.id();
    let (items, moves) = (vec![item], Vec::new());
    let pass = Command::Pass { by, items, moves };
    let outcome = agent.log.propose(pass).await;
    assert_eq!(outcome.unwrap().refused, []);
}

fn workload(name: &str) -> v1::DeleteWorkloadRequest {
    v1::DeleteWorkloadRequest {
        kind: "Process".into(),
        name: name.into(),
        ..Default::default()
    }
}

fn of_policy(name: &str) -> v1::DeletePolicyRequest {
    v1::DeletePolicyRequest {
        name: name.into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_deleted_and_then_the_workload_that_it_left() {
    let home = Home::new();
    let agent = home.leader().await;
    let mut client = client(&agent.address, &home.user()).await.unwrap();
    agent.put(policy("web", 2)).await;
    place(&agent, "web", 3).await;
    let refused = client.delete_workload(workload("web")).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused.message().contains("policy web sizes it"),
        "{refused}"
    );

    let deleted = client.delete_policy(of_policy("web")).await.unwrap();
    let deleted = deleted.into_inner();
    assert_eq!(deleted.sources, ["a:test.yaml"]);
    assert_eq!(deleted.policy.unwrap().size, 3);
    let again = client.delete_policy(of_policy("web")).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);

    let left = agent.log.ledger().read().unwrap().workloads.len();
    assert_eq!(left, 1, "the workload keeps its size");
    let deleted = client.delete_workload(workload("web")).await.unwrap();
    assert_eq!(deleted.into_inner().workload.unwrap().size, 3);
    assert!(agent.log.ledger().read().unwrap().workloads.is_empty());
    let again = client.delete_workload(workload("web")).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_an_object_asks_for_is_not_deleted_here() {
    let home = Home::new();
    let agent = home.leader().await;
    let mut client = client(&agent.address, &home.user()).await.unwrap();
    let source = "kubernetes: default/web generation 3".to_owned();
    let put = Command::PutPolicy {
        policy: policy("web", 2),
        source,
    };
    assert_eq!(agent.log.propose(put).await.unwrap().refused, []);
    let refused = client.delete_policy(of_policy("web")).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("kubectl delete"), "{refused}");
    assert_eq!(agent.log.ledger().read().unwrap().policies.len(), 1);
}

fn member(node: &str, force: bool) -> v1::RemoveMemberRequest {
    let node = node.into();
    v1::RemoveMemberRequest { node, force }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_removed_once_it_is_gone_or_by_force_and_a_leader_never() {
    let home = Home::new();
    let leader = home.leader().await;
    let other = home.agent("b", &[&leader]).await;
    let mut client = client(&leader.address, &home.user()).await.unwrap();
    let code = async |client: &mut crate::harness::Client, asked| {
        let refused = client.remove_member(asked).await.unwrap_err();
        (refused.code(), refused.message().to_owned())
    };
    let (unknown, words) = code(&mut client, member("none", true)).await;
    assert_eq!(unknown, Code::NotFound, "{words}");
    let (leads, words) = code(&mut client, member("a", true)).await;
    assert_eq!(leads, Code::FailedPrecondition);
    assert!(
        words.contains("a leads") && words.contains("raft transfer"),
        "{words}"
    );
    // On a busy machine a first connection may take longer than it is given.
    eventually("b answers", || async {
        leader
            .log
            .answers(other.log.id())
            .await
            .unwrap()
            .then_some(())
    })
    .await;
    let (answers, words) = code(&mut client, member("b", false)).await;
    assert_eq!(answers, Code::FailedPrecondition);
    assert!(
        words.contains("b answers") && words.contains("--force"),
        "{words}"
    );
    assert_eq!(leader.log.ledger().read().unwrap().members.len(), 2);

    let id = other.log.id();
    drop(other);
    let removed = eventually("it doesn't answer and is removed", || {
        let mut client = client.clone();
        async move {
            client
                .remove_member(member(&id.0.to_string(), false))
                .await
                .ok()
        }
    })
    .await;
    assert_eq!(removed.into_inner().member.unwrap().name, "b");
    let left = leader.log.ledger().read().unwrap().members.len();
    assert_eq!(left, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_answers_is_removed_by_force() {
    let home = Home::new();
    let leader = home.leader().await;
    let _other = home.agent("b", &[&leader]).await;
    let mut client = client(&leader.address, &home.user()).await.unwrap();
    client.remove_member(member("b", true)).await.unwrap();
    let left = leader.log.ledger().read().unwrap().members.len();
    assert_eq!(left, 1);
}
