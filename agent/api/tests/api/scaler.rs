//! KEDA asks what a policy wants, at any agent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use starling_api::view::Snapshot;
use starling_engine::decide::reason::{Failure, Held, Input, Outcome, Step};
use starling_engine::policy::{Goal, Policy, Source};
use starling_proto::externalscaler::external_scaler_client::ExternalScalerClient;
use starling_proto::externalscaler::{GetMetricsRequest, ScaledObjectRef};
use tonic::Code;
use tonic::transport::Channel;

use crate::harness::{Home, channel, eventually, live, next, policy};

fn object(settings: &[(&str, &str)]) -> ScaledObjectRef {
    let settings = settings.iter();
    ScaledObjectRef {
        name: "web".into(),
        namespace: "default".into(),
        scaler_metadata: settings
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

/// Target and value, as KEDA asks for them.
async fn asked(
    client: &ExternalScalerClient<Channel>,
    settings: &[(&str, &str)],
) -> Result<(f64, f64), tonic::Status> {
    let mut client = client.clone();
    let spec = client.get_metric_spec(object(settings)).await?.into_inner();
    let [spec] = spec.metric_specs.as_slice() else {
        panic!("{spec:?}");
    };
    let request = GetMetricsRequest {
        scaled_object_ref: Some(object(settings)),
        metric_name: spec.metric_name.clone(),
    };
    let values = client.get_metrics(request).await?.into_inner();
    let [value] = values.metric_values.as_slice() else {
        panic!("{values:?}");
    };
    assert_eq!(value.metric_name, spec.metric_name);
    Ok((spec.target_size_float, value.metric_value_float))
}

/// What the leader decides, with what its trigger said.
fn deciding(size: u32, outcome: Outcome) -> Arc<Snapshot> {
    let mut snapshot = Arc::unwrap_or_clone(live("web", size));
    let decisions = Arc::make_mut(&mut snapshot.live);
    let decision = decisions.get_mut(&"web".into()).unwrap();
    decision.report.inputs = vec![Input {
        trigger: "queue".into(),
        source: "redis".into(),
        goal: Goal::AverageValue { milli: 5_000 },
        value: Some(12_500),
        age_ms: Some(100),
        pods: None,
        band: None,
        outcome,
    }];
    Arc::new(snapshot)
}

fn proposes() -> Outcome {
    Outcome::Proposes {
        replicas: 3,
        within_tolerance: false,
    }
}

/// With a trigger named `queue`, five for each replica.
fn queued() -> Policy {
    let mut policy = policy("web", 1);
    policy.triggers[0].name = "queue".into();
    policy.triggers[0].source = Source::External {
        kind: "redis".into(),
        metadata: BTreeMap::new(),
    };
    policy.triggers[0].goal = Goal::AverageValue { milli: 5_000 };
    policy
}

#[tokio::test(flavor = "multi_thread")]
async fn keda_is_told_what_a_policy_wants_and_what_its_trigger_says_by_any_agent() {
    let home = Home::new();
    let leader = home.leader().await;
    let follower = home.agent("b", &[&leader]).await;
    leader.put(queued()).await;
    leader.snapshot.send_replace(deciding(3, proposes()));
    for agent in [&leader, &follower] {
        let channel = channel(&agent.address, &home.user()).await.unwrap();
        let client = ExternalScalerClient::new(channel);
        // A follower may not have the policy yet, or the leader's address.
        let size = eventually("it is answered", || async {
            asked(&client, &[]).await.ok()
        });
        assert_eq!(size.await, (1.0, 3.0));
        let queue = asked(&client, &[("trigger", "queue")]).await.unwrap();
        assert_eq!(queue, (5.0, 12.5));
    }

    let channel = channel(&leader.address, &home.user()).await.unwrap();
    let client = ExternalScalerClient::new(channel);
    let refused = asked(&client, &[("policy", "wep")]).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(refused.message().contains("did you mean web?"), "{refused}");
    let refused = asked(&client, &[("trigger", "cpu")]).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("it has queue"), "{refused}");

    // What isn't known is no number.
    let down = Outcome::Failed {
        reason: Failure::Source("the queue is away".into()),
        failures: 2,
        kept: None,
    };
    leader.snapshot.send_replace(deciding(3, down));
    let refused = asked(&client, &[("trigger", "queue")]).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("the queue is away"), "{refused}");
    assert_eq!(asked(&client, &[]).await.unwrap(), (1.0, 3.0));
    // Whether the workload is to run is the policy's to say.
    let mut pulled = client.clone();
    let active = pulled.is_active(object(&[("trigger", "queue")])).await;
    assert!(active.unwrap().into_inner().result);
    leader
        .snapshot
        .send_replace(deciding(1, Outcome::NoReplicas));
    let none = asked(&client, &[("trigger", "queue")]).await.unwrap();
    assert_eq!(
        none,
        (5.0, 5.0),
        "it asks for the size that the policy wants"
    );

    // Nor is the size of a workload that nobody has seen, which is 0 until then.
    for (held, words) in [
        (Held::Unseen, "hasn't said"),
        (Held::Away, "doesn't answer"),
        (Held::Gone("deleted".into()), "deleted"),
    ] {
        let mut unseen = Arc::unwrap_or_clone(deciding(0, proposes()));
        let decisions = Arc::make_mut(&mut unseen.live);
        let decision = decisions.get_mut(&"web".into()).unwrap();
        decision.report.steps = vec![Step::Held(held)];
        leader.snapshot.send_replace(Arc::new(unseen));
        for settings in [&[][..], &[("trigger", "queue")]] {
            let refused = asked(&client, settings).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unavailable);
            assert!(refused.message().contains(words), "{refused}");
            let mut client = client.clone();
            let active = client.is_active(object(settings)).await;
            assert_eq!(active.unwrap_err().code(), Code::Unavailable);
        }
    }
    // Without any number KEDA still learns what there is to scale by.
    leader.snapshot.send_replace(Arc::default());
    let mut client = client.clone();
    let spec = client.get_metric_spec(object(&[("trigger", "queue")]));
    let spec = spec.await.unwrap().into_inner();
    assert_eq!(spec.metric_specs[0].target_size, 5);
    assert_eq!(spec.metric_specs[0].metric_name, "web-queue");
}

