//! The API server goes away and comes back.

use serde_json::json;
use starling_kubernetes_rig::turn;

use crate::world::{World, agent, policy, prepare, web};

#[tokio::test(flavor = "multi_thread")]
async fn i8_an_api_server_that_is_away_removes_nothing_and_what_went_meanwhile_goes() {
    let Some(_turn) = turn::beside() else { return };
    prepare();
    let mut world = World::new();
    world.deploy();
    let mut agent = agent(world.cluster.kubeconfig()).await;
    let mut second = policy(9);
    second["metadata"]["name"] = json!("second");
    second["spec"]["scaleTargetRef"]["name"] = json!("second");
    for it in [policy(9), second] {
        world.cluster.apply(&it.to_string()).expect("a policy");
    }
    let count = |wanted: usize| {
        move |it: &World| {
            let found = it.ledger.policies.len();
            (found == wanted)
                .then_some(())
                .ok_or_else(|| format!("{found} policies"))
        }
    };
    world.until(&mut agent, "both in force", count(2)).await;
    world.cluster.kill_api_server().expect("it dies");
    for _ in 0..30 {
        world.turn(&mut agent).await;
        assert_eq!(world.ledger.policies.len(), 2);
    }
    assert!(!agent.policies.problems().is_empty(), "that is said");
    world.cluster.resume_api_server().expect("it comes back");
    world
        .until(&mut agent, "well again", |_| Ok::<(), String>(()))
        .await;
    // Nobody watches while an object goes: an agent that starts finds it missing.
    drop(agent);
    world
        .cluster
        .kubectl(["delete", "sp", "second"])
        .expect("it goes");
    let mut agent = crate::world::agent(world.cluster.kubeconfig()).await;
    world.until(&mut agent, "one is left", count(1)).await;
    assert!(world.ledger.policies.contains_key(&web()));
    world
        .cluster
        .kubectl(["delete", "sp", "web"])
        .expect("it goes");
    world.until(&mut agent, "none is left", count(0)).await;
}
