//! KEDA's `nats-jetstream`, of a real one.

use starling_tests::servers::Nats;

use super::{Question, is};

fn question(server: &Nats, consumer: &str) -> Question {
    Question::of(
        &format!(
            "{{type: nats-jetstream, metadata: {{natsServerMonitoringEndpoint: '{}', account: $G, \
             stream: mails, consumer: {consumer}, timeout: '500'}}}}",
            server.monitor()
        ),
        &[],
    )
}

fn done(answer: &str) {
    assert!(!answer.contains("\"error\""), "{answer}");
}

#[tokio::test]
async fn a_consumer_s_lag_is_what_it_has_not_got_and_what_it_has_not_acknowledged() {
    let Some(mut server) = Nats::start() else {
        return;
    };
    let lag = question(&server, "senders");
    lag.fails("the answer has no `senders`").await;
    let stream = r#"{"name": "mails", "subjects": ["mails.>"]}"#;
    done(&server.request("$JS.API.STREAM.CREATE.mails", stream));
    let consumer = r#"{"stream_name": "mails", "config": {"durable_name": "senders",
        "ack_policy": "explicit", "deliver_policy": "all"}}"#;
    let create = "$JS.API.CONSUMER.DURABLE.CREATE.mails.senders";
    done(&server.request(create, consumer));
    lag.until(is(0)).await;
    for _ in 0..4 {
        done(&server.request("mails.new", "x"));
    }
    lag.until(is(4)).await;
    // It has got one, and doesn't say that it is done with it.
    let next = "$JS.API.CONSUMER.MSG.NEXT.mails.senders";
    assert_eq!(server.request(next, "1"), "x");
    lag.until(is(4)).await;
    // Of the next one it says so.
    let acknowledged = r#"{"stream_name": "mails", "config": {"durable_name": "quick",
        "ack_policy": "none", "deliver_policy": "all"}}"#;
    let create = "$JS.API.CONSUMER.DURABLE.CREATE.mails.quick";
    done(&server.request(create, acknowledged));
    let quick = question(&server, "quick");
    quick.until(is(4)).await;
    assert_eq!(server.request(&next.replace("senders", "quick"), "1"), "x");
    quick.until(is(3)).await;

    server.processes.hang(true);
    lag.fails("no answer within 500 ms").await;
    server.processes.hang(false);
    lag.until(is(4)).await;
    server.processes.stop();
    lag.fails("can't connect").await;
    assert!(server.resume());
    lag.until(is(4)).await;
}
