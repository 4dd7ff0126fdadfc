//! KEDA's `kafka`, of a real one.

use starling_tests::servers::{Kafka, Way};

use super::{Question, certificate, is};

/// As Kafka's user has it.
const RIGHT: &str = "p@/s=1";
const NOTHING: &[(&str, &str)] = &[];

fn start() -> Option<Kafka> {
    let (cert, key) = certificate();
    Kafka::start((&cert, &key))
}

fn question(server: &Kafka, way: Way, settings: &str, secrets: &[(&str, &str)]) -> Question {
    let trigger = format!(
        "{{type: kafka, authenticationRef: {{name: kafka}}, metadata: {{bootstrapServers: '{}', \
         consumerGroup: workers, {settings}}}}}",
        server.address(way)
    );
    Question::of(&trigger, secrets)
}

/// In the clear.
async fn ask(server: &Kafka, settings: &str) -> Result<(i64, i64), String> {
    let answer = question(server, Way::Clear, settings, NOTHING).ask().await;
    answer.map(|it| (it.milli / 1_000, it.activity_milli / 1_000))
}

#[tokio::test]
async fn a_group_lags_by_what_it_hasn_t_committed_of_what_was_produced() {
    let Some(server) = start() else {
        return;
    };
    server.create("jobs", 3);
    let jobs = "topic: jobs";
    // Nothing is committed: one for each partition, or all that there is, or nothing.
    let earliest = "topic: jobs, offsetResetPolicy: earliest";
    let nothing = "topic: jobs, scaleToZeroOnInvalidOffset: 'true'";
    let free = "topic: jobs, allowIdleConsumers: 'true'";
    for (settings, lag) in [(jobs, 3), (earliest, 0), (nothing, 0)] {
        assert_eq!(ask(&server, settings).await, Ok((lag, lag)), "{settings}");
    }
    server.produce("jobs", 0, 40);
    server.produce("jobs", 1, 7);
    for (settings, lag) in [(jobs, 3), (nothing, 0)] {
        assert_eq!(ask(&server, settings).await, Ok((lag, lag)), "{settings}");
    }
    assert_eq!(ask(&server, earliest).await, Ok((30, 47)));
    server.commit("workers", "jobs", 0, 5);
    server.commit("workers", "jobs", 1, 7);
    server.commit("workers", "jobs", 2, 0);
    for (settings, found) in [
        (jobs, (35, 35)),
        (free, (35, 35)),
        ("topic: jobs, lagThreshold: '5'", (15, 35)),
        (
            "topic: jobs, lagThreshold: '5', allowIdleConsumers: 'true'",
            (35, 35),
        ),
        ("topic: jobs, limitToPartitionsWithLag: 'true'", (10, 35)),
        (
            "topic: jobs, ensureEvenDistributionOfPartitions: 'true'",
            (30, 35),
        ),
        ("topic: jobs, partitionLimitation: '1-2'", (0, 0)),
        ("topic: jobs, partitionLimitation: '0,2'", (20, 35)),
    ] {
        assert_eq!(ask(&server, settings).await, Ok(found), "{settings}");
    }
    // As the group works on, and others produce.
    server.commit("workers", "jobs", 0, 39);
    assert_eq!(ask(&server, jobs).await, Ok((1, 1)));
    server.produce("jobs", 2, 1_000);
    assert_eq!(ask(&server, free).await, Ok((1_001, 1_001)));
    assert_eq!(ask(&server, jobs).await, Ok((30, 1_001)));
    // That it stands behind the end is no debt of the others.
    server.commit("workers", "jobs", 1, 500);
    assert_eq!(ask(&server, free).await, Ok((1_001, 1_001)));
}

