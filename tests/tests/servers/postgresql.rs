//! KEDA's `postgresql`, of a real one.

use std::cell::Cell;

use starling_tests::servers::PostgreSql;

use super::{Question, certificate, is};

/// As PostgreSQL's user has it.
pub const RIGHT: &str = "p@/s";

/// As its user, with these parameters of the authentication beside the password.
pub fn question(
    server: &PostgreSql,
    query: &str,
    settings: &str,
    secrets: &[(&str, &str)],
) -> Question {
    let trigger = format!(
        "{{type: postgresql, authenticationRef: {{name: db}}, metadata: {{host: localhost, port: \
         '{}', userName: ann, dbName: postgres, query: \"{query}\", targetQueryValue: '5' \
         {settings}}}}}",
        server.port()
    );
    Question::of(&trigger, secrets)
}

const JOBS: &str = "SELECT count(*) FROM jobs WHERE done IS NULL";
const PLAIN: &str = ", sslmode: disable";

#[tokio::test]
async fn a_query_s_one_number_is_said_as_it_rises_and_falls() {
    let (cert, key) = certificate();
    let Some(server) = PostgreSql::start((&cert, &key)) else {
        return;
    };
    let word = [("password", RIGHT)];
    let jobs = question(&server, JOBS, PLAIN, &word);
    let why = jobs.ask().await.unwrap_err();
    assert!(
        why.contains("refused: relation \"jobs\" does not exist"),
        "{why}"
    );
    server.tell("CREATE TABLE jobs (id int, done timestamp)");
    assert!(jobs.ask().await.is_ok_and(is(0)));
    server.tell("INSERT INTO jobs SELECT generate_series(1, 12)");
    assert!(jobs.ask().await.is_ok_and(is(12)));
    server.tell("UPDATE jobs SET done = now() WHERE id <= 9");
    assert!(jobs.ask().await.is_ok_and(is(3)));

    let of = async |query: &str| question(&server, query, PLAIN, &word).ask().await;
    for (query, milli) in [
        ("SELECT 2.5", 2_500),
        ("SELECT '7'::text", 7_000),
        ("SELECT 1e2::float8", 100_000),
        ("SELECT -3", 0),
        ("SELECT id FROM jobs ORDER BY id DESC", 12_000),
    ] {
        assert_eq!(of(query).await.map(|it| it.milli), Ok(milli), "{query}");
    }
    for (query, why) in [
        ("SELECT NULL", "it is NULL"),
        ("SELECT 1 WHERE false", "the query gives no row"),
        ("SELECT 1, 2", "its row has 2 columns"),
        ("SELECT 'many'", "`value` is `many`, not a number"),
        ("SELECT 'NaN'::float8", "not a number"),
        ("SELEC", "refused: syntax error"),
        (
            "SELECT repeat('1', 2000000)",
            "the answer is longer than 1024 KiB",
        ),
    ] {
        let said = of(query).await.unwrap_err();
        assert!(said.contains(why), "{query}: {said}");
    }
    // The next question is answered all the same.
    assert!(jobs.ask().await.is_ok_and(is(3)));
}

#[tokio::test]
async fn a_server_that_hangs_or_ends_or_knows_nobody_says_no_number() {
    let (cert, key) = certificate();
    let Some(mut server) = PostgreSql::start((&cert, &key)) else {
        return;
    };
    let one = question(&server, "SELECT 1", PLAIN, &[("password", RIGHT)]);
    assert!(one.ask().await.is_ok_and(is(1)));
    let wrong = question(&server, "SELECT 1", PLAIN, &[("password", "larkspur")]);
    let why = wrong.ask().await.unwrap_err();
    assert!(
        why.contains("refused: password authentication failed"),
        "{why}"
    );
    assert!(!why.contains("larkspur"), "{why}");
    let nothing = question(&server, "SELECT 1", PLAIN, &[]).ask().await;
    let why = nothing.unwrap_err();
    assert!(why.contains("nothing says the `password`"), "{why}");

    // A query that takes too long is ended at the server, too, and no other one.
    let word = [("password", RIGHT)];
    let slow = question(&server, "SELECT pg_sleep(600)", PLAIN, &word);
    let running = |seconds: u32| {
        let running = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep({seconds})%' AND \
             state = 'active' AND pid <> pg_backend_pid()"
        );
        server.tell(&running).trim().to_owned()
    };
    let found = Cell::new(false);
    let seen = async {
        starling_tests::until("the query runs", || async {
            (running(600) == "1").then_some(())
        })
        .await;
        found.set(true);
    };
    // On a busy machine it may run too late to be seen before it is ended.
    let asked = async {
        while !found.get() {
            slow.fails("no answer within 3000 ms").await;
        }
    };
    tokio::join!(seen, asked);
    starling_tests::until("the query is cancelled", || async {
        (running(600) == "0").then_some(())
    })
    .await;

    server.processes.hang(true);
    one.fails("no answer within 3000 ms").await;
    server.processes.hang(false);
    one.until(is(1)).await;
    server.processes.stop();
    one.fails("can't connect").await;
    assert!(server.resume());
    one.until(is(1)).await;
}

#[tokio::test]
async fn over_tls_the_one_who_answers_has_to_prove_who_it_is() {
    let ((cert, key), (other, _)) = (certificate(), certificate());
    let Some(server) = PostgreSql::start((&cert, &key)) else {
        return;
    };
    let ask = async |mode: &str, ca: Option<&str>| {
        let mut secrets = vec![("password", RIGHT)];
        secrets.extend(ca.map(|ca| ("ca", ca)));
        let settings = format!(", sslmode: {mode}");
        let query = "SELECT ssl::int FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        question(&server, query, &settings, &secrets).ask().await
    };
    assert!(ask("verify-full", Some(&cert)).await.is_ok_and(is(1)));
    assert!(
        ask("require", None).await.is_ok_and(is(1)),
        "whoever answers"
    );
    assert!(ask("disable", None).await.is_ok_and(is(0)));
    for (mode, ca) in [
        ("verify-full", Some(&other)),
        ("require", Some(&other)),
        ("prefer", Some(&other)),
        ("verify-ca", None),
    ] {
        let why = ask(mode, ca.map(String::as_str)).await.unwrap_err();
        assert!(
            why.contains("can't connect: invalid peer certificate"),
            "{mode}: {why}"
        );
    }
    let whole = format!(
        "postgresql://ann:p%40%2Fs@localhost:{}/postgres?sslmode=verify-full",
        server.port()
    );
    let trigger = "{type: postgresql, authenticationRef: {name: db}, metadata: {query: 'SELECT 4', \
                   targetQueryValue: '5'}}";
    let of =
        |more: &[(&str, &str)]| Question::of(trigger, &[&[("connection", &*whole)], more].concat());
    assert!(of(&[("ca", &cert)]).ask().await.is_ok_and(is(4)));
    let why = of(&[]).ask().await.unwrap_err();
    assert!(why.contains("invalid peer certificate"), "{why}");
}
