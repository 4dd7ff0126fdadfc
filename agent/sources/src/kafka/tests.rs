//! Which settings are refused, and what becomes of brokers that answer oddly. What a real
//! Kafka says is asked in `tests/tests/servers`.

use super::*;
use crate::trying::{metadata, secrets, told};

mod asked;

const WHERE: [(&str, &str); 2] = [(SERVERS, "kafka:9092"), (GROUP, "workers")];
const TOPIC: (&str, &str) = ("topic", "jobs");

#[test]
fn settings_that_mean_nothing_are_refused_by_name() {
    let with =
        |more: &[(&str, &str)]| told(check(&metadata(&[&WHERE[..], &[TOPIC], more].concat())));
    let whole = |pairs: &[(&str, &str)]| told(check(&metadata(pairs)));
    for sound in [
        &[][..],
        &[("version", "2.5.0"), ("fullMetadata", "false")],
        &[(PERSISTENT, "false"), (ALLOW_IDLE, "true")],
        &[("partitionLimitation", "1-4,8,10-12"), (POLICY, "earliest")],
        &[("lagThreshold", "1k"), ("tls", "disable"), ("sasl", "none")],
        &[(SERVERS, "a:1, b:2,[::1]:3")],
        &[("sasl", "scram_sha512"), ("authenticationRef", "kafka")],
    ] {
        assert_eq!(with(sound), "", "{sound:?}");
    }
    assert_eq!(whole(&WHERE), "");
    // The same one counts once.
    let same = ["a:1"; SERVERS_MAX + 1].join(",");
    assert_eq!(with(&[(SERVERS, &same)]), "");
    let hosts = |of: &str| {
        let servers = servers(&metadata(&[(SERVERS, of)])).unwrap();
        let hosts = servers.into_iter().map(|it| it.host);
        hosts.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(hosts("b:1,a:1, b:1,c:1,a:1"), "b a c");
    let many: Vec<_> = (0..=SERVERS_MAX).map(|it| format!("a{it}:1")).collect();
    let (many, long) = (many.join(","), "a".repeat(250));
    for (pairs, why) in [
        (
            &[(SERVERS, "kafka")][..],
            "bootstrapServers `kafka` is not an address",
        ),
        (
            &[(SERVERS, "a:1,")],
            "bootstrapServers `` is not an address",
        ),
        (
            &[(SERVERS, &many)],
            "bootstrapServers names more than 16 servers",
        ),
        (
            &[(SERVERS, "ann:larkspur@kafka:1")],
            "a user and a password belong into what an `authenticationRef` names",
        ),
        (&[("topic", &long)], "topic is longer than 249 bytes"),
        (
            &[(GROUP, "a\nb")],
            "consumerGroup holds a control character",
        ),
        (
            &[(POLICY, "none")],
            "offsetResetPolicy `none` is not known; allowed: latest",
        ),
        (
            &[("lagThreshold", "2.5")],
            "lagThreshold must be a whole number of messages",
        ),
        (
            &[("tls", "true")],
            "tls `true` is not known; allowed: enable, disable",
        ),
        (
            &[("sasl", "gssapi")],
            "sasl `gssapi` is not known; allowed: none, plaintext, scram_sha256, scram_sha512",
        ),
        (&[("sasl", "plaintext")], "sasl needs `authenticationRef`"),
        (
            &[("password", "larkspur")],
            "password is not supported; allowed: bootstrapServers",
        ),
        (
            &[(PERSISTENT, "true")],
            "excludePersistentLag can't be true: whoever asks next",
        ),
        (&[(EVEN, "yes")], "must be true or false"),
        (
            &[(LAGGING, "true"), (ALLOW_IDLE, "true")],
            "limitToPartitionsWithLag goes neither",
        ),
        (
            &[(LAGGING, "true"), (EVEN, "true")],
            "limitToPartitionsWithLag goes neither",
        ),
    ] {
        let said = with(pairs);
        assert!(said.contains(why), "{pairs:?}: {said}");
        assert!(!said.contains("larkspur"), "{said}");
    }
    for pair in [
        (LAGGING, "true"),
        (EVEN, "true"),
        ("partitionLimitation", "1"),
    ] {
        let said = whole(&[&WHERE[..], &[pair]].concat());
        assert_eq!(said, format!("{} needs a `topic`", pair.0));
    }
    let none = whole(&[]);
    assert!(none.contains("`bootstrapServers` is missing") && none.contains("`consumerGroup` is"));
}

#[test]
fn partitions_are_written_as_keda_writes_them() {
    let counted = |written: &str| {
        let limitation = Limitation::of(written)?;
        Ok((0..20)
            .filter(|it| limitation.counts(*it))
            .collect::<Vec<_>>())
    };
    for (written, found) in [
        ("1-4,8,10-12", vec![1, 2, 3, 4, 8, 10, 11, 12]),
        (" 3 - 4, 2 ", vec![2, 3, 4]),
        ("7", vec![7]),
        ("", (0..20).collect()),
    ] {
        assert_eq!(counted(written), Ok(found), "{written}");
    }
    for written in ["1-2-3", "a", "1,,2", "4-1", "-1", "1-", "99999999999"] {
        let why: String = counted(written).unwrap_err();
        assert!(
            why.contains("must be partitions such as"),
            "{written}: {why}"
        );
    }
    let many = vec!["1"; 257].join(",");
    assert!(counted(&many).unwrap_err().contains("more than 256 parts"));
}

#[test]
fn settings_make_the_rules_that_keda_makes_of_them() {
    let of = |pairs: &[(&str, &str)]| rules(&metadata(pairs)).unwrap();
    let plain = of(&[]);
    assert_eq!(plain.threshold, 10);
    assert_eq!(
        (plain.uncommitted, plain.cap),
        (Uncommitted::One, Cap::Partitions)
    );
    assert_eq!(of(&[("lagThreshold", "1k")]).threshold, 1_000);
    for (pairs, uncommitted) in [
        (&[(POLICY, "earliest")][..], Uncommitted::All),
        (
            &[(POLICY, "earliest"), (ZERO, "true")],
            Uncommitted::Nothing,
        ),
        (&[(ZERO, "true")], Uncommitted::Nothing),
    ] {
        assert_eq!(of(pairs).uncommitted, uncommitted, "{pairs:?}");
    }
    for (pairs, cap) in [
        (&[(ALLOW_IDLE, "true")][..], Cap::Free),
        (&[(ALLOW_IDLE, "true"), (EVEN, "true")], Cap::Even),
        (&[(LAGGING, "true")], Cap::Lagging),
    ] {
        assert_eq!(of(pairs).cap, cap, "{pairs:?}");
    }
    for threshold in ["0", "-1", "0.5", "many"] {
        let why = rules(&metadata(&[("lagThreshold", threshold)])).unwrap_err();
        assert!(why.contains("must be a whole number"), "{why}");
    }
}

#[test]
fn in_whose_name_and_how_safely_says_the_trigger_or_its_authentication() {
    let of = |pairs: &[(&str, &str)], given: &[(&'static str, &str)]| {
        let login = Login::of(&metadata(pairs), &secrets(given));
        login.map_err(|why| why.to_string())
    };
    let word = [("username", "ann"), ("password", "larkspur")];
    let with = |more: &[(&'static str, &'static str)]| [&word[..], more].concat();
    assert_eq!(of(&[], &word), Ok(Login::default()));
    let proved = of(&[("sasl", "scram_sha256"), ("tls", "enable")], &word).unwrap();
    let given = with(&[("sasl", "scram_sha256"), ("tls", "enable")]);
    assert_eq!(of(&[], &given), Ok(proved.clone()));
    assert!(!format!("{proved:?}").contains("larkspur"), "{proved:?}");
    for (pairs, given, why) in [
        (
            &[("sasl", "plaintext")][..],
            with(&[("sasl", "scram_sha256")]),
            "is another one",
        ),
        (
            &[],
            with(&[("sasl", "larkspur")]),
            "must be none, plaintext",
        ),
        (
            &[("tls", "enable")],
            with(&[("tls", "disable")]),
            "not against `tls: enable`",
        ),
        (
            &[],
            with(&[("tls", "larkspur")]),
            "`tls` must be enable or disable",
        ),
        (
            &[("sasl", "plaintext")],
            vec![("username", "ann")],
            "has no parameter `password`",
        ),
        (
            &[("sasl", "plaintext")],
            vec![("username", "ann"), ("password", "lark\0spur")],
            "`password` holds a character",
        ),
    ] {
        let said = of(pairs, &given).unwrap_err();
        assert!(said.contains(why), "{said}");
        assert!(!said.contains("larkspur"), "{said}");
    }
}