#[tokio::test]
async fn without_a_topic_all_that_the_group_has_committed_something_of_count() {
    let Some(server) = start() else {
        return;
    };
    let all = "allowIdleConsumers: 'true'";
    let why = ask(&server, all).await.unwrap_err();
    assert!(why.contains("the group has committed nothing yet"), "{why}");
    for topic in ["jobs", "mails", "other"] {
        server.create(topic, 2);
        server.produce(topic, 0, 10);
    }
    server.commit("workers", "jobs", 0, 4);
    // 6, and one for the partition that it hasn't committed anything of.
    assert_eq!(ask(&server, all).await, Ok((7, 7)));
    server.commit("workers", "mails", 0, 10);
    server.commit("workers", "mails", 1, 0);
    server.commit("others", "other", 0, 0);
    assert_eq!(ask(&server, all).await, Ok((7, 7)));
    server.produce("mails", 1, 20);
    assert_eq!(ask(&server, all).await, Ok((27, 27)));
    // 4 partitions, 5 for each replica.
    assert_eq!(ask(&server, "lagThreshold: '5'").await, Ok((20, 27)));
    server.delete("jobs");
    let mails = question(&server, Way::Clear, all, NOTHING);
    mails.until(is(20)).await;
}

#[tokio::test]
async fn what_isn_t_there_or_may_not_be_seen_is_named_and_nothing_is_made_by_asking() {
    let Some(server) = start() else {
        return;
    };
    let why = ask(&server, "topic: nothing").await.unwrap_err();
    assert!(
        why.ends_with("topic `nothing`: UNKNOWN_TOPIC_OR_PARTITION, there is none"),
        "{why}"
    );
    assert!(!server.has("nothing"));
    let why = ask(&server, "topic: 'a b'").await.unwrap_err();
    assert!(
        why.ends_with("topic `a b`: INVALID_TOPIC_EXCEPTION, no topic is called so"),
        "{why}"
    );
    server.create("jobs", 2);
    let why = ask(&server, "topic: jobs, partitionLimitation: '7-9'").await;
    let why = why.unwrap_err();
    assert!(
        why.contains("none of the partitions that `partitionLimitation` names"),
        "{why}"
    );

    let of = async |user: &str, password: &str, sasl: &str, settings: &str| {
        let secrets = [("username", user), ("password", password), ("sasl", sasl)];
        question(&server, Way::Sasl, settings, &secrets).ask().await
    };
    let jobs = "topic: jobs";
    for sasl in ["plaintext", "scram_sha256", "scram_sha512"] {
        assert!(
            of("ann", RIGHT, sasl, jobs).await.is_ok_and(is(2)),
            "{sasl}"
        );
        for (user, password) in [("ann", "larkspur"), ("eve", RIGHT)] {
            let why = of(user, password, sasl, jobs).await.unwrap_err();
            assert!(
                why.ends_with("refused: the user and the password are not accepted"),
                "{sasl}: {why}"
            );
        }
        let why = of("bob", RIGHT, sasl, jobs).await.unwrap_err();
        assert!(
            why.ends_with("topic `jobs`: TOPIC_AUTHORIZATION_FAILED, needs Describe of the topic"),
            "{sasl}: {why}"
        );
    }
    let why = of("bob", RIGHT, "plaintext", "lagThreshold: '5'")
        .await
        .unwrap_err();
    assert!(
        why.contains("`workers`: GROUP_AUTHORIZATION_FAILED"),
        "{why}"
    );
    // The wrong way at the wrong door.
    let nobody = question(&server, Way::Sasl, jobs, NOTHING).ask().await;
    let hint = "the broker ended the connection, as where another `tls` or `sasl` is wanted";
    let why = nobody.unwrap_err();
    assert!(why.contains(hint), "{why}");
    let right = [
        ("username", "ann"),
        ("password", RIGHT),
        ("sasl", "plaintext"),
    ];
    let why = question(&server, Way::Clear, jobs, &right)
        .ask()
        .await
        .unwrap_err();
    assert!(
        why.contains("ILLEGAL_SASL_STATE, no `sasl` is wanted here"),
        "{why}"
    );
    let nothing = question(&server, Way::Sasl, "topic: jobs, sasl: plaintext", NOTHING);
    let why = nothing.ask().await.unwrap_err();
    assert!(why.contains("has no parameter `username`"), "{why}");
}

