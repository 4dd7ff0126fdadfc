//! Which settings are refused, and what a trigger and its authentication mean together.
//! What a real Redis says is asked in `tests/tests/servers`.

use super::*;
use crate::trying::{metadata, secrets, told};

fn refused(kind: &str, pairs: &[(&str, &str)]) -> String {
    told(check(kind, &metadata(pairs)))
}

#[test]
fn settings_that_mean_nothing_are_refused_by_name() {
    let list = ("listName", "jobs");
    let at = ("address", "redis:6379");
    assert_eq!(refused(REDIS, &[at, list]), "");
    assert_eq!(refused(REDIS, &[("host", "::1"), ("port", "1"), list]), "");
    assert_eq!(refused(REDIS, &[list, ("authenticationRef", "redis")]), "");
    let long = "a".repeat(NAME_BYTES_MAX + 1);
    for (pairs, why) in [
        (&[at][..], "`listName` is missing"),
        (
            &[list],
            "`address` is missing: HOST:PORT here, or as a parameter",
        ),
        (&[list, ("host", "h")], "`host` and `port` go together"),
        (
            &[list, at, ("host", "h")],
            "address says what `host` and `port` say too",
        ),
        (
            &[list, ("address", "redis")],
            "address `redis` is not an address; write HOST:PORT",
        ),
        (
            &[list, ("host", "a b"), ("port", "1")],
            "host `a b:1` is not an address",
        ),
        (
            &[list, ("address", "redis://:word@redis:1")],
            "a user and a password belong into what an `authenticationRef` names",
        ),
        (
            &[list, at, ("databaseIndex", "-1")],
            "databaseIndex must be 0 to",
        ),
        (
            &[list, at, ("enableTLS", "yes")],
            "enableTLS must be true or false",
        ),
        (
            &[list, at, ("password", "word")],
            "password is not supported; allowed: listName",
        ),
        (
            &[at, ("listName", &long)],
            "listName is longer than 1024 bytes",
        ),
    ] {
        let said = refused(REDIS, pairs);
        assert!(said.contains(why), "{pairs:?}: {said}");
        assert!(!said.contains("word@"), "{said}");
    }
    assert_eq!(refused(REDIS_STREAMS, &[at, ("stream", "s")]), "");
    assert!(refused(REDIS_STREAMS, &[at, list]).contains("`stream` is missing"));
}

#[test]
fn what_of_a_stream_counts_is_told_apart_as_keda_does() {
    for (pairs, target, default) in [
        (&[][..], "streamLength", Some("5")),
        (&[("lagCount", "7")], "streamLength", Some("5")),
        (&[("consumerGroup", "g")], "pendingEntriesCount", Some("5")),
        (
            &[("consumerGroup", "g"), ("lagCount", "0")],
            "pendingEntriesCount",
            Some("5"),
        ),
        (
            &[("consumerGroup", "g"), ("lagCount", "7")],
            "lagCount",
            None,
        ),
    ] {
        let found = goals(REDIS_STREAMS, &metadata(pairs));
        let right = Goals {
            target,
            default,
            activation: "activationLagCount",
        };
        assert_eq!(found, right, "{pairs:?}");
    }
    assert_eq!(goals(REDIS, &Metadata::new()).target, "listLength");
}

#[test]
fn where_a_trigger_says_no_address_its_authentication_does() {
    let given = |pairs: &[(&'static str, &str)]| {
        let server = Server::of(&Metadata::new(), &secrets(pairs));
        server
            .map(|it| it.address.to_string())
            .map_err(|why| why.to_string())
    };
    assert_eq!(given(&[("address", "a:1")]).unwrap(), "a:1");
    assert_eq!(given(&[("host", "b"), ("port", "2")]).unwrap(), "b:2");
    let why = given(&[("host", "b")]).unwrap_err();
    assert!(why.contains("has no `address`"), "{why}");
    let azure = "x.redis.example:6380,password=word,ssl=True";
    let why = given(&[("address", azure)]).unwrap_err();
    assert!(
        why.ends_with("makes no HOST:PORT") && !why.contains("word"),
        "{why}"
    );
    for tls in ["true", "Enable", "enabled"] {
        let why = given(&[("address", "a:1"), ("tls", tls)]).unwrap_err();
        assert!(why.contains("`tls` must be enable or disable"), "{why}");
    }
    let word = secrets(&[("password", "word")]);
    let server = Server::of(&metadata(&[("address", "a:1")]), &word).unwrap();
    assert!(!format!("{server:?}").contains("word"), "{server:?}");
}

/// Answers with the beginning of a text that never ends, also while nobody asks.
async fn endless() -> String {
    use tokio::io::AsyncWriteExt as _;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let begin = stream.write_all(b"$500000000\r\n").await;
                let mut sent = begin.map(|()| 0_usize);
                while let Ok(bytes) = sent {
                    assert!(bytes < 64 << 20, "somebody reads on");
                    let piece = [b'x'; 8 << 10];
                    sent = stream.write_all(&piece).await.map(|()| bytes + piece.len());
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn an_answer_without_an_end_breaks_off() {
    let metadata = metadata(&[("address", &endless().await), ("listName", "jobs")]);
    let connections = Connections::default();
    let why = ask(&connections, REDIS, &metadata, &Secrets::default())
        .await
        .unwrap_err();
    assert_eq!(why.reason, Reason::TooLong);
}
