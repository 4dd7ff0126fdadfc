//! KEDA's objects as policies.

use std::path::Path;

use serde_json::{Value, json};
use starling_engine::policy::Name;
use starling_kube::client::calls::Verb;
use starling_kube::policies::Reads;
use starling_kubernetes_rig::turn;

use crate::world::{Agent, World, agent_that, prepare};

/// KEDA's object for the same workload.
fn scaled_object(trigger: &Value) -> String {
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "scaleTargetRef": { "name": "web" },
            "minReplicaCount": 1,
            "maxReplicaCount": 9,
            "triggers": [trigger],
        },
    })
    .to_string()
}

/// A condition of it: status, reason and message.
fn of_keda(world: &World, kind: &str) -> Result<[String; 3], String> {
    let object = world.cluster.get(["so", "web"]);
    let status = object.map_err(|e| e.to_string())?["status"].clone();
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    let found = conditions.find(|it| it["type"] == kind);
    let found = found.ok_or_else(|| format!("no condition {kind} in {status}"))?;
    Ok(["status", "reason", "message"].map(|key| found[key].as_str().unwrap_or_default().into()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scaled_object_is_decided_for_as_it_is_and_given_back() {
    let Some(_turn) = turn::beside() else { return };
    prepare();
    let mut world = World::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../daemonset/components/keda");
    let definition = std::fs::read_to_string(folder.join("scaledobjects.yaml")).expect("the CRD");
    world.cluster.apply(&definition).expect("it is taken");
    world
        .cluster
        .await_established("scaledobjects.keda.sh")
        .expect("it is served");
    world.deploy();
    let adopts = Reads {
        policies: true,
        scaled_objects: true,
    };
    let mut agent = agent_that(world.cluster.kubeconfig(), adopts).await;
    let known = json!({
        "type": "metrics-api",
        "metadata": { "url": "http://q/x", "valueLocation": "a.b", "targetValue": "10" },
    });
    world
        .cluster
        .apply(&scaled_object(&known))
        .expect("it is taken");
    let is = |kind: &'static str, status: &'static str, reason: &'static str| {
        move |it: &World| {
            let found = of_keda(it, kind)?;
            let right = found[0] == status && found[1] == reason;
            right
                .then_some(())
                .ok_or_else(|| format!("{kind} is {found:?}"))
        }
    };
    let ready = is("Ready", "True", "ScaledObjectReady");
    world.until(&mut agent, "in force", ready).await;
    let name = Name::new("default", "web.scaledobject");
    assert!(world.ledger.policies.contains_key(&name));

    world.queue_milli = 40_000;
    world
        .until(&mut agent, "grown", |it| match &it.scale {
            Some(scale) if scale.replicas == 4 => Ok(()),
            scale => Err(format!("{scale:?}")),
        })
        .await;
    let active = is("Active", "True", "ScalerActive");
    world.until(&mut agent, "active", active).await;
    let status = world.cluster.get(["so", "web"]).expect("it is there")["status"].clone();
    assert_eq!(status["externalMetricNames"], json!(["s0-metric-api-a-b"]));
    assert!(status["lastActiveTime"].is_string(), "{status}");
    world
        .until(&mut agent, "told", |it| {
            let events = it.events();
            let told = events.contains(&"ScaledObject SuccessfulRescale 1".to_owned());
            told.then_some(()).ok_or_else(|| format!("{events:?}"))
        })
        .await;

    // At rest nothing is written.
    for _ in 0..20 {
        world.turn(&mut agent).await;
    }
    let patches = |agent: &Agent| agent.connection.calls.tally(Verb::Patch).calls;
    let before = patches(&agent);
    for _ in 0..50 {
        world.turn(&mut agent).await;
    }
    assert_eq!(patches(&agent), before);

    // A type of trigger that isn't known is a condition, and what was in force stays.
    let unknown = json!({ "type": "aws-sqs-queue", "metadata": { "topic": "a" } });
    world
        .cluster
        .apply(&scaled_object(&unknown))
        .expect("it is taken");
    let refused = is("Ready", "False", "ScaledObjectCheckFailed");
    world.until(&mut agent, "refused", refused).await;
    let [_, _, message] = of_keda(&world, "Ready").expect("it is there");
    assert!(
        message.contains("`aws-sqs-queue` isn't a type of trigger"),
        "{message}"
    );
    assert!(world.ledger.policies.contains_key(&name));
    world
        .cluster
        .apply(&scaled_object(&known))
        .expect("it is taken");
    world.until(&mut agent, "in force again", ready).await;

    // Agents that don't adopt leave the object, its workload and its size to KEDA.
    let mut agent = crate::world::agent(world.cluster.kubeconfig()).await;
    let given = |it: &World| {
        let none = it.ledger.policies.is_empty();
        none.then_some(())
            .ok_or_else(|| "it is in force".to_owned())
    };
    world.until(&mut agent, "given back", given).await;
    assert_eq!(world.scale.as_ref().map(|scale| scale.replicas), Some(4));
}
