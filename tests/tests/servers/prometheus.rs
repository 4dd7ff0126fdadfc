//! KEDA's `prometheus`, of a real one that scrapes an exporter.

use starling_tests::servers::{Prometheus, RabbitMq};

use super::{Question, is};

fn question(server: &Prometheus, query: &str, settings: &str, password: &str) -> Question {
    let address = server.address();
    let trigger = format!(
        "{{type: prometheus, authenticationRef: {{name: p}}, metadata: {{serverAddress: \
         '{address}', query: '{query}', threshold: '5', authModes: basic{settings}}}}}"
    );
    Question::of(&trigger, &[("username", "ann"), ("password", password)])
}

const RIGHT: &str = "marigold";
const STRICT: &str = ", ignoreNullValues: 'false'";

#[tokio::test]
async fn a_query_s_one_number_is_said_as_it_rises_and_falls() {
    let Some(server) = Prometheus::start() else {
        return;
    };
    let jobs = question(&server, "sum(jobs)", STRICT, RIGHT);
    // Before the first scrape there is no number, and none is said.
    jobs.until(is(0)).await;
    server.export(40);
    jobs.until(is(80)).await;
    server.export(3);
    jobs.until(is(6)).await;
    question(&server, "avg(jobs) / 4", "", RIGHT)
        .until(|number| number.milli == 750)
        .await;
    // A difference may well be below nothing.
    question(&server, "sum(jobs) - 10", "", RIGHT)
        .until(is(0))
        .await;
    question(&server, "jobs", "", RIGHT)
        .fails("the query gives 2 series")
        .await;
    question(&server, "none", "", RIGHT).until(is(0)).await;
    question(&server, "none", STRICT, RIGHT)
        .fails("the query gives nothing")
        .await;
    question(&server, "sum(jobs) / 0", STRICT, RIGHT)
        .fails("the value is +Inf")
        .await;
    question(&server, "sum(", "", RIGHT)
        .fails("answered HTTP 400")
        .await;
    question(&server, "2.5 * 4", STRICT, RIGHT)
        .until(is(10))
        .await;
    question(&server, "\"text\"", "", RIGHT)
        .fails("`value` is `text`, not a number")
        .await;
}

#[tokio::test]
async fn a_server_that_hangs_or_ends_or_is_another_one_says_no_number() {
    let Some(mut server) = Prometheus::start() else {
        return;
    };
    let jobs = question(&server, "sum(jobs)", ", timeout: '500'", RIGHT);
    server.export(2);
    jobs.until(is(4)).await;
    question(&server, "sum(jobs)", "", "wrong")
        .fails("answered HTTP 401")
        .await;
    server.processes.hang(true);
    jobs.fails("no answer within 500 ms").await;
    server.processes.hang(false);
    jobs.until(is(4)).await;
    server.processes.stop();
    jobs.fails("can't connect").await;
    assert!(server.resume());
    jobs.until(is(4)).await;

    let Some(other) = RabbitMq::start() else {
        return;
    };
    let trigger = format!(
        "{{type: prometheus, metadata: {{serverAddress: '{}', query: up, threshold: '1'}}}}",
        other.address()
    );
    Question::of(&trigger, &[]).fails("answered HTTP 40").await;
}
