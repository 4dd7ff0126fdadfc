//! Every format, and every way to say who asks; on real servers.

use super::*;
use crate::trying::{metadata, secrets, sent};

/// What is read of an answer, in words where nothing is.
fn read(format: &str, body: &str, location: &str) -> Result<i64, String> {
    let format = Format::of(&metadata(&[("format", format)])).unwrap();
    format.check_location(location).unwrap();
    format
        .read(body.as_bytes(), location)
        .map(|it| it.milli)
        .map_err(|reason| reason.to_string())
}

#[test]
fn yaml_is_read_by_names_and_indexes() {
    let body = "queues:\n  - {name: a, jobs: 3}\n  - {name: b, jobs: 4.5}\nsum: \"7\"\nsize: 2Ki\n";
    assert_eq!(read("yaml", body, "queues.1.jobs"), Ok(4_500));
    assert_eq!(read("yaml", body, "sum"), Ok(7_000));
    assert_eq!(read("yaml", body, "size"), Ok(2_048_000));
    assert_eq!(
        read("yaml", body, "queues.2.jobs"),
        Err("the answer has no `queues.2.jobs`".to_owned())
    );
    assert_eq!(
        read("yaml", body, "queues"),
        Err("`queues` is a list, not a number".to_owned())
    );
    let broken = read("yaml", "a: [", "a").unwrap_err();
    assert!(broken.starts_with("the answer is not YAML: "), "{broken}");
    let bomb = "a: &a [1]\nb: [*a, *a]\n";
    assert!(read("yaml", bomb, "b.0.0").is_err());
}

#[test]
fn xml_is_read_from_the_root_down_with_lists_attributes_and_texts() {
    let body = "<?xml version=\"1.0\"?><stats at=\"5\"><queue id=\"1\"> 3 </queue>\
                <queue><jobs>4</jobs></queue><sum>8.25</sum></stats>";
    assert_eq!(read("xml", body, "stats.sum"), Ok(8_250));
    assert_eq!(read("xml", body, "stats.-at"), Ok(5_000));
    assert_eq!(read("xml", body, "stats.queue.0.#text"), Ok(3_000));
    assert_eq!(read("xml", body, "stats.queue.1.jobs"), Ok(4_000));
    assert_eq!(
        read("xml", body, "sum"),
        Err("the answer has no `sum`".to_owned())
    );
    for broken in ["<a>", "a", "", "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>"] {
        let why = read("xml", broken, "a").unwrap_err();
        assert!(
            why.starts_with("the answer is not XML: "),
            "{broken}: {why}"
        );
    }
    let deep = format!("{}1{}", "<a>".repeat(2_000), "</a>".repeat(2_000));
    assert!(read("xml", &deep, "a").is_err());
}

