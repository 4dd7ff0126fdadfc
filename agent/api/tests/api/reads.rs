//! Reads at each consistency, forwarded and not.

use starling_api::LED;
use starling_proto::v1::{self, Consistency};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::harness::{Home, channel, client, eventually, live, next, policy};

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_who_gave_it_and_how_fresh_it_is() {
    let home = Home::new();
    let agent = home.leader().await;
    let mut client = client(&agent.address, &home.user()).await.unwrap();
    let reply = client
        .get_cluster_status(v1::GetClusterStatusRequest::default())
        .await;
    let reply = reply.unwrap().into_inner();
    let (header, status) = (reply.header.unwrap(), reply.status.unwrap());
    assert_eq!(
        (header.node_id, header.node_name.as_str()),
        (agent.log.id().0, "a")
    );
    assert_eq!(
        (header.cluster.as_str(), header.consistency()),
        ("test", Consistency::Stale)
    );
    assert!(header.leading && header.applied_index > 0 && header.term > 0);
    assert!(header.data_age.unwrap().seconds < 60 && header.answer_time.is_some());
    assert_eq!(
        (status.leader_id, status.members),
        (Some(agent.log.id().0), 1)
    );
    assert_eq!(status.voter_ids, [agent.log.id().0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linearizable_read_holds_all_that_was_put_before() {
    let home = Home::new();
    let agent = home.leader().await;
    let mut client = client(&agent.address, &home.user()).await.unwrap();
    for (n, name) in ["one", "two", "three"].into_iter().enumerate() {
        agent.put(policy(name, 1)).await;
        let consistency = Consistency::Linearizable.into();
        let asked = v1::ListPoliciesRequest {
            consistency,
            ..Default::default()
        };
        let reply = client.list_policies(asked).await.unwrap().into_inner();
        assert_eq!(reply.policies.len(), n + 1);
        assert_eq!(
            reply.header.unwrap().consistency(),
            Consistency::Linearizable
        );
    }
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let asked = v1::ListPoliciesRequest {
            page_size: 2,
            page_token,
            ..Default::default()
        };
        let reply = client.list_policies(asked).await.unwrap().into_inner();
        assert!(reply.policies.len() <= 2);
        names.extend(reply.policies.into_iter().map(|policy| policy.name));
        page_token = reply.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["one", "three", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_policy_is_not_found_and_near_names_are_told() {
    let home = Home::new();
    let agent = home.leader().await;
    agent.put(policy("checkout", 1)).await;
    let mut client = client(&agent.address, &home.user()).await.unwrap();
    let name = String::from("chekout");
    let asked = v1::GetPolicyRequest {
        name: name.clone(),
        ..Default::default()
    };
    let status = client.get_policy(asked).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(
        status.message().contains("did you mean checkout?"),
        "{}",
        status.message()
    );
    let info = tonic_types::StatusExt::get_details_error_info(&status).unwrap();
    assert_eq!(
        (info.reason.as_str(), info.domain.as_str()),
        ("POLICY_NOT_FOUND", "starling.sh")
    );
    let asked = v1::ListDecisionsRequest {
        policy: name,
        ..Default::default()
    };
    let status = client.list_decisions(asked).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let status = client
        .get_policy(v1::GetPolicyRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_size_is_listed_and_explained_and_so_is_the_present() {
    let home = Home::new();
    let agent = home.leader().await;
    agent.put(policy("checkout", 1)).await;
    agent.put(policy("checkout", 3)).await;
    agent.snapshot.send_replace(live("checkout", 4));
    let mut client = client(&agent.address, &home.user()).await.unwrap();
    let asked = v1::ListDecisionsRequest {
        policy: "checkout".into(),
        ..Default::default()
    };
    let decisions = client
        .list_decisions(asked)
        .await
        .unwrap()
        .into_inner()
        .decisions;
    let [decision] = decisions.as_slice() else {
        panic!("{decisions:?}")
    };
    assert_eq!((decision.previous_size, decision.size), (1, 3));
    let asked = v1::ExplainPolicyRequest {
        name: "checkout".into(),
        ..Default::default()
    };
    let reply = client
        .explain_policy(asked.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(reply.last_change.as_ref(), Some(decision));
    assert_eq!(reply.recorded.unwrap().limits[0].code, "PolicyBounds");
    assert!(!reply.live.unwrap().lines.is_empty());
    let shown = reply.policy.unwrap();
    assert_eq!((shown.size, shown.wanted), (3, Some(4)));
    let asked = v1::ExplainPolicyRequest {
        decision_index: decision.index + 1,
        ..asked
    };
    let status = client.explain_policy(asked).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_asks_the_leader_where_the_caller_wants_it() {
    let home = Home::new();
    let mut leader = home.leader().await;
    let follower = home.agent("b", &[&leader]).await;
    leader.put(policy("checkout", 1)).await;
    leader.snapshot.send_replace(live("checkout", 4));
    eventually("the follower has the policy", || async {
        follower
            .log
            .ledger()
            .read()
            .unwrap()
            .policies
            .contains_key(&"checkout".into())
            .then_some(())
    })
    .await;
    let mut client = client(&follower.address, &home.user()).await.unwrap();
    for (consistency, by) in [
        (Consistency::Stale, &follower),
        (Consistency::Leader, &leader),
        (Consistency::Linearizable, &leader),
    ] {
        // On a busy machine a first connection may take longer than it is given.
        let header = eventually("it is answered", || {
            let mut client = client.clone();
            let asked = v1::GetClusterStatusRequest {
                consistency: consistency.into(),
            };
            async move {
                let reply = client.get_cluster_status(asked).await.ok()?;
                reply.into_inner().header
            }
        })
        .await;
        assert_eq!(header.node_id, by.log.id().0, "{consistency:?}");
        assert_eq!(header.leading, by.log.id() == leader.log.id());
    }
    // What the leader decides now comes with the follower's own record.
    let asked = v1::ExplainPolicyRequest {
        name: "checkout".into(),
        ..Default::default()
    };
    let reply = eventually("the leader says what it decides", || {
        let (mut client, asked) = (client.clone(), asked.clone());
        async move {
            let reply = client.explain_policy(asked).await.unwrap().into_inner();
            reply.live.is_some().then_some(reply)
        }
    })
    .await;
    assert_eq!(reply.header.unwrap().node_id, follower.log.id().0);

    leader.end_api().await;
    let reply = client.explain_policy(asked).await.unwrap().into_inner();
    assert_eq!(reply.live, None);
    assert!(
        reply.live_absent_reason.contains("doesn't answer"),
        "{}",
        reply.live_absent_reason
    );
    let asked = v1::GetClusterStatusRequest {
        consistency: Consistency::Leader.into(),
    };
    let status = client.get_cluster_status(asked).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        status.message().contains("consistency stale"),
        "{}",
        status.message()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_whose_leader_is_gone_names_nobody_as_leader_and_its_health_says_so() {
    let home = Home::new();
    let leader = home.leader().await;
    let follower = home.agent("b", &[&leader]).await;
    let address = &follower.address;
    let mut health = HealthClient::new(channel(address, &home.user()).await.unwrap());
    let mut client = client(address, &home.user()).await.unwrap();
    eventually("a leader stands behind it", || async {
        let backing = follower.log.backing();
        backing.led.then_some(())
    })
    .await;
    let asked = v1::GetClusterStatusRequest::default();
    let header = client.get_cluster_status(asked).await.unwrap().into_inner();
    let header = header.header.unwrap();
    assert_eq!(
        (header.led, header.leader_id),
        (Some(true), Some(leader.log.id().0))
    );
    let mut led = health.watch(check(LED)).await.unwrap().into_inner();
    eventually_serves(&mut led, ServingStatus::Serving).await;

    leader.log.shutdown().await;
    eventually_serves(&mut led, ServingStatus::NotServing).await;
    let asked = v1::GetClusterStatusRequest::default();
    let reply = client.get_cluster_status(asked).await.unwrap().into_inner();
    let (header, status) = (reply.header.unwrap(), reply.status.unwrap());
    assert_eq!((header.led, header.leader_id), (Some(false), None));
    assert!(header.led_age.is_some(), "it has heard one");
    assert_eq!(status.state(), v1::ClusterState::NoQuorum);
    assert_eq!(status.missing_voters, ["a"]);
    // It answers all the same.
    for service in ["", "starling.v1.StarlingService"] {
        let answer = health.check(check(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let unknown = health.check(check("starling.none")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

fn check(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.into(),
    }
}

/// Reads until the service is said to be so.
async fn eventually_serves(
    stream: &mut tonic::Streaming<HealthCheckResponse>,
    wanted: ServingStatus,
) {
    while next(stream).await.unwrap().status() != wanted {}
}
