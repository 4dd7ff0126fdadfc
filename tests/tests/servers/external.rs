//! KEDA's `external` and `external-push`, of a server by gRPC's own library for Python.

use std::net::TcpListener;

use serde_json::{Value as Json, json};
use starling_rig::cluster::Cluster;
use starling_rig::cluster::files::Documents;
use starling_tests::binary;
use starling_tests::servers::External;
use starling_tests::sleepers::PROCESS;

use super::{Question, certificate, counting, is};

fn plain() -> Option<External> {
    let (cert, key) = certificate();
    External::start((&cert, &key), &cert)
}

fn question(kind: &str, address: &str, settings: &str, secrets: &[(&str, &str)]) -> Question {
    let trigger = format!(
        "{{type: {kind}, authenticationRef: {{name: scaler}}, metadata: {{scalerAddress: \
         '{address}'{settings}}}}}"
    );
    Question::of(&trigger, secrets)
}

/// One metric, of whole numbers.
fn jobs(active: bool, target: i64, value: i64) -> Json {
    let metric = json!({ "name": "jobs", "target": [target, 0.0], "values": [[value, 0.0]] });
    json!({ "active": active, "metrics": [metric] })
}

#[tokio::test]
async fn a_scaler_s_values_by_its_targets_are_said_as_they_rise_and_fall() {
    let Some(server) = plain() else {
        return;
    };
    let at = server.address();
    let settings = ", queue: mails, 'any key': 'some, text'";
    for kind in ["external", "external-push"] {
        let jobs_of = question(kind, &at, settings, &[]);
        let ask = async || {
            let number = jobs_of.ask().await;
            number.map(|it| (it.milli, it.activity_milli))
        };
        server.says(&jobs(false, 5, 0));
        assert_eq!(ask().await, Ok((0, 0)), "{kind}");
        server.says(&jobs(true, 5, 12));
        assert_eq!(ask().await, Ok((2_400, 1_000)));
        server.says(&jobs(true, 10, 12));
        assert_eq!(ask().await, Ok((1_200, 1_000)), "the target has changed");
        // It says itself whether the workload is to run, whatever the value.
        server.says(&jobs(false, 5, 3));
        assert_eq!(ask().await, Ok((600, 0)));
        server.says(&jobs(true, 5, 0));
        assert_eq!(ask().await, Ok((0, 1_000)));
        server.says(&json!({ "active": true, "metrics": [
            { "name": "a", "target": [9, 0.5], "values": [[9, 0.75], [0, 0.5]] },
            { "name": "b", "target": [0, 3.0], "values": [[10, 0.0]] },
        ] }));
        assert_eq!(ask().await, Ok((3_334, 1_000)));
    }
    let metadata = json!({ "scalerAddress": at, "queue": "mails", "any key": "some, text" });
    let about = |metric: Json| json!({ "name": "web", "namespace": "default", "metadata": metadata, "metric": metric });
    assert_eq!(server.asked("IsActive"), about(Json::Null));
    assert_eq!(server.asked("GetMetricSpec"), about(Json::Null));
    assert_eq!(server.asked("GetMetrics"), about(json!("b")));
}

#[tokio::test]
async fn what_a_scaler_lacks_refuses_or_says_wrongly_is_no_number() {
    let Some(server) = plain() else {
        return;
    };
    let one = question("external", &server.address(), "", &[]);
    let with = |key: &str, value: Json| {
        let mut state = jobs(true, 1, 1);
        state[key] = value;
        state
    };
    let metric = |target: Json, values: Json| {
        let metric = json!([{ "name": "jobs", "target": target, "values": values }]);
        with("metrics", metric)
    };
    let ones = || json!([[1, 0.0]]);
    let long =
        json!([{ "name": "jobs", "target": [1, 0.0], "values": ones(), "padding": 2 << 20 }]);
    for (state, why) in [
        (with("calls", json!([])), "refused: it has no "),
        (
            with("calls", json!(["IsActive", "GetMetricSpec"])),
            "refused: it has no GetMetrics of externalscaler.ExternalScaler: Method not found!",
        ),
        (
            with(
                "fails",
                json!({ "GetMetrics": ["NOT_FOUND", "no queue mails"] }),
            ),
            "refused: GetMetrics failed as NotFound: no queue mails",
        ),
        (
            with("fails", json!({ "IsActive": ["UNAVAILABLE", "later"] })),
            "refused: IsActive failed as Unavailable: later",
        ),
        (
            with("metrics", json!([])),
            "the answer has no `metricSpecs`",
        ),
        (
            metric(json!([0, 0.0]), ones()),
            "the answer is not a target above 0: that of `jobs` is 0",
        ),
        (
            metric(json!([1, 0.0]), json!([])),
            "the answer has no `value of jobs`",
        ),
        (
            metric(json!([1, 0.0]), json!([[-1, 0.0]])),
            "`value of jobs` is negative: -1",
        ),
        (with("metrics", long), "the answer is longer than 1024 KiB"),
    ] {
        server.says(&state);
        let said = one.ask().await.unwrap_err();
        assert!(said.contains(why), "{state}: {said}");
    }
    // The next question is answered all the same.
    server.says(&jobs(true, 1, 1));
    assert!(one.ask().await.is_ok_and(is(1)));
}

