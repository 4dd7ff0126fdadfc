//! KEDA's `rabbitmq`, of a real one with its management API.

use starling_tests::servers::RabbitMq;

use super::{Question, is};

/// What proves who asks, and where.
fn host(server: &RabbitMq, password: &str) -> String {
    let address = server.address();
    let host = address.strip_prefix("http://").unwrap();
    format!("http://ann:{password}@{host}/")
}

/// As [`RabbitMq`]'s user has it, encoded.
const PASSWORD: &str = "p%40%2Fs";

fn question(server: &RabbitMq, settings: &str) -> Question {
    let trigger = format!(
        "{{type: rabbitmq, authenticationRef: {{name: rabbit}}, metadata: {{{settings}}}}}"
    );
    Question::of(&trigger, &[("host", &host(server, PASSWORD))])
}

#[tokio::test]
async fn a_queue_s_length_and_rates_are_said_while_it_fills_and_drains() {
    let Some(server) = RabbitMq::start() else {
        return;
    };
    let length = question(&server, "queueName: jobs-1");
    length.fails("answered HTTP 404").await;
    server.declare("jobs-1");
    server.declare("jobs-2");
    // Before anything was counted nothing is said, not 0.
    length.until(is(0)).await;
    server.publish("jobs-1", 12);
    server.publish("jobs-2", 5);
    length.until(is(12)).await;
    let ready = "excludeUnacknowledged: 'true', queueName: jobs-2";
    question(&server, ready).until(is(5)).await;
    for (operation, messages) in [("sum", 17), ("max", 12), ("avg", 8)] {
        let all = format!("useRegex: 'true', queueName: '^jobs-', operation: {operation}");
        question(&server, &all).until(is(messages)).await;
    }
    let of = |queue: &str, mode: &str| {
        let settings = format!("queueName: {queue}, mode: {mode}, value: '5'");
        question(&server, &settings)
    };
    // Twelve wait, though none of them came just now.
    let rate = of("jobs-1", "MessageRate");
    let published = rate.until(|rate| rate.milli == 0).await;
    assert_eq!(published.activity_milli, 12_000);
    // Nobody takes any out, so that nobody knows how long it will take.
    let time = of("jobs-1", "ExpectedQueueConsumptionTime");
    let awake = time.until(|time| time.activity_milli == i64::MAX).await;
    assert_eq!(awake.milli, 0);
    server.consume("jobs-1", 9);
    length.until(is(3)).await;

    // RabbitMQ means the last seconds by a rate.
    server.declare("busy");
    for mode in ["MessageRate", "DeliverGetRate", "PublishedToDeliveredRatio"] {
        let rate = of("busy", mode);
        starling_tests::until(mode, || async {
            server.publish("busy", 2);
            server.consume("busy", 1);
            rate.ask().await.ok().filter(|rate| rate.milli > 0)
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_that_hangs_or_ends_or_knows_nobody_says_no_number() {
    let Some(mut server) = RabbitMq::start() else {
        return;
    };
    server.declare("jobs");
    server.publish("jobs", 7);
    let length = question(&server, "queueName: jobs, timeout: '500'");
    length.until(is(7)).await;

    let trigger = "{type: rabbitmq, authenticationRef: {name: r}, metadata: {queueName: jobs}}";
    let nobody = Question::of(trigger, &[("host", &host(&server, "wrong"))]);
    let why = nobody.ask().await.unwrap_err();
    assert!(why.ends_with("/: answered HTTP 401"), "{why}");
    assert!(!why.contains("wrong"), "{why}");
    question(&server, "queueName: jobs, vhostName: none")
        .fails("answered HTTP 404")
        .await;
    question(
        &server,
        "queueName: jobs, useRegex: 'true', pageSize: '1', vhostName: /",
    )
    .until(is(7))
    .await;

    server.processes.hang(true);
    length.fails("no answer within 500 ms").await;
    server.processes.hang(false);
    length.until(is(7)).await;
    server.processes.stop();
    length.fails("can't connect").await;
    assert!(server.resume());
    length.until(is(7)).await;
}
