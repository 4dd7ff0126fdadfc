//! Bad triggers and the words that refuse them.

use super::{Goal, POLICY, Source, policy, problems, refused};

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
        "type: aws-sqs-queue",
        &[
            "16:13: spec.triggers[1].type: `aws-sqs-queue` is not known; allowed: cpu, memory, gpu, \
         gpu-memory, disk, network, psi, throttling, metrics-api, prometheus, rabbitmq, redis, redis-sentinel, redis-cluster, redis-streams, redis-sentinel-streams, redis-cluster-streams, nats-jetstream, kafka, postgresql, kubernetes-workload, mysql, external, external-push, cron",
        ],
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
            "13:26: spec.triggers[0].authenticationRef: belongs to triggers that ask somebody; this \
             one asks nobody",
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
        &[
            "16:15: spec.triggers[0].metadata.typo: is not known; allowed: value, containerName, \
         window, of, what",
        ],
    );
    refused(
        POLICY,
        "type: metrics-api\n",
        "type: metrics-api\n      metricType: Utilization\n",
        &[
            "17:19: spec.triggers[1].metricType: must be AverageValue or Value: only what agents \
         measure has a utilization",
        ],
    );
}

#[test]
fn what_agents_do_not_measure_is_refused() {
    let scaled = POLICY.replacen("    kind: Process\n", "", 1);
    let refused_with = |kind: &str, settings: &str, words: &[&str]| {
        let of = format!("type: {kind}\n      metadata:\n        value: \"70\"\n{settings}");
        let from =
            "type: cpu\n      metricType: Utilization\n      metadata:\n        value: \"70\"\n";
        refused(&scaled, from, &of, words);
    };
    refused_with(
        "psi",
        "        what: gpu\n        of: containers\n        window: 3 minutes\n",
        &[
            "14:15: spec.triggers[0].metadata.what: must be cpu or memory or io, is `gpu`",
            "15:13: spec.triggers[0].metadata.of: must be pods or nodes, is `containers`",
            "16:17: spec.triggers[0].metadata.window: `3 minutes` is not a duration; write a \
         number and a unit, such as 250ms, 2s or 1m",
        ],
    );
    refused_with(
        "psi",
        "        window: 3m\n",
        &["14:17: spec.triggers[0].metadata.window: must be 1 ms to 2 min, is 3m"],
    );
    refused_with(
        "cpu\n      metricType: Utilization",
        "        window: 500ms\n",
        &["15:17: spec.triggers[0].metadata.window: must be between 1 s and 120 s"],
    );
    refused_with(
        "network\n      metricType: Utilization",
        "",
        &[
            "12:19: spec.triggers[0].metricType: Utilization needs a whole, which network has not; \
         use AverageValue",
        ],
    );
    refused_with(
        "network",
        "        containerName: app\n",
        &["11:13: spec.triggers[0].type: network isn't measured of single containers"],
    );
    refused_with(
        "disk",
        "        what: space\n",
        &["11:13: spec.triggers[0].type: disk-space isn't measured of replicas"],
    );
    refused_with(
        "throttling",
        "        of: nodes\n",
        &["11:13: spec.triggers[0].type: throttling isn't measured of nodes"],
    );
    refused_with(
        "cpu\n      metricType: Utilization",
        "        of: nodes\n        containerName: app\n",
        &["16:24: spec.triggers[0].metadata.containerName: has no place beside `of: nodes`"],
    );
    refused(
        POLICY,
        "type: cpu\n",
        "type: gpu\n",
        &[
            "7:11: spec.scaleTargetRef.kind: is a Process, which has no cgroup that its agent could \
         measure, as trigger gpu needs",
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
            "18:14: {metadata}.url: holds a user or password, which everyone who may read policies \
         would see; put them into what an `authenticationRef` names"
        )],
    );
    refused(
        POLICY,
        "http://127.0.0.1:8080/stats",
        "redis://host/?password=secret",
        &[&format!(
            "18:14: {metadata}.url: `redis://host/` is not an address; write http://HOST:PORT/PATH \
             or https://HOST/PATH"
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
    refused(
        POLICY,
        "queue.jobs",
        "'#(n%\"*a*a*a*a*a*a*a*a*b\").v'",
        &[&format!(
            "19:24: {metadata}.valueLocation: may hold one `*`, or two around a text as in \
             `#(name%\"*text*\")`: more would be tried in every combination, which may take for \
             ever"
        )],
    );
    for (line, why) in [
        (
            "format: csv",
            "format: `csv` is not known; allowed: json, yaml, xml, prometheus",
        ),
        (
            "timeout: 1h",
            "timeout: must be 1 to 60000 milliseconds, such as `2500`, `500ms` or `2s`, is `1h`",
        ),
        (
            "unsafeSSL: \"true\"",
            "unsafeSSL: is not supported; allowed: url, valueLocation, targetValue, \
             activationTargetValue, format, timeout, unsafeSsl, authMode, method, keyParamName, \
             aggregateFromKubeServiceEndpoints, aggregationType",
        ),
        (
            "authMode: basic",
            "authMode: needs `authenticationRef` beside the metadata, which says with what",
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

#[test]
fn a_reference_to_what_a_trigger_authenticates_with_is_kept_by_name_alone() {
    let with = |reference: &str| {
        POLICY.replacen(
            "    - type: metrics-api\n",
            &format!("    - type: metrics-api\n      {reference}\n"),
            1,
        )
    };
    let policy = policy(&with("authenticationRef: {name: queue}"));
    let Source::External { metadata, .. } = &policy.triggers[1].source else {
        panic!("{policy:?}");
    };
    assert_eq!(metadata["authenticationRef"], "queue");
    assert_eq!(
        problems(&with("authenticationRef: {name: ../up}")),
        "17:33: spec.triggers[1].authenticationRef.name: `../up` is not a name: at most 253 of a-z, \
         0-9, `-` and `.`\n"
    );
    let named = self::policy(&with(
        "authenticationRef: {name: queue, kind: ClusterTriggerAuthentication}",
    ));
    let reference = starling_sources::Reference::of(&named.triggers[1]).unwrap();
    assert_eq!(
        (reference.kind, reference.name),
        (Some("ClusterTriggerAuthentication"), "queue")
    );
    let of = |kind: &str| {
        let target = format!("    kind: {kind}\n    envSourceContainerName: app\n");
        with("authenticationRef: {name: queue}").replacen("    kind: Process\n", &target, 1)
    };
    let policy = self::policy(&of("Deployment"));
    let reference = starling_sources::Reference::of(&policy.triggers[1]).unwrap();
    assert_eq!(reference.container, Some("app"));
    let of_process = problems(&of("Process"));
    assert!(
        of_process.contains("which has no containers"),
        "{of_process}"
    );
    let unknown = problems(&with("authenticationRef: {name: queue, kind: Secret}"));
    assert!(unknown.contains("`Secret` is not known"), "{unknown}");
    let inside = POLICY.replacen(
        "        valueLocation:",
        "        authenticationRef.kind: TriggerAuthentication\n        valueLocation:",
        1,
    );
    assert!(
        problems(&inside).contains("stands beside `metadata`"),
        "{}",
        problems(&inside)
    );
    let beside = POLICY.replacen(
        "      metricType: Utilization\n",
        "      metricType: \
                                 Utilization\n      authenticationRef: {name: queue}\n",
        1,
    );
    assert_eq!(
        problems(&beside),
        "14:26: spec.triggers[0].authenticationRef: belongs to triggers that ask somebody; this \
         one asks nobody\n"
    );
}

#[test]
fn a_calendar_wants_one_replica_for_each_of_its_value() {
    let with = |metadata: &str| {
        POLICY.replacen(
            "    - type: metrics-api\n",
            &format!("    - type: cron\n      metadata: {{{metadata}}}\n    - type: metrics-api\n"),
            1,
        )
    };
    let sound =
        "timezone: Europe/Berlin, start: 0 8 * * 1-5, end: 0 18 * * 1-5, desiredReplicas: 3";
    let policy = policy(&with(sound));
    assert_eq!(policy.triggers[1].goal, Goal::AverageValue { milli: 1_000 });
    assert_eq!(policy.triggers[1].name, "cron");
    assert_eq!(
        problems(&with("timezone: Berlin, start: 0 8 * * *, end: 0 18 * * *")),
        "17:17: spec.triggers[1].metadata: `desiredReplicas` is missing\n17:28: \
         spec.triggers[1].metadata.timezone: `Berlin` is not a time zone, such as Europe/Berlin or \
         Etc/UTC\n"
    );
}

#[test]
fn a_server_of_the_user_s_own_says_itself_what_its_values_are_held_against() {
    let with = |kind: &str| {
        let metadata = "{scalerAddress: 's:1', threshold: many, targetValue: '7'}";
        let trigger = format!("    - type: {kind}\n      metadata: {metadata}\n");
        let before = "    - type: metrics-api\n";
        POLICY.replacen(before, &format!("{trigger}{before}"), 1)
    };
    for (kind, goal) in [
        ("external", Goal::AverageValue { milli: 1_000 }),
        (
            "external-push\n      metricType: Value",
            Goal::Value { milli: 1_000 },
        ),
    ] {
        let policy = policy(&with(kind));
        let trigger = &policy.triggers[1];
        assert_eq!((trigger.goal, trigger.activation_milli), (goal, 0));
        let Source::External { metadata, .. } = &trigger.source else {
            panic!("{trigger:?}");
        };
        let settings: Vec<_> = metadata.iter().map(|(key, it)| (&**key, &**it)).collect();
        let written = [
            ("scalerAddress", "s:1"),
            ("targetValue", "7"),
            ("threshold", "many"),
        ];
        assert_eq!(settings, written);
    }
}

/// A policy with two named queues and a formula of these fields.
fn composed(modifiers: &str) -> String {
    let queue = |name: &str| {
        format!(
            "    - type: metrics-api\n      name: {name}\n      metadata: {{url: \"http://q/\", \
             valueLocation: n}}\n"
        )
    };
    let head = POLICY.split_once("    - type: metrics-api\n").unwrap().0;
    format!(
        "{head}{}{}  scalingModifiers: {{{modifiers}}}\n",
        queue("orders"),
        queue("slow_mails")
    )
}

#[test]
fn a_formula_is_one_more_trigger_and_needs_no_targets_of_the_others() {
    let policy = policy(&composed(
        "formula: \"orders + slow_mails / 2\", target: \"2.5\", activationTarget: 1, metricType: Value",
    ));
    let formula = policy.triggers.last().unwrap();
    assert_eq!(formula.name, "formula");
    assert_eq!(
        formula.source,
        Source::Formula {
            text: "orders + slow_mails / 2".to_owned()
        }
    );
    assert_eq!(formula.goal, Goal::Value { milli: 2_500 });
    assert_eq!(formula.activation_milli, 1_000);
    let plain = self::policy(&composed("formula: \"orders\", target: 3"));
    let formula = plain.triggers.last().unwrap();
    assert_eq!(formula.goal, Goal::AverageValue { milli: 3_000 });
    assert_eq!(formula.activation_milli, 0);
}

#[test]
fn a_formula_that_can_t_work_is_refused_with_its_place() {
    for (modifiers, told) in [
        (
            "formula: orders * carts, target: 1",
            "spec.scalingModifiers.formula: names `carts`, which is no trigger that is asked; there \
             are orders, slow_mails (at character 10)",
        ),
        (
            "formula: orders > 1, target: 1",
            "spec.scalingModifiers.formula: gives true or false, not a number",
        ),
        (
            "formula: \"1 % int(orders + 1)\", target: 1",
            "spec.scalingModifiers.formula: divides a whole number by 0",
        ),
        (
            "formula: orders, target: 0",
            "spec.scalingModifiers.target: must be above 0, is 0",
        ),
        (
            "formula: orders",
            "spec.scalingModifiers: `target` is missing",
        ),
        (
            "formula: orders, target: 1, metricType: Utilization",
            "spec.scalingModifiers.metricType: `Utilization` is not known",
        ),
    ] {
        let problems = problems(&composed(modifiers));
        assert!(problems.contains(told), "{modifiers}: {problems}");
    }
    let named = composed("formula: orders, target: 1").replace("name: orders", "name: -a");
    assert!(problems(&named).contains("as a formula can use it"));
    let advanced = POLICY.replacen(
        "  triggers:\n",
        "  advanced: {scalingModifiers: {formula: a, target: 1}}\n  triggers:\n",
        1,
    );
    assert!(!problems(&advanced).is_empty());
}