#[tokio::test]
async fn a_scaler_that_hangs_or_ends_says_no_number() {
    let Some(mut server) = plain() else {
        return;
    };
    server.says(&jobs(true, 1, 1));
    let one = question("external", &server.address(), "", &[]);
    assert!(one.ask().await.is_ok_and(is(1)));
    server.processes.hang(true);
    one.fails("no answer within 3000 ms").await;
    server.processes.hang(false);
    one.until(is(1)).await;
    server.processes.stop();
    one.fails("can't connect").await;
    assert!(server.resume());
    one.until(is(1)).await;
    // A connection that the server has closed meanwhile is no failure.
    server.processes.stop();
    assert!(server.resume());
    assert_eq!(one.ask().await.map(|it| it.milli), Ok(1_000));
    // Whoever takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let nobody = question("external", &silent, "", &[]);
    nobody.fails("no answer within 3000 ms").await;
}

#[tokio::test]
async fn over_tls_the_one_who_answers_has_to_prove_who_it_is_and_so_may_the_one_who_asks() {
    let [(cert, key), (own, own_key), (other, other_key)] = [(); 3].map(|()| certificate());
    let Some(server) = External::start((&cert, &key), &own) else {
        return;
    };
    server.says(&jobs(true, 1, 1));
    let (secure, mutual) = (server.secure_address(), server.mutual_address());
    let ask = async |address: &str, settings: &str, secrets: &[(&str, &str)]| {
        let settings = format!(", {settings}");
        question("external", address, &settings, secrets)
            .ask()
            .await
    };
    let (on, anyone) = ("enableTLS: 'true'", "enableTLS: 'true', unsafeSsl: 'true'");
    let ca = ("caCert", &*cert);
    assert!(ask(&secure, on, &[ca]).await.is_ok_and(is(1)));
    // As with KEDA a certificate is enough to say that it is over TLS.
    let off = "enableTLS: 'false'";
    assert!(ask(&secure, off, &[ca]).await.is_ok_and(is(1)));
    assert!(ask(&secure, anyone, &[]).await.is_ok_and(is(1)));
    for secrets in [&[("caCert", &*other)][..], &[]] {
        let why = ask(&secure, on, secrets).await.unwrap_err();
        assert!(
            why.contains("can't connect: invalid peer certificate"),
            "{why}"
        );
    }
    let why = ask(&secure, off, &[]).await.unwrap_err();
    assert!(why.contains("can't connect"), "in the clear: {why}");

    let proof = [("tlsClientCert", &*own), ("tlsClientKey", &*own_key), ca];
    assert!(ask(&mutual, off, &proof).await.is_ok_and(is(1)));
    let wrong = [
        ("tlsClientCert", &*other),
        ("tlsClientKey", &*other_key),
        ca,
    ];
    for proof in [&wrong[..], &[ca]] {
        let why = ask(&mutual, on, proof).await.unwrap_err();
        assert!(why.contains("can't connect"), "{why}");
    }
    let mixed = [("tlsClientCert", &*own), ("tlsClientKey", "larkspur"), ca];
    let why = ask(&mutual, on, &mixed).await.unwrap_err();
    assert!(
        why.ends_with("the parameter `tlsClientKey` holds no private key in PEM form"),
        "{why}"
    );
}

/// A cluster that keeps KEDA asks Starling's agents what a policy wants, in a dry run, or what
/// one of its triggers says: here they ask each other.
#[tokio::test]
async fn what_a_policy_wants_is_told_by_every_agent() {
    let asked = counting::Asked::default();
    let url = counting::serve(&asked, None).await;
    let policy = format!(
        "apiVersion: starling.sh/v1alpha1\nkind: ScalingPolicy\nmetadata: {{name: jobs}}\nspec:\n  \
         scaleTargetRef: {{kind: Process, name: jobs}}\n  pollingInterval: 1\n  dryRun: true\n  \
         minReplicaCount: 3\n  triggers:\n  - type: metrics-api\n    name: queue\n    metadata: \
         {{url: '{url}', valueLocation: n, targetValue: '10'}}\n"
    );
    let documents = Documents {
        each: PROCESS.into(),
        first: policy,
    };
    let mut cluster = Cluster::new(&binary(), 3).unwrap();
    cluster.start(&documents).await.unwrap();
    let user = starling_keys::load_client(&cluster.user_keys()).unwrap();
    let secrets = [
        ("caCert", user.ca.as_str()),
        ("tlsClientCert", &user.certificate),
        ("tlsClientKey", &user.key),
    ];
    for address in cluster.api_addresses() {
        let question = |more: &str, secrets: &[(&str, &str)]| {
            let settings = format!(", enableTLS: 'true', policy: jobs{more}");
            question("external", &address, &settings, secrets)
        };
        question("", &secrets).until(|it| it.milli == 3_000).await;
        let queue = question(", trigger: queue", &secrets);
        queue.until(|it| it.milli == 0).await;
        let nobody = question(", trigger: nobody", &secrets);
        nobody.fails("it has queue").await;
        let without = question("", &secrets[..1]);
        without.fails("CertificateRequired").await;
    }
}