#[test]
fn prometheus_text_gives_the_first_series_that_the_selector_is_met_by() {
    let body = "# HELP jobs Waiting.\n# TYPE jobs gauge\njobs{queue=\"one\"} 1\n\
                jobs{queue=\"two\",state=\"a\\\"b\"} 2.5 1700000000000\nup 1\nodd NaN\n";
    for (location, milli) in [
        ("jobs", 1_000),
        ("jobs{queue=\"two\"}", 2_500),
        ("{queue=\"two\"}", 2_500),
        ("jobs{queue!=\"one\"}", 2_500),
        ("jobs{state=\"a\\\"b\"}", 2_500),
        ("up", 1_000),
    ] {
        assert_eq!(read("prometheus", body, location), Ok(milli), "{location}");
    }
    assert_eq!(
        read("prometheus", body, "down"),
        Err("the answer has no `down`".to_owned())
    );
    assert_eq!(
        read("prometheus", body, "odd"),
        Err("`odd` is `NaN`, not a number".to_owned())
    );
    let why = read("prometheus", "jobs{queue=one} 1\n", "jobs").unwrap_err();
    assert!(why.contains("line 1 is no sample"), "{why}");
    for wrong in ["jobs{queue=~\"o.*\"}", "{}", "jobs{", "a b"] {
        assert!(Format::Prometheus.check_location(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let base = [("url", "https://h/"), ("valueLocation", "a")];
    let refused = |more: &[(&str, &str)]| {
        let all: Vec<_> = base.iter().chain(more).copied().collect();
        let wrong = check(&metadata(&all));
        let words: Vec<String> = wrong
            .iter()
            .map(|(key, why)| format!("{key}: {why}"))
            .collect();
        words.join("; ")
    };
    assert_eq!(refused(&[]), "");
    assert_eq!(
        refused(&[("format", "csv")]),
        "format: `csv` is not known; allowed: json, yaml, xml, prometheus"
    );
    assert_eq!(
        refused(&[("authMode", "basic")]),
        "authMode: needs `authenticationRef` beside the metadata, which says with what"
    );
    let named = ("authenticationRef", "queue");
    assert_eq!(refused(&[("authMode", "apiKey, tls"), named]), "");
    assert!(refused(&[("authMode", "none"), named]).starts_with("authMode: `none` is not known"));
    assert!(refused(&[("authMode", "basic,bearer"), named]).contains("one header"));
    assert!(refused(&[("method", "post")]).starts_with("method: `post` is not known"));
    assert!(refused(&[("keyParamName", "a b")]).starts_with("keyParamName: isn't the name"));
    for (timeout, sound) in [
        ("2500", true),
        ("500ms", true),
        ("60s", true),
        ("61s", false),
        ("0", false),
        ("1h", false),
        ("s", false),
        ("18446744073709551615s", false),
    ] {
        let why = refused(&[("timeout", timeout)]);
        assert_eq!(why.is_empty(), sound, "{timeout}: {why}");
    }
    assert!(refused(&[("unsafeSsl", "yes")]).starts_with("unsafeSsl: must be true or false"));
    let aggregate = "aggregateFromKubeServiceEndpoints";
    assert_eq!(refused(&[(aggregate, "false")]), "");
    assert!(
        refused(&[(aggregate, "true"), ("aggregationType", "sum")])
            .starts_with("url: names no Service, whose pods")
    );
    for name in ["../up", "a/b", "", ".", "UP"] {
        let wrong = refused(&[("authenticationRef", name)]);
        assert!(wrong.contains("is not a name"), "{name}: {wrong}");
    }
}

/// The address and the headers of a question.
fn asked(pairs: &[(&str, &str)], given: &[(&'static str, &str)]) -> Result<String, String> {
    let secrets = secrets(given);
    let (uri, question) = WAYS
        .question(
            &metadata(pairs),
            "http://h/a?b=c".parse().unwrap(),
            &secrets,
        )
        .map_err(|reason| reason.to_string())?;
    assert!(
        question
            .headers
            .iter()
            .all(|(_, value)| value.is_sensitive())
    );
    Ok(sent(&uri, &question))
}

#[test]
fn keys_passwords_and_tokens_go_where_keda_puts_them() {
    let key: [(&str, &str); 1] = [("apiKey", "k&1")];
    assert_eq!(
        asked(&[("authMode", "apiKey")], &key),
        Ok("http://h/a?b=c x-api-key: k&1".to_owned())
    );
    assert_eq!(
        asked(&[("authMode", "apiKey"), ("method", "query")], &key),
        Ok("http://h/a?b=c&api_key=k%261".to_owned())
    );
    assert_eq!(
        asked(&[("authMode", "apiKey"), ("keyParamName", "Token")], &key),
        Ok("http://h/a?b=c token: k&1".to_owned())
    );
    assert_eq!(
        asked(
            &[("authMode", "basic")],
            &[("username", "u"), ("password", "p")]
        ),
        Ok("http://h/a?b=c authorization: Basic dTpw".to_owned())
    );
    assert_eq!(
        asked(&[("authMode", "bearer")], &[("token", "t")]),
        Ok("http://h/a?b=c authorization: Bearer t".to_owned())
    );
    assert_eq!(
        asked(&[("authMode", "bearer")], &key),
        Err("the trigger's authentication has no parameter `token`".to_owned())
    );
    let broken = asked(&[("authMode", "bearer")], &[("token", "geheim\n")]).unwrap_err();
    assert!(!broken.contains("geheim"), "{broken}");
}

proptest::proptest! {
    #[test]
    fn no_answer_and_no_location_make_it_panic(
        body in "[\\[\\]{}\",:0-9a-z\\\\. -]{0,60}",
        location in "[a-z0-9.#()=\"\\\\*?~%<>!@|-]{1,30}",
    ) {
        if json::check_location(&location).is_ok() {
            let _ = json::read(body.as_bytes(), &location);
            let _ = json::read(format!("{{\"jobs\": [{{\"a\": \"{body}\"}}]}}").as_bytes(), &location);
            let _ = json::read(br#"{"a": [{"b": 1, "c": "x"}, 2, "d"], "e\n": {"a": [[1]]}}"#, &location);
        }
    }
}
