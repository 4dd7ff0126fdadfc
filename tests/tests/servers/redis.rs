//! KEDA's `redis` and `redis-streams`, of a real one.

use std::net::TcpListener;

use starling_tests::servers::Redis;

use super::{Question, is};

const RIGHT: &[(&str, &str)] = &[("password", "marigold")];

pub fn question(address: &str, kind: &str, settings: &str, secrets: &[(&str, &str)]) -> Question {
    let trigger = format!(
        "{{type: {kind}, authenticationRef: {{name: redis}}, metadata: {{address: '{address}', \
         {settings}}}}}"
    );
    Question::of(&trigger, secrets)
}

#[tokio::test]
async fn lists_sets_sorted_sets_and_hashes_are_counted_as_they_grow_and_shrink() {
    let Some(server) = Redis::start(None) else {
        return;
    };
    let at = server.address();
    let of = |key: &str| question(&at, "redis", &format!("listName: {key}"), RIGHT);
    let jobs = of("jobs");
    // A list that isn't there is an empty one, as Redis has it.
    assert!(jobs.ask().await.is_ok_and(is(0)));
    server.tell(&["RPUSH", "jobs", "a", "b", "c"]);
    assert!(jobs.ask().await.is_ok_and(is(3)));
    server.tell(&["LPOP", "jobs"]);
    assert!(jobs.ask().await.is_ok_and(is(2)));
    server.tell(&["SADD", "set", "a", "b", "c", "d"]);
    server.tell(&["ZADD", "sorted", "1", "a"]);
    server.tell(&["HSET", "hash", "a", "1", "b", "2"]);
    for (key, count) in [("set", 4), ("sorted", 1), ("hash", 2)] {
        assert!(of(key).ask().await.is_ok_and(is(count)), "{key}");
    }
    server.tell(&["SET", "text", "1"]);
    let why = of("text").ask().await.unwrap_err();
    assert!(why.ends_with("it is a string"), "{why}");
    // Another database has another list.
    server.tell(&["-n", "3", "RPUSH", "jobs", "x"]);
    let third = "listName: jobs, databaseIndex: '3'";
    assert!(
        question(&at, "redis", third, RIGHT)
            .ask()
            .await
            .is_ok_and(is(1))
    );
}

#[tokio::test]
async fn of_a_stream_counts_what_is_in_it_what_is_pending_or_what_lags() {
    let Some(server) = Redis::start(None) else {
        return;
    };
    let at = server.address();
    let of = |settings: &str| {
        let settings = format!("stream: mails, {settings}");
        question(&at, "redis-streams", &settings, RIGHT)
    };
    let length = of("streamLength: '5'");
    let pending = of("consumerGroup: senders");
    let lag = of("consumerGroup: senders, lagCount: '5'");
    assert!(length.ask().await.is_ok_and(is(0)));
    let why = pending.ask().await.unwrap_err();
    assert!(why.contains("NOGROUP"), "{why}");
    assert!(lag.ask().await.is_ok_and(is(0)));
    for _ in 0..7 {
        server.tell(&["XADD", "mails", "*", "to", "ann"]);
    }
    // Without the group all is still to be done.
    assert!(lag.ask().await.is_ok_and(is(7)));
    server.tell(&["XGROUP", "CREATE", "mails", "senders", "0"]);
    let read = [
        "XREADGROUP",
        "GROUP",
        "senders",
        "one",
        "COUNT",
        "3",
        "STREAMS",
        "mails",
        ">",
    ];
    server.tell(&read);
    assert!(length.ask().await.is_ok_and(is(7)));
    assert!(pending.ask().await.is_ok_and(is(3)));
    assert!(lag.ask().await.is_ok_and(is(4)));
}

#[tokio::test]
async fn a_server_that_hangs_or_ends_or_knows_nobody_says_no_number() {
    let Some(mut server) = Redis::start(None) else {
        return;
    };
    let at = server.address();
    let jobs = question(&at, "redis", "listName: jobs", RIGHT);
    server.tell(&["RPUSH", "jobs", "a", "b"]);
    assert!(jobs.ask().await.is_ok_and(is(2)));
    for wrong in [&[("password", "larkspur")][..], &[]] {
        let why = question(&at, "redis", "listName: jobs", wrong).ask().await;
        let why = why.unwrap_err();
        assert!(why.contains(": refused: "), "{why}");
        assert!(!why.contains("larkspur"), "{why}");
    }
    // A connection that the server has closed meanwhile is no failure.
    server.tell(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    assert!(jobs.ask().await.is_ok_and(is(2)));

    server.processes.hang(true);
    jobs.fails("no answer within 3000 ms").await;
    server.processes.hang(false);
    jobs.until(is(2)).await;
    server.processes.stop();
    jobs.fails("can't connect").await;
    assert!(server.resume());
    jobs.until(is(2)).await;
    // Whoever takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let nobody = question(&silent, "redis", "listName: jobs", RIGHT);
    nobody.fails("no answer within 3000 ms").await;
}

#[tokio::test]
async fn over_tls_the_one_who_answers_has_to_prove_who_it_is() {
    let [own, other] =
        [(); 2].map(|()| rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap());
    let (cert, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    let Some(server) = Redis::start(Some((&cert, &key))) else {
        return;
    };
    server.tell(&["RPUSH", "jobs", "a"]);
    let ask = async |settings: &str, ca: Option<&str>| {
        let mut secrets = RIGHT.to_vec();
        secrets.extend(ca.map(|ca| ("ca", ca)));
        let settings = format!("listName: jobs, {settings}");
        question(&server.secure_address(), "redis", &settings, &secrets)
            .ask()
            .await
    };
    let secure = "enableTLS: 'true'";
    assert!(ask(secure, Some(&cert)).await.is_ok_and(is(1)));
    for ca in [Some(other.cert.pem()), None] {
        let why = ask(secure, ca.as_deref()).await.unwrap_err();
        assert!(
            why.contains("can't connect: invalid peer certificate"),
            "{why}"
        );
    }
    let anyone = "enableTLS: 'true', unsafeSsl: 'true'";
    assert!(ask(anyone, None).await.is_ok_and(is(1)));
    let why = ask("enableTLS: 'false'", None).await.unwrap_err();
    assert!(!why.contains("certificate"), "{why}");
}
