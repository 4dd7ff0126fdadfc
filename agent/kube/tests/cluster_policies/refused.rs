//! What can't be in force says why, and comes by itself once it can.

use std::collections::BTreeMap;

use serde_json::json;
use starling_kubernetes_rig::turn;

use crate::world::{World, agent, policy, prepare, web};

const HPA: &str = "
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: other, namespace: default}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  maxReplicas: 3
";

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_in_force_says_why_and_comes_by_itself_once_it_can() {
    let Some(_turn) = turn::beside() else { return };
    prepare();
    let mut world = World::new();
    world.deploy();
    let mut agent = agent(world.cluster.kubeconfig()).await;
    world.cluster.apply(HPA).expect("an HPA");
    world
        .cluster
        .apply(&policy(9).to_string())
        .expect("a policy");
    world
        .until(&mut agent, "refused", |it| {
            it.is("Ready", "False", "AlreadyScaled")
        })
        .await;
    assert_eq!(*world.ledger.policies, BTreeMap::new());
    let problems = agent.policies.problems();
    let why = &problems["policy web"];
    assert!(
        why.starts_with("HorizontalPodAutoscaler default/other scales Deployment web"),
        "{why}"
    );
    world
        .cluster
        .kubectl(["delete", "hpa", "other"])
        .expect("it goes");
    world
        .until(&mut agent, "in force", |it| {
            it.is("Ready", "True", "InForce")
        })
        .await;
    world.cluster.apply(HPA).expect("an HPA");
    world
        .until(&mut agent, "stepped back", |it| {
            it.is("Ready", "False", "AlreadyScaled")
        })
        .await;
    assert_eq!(*world.ledger.policies, BTreeMap::new());
    world
        .cluster
        .kubectl(["delete", "hpa", "other"])
        .expect("it goes");
    world
        .until(&mut agent, "in force", |it| {
            it.is("Ready", "True", "InForce")
        })
        .await;

    // What the rules of the CRD can't see: an annotation.
    let annotate = "autoscaling.keda.sh/paused-replicas=20";
    world
        .cluster
        .kubectl(["annotate", "sp", "web", annotate])
        .expect("an annotation");
    world
        .until(&mut agent, "invalid", |it| {
            it.is("Ready", "False", "Invalid")
        })
        .await;
    assert!(
        world.ledger.policies.contains_key(&web()),
        "the last good one"
    );
    // A second policy for the same workload.
    let mut second = policy(9);
    second["metadata"]["name"] = json!("second");
    world.cluster.apply(&second.to_string()).expect("a policy");
    world
        .until(&mut agent, "taken", |it| {
            let object = it
                .cluster
                .get(["sp", "second"])
                .map_err(|e| e.to_string())?;
            let ready = &object["status"]["conditions"][0];
            (ready["reason"] == "TargetTaken")
                .then_some(())
                .ok_or_else(|| object["status"].to_string())
        })
        .await;
    world
        .until(&mut agent, "warned", |it| {
            let events = it.events();
            let all = ["AlreadyScaled 2", "Invalid 1", "TargetTaken 1"]
                .map(|it| format!("ScalingPolicy {it}"));
            all.iter()
                .all(|it| events.contains(it))
                .then_some(())
                .ok_or_else(|| format!("{events:?}"))
        })
        .await;
}
