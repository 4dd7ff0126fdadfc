//! Where a queue is asked for, and with what. What its answer comes to is in the vectors of
//! `agent/policy/tests/sources.rs`.

use super::*;
use crate::trying::{metadata, secrets, sent, told};

/// The address and the headers of a question.
fn asked(pairs: &[(&str, &str)], given: &[(&'static str, &str)]) -> Result<String, String> {
    let mut metadata = metadata(pairs);
    metadata.insert("queueName".to_owned(), "a b".to_owned());
    let secrets = secrets(given);
    let url = metadata.get("host").map(String::as_str);
    let url = url.or_else(|| secrets.get("host")).unwrap_or_default();
    let (uri, question) =
        question(&metadata, url, &secrets).map_err(|reason| reason.to_string())?;
    assert!(
        question
            .headers
            .iter()
            .all(|(_, value)| value.is_sensitive())
    );
    Ok(sent(&uri, &question))
}

#[test]
fn the_virtual_host_is_the_end_of_the_address_or_named() {
    for (host, vhost, path) in [
        ("http://r:1", "", "/api/queues/%2F/a%20b"),
        ("http://r:1/", "", "/api/queues/%2F/a%20b"),
        ("http://r:1/%2F", "", "/api/queues/%2F/a%20b"),
        ("http://r:1/shop", "", "/api/queues/shop/a%20b"),
        (
            "http://r:1/rabbit/shop",
            "",
            "/rabbit/api/queues/shop/a%20b",
        ),
        ("http://r:1/rabbit/", "", "/rabbit/api/queues/%2F/a%20b"),
        ("http://r:1/shop", "my host", "/api/queues/my%20host/a%20b"),
    ] {
        let mut pairs = vec![("host", host)];
        pairs.extend((!vhost.is_empty()).then_some(("vhostName", vhost)));
        let said = asked(&pairs, &[]).unwrap();
        assert_eq!(said, format!("http://r:1{path}"), "{host} {vhost}");
    }
    let all = [
        ("host", "http://r:1"),
        ("useRegex", "true"),
        ("pageSize", "7"),
    ];
    assert_eq!(
        asked(&all, &[]).unwrap(),
        "http://r:1/api/queues/%2F?page=1&use_regex=true&pagination=false&name=a%20b&page_size=7"
    );
}

#[test]
fn a_user_and_a_password_come_from_the_authentication_alone() {
    let host = [("host", "http://ann:s%40f%2Fe@r:1/shop")];
    // ann:s@f/e and bob:b
    let (ann, bob) = ("Basic YW5uOnNAZi9l", "Basic Ym9iOmI=");
    let at = "http://r:1/api/queues/shop/a%20b";
    let said = asked(&[], &host).unwrap();
    assert_eq!(said, format!("{at} authorization: {ann}"));
    let both = [host[0], ("username", "bob"), ("password", "b")];
    let said = asked(&[], &both).unwrap();
    assert_eq!(said, format!("{at} authorization: {bob}"));
    let named = [host[0], ("vhostName", "my host")];
    let said = asked(&[], &named).unwrap();
    assert!(said.contains("/api/queues/my%20host/"), "{said}");
    let why = asked(&[], &[]).unwrap_err();
    assert!(why.contains("no `host`"), "{why}");
    let why = asked(&[], &[("host", "amqp://r")]).unwrap_err();
    assert!(why.contains("AMQP"), "{why}");
    let wrong = check(&metadata(&host));
    let (key, why) = &wrong[0];
    assert_eq!(key, "host");
    assert!(why.contains("holds a user or password"), "{why}");
    assert!(!why.contains("s%40f"), "{why}");
}

#[test]
fn settings_that_mean_nothing_are_refused_by_name() {
    let refused = |pairs: &[(&str, &str)]| {
        let mut all = vec![("host", "http://r"), ("queueName", "a")];
        all.extend(pairs);
        told(check(&metadata(&all)))
    };
    assert_eq!(refused(&[]), "");
    assert_eq!(refused(&[("queueLength", "5")]), "");
    for (pairs, why) in [
        (&[("mode", "QueueLength")][..], "`value` is missing"),
        (&[("value", "5")], "`mode` is missing"),
        (
            &[("queueLength", "5"), ("value", "5")],
            "queueLength is KEDA's former name",
        ),
        (
            &[("protocol", "amqp")],
            "protocol `amqp` can't be asked yet",
        ),
        (
            &[("protocol", "x")],
            "protocol `x` is not known; allowed: auto, http",
        ),
        (&[("host", "amqp://r:5672/")], "host is an address of AMQP"),
        (&[("pageSize", "0")], "pageSize must be 1 to 500, is `0`"),
        (
            &[("operation", "median")],
            "operation `median` is not known; allowed: sum, max, avg",
        ),
        (&[("useRegex", "yes")], "useRegex must be true or false"),
        (
            &[("metricName", "x")],
            "metricName is not supported; allowed: host, queueName",
        ),
    ] {
        let said = refused(pairs);
        assert!(said.contains(why), "{pairs:?}: {said}");
    }
    let wrong = check(&Metadata::new());
    assert!(wrong[0].1.contains("`host` is missing"), "{wrong:?}");
    assert!(wrong[1].1.contains("`queueName` is missing"), "{wrong:?}");
}

#[test]
fn what_is_no_answer_of_rabbitmq_s_is_no_number() {
    for (body, why) in [
        ("not json", "the answer is not RabbitMQ's"),
        ("[]", "the answer is not RabbitMQ's"),
        // Of a queue that was declared just now.
        (r#"{"name": "a"}"#, "the answer has no `messages`"),
        (r#"{"messages": "5"}"#, "the answer is not RabbitMQ's"),
        (
            r#"{"messages": 5, "message_stats": {"publish_details": {}}}"#,
            "the answer is not RabbitMQ's",
        ),
    ] {
        let said = read(&Metadata::new(), body.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(said.contains(why), "{body}: {said}");
    }
}

#[test]
fn where_rabbitmq_works_no_rates_out_the_length_alone_is_known() {
    let body = r#"{"messages": 5, "message_stats": {"publish": 9, "deliver_get": 4}}"#;
    let seen = |mode: &str| {
        let metadata = metadata(&[("mode", mode), ("value", "1")]);
        let seen = read(&metadata, body.as_bytes()).unwrap();
        seen.value(&metadata).map(|it| it.milli)
    };
    assert_eq!(seen("QueueLength"), Ok(5_000));
    for (name, mode) in Mode::ALL {
        let known = mode == Mode::QueueLength;
        assert_eq!(seen(name).is_ok(), known, "{name}");
    }
}

#[test]
fn a_password_that_is_not_encoded_is_told_apart_from_a_host_by_nobody_and_not_shown() {
    let why = asked(&[], &[("host", "http://ann:p/ss@r:1/shop")]).unwrap_err();
    assert!(
        why.contains("as %2F, %3F, %23 and %40") && !why.contains("p/ss"),
        "{why}"
    );
}
