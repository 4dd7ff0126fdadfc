//! Clusters that were rebuilt from a ledger that had not heard of the last changes.

use super::*;

#[test]
fn what_was_decided_after_the_ledgers_end_is_neither_undone_nor_repeated() {
    for (granted, lost) in [(40, 60), (60, 40)] {
        let mut world = World::new(policy(), 2);
        world.observe();
        world.queue = granted;
        world.seconds(5);
        world.now = world.now.plus(600_000);
        let former = world.ledger.clone();
        // What follows is lost.
        world.queue = lost;
        world.seconds(400);
        let has = world.replicas();
        assert_eq!(u64::from(has), u64::try_from(lost / 10).expect("small"));
        let written = world.written().len();

        world.ledger = former;
        world.ledger.rebuild(2, "0.1.0");
        for id in [A, B] {
            world.nodes.insert(id, Node::new(id));
        }
        world.each(&Input::Platform(true));
        world.lead(B);
        world.observe();
        world.queue = 90;
        world.seconds(5);
        assert_eq!(world.codes(), ["ClusterRebuilt"]);
        assert_eq!((world.replicas(), world.size()), (has, has));
        world.apply(Command::LookAround);
        world.queue = 20;
        world.seconds(28);
        assert_eq!(world.replicas(), has);
        assert_eq!(world.written().len(), written, "nothing is written");
        world.queue = 90;
        world.seconds(10);
        assert_eq!((world.replicas(), world.size()), (9, 9));
    }
}