#[tokio::test]
async fn a_server_that_hangs_or_ends_says_no_number() {
    let Some(mut server) = start() else {
        return;
    };
    server.create("jobs", 2);
    server.produce("jobs", 0, 12);
    server.commit("workers", "jobs", 0, 4);
    server.commit("workers", "jobs", 1, 0);
    let word = [
        ("username", "ann"),
        ("password", RIGHT),
        ("sasl", "scram_sha256"),
    ];
    let jobs = question(&server, Way::Sasl, "topic: jobs", &word);
    assert!(jobs.ask().await.is_ok_and(is(8)));
    server.processes.hang(true);
    jobs.fails("no answer within 3000 ms").await;
    server.processes.hang(false);
    jobs.until(is(8)).await;
    server.processes.stop();
    jobs.fails("can't connect").await;
    assert!(server.resume());
    jobs.until(is(8)).await;
    // A connection that was kept over a stop is opened anew. That the server knows again who
    // leads what is seen by another who asks.
    server.processes.stop();
    assert!(server.resume());
    let other = question(&server, Way::Sasl, "topic: jobs", &word);
    other.until(is(8)).await;
    assert_eq!(jobs.ask().await.map(|it| it.milli), Ok(8_000));
}

#[tokio::test]
async fn over_tls_both_have_to_prove_who_they_are() {
    let ((cert, key), (other, other_key)) = (certificate(), certificate());
    let Some(server) = Kafka::start((&cert, &key)) else {
        return;
    };
    server.create("jobs", 2);
    let jobs = "topic: jobs, tls: enable";
    let ask = async |way: Way, settings: &str, secrets: &[(&str, &str)]| {
        question(&server, way, settings, secrets).ask().await
    };
    assert!(ask(Way::Tls, jobs, &[("ca", &cert)]).await.is_ok_and(is(2)));
    let given = [("ca", &*cert), ("tls", "enable")];
    assert!(ask(Way::Tls, "topic: jobs", &given).await.is_ok_and(is(2)));
    let anyone = format!("{jobs}, unsafeSsl: 'true'");
    assert!(ask(Way::Tls, &anyone, NOTHING).await.is_ok_and(is(2)));
    for secrets in [&[("ca", &*other)][..], NOTHING] {
        let why = ask(Way::Tls, jobs, secrets).await.unwrap_err();
        assert!(
            why.contains("can't connect: invalid peer certificate"),
            "{why}"
        );
    }
    let why = ask(Way::Tls, "topic: jobs", NOTHING).await.unwrap_err();
    assert!(why.contains("another `tls` or `sasl`"), "{why}");
    let why = ask(Way::Clear, jobs, &[("ca", &cert)]).await.unwrap_err();
    assert!(why.contains("can't connect"), "{why}");

    let own = |cert: &'_ str, key: &'_ str| {
        [("cert", cert), ("key", key)].map(|(name, text)| (name, text.to_owned()))
    };
    let mutual = async |own: &[(&str, String)]| {
        let mut secrets = vec![("username", "ann"), ("password", RIGHT), ("ca", &*cert)];
        secrets.extend(own.iter().map(|(name, text)| (*name, &**text)));
        let settings = format!("{jobs}, sasl: scram_sha512");
        ask(Way::Mutual, &settings, &secrets).await
    };
    assert!(mutual(&own(&cert, &key)).await.is_ok_and(is(2)));
    for wrong in [&own(&other, &other_key)[..], &[]] {
        let why = mutual(wrong).await.unwrap_err();
        assert!(why.contains("can't connect"), "{why}");
    }
    let why = mutual(&own(&cert, "larkspur")).await.unwrap_err();
    assert!(
        why.contains("`key` holds no private key") && !why.contains("larkspur"),
        "{why}"
    );
}