#[tokio::test(flavor = "multi_thread")]
async fn keda_is_told_at_once_when_a_workload_is_to_run_or_to_rest() {
    let home = Home::new();
    let agent = home.leader().await;
    agent.put(policy("web", 1)).await;
    agent.snapshot.send_replace(live("web", 0));
    let channel = channel(&agent.address, &home.user()).await.unwrap();
    let mut client = ExternalScalerClient::new(channel);
    let stream = client.stream_is_active(object(&[])).await.unwrap();
    let mut stream = stream.into_inner();
    assert!(!next(&mut stream).await.unwrap().result);
    for (size, runs) in [(4, true), (0, false), (1, true)] {
        agent.snapshot.send_replace(live("web", size));
        assert_eq!(next(&mut stream).await.unwrap().result, runs);
        let active = client.is_active(object(&[])).await.unwrap();
        assert_eq!(active.into_inner().result, runs);
    }
    // While nobody knows it goes on, for KEDA waits longer after each one that fails.
    agent.snapshot.send_replace(Arc::default());
    let unknown = client.is_active(object(&[])).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unavailable);
    // Longer than it rests between two looks.
    let silent = tokio::time::timeout(Duration::from_millis(1_500), stream.message());
    assert!(silent.await.is_err(), "it has ended, or says something");
    agent.snapshot.send_replace(live("web", 0));
    assert!(!next(&mut stream).await.unwrap().result);

    let mut nobody = client.clone();
    let refused = nobody
        .stream_is_active(object(&[("policy", "nobody")]))
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
}
