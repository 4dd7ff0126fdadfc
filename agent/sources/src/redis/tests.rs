//! Which settings are refused, and what a trigger and its authentication mean together.
//! What a real Redis says is asked in `tests/tests/servers`.

mod asked;

use super::server::Server;
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

fn given(
    form: Form,
    pairs: &[(&str, &str)],
    known: &[(&'static str, &str)],
) -> Result<Deployment, String> {
    let deployment = Deployment::of(form, &metadata(pairs), &secrets(known));
    deployment.map_err(|why| why.to_string())
}

/// Who is asked in which name, for which database.
fn server(it: &Server) -> String {
    let (address, user, password) = (&it.address, &it.account.user, &it.account.password);
    let user = user.as_deref().unwrap_or_default();
    let password = password.as_deref().unwrap_or_default();
    format!("{address} {user}:{password} {}", it.account.database)
}

#[test]
fn what_an_authentication_says_counts_before_what_its_trigger_does() {
    let at = ("address", "a:1");
    for (pairs, known, right) in [
        (&[at][..], &[][..], "a:1 : 0"),
        (&[at], &[("address", "b:2")], "b:2 : 0"),
        // An address counts before a host and a port, wherever it is.
        (&[at], &[("host", "b"), ("port", "2")], "a:1 : 0"),
        (&[], &[("host", "b"), ("port", "2")], "b:2 : 0"),
        (&[("port", "3")], &[("host", "b")], "b:3 : 0"),
        (
            &[at, ("username", "ann")],
            &[("password", "x")],
            "a:1 ann:x 0",
        ),
        (
            &[at, ("username", "ann"), ("databaseIndex", "4")],
            &[("username", "bob"), ("password", "x")],
            "a:1 bob:x 4",
        ),
    ] {
        let Deployment::Single(found) = given(Form::Single, pairs, known).unwrap() else {
            panic!("{pairs:?} is several servers");
        };
        assert_eq!(server(&found), right, "{pairs:?} {known:?}");
        assert!(!format!("{found:?}").contains('x'), "{found:?}");
    }
    let azure = "x.redis.example:6380,password=word,ssl=True";
    for (known, why) in [
        (&[("host", "b")][..], "has no `address`"),
        (&[("address", azure)], "makes no HOST:PORT"),
        (
            &[("host", azure), ("port", "1")],
            "`host` of the trigger's authentication makes no",
        ),
        (
            &[("address", "a:1"), ("tls", "true")],
            "`tls` must be enable or disable",
        ),
        (
            &[("address", "a:1"), ("tls", "Enable")],
            "`tls` must be enable or disable",
        ),
    ] {
        let said = given(Form::Single, &[], known).unwrap_err();
        assert!(said.contains(why) && !said.contains("word"), "{said}");
    }
}

#[test]
fn of_several_servers_the_first_host_has_the_first_port() {
    let (hosts, ports) = (("hosts", "a, ::1 ,c"), ("ports", "1,2, 3"));
    let Deployment::Cluster(nodes) = given(Form::Cluster, &[hosts, ports], &[]).unwrap() else {
        panic!("it is no cluster");
    };
    let found: Vec<String> = nodes.iter().map(server).collect();
    assert_eq!(found, ["a:1 : 0", "[::1]:2 : 0", "c:3 : 0"]);

    let pairs = [
        ("addresses", "a:1,b:2"),
        ("username", "ann"),
        ("databaseIndex", "7"),
        ("enableTLS", "true"),
    ];
    let known = [
        ("password", "x"),
        ("sentinelUsername", "eve"),
        ("sentinelPassword", "y"),
        ("sentinelMaster", "queue"),
    ];
    let Deployment::Sentinel {
        sentinels,
        master,
        account,
    } = given(Form::Sentinel, &pairs, &known).unwrap()
    else {
        panic!("there are no sentinels");
    };
    let found: Vec<String> = sentinels.iter().map(server).collect();
    assert_eq!(found, ["a:1 eve:y 0", "b:2 eve:y 0"]);
    assert!(sentinels[0].account.trust.is_some() && account.trust.is_some());
    let address = sentinels[0].address.clone();
    assert_eq!(master, "queue");
    assert_eq!(server(&Server { address, account }), "a:1 ann:x 7");
}

#[test]
fn settings_of_several_servers_are_refused_by_name() {
    let (key, at) = (("listName", "jobs"), ("addresses", "a:1,b:2"));
    let master = ("sentinelMaster", "queue");
    assert_eq!(refused(REDIS_CLUSTER, &[key, at]), "");
    assert_eq!(refused(REDIS_SENTINEL, &[key, at, master]), "");
    let known = ("authenticationRef", "redis");
    assert_eq!(refused(REDIS_SENTINEL, &[key, known]), "");
    assert_eq!(refused(REDIS_CLUSTER, &[key, known, ("ports", "1,2")]), "");
    let many = vec!["a:1"; 33].join(",");
    for (kind, pairs, why) in [
        (REDIS_CLUSTER, &[key][..], "`addresses` is missing"),
        (
            REDIS_CLUSTER,
            &[key, ("address", "a:1")],
            "address is not supported",
        ),
        (REDIS, &[key, at], "addresses is not supported"),
        (
            REDIS_CLUSTER,
            &[key, ("hosts", "a")],
            "`hosts` and `ports` go together",
        ),
        (
            REDIS_CLUSTER,
            &[key, ("hosts", "a,b"), ("ports", "1")],
            "hosts each host needs its port: 2 and 1 are said",
        ),
        (
            REDIS_CLUSTER,
            &[key, ("addresses", "a:1,")],
            "addresses `` is not an address",
        ),
        (
            REDIS_CLUSTER,
            &[key, ("addresses", &many)],
            "addresses names 33 servers; 32 at most",
        ),
        (
            REDIS_CLUSTER,
            &[key, at, ("databaseIndex", "1")],
            "databaseIndex is not supported",
        ),
        (REDIS_SENTINEL, &[key, at], "`sentinelMaster` is missing"),
        (
            REDIS_SENTINEL,
            &[key, at, master, ("sentinelPassword", "x")],
            "; a password belongs into what an `authenticationRef` names",
        ),
        (
            REDIS_SENTINEL,
            &[key, at, ("sentinelMaster", "a\nb")],
            "sentinelMaster is no name",
        ),
        (
            REDIS_SENTINEL_STREAMS,
            &[key, at, master],
            "`stream` is missing",
        ),
    ] {
        let said = refused(kind, pairs);
        assert!(said.contains(why), "{kind} {pairs:?}: {said}");
    }
}
