//! Bad triggers and the words that refuse them.

use super::{POLICY, refused};

#[test]
fn triggers_of_no_or_an_unknown_type_are_refused() {
    let (without, _) = POLICY.split_once("  triggers:").unwrap();
    refused(
        without,
        "spec:\n",
        "spec:\n",
        &["6:3: spec.triggers: must name at least one trigger"],
    );
    refused(
        POLICY,
        "type: metrics-api",
        "type: kafka",
        &["16:13: spec.triggers[1].type: `kafka` is not known; allowed: cpu, memory, metrics-api"],
    );
    refused(
        POLICY,
        "    - type: cpu\n      metricType",
        "    - metricType",
        &["12:7: spec.triggers[0]: `type` is missing"],
    );
    refused(
        POLICY,
        "type: cpu\n",
        "type: cpu\n      authenticationRef: {name: a}\n",
        &[
            "13:7: spec.triggers[0].authenticationRef: unknown field `authenticationRef`; allowed: \
         type, name, metricType, metadata",
        ],
    );
    let named = POLICY.replacen("type: cpu\n", "type: cpu\n      name: a\n", 1);
    refused(
        &named,
        "type: metrics-api\n",
        "type: metrics-api\n      name: a\n",
        &["18:13: spec.triggers[1].name: \"a\" is taken by an earlier trigger"],
    );
}

#[test]
fn goals_that_make_no_sense_are_refused() {
    refused(
        POLICY,
        "      metricType: Utilization\n",
        "",
        &[
            "12:7: spec.triggers[0].metricType: must be Utilization (percent of the requests) or \
         AverageValue (amount for each replica), is missing",
        ],
    );
    refused(
        POLICY,
        "metricType: Utilization",
        "metricType: Value",
        &[
            "13:19: spec.triggers[0].metricType: must be Utilization (percent of the requests) or \
         AverageValue (amount for each replica), is Value",
        ],
    );
    refused(
        POLICY,
        "value: \"70\"",
        "value: 70%",
        &[
            "15:16: spec.triggers[0].metadata.value: must be a whole number of percent without a \
         sign, is `70%`",
        ],
    );
    refused(
        POLICY,
        "value: \"70\"",
        "value: 0",
        &["15:16: spec.triggers[0].metadata.value: must be 1 to 100000, is 0"],
    );
    refused(
        POLICY,
        "value: \"70\"",
        "value: 70\n        typo: web",
        &["16:15: spec.triggers[0].metadata.typo: is not known; allowed: value, containerName"],
    );
    refused(
        POLICY,
        "type: metrics-api\n",
        "type: metrics-api\n      metricType: Utilization\n",
        &[
            "17:19: spec.triggers[1].metricType: must be AverageValue or Value: only cpu and memory \
         have a utilization",
        ],
    );
}

#[test]
fn questions_that_can_not_be_asked_are_refused() {
    let metadata = "spec.triggers[1].metadata";
    refused(
        POLICY,
        "        url: http://127.0.0.1:8080/stats\n",
        "",
        &[&format!("18:9: {metadata}: `url` is missing")],
    );
    refused(
        POLICY,
        "http://127.0.0.1:8080/stats",
        "https://u:secret@host/x?key=secret",
        &[&format!(
            "18:14: {metadata}.url: https is not supported; allowed: http, for example by a local \
         proxy that adds TLS"
        )],
    );
    refused(
        POLICY,
        "http://127.0.0.1:8080/stats",
        "http://u:secret@host/",
        &[&format!(
            "18:14: {metadata}.url: holds a user or password, which everyone who may read policies \
         would see; not supported"
        )],
    );
    refused(
        POLICY,
        "http://127.0.0.1:8080/stats",
        "redis://host/?password=secret",
        &[&format!(
            "18:14: {metadata}.url: `redis://host/` is not an address; write http://HOST:PORT/PATH"
        )],
    );
    refused(
        POLICY,
        "queue.jobs",
        "\"queue.jobs|@reverse\"",
        &[&format!(
            "19:24: {metadata}.valueLocation: must be a plain path such as `queue.jobs` or \
         `queues.#(name==\"a\").jobs`: modifiers, multipaths and literals are not supported"
        )],
    );
    for (line, why) in [
        (
            "format: xml",
            "format: `xml` is not supported; allowed: json",
        ),
        (
            "timeout: 1h",
            "timeout: must be 1 to 60000 milliseconds, is `1h`",
        ),
        (
            "unsafeSsl: \"true\"",
            "unsafeSsl: is not supported; allowed: url, valueLocation, targetValue, \
             activationTargetValue, format, timeout",
        ),
    ] {
        let column = 11 + line.find(':').unwrap();
        refused(
            POLICY,
            "        url:",
            &format!("        {line}\n        url:"),
            &[&format!("18:{column}: {metadata}.{why}")],
        );
    }
    for (wrong, why) in [
        (
            "ten",
            "`ten` is not a quantity; write a number such as 10, 0.5 or 1e3, or one with a \
                 suffix (n u m k M G T P E, Ki Mi Gi Ti Pi Ei)",
        ),
        ("0", "must be above 0, is 0"),
        ("-5", "must not be negative, is -5"),
        (
            ".nan",
            "`.nan` is not a quantity; write a number such as 10, 0.5 or 1e3, or one with a \
                  suffix (n u m k M G T P E, Ki Mi Gi Ti Pi Ei)",
        ),
        ("1e30", "`1e30` is too large a quantity"),
    ] {
        refused(
            POLICY,
            "\"10\"",
            wrong,
            &[&format!("20:22: {metadata}.targetValue: {why}")],
        );
    }
}
