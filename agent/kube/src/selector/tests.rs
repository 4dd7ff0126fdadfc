//! Selectors held against Kubernetes' own rules.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    owned.collect()
}

fn matches(selector: &str, pairs: &[(&str, &str)]) -> bool {
    let parsed = Selector::parse(selector).unwrap_or_else(|e| panic!("{selector}: {e}"));
    parsed.matches(&labels(pairs))
}

#[test]
fn every_operator_means_what_kubernetes_means() {
    let web = [("app", "web"), ("tier", "front"), ("size", "12")];
    for yes in [
        "app=web",
        "app==web",
        "app = web , tier = front",
        "app!=db",
        "missing!=anything",
        "app in (db,web)",
        "app in ( db , web )",
        "app notin (db)",
        "missing notin (a)",
        "app",
        "!missing",
        "! missing",
        "size>11",
        "size<13",
        "app,tier,!missing,size>11",
    ] {
        assert!(matches(yes, &web), "{yes}");
    }
    for no in [
        "app=db",
        "app=",
        "app!=web",
        "app in (db)",
        "missing in (a)",
        "app notin (db,web)",
        "!app",
        "missing",
        "size>12",
        "size<12",
        "app>1",
        "missing<1",
        "app=web,tier=back",
    ] {
        assert!(!matches(no, &web), "{no}");
    }
}

#[test]
fn an_empty_value_is_a_value() {
    assert!(matches("app=", &[("app", "")]));
    assert!(matches("app=,tier=b", &[("app", ""), ("tier", "b")]));
    assert!(matches("app in (a,)", &[("app", "")]));
    assert!(matches("app in (,a)", &[("app", "a")]));
    assert!(!matches("app=", &[]));
}

#[test]
fn the_words_in_and_notin_are_keys_and_values_too() {
    assert!(matches("in in (in)", &[("in", "in")]));
    assert!(matches("notin=notin", &[("notin", "notin")]));
    assert!(matches("in", &[("in", "x")]));
}

#[test]
fn keys_may_have_a_prefix() {
    let pairs = [("app.kubernetes.io/name", "web")];
    assert!(matches("app.kubernetes.io/name=web", &pairs));
    for bad in ["/name=a", "a b=c", "Prefix/x=a", "a..b/x=a", "-x=a", "é=a"] {
        assert!(Selector::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_empty_selector_is_refused_as_hpa_refuses_it() {
    for empty in ["", "   ", "\t\n"] {
        assert_eq!(Selector::parse(empty), Err(Error::Empty));
    }
}

#[test]
fn errors_say_where_and_what_was_expected() {
    let message = |text: &str| Selector::parse(text).expect_err(text).to_string();
    assert_eq!(
        message("app in db"),
        "at byte 7 of the selector: found `db`, expected `(`"
    );
    assert_eq!(
        message("app=web,"),
        "at byte 8 of the selector: found the end, expected a key"
    );
    assert_eq!(
        message("app=web tier=x"),
        "at byte 8 of the selector: found `tier`, expected `,` or the end"
    );
    assert_eq!(
        message("app in ()"),
        "`in` and `notin` need at least one value for key `app`"
    );
    assert_eq!(
        message("size>big"),
        "`big` is no whole number, which `>` and `<` compare with"
    );
    for bad in [
        "=a",
        ",",
        "a,,b",
        "a=b=c",
        "!a=b",
        "a in (b",
        "a in (b c)",
        "a(b)",
        "a ==",
        "a=(",
        "!!a",
        "a>",
        "a!b",
    ] {
        let parsed = Selector::parse(bad);
        // An operator without a value asks for the empty value.
        assert_eq!(parsed.is_ok(), bad == "a ==", "{bad}: {parsed:?}");
    }
}

#[test]
fn every_bound_is_kept() {
    let long = "a".repeat(BYTES_MAX + 1);
    assert_eq!(Selector::parse(&long), Err(Error::TooLong(BYTES_MAX + 1)));
    let many = vec!["a"; REQUIREMENTS_MAX + 1].join(",");
    assert_eq!(Selector::parse(&many), Err(Error::TooMany));
    let values: Vec<String> = (0..=VALUES_MAX).map(|i| i.to_string()).collect();
    let values = format!("a in ({})", values.join(","));
    assert_eq!(
        Selector::parse(&values),
        Err(Error::TooManyValues("a".into()))
    );
    let name = format!("a={}", "v".repeat(64));
    assert!(matches!(Selector::parse(&name), Err(Error::Value(_))));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "[a-c=!<>(), \\tin/.é-]{0,40}") {
        let _ = Selector::parse(&text);
    }

    #[test]
    fn equality_and_sets_agree(
        value in "[a-c]{0,2}",
        other in "[a-c]{0,2}",
        present in any::<bool>(),
    ) {
        let pairs = if present { labels(&[("k", &other)]) } else { labels(&[]) };
        let same = |a: &str, b: &str| {
            let of = |text: &str| Selector::parse(text).expect("sound").matches(&pairs);
            prop_assert_eq!(of(a), of(b), "{} and {}", a, b);
            Ok(())
        };
        same(&format!("k={value}"), &format!("k in ({value},{value})"))?;
        same(&format!("k!={value}"), &format!("k notin ({value},{value})"))?;
        let of = |text: String| Selector::parse(&text).expect("sound").matches(&pairs);
        prop_assert_ne!(of(format!("k={value}")), of(format!("k!={value}")));
    }
}
