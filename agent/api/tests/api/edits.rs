//! What users take away over the API.

use starling_engine::ledger::{Command, Item};
use starling_proto::v1;
use tonic::Code;

use crate::harness::{Agent, Home, client, policy};

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
    let items = vec![item];
    let outcome = agent.log.propose(Command::Pass { by, items }).await;
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
