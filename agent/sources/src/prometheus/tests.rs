//! Where and with what a server is asked, and what no number is. What answers come to is in
//! the vectors of `agent/policy/tests/sources.rs`.

use super::*;
use crate::trying::{metadata, secrets, sent, told};

fn asked(pairs: &[(&str, &str)], given: &[(&'static str, &str)]) -> Result<String, String> {
    let mut all = vec![("query", "sum(a{b=\"c\"})")];
    all.extend(pairs);
    let secrets = secrets(given);
    let (uri, question) = question(&metadata(&all), "http://p:1/tenant/", &secrets)
        .map_err(|reason| reason.to_string())?;
    Ok(sent(&uri, &question))
}

#[test]
fn the_query_its_parameters_and_headers_are_sent_as_they_are_written() {
    let at = "http://p:1/tenant/api/v1/query?query=sum%28a%7Bb%3D%22c%22%7D%29";
    assert_eq!(asked(&[], &[]).unwrap(), at);
    let more = [
        ("namespace", "shop"),
        ("queryParameters", "dedup=true, step=5 m"),
        ("customHeaders", "X-Scope-OrgID=a b,x=y"),
    ];
    assert_eq!(
        asked(&more, &[]).unwrap(),
        format!("{at}&namespace=shop&dedup=true&step=5%20m x-scope-orgid: a b x: y")
    );
}

#[test]
fn who_asks_is_proved_as_the_modes_say() {
    let said = |mode: &str, given: &[(&'static str, &str)]| {
        let said = asked(&[("authModes", mode)], given);
        said.map(|said| said.split_once(' ').unwrap_or_default().1.to_owned())
    };
    let token = [("bearerToken", "t")];
    assert_eq!(said("bearer", &token).unwrap(), "authorization: Bearer t");
    let header = [("customAuthHeader", "X-Key"), ("customAuthValue", "k")];
    assert_eq!(said("custom", &header).unwrap(), "x-key: k");
    let user = [("username", "ann"), ("password", "p")];
    assert_eq!(
        said("basic,tls", &user).unwrap_err(),
        "the trigger's authentication has no parameter `cert`"
    );
    assert_eq!(
        said("basic", &user).unwrap(),
        "authorization: Basic YW5uOnA="
    );
    let why = said("bearer", &user).unwrap_err();
    assert_eq!(
        why,
        "the trigger's authentication has no parameter `bearerToken`"
    );
}

#[test]
fn settings_that_mean_nothing_are_refused_by_name() {
    let refused = |pairs: &[(&str, &str)]| {
        let mut all = vec![("serverAddress", "http://p"), ("query", "up")];
        all.extend(pairs);
        told(check(&metadata(&all)))
    };
    assert_eq!(refused(&[]), "");
    for (key, value, why) in [
        (
            "serverAddress",
            "p:9090",
            "serverAddress `p:9090` is not an address",
        ),
        ("query", " ", "`query` is missing"),
        (
            "queryParameters",
            "a",
            "queryParameters must be pairs such as `a=1,b=2`, and holds `a`",
        ),
        ("customHeaders", "a b=c", "customHeaders `a b` is no header"),
        (
            "customHeaders",
            "Cookie=c",
            "customHeaders `cookie` is a secret",
        ),
        (
            "customHeaders",
            "Host=c",
            "customHeaders `host` is the connection's own",
        ),
        ("serverAddress", "http://p?a=b", "has a query"),
        ("serverAddress", "http://p:909O", "is not an address"),
        (
            "ignoreNullValues",
            "no",
            "ignoreNullValues must be true or false",
        ),
        ("timeout", "0", "timeout must be 1 to 60000 milliseconds"),
        ("authModes", "apiKey", "allowed: basic, bearer, custom, tls"),
        ("authModes", "basic", "needs `authenticationRef`"),
        (
            "awsRegion",
            "x",
            "awsRegion is not supported; allowed: serverAddress, query",
        ),
    ] {
        let said = refused(&[(key, value)]);
        assert!(said.contains(why), "{key}: {said}");
    }
}

#[test]
fn an_answer_that_is_no_single_number_says_what_it_is() {
    let result = |result: &str| {
        format!(
            r#"{{"status": "success", "data": {{"resultType": "vector", "result": {result}}}}}"#
        )
    };
    let series = r#"{"metric": {}, "value": [1, "2"]}"#;
    for (body, why) in [
        ("{".to_owned(), "the answer is not one value of Prometheus"),
        (
            r#"{"status": "error", "error": "bad query"}"#.to_owned(),
            "its status is `error` bad query",
        ),
        (
            result("[]"),
            "the query gives nothing, and `ignoreNullValues` is false",
        ),
        (
            result(&format!("[{series}, {series}]")),
            "the query gives 2 series; make one of them, such as with sum()",
        ),
        (
            result(r#"[{"value": [1, "NaN"]}]"#),
            "the value is NaN, and `ignoreNullValues` is false",
        ),
        (result(r#"[{"value": [1]}]"#), "its value is no pair"),
        (
            result(r#"[{"value": [1, "x"]}]"#),
            "`value` is `x`, not a number",
        ),
        (
            result(r#"[{"value": [1, "1e300"]}]"#),
            "`value` is too large",
        ),
    ] {
        let said = read(body.as_bytes(), false).unwrap_err().to_string();
        assert!(said.contains(why), "{body}: {said}");
    }
    let said = read(result(r#"[1, "7"]"#).as_bytes(), false);
    assert_eq!(said.map(|it| it.milli), Ok(7_000), "a scalar");
    // A number of any other form counts as Prometheus writes it.
    let said = read(result(r#"[{"value": [1, 2.5]}]"#).as_bytes(), false);
    assert_eq!(said.map(|it| it.milli), Ok(2_500));
}
