//! A policy comes into force, is told of, and is left alone at rest.

use starling_kube::client::calls::Verb;
use starling_kubernetes_rig::turn;

use crate::world::{Agent, World, agent, policy, prepare, web};

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_put_into_force_told_of_and_left_alone_at_rest() {
    let Some(_turn) = turn::beside() else { return };
    prepare();
    let mut world = World::new();
    world.deploy();
    let mut agent = agent(world.cluster.kubeconfig()).await;
    world
        .cluster
        .apply(&policy(9).to_string())
        .expect("a policy");
    world
        .until(&mut agent, "in force", |it| {
            it.is("Ready", "True", "InForce")
        })
        .await;
    let source = &world.ledger.policies[&web()].source;
    assert_eq!(source, "kubernetes: default/web generation 1");

    world.queue_milli = 40_000;
    world
        .until(&mut agent, "grown", |it| match &it.status()? {
            status if status["size"] == 4 && status["currentReplicas"] == 4 => Ok(()),
            status => Err(status.to_string()),
        })
        .await;
    let table = world.cluster.kubectl(["get", "sp"]).expect("a table");
    let row = table.lines().nth(1).unwrap_or_default();
    let words: Vec<&str> = row.split_whitespace().take(9).collect();
    let expected = ["web", "web", "1", "9", "4", "4", "True", "True", "False"];
    assert_eq!(words, expected, "{table}");
    let rescaled = [
        "Deployment SuccessfulRescale 1",
        "ScalingPolicy SuccessfulRescale 1",
    ];
    let told = |it: &World| {
        let events = it.events();
        (events == rescaled)
            .then_some(())
            .ok_or_else(|| format!("{events:?}"))
    };
    world.until(&mut agent, "told", told).await;

    // At rest nothing is written, whatever the age of what was measured.
    world
        .until(&mut agent, "settled", |it| {
            it.is("AbleToScale", "True", "ReadyForNewScale")
        })
        .await;
    let writes = |agent: &Agent| {
        let tally = |verb| agent.connection.calls.tally(verb).calls;
        (tally(Verb::Patch), tally(Verb::Create), tally(Verb::Update))
    };
    let before = writes(&agent);
    for _ in 0..100 {
        world.turn(&mut agent).await;
    }
    assert_eq!(writes(&agent), before);

    // Another leader, which knows nothing, repeats nothing.
    agent = crate::world::agent(world.cluster.kubeconfig()).await;
    for _ in 0..50 {
        world.turn(&mut agent).await;
    }
    assert_eq!(world.events(), rescaled);
    world.is("Ready", "True", "InForce").expect("as it was");

    // What happens again is counted: somebody sets 2, and 4 are still wanted.
    if let Some(scale) = &mut world.scale {
        (scale.replicas, scale.running) = (2, 2);
    }
    world
        .until(&mut agent, "counted", |it| {
            let events = it.events();
            let again = "Deployment SuccessfulRescale 2".to_owned();
            let by_hand = "ScalingPolicy ScaledByHand 1".to_owned();
            (events.contains(&again) && events.contains(&by_hand))
                .then_some(())
                .ok_or_else(|| format!("{events:?}"))
        })
        .await;
}
