//! KEDA's `redis-cluster` and `redis-cluster-streams`, of a real cluster of three masters.

use starling_tests::servers::{Redis, RedisCluster};

use super::{Question, is};

const RIGHT: &[(&str, &str)] = &[("password", "marigold")];
/// A key on each of the nodes, and its slot.
pub const KEYS: [(&str, &str); 3] = [("b", "3300"), ("c", "7365"), ("a", "15495")];

fn question(addresses: &str, settings: &str, secrets: &[(&str, &str)]) -> Question {
    of("redis-cluster", addresses, settings, secrets)
}

pub fn of(kind: &str, addresses: &str, settings: &str, secrets: &[(&str, &str)]) -> Question {
    let trigger = format!(
        "{{type: {kind}, authenticationRef: {{name: redis}}, metadata: {{addresses: \
         '{addresses}', {settings}}}}}"
    );
    Question::of(&trigger, secrets)
}

#[tokio::test]
async fn a_key_is_counted_on_whichever_node_it_is_and_by_whichever_node_is_asked() {
    let Some(cluster) = RedisCluster::start(None) else {
        return;
    };
    for (index, (key, _)) in KEYS.into_iter().enumerate() {
        for value in 0..=index {
            cluster.nodes[index].tell(&["RPUSH", key, &value.to_string()]);
        }
    }
    for node in cluster.nodes.iter().map(Redis::address) {
        for (count, (key, _)) in (1..).zip(KEYS) {
            let asked = question(&node, &format!("listName: {key}"), RIGHT);
            assert_eq!(asked.ask().await.map(|it| it.milli), Ok(count * 1_000));
        }
        let none = question(&node, "listName: none", RIGHT);
        assert!(none.ask().await.is_ok_and(is(0)));
    }
    // A stream too, by each of its three modes.
    let all = cluster.addresses();
    for value in ["1", "2", "3", "4"] {
        cluster.nodes[2].tell(&["XADD", "{a}mails", "*", "to", value]);
    }
    cluster.nodes[2].tell(&["XGROUP", "CREATE", "{a}mails", "senders", "0"]);
    let read = ["XREADGROUP", "GROUP", "senders", "one", "COUNT", "3"];
    cluster.nodes[2].tell(&[&read[..], &["STREAMS", "{a}mails", ">"]].concat());
    for (settings, count) in [
        ("streamLength: '5'", 4),
        ("consumerGroup: senders", 3),
        ("consumerGroup: senders, lagCount: '5'", 1),
    ] {
        let settings = format!("stream: '{{a}}mails', {settings}");
        let asked = of("redis-cluster-streams", &all, &settings, RIGHT);
        assert!(asked.ask().await.is_ok_and(is(count)), "{settings}");
    }
    // Who asks one server alone is told where the key is.
    let alone = format!(
        "{{type: redis, authenticationRef: {{name: redis}}, metadata: {{address: '{}', \
         listName: a}}}}",
        cluster.nodes[0].address()
    );
    let why = Question::of(&alone, RIGHT).ask().await.unwrap_err();
    let there = cluster.nodes[2].address();
    assert!(why.contains(&format!("the key is at {there}")), "{why}");
    // And who asks for a node of a cluster isn't answered by whoever is none.
    let Some(server) = Redis::start(None) else {
        return;
    };
    let why = question(&server.address(), "listName: a", RIGHT)
        .ask()
        .await;
    let why = why.unwrap_err();
    assert!(why.contains("refused: it is no node of a cluster"), "{why}");
    for wrong in [&[("password", "larkspur")][..], &[]] {
        let why = question(&all, "listName: a", wrong).ask().await;
        let why = why.unwrap_err();
        assert!(why.contains("`password`"), "{why}");
        assert!(!why.contains("larkspur"), "{why}");
    }
}

#[tokio::test]
async fn a_key_that_moves_to_another_node_is_counted_before_meanwhile_and_afterwards() {
    let Some(cluster) = RedisCluster::start(None) else {
        return;
    };
    let (key, slot) = KEYS[0];
    cluster.nodes[0].tell(&["RPUSH", key, "1", "2"]);
    let jobs = question(&cluster.addresses(), &format!("listName: {key}"), RIGHT);
    assert!(jobs.ask().await.is_ok_and(is(2)));
    cluster.begin_move(slot, 0, 1);
    assert!(jobs.ask().await.is_ok_and(is(2)));
    cluster.move_key(key, 0, 1);
    assert!(jobs.ask().await.is_ok_and(is(2)));
    cluster.end_move(slot, 1);
    assert!(jobs.ask().await.is_ok_and(is(2)));
    cluster.nodes[1].tell(&["RPUSH", key, "3"]);
    assert!(jobs.ask().await.is_ok_and(is(3)));
}

#[tokio::test]
async fn without_one_of_its_nodes_a_cluster_says_no_number_and_with_it_again() {
    let Some(mut cluster) = RedisCluster::start(None) else {
        return;
    };
    let all = cluster.addresses();
    let [gone, there] = [0, 1].map(|index| {
        cluster.nodes[index].tell(&["RPUSH", KEYS[index].0, "1", "2"]);
        question(&all, &format!("listName: {}", KEYS[index].0), RIGHT)
    });
    for asked in [&gone, &there] {
        assert!(asked.ask().await.is_ok_and(is(2)));
    }
    // The first of those that are named hangs, and the others know where the key is.
    cluster.nodes[0].processes.hang(true);
    there.until(is(2)).await;
    // Late, or because the others have found it missing by now.
    assert!(gone.once().await.is_err());
    cluster.nodes[0].processes.hang(false);
    cluster.settle();
    gone.until(is(2)).await;

    cluster.nodes[0].processes.stop();
    // On a busy machine the others know it as gone before anybody asks.
    let at = format!("{}: can't connect", cluster.nodes[0].address());
    gone.fails_by(&[&at, "(CLUSTERDOWN)"]).await;
    for asked in [&gone, &there] {
        asked.fails("(CLUSTERDOWN)").await;
    }
    assert!(cluster.nodes[0].resume());
    cluster.settle();
    for asked in [&gone, &there] {
        asked.until(is(2)).await;
    }
}

#[tokio::test]
async fn over_tls_each_node_has_to_prove_who_it_is() {
    let names = ["localhost", "127.0.0.1"].map(str::to_owned).to_vec();
    let [own, other] = [(); 2].map(|()| rcgen::generate_simple_self_signed(names.clone()).unwrap());
    let (cert, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    let Some(cluster) = RedisCluster::start(Some((&cert, &key))) else {
        return;
    };
    for (node, (key, _)) in cluster.nodes.iter().zip(KEYS) {
        node.tell(&["RPUSH", key, "1"]);
    }
    let first = cluster.nodes[0].secure_address();
    for (key, _) in KEYS {
        let settings = format!("listName: {key}, enableTLS: 'true'");
        let ask = async |ca: &str| {
            let secrets = [("password", "marigold"), ("ca", ca)];
            question(&first, &settings, &secrets).ask().await
        };
        assert!(ask(&cert).await.is_ok_and(is(1)), "{key}");
        let why = ask(&other.cert.pem()).await.unwrap_err();
        assert!(why.contains("invalid peer certificate"), "{why}");
    }
}
