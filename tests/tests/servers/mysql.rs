//! KEDA's `mysql`, of a real MariaDB.

use std::cell::Cell;

use starling_tests::servers::MariaDb;

use super::{Question, certificate, is};

/// As MariaDB's user has it.
const RIGHT: &str = "p@/s";

/// As its user, with these parameters of the authentication.
fn question(server: &MariaDb, query: &str, secrets: &[(&str, &str)]) -> Question {
    let trigger = format!(
        "{{type: mysql, authenticationRef: {{name: db}}, metadata: {{host: localhost, port: '{}', \
         username: ann, dbName: shop, query: \"{query}\", queryValue: '4.4'}}}}",
        server.port()
    );
    Question::of(&trigger, secrets)
}

/// By a `connectionString` alone; `told` stands for what comes before the address and behind it.
fn by_string(
    server: &MariaDb,
    query: &str,
    told: (&str, &str),
    secrets: &[(&str, &str)],
) -> Question {
    let trigger = format!(
        "{{type: mysql, authenticationRef: {{name: db}}, metadata: {{query: \"{query}\", \
         queryValue: '5'}}}}"
    );
    let whole = format!("{}@tcp(localhost:{}){}", told.0, server.port(), told.1);
    let secrets = [&[("connectionString", whole.as_str())], secrets].concat();
    Question::of(&trigger, &secrets)
}

const JOBS: &str = "SELECT count(*) FROM jobs WHERE done IS NULL";
const WORD: (&str, &str) = ("password", RIGHT);
const IS_SECURE: &str = "SELECT VARIABLE_VALUE <> '' FROM information_schema.SESSION_STATUS WHERE \
                         VARIABLE_NAME = 'SSL_CIPHER'";

#[tokio::test]
async fn a_query_s_one_number_is_said_as_it_rises_and_falls() {
    let (cert, key) = certificate();
    let Some(server) = MariaDb::start((&cert, &key)) else {
        return;
    };
    let jobs = question(&server, JOBS, &[WORD]);
    let why = jobs.ask().await.unwrap_err();
    assert!(
        why.contains("refused: Table 'shop.jobs' doesn't exist"),
        "{why}"
    );
    server.tell("CREATE TABLE shop.jobs (id int, done datetime)");
    assert!(jobs.ask().await.is_ok_and(is(0)));
    server.tell("INSERT INTO shop.jobs (id) SELECT seq FROM mysql.seq_1_to_12");
    assert!(jobs.ask().await.is_ok_and(is(12)));
    server.tell("UPDATE shop.jobs SET done = now() WHERE id <= 9");
    assert!(jobs.ask().await.is_ok_and(is(3)));

    let of = async |query: &str| question(&server, query, &[WORD]).ask().await;
    for (query, milli) in [
        ("SELECT 2.5", 2_500),
        ("SELECT '7'", 7_000),
        ("  SELECT 1e2 ; \\n", 100_000),
        ("SELECT TRUE", 1_000),
        ("SELECT -0e0", 0),
        ("SELECT id FROM jobs ORDER BY id DESC", 12_000),
        (
            "SELECT 8 FROM shop.jobs a, shop.jobs b, shop.jobs c, shop.jobs d",
            8_000,
        ),
        ("SELECT COALESCE(SUM(id), 0) FROM jobs WHERE id > 99", 0),
        ("SELECT CONCAT(REPEAT(' ', 70000), 9)", 9_000),
    ] {
        assert_eq!(of(query).await.map(|it| it.milli), Ok(milli), "{query}");
    }
    for (query, why) in [
        ("SELECT NULL", "it is NULL"),
        ("SELECT SUM(id) FROM jobs WHERE id > 99", "it is NULL"),
        (
            "SELECT id FROM jobs WHERE id > 99",
            "the query gives no row",
        ),
        ("SET @a = 1", "the query gives no row"),
        ("SELECT 1, 2", "its row has 2 columns"),
        ("SELECT 'many'", "`value` is `many`, not a number"),
        ("SELECT '5k'", "`value` is `5k`, not a number"),
        ("SELECT ''", "`value` is ``, not a number"),
        ("SELECT 'NaN'", "not a number"),
        ("SELECT 'inf'", "not a number"),
        ("SELECT TIME '01:00:00'", "not a number"),
        ("SELECT X'ff'", "it is no text"),
        ("SELECT -3", "`value` is negative: -3"),
        ("SELECT 1e300", "`value` is too large"),
        ("SELEC", "refused: You have an error in your SQL syntax"),
        (
            "SELECT 1; SELECT 2",
            "refused: You have an error in your SQL syntax",
        ),
        (
            "LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE jobs",
            "refused:",
        ),
        ("INSERT INTO jobs (id) VALUES (99)", "READ ONLY transaction"),
        (
            "SELECT REPEAT('1', 2000000)",
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
    let Some(mut server) = MariaDb::start((&cert, &key)) else {
        return;
    };
    let one = question(&server, "SELECT 1", &[WORD]);
    assert!(one.ask().await.is_ok_and(is(1)));
    let wrong = question(&server, "SELECT 1", &[("password", "larkspur")]);
    let why = wrong.ask().await.unwrap_err();
    assert!(
        why.contains("refused: Access denied for user 'ann'"),
        "{why}"
    );
    assert!(!why.contains("larkspur"), "{why}");
    let nothing = question(&server, "SELECT 1", &[]).ask().await;
    let why = nothing.unwrap_err();
    assert!(why.contains("nothing says the `password`"), "{why}");

    // A query that takes too long is ended at the server, too, and no connection stays.
    let slow = question(&server, "SELECT SLEEP(600) ; ", &[WORD]);
    let running = |what: &str| {
        server.tell(&format!(
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'ann' AND {what}"
        ))
    };
    let found = Cell::new(false);
    let seen = async {
        starling_tests::until("the query runs", || async {
            (running("INFO LIKE '%SLEEP(600)%'").trim() == "1").then_some(())
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
    let ended = async || {
        starling_tests::until("the query is ended", || async {
            (running("TRUE").trim() == "0").then_some(())
        })
        .await;
    };
    ended().await;
    // By whoever asked it; where a busy machine is late with that, the server does it.
    starling_tests::until("it is ended by a KILL", || async {
        let killed = server.tell("SHOW GLOBAL STATUS LIKE 'Com_kill'");
        if !killed.trim().ends_with("\t0") {
            return Some(());
        }
        slow.fails("no answer within 3000 ms").await;
        ended().await;
        None
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
    let Some(server) = MariaDb::start((&cert, &key)) else {
        return;
    };
    let ask = async |tls: Option<&str>, ca: Option<&str>| {
        let mut secrets = vec![WORD];
        secrets.extend(tls.map(|word| ("tls", word)));
        secrets.extend(ca.map(|ca| ("ca", ca)));
        question(&server, IS_SECURE, &secrets).ask().await
    };
    assert!(ask(None, None).await.is_ok_and(is(0)));
    assert!(ask(Some("disable"), Some(&cert)).await.is_ok_and(is(0)));
    for (tls, ca) in [
        (None, Some(&cert)),
        (Some("enable"), Some(&cert)),
        (Some("skip-verify"), None),
        (Some("preferred"), None),
        (Some("preferred"), Some(&cert)),
    ] {
        let said = ask(tls, ca.map(String::as_str)).await;
        assert!(said.is_ok_and(is(1)), "{tls:?}");
    }
    for (tls, ca) in [
        (None, Some(&other)),
        (Some("enable"), None),
        (Some("skip-verify"), Some(&other)),
        (Some("preferred"), Some(&other)),
    ] {
        let why = ask(tls, ca.map(String::as_str)).await.unwrap_err();
        assert!(
            why.contains("can't connect: invalid peer certificate"),
            "{tls:?}: {why}"
        );
    }
    let said = async |told: &str, ca: &str| {
        let question = by_string(&server, IS_SECURE, ("ann:p@/s", told), &[("ca", ca)]);
        question.ask().await
    };
    assert!(said("/shop?tls=true", &cert).await.is_ok_and(is(1)));
    assert!(said("/?tls=false", &cert).await.is_ok_and(is(0)));
    let why = said("/?tls=true", &other).await.unwrap_err();
    assert!(why.contains("invalid peer certificate"), "{why}");
}

#[tokio::test]
async fn a_connection_string_says_what_else_is_set_and_users_log_in_as_they_are_to() {
    let (cert, key) = certificate();
    let Some(server) = MariaDb::start((&cert, &key)) else {
        return;
    };
    let of = async |query: &str, behind: &str| {
        let told = ("ann:p@/s", behind);
        by_string(&server, query, told, &[]).ask().await
    };
    assert!(
        of("SELECT DATABASE() = 'shop'", "/sh%6Fp")
            .await
            .is_ok_and(is(1))
    );
    assert!(of("SELECT DATABASE() IS NULL", "/").await.is_ok_and(is(1)));
    let set = "/shop?parseTime=true&time_zone=%27%2B03:00%27&sql_mode=%27%27&loc=Europe%2FParis";
    let query = "SELECT @@time_zone = '+03:00' AND @@sql_mode = ''";
    assert!(of(query, set).await.is_ok_and(is(1)));
    let query = "SELECT @@collation_connection = 'utf8mb4_bin' AND LENGTH('é') = 2";
    assert!(of(query, "/?collation=utf8mb4_bin").await.is_ok_and(is(1)));
    let why = of("SELECT 1", "/?time_zone=%27larkspur%27")
        .await
        .unwrap_err();
    assert!(
        why.contains("takes no variable") && !why.contains("larkspur"),
        "{why}"
    );
    let why = of("SELECT 1", "/nowhere").await.unwrap_err();
    assert!(why.contains("refused: "), "{why}");

    // By another way than the server's usual one.
    server.tell(
        "INSTALL SONAME 'auth_ed25519'; CREATE USER bob@'%' IDENTIFIED VIA ed25519 USING \
         PASSWORD('larkspur'); CREATE USER eve@'%'",
    );
    let login = async |who: &str| by_string(&server, "SELECT 6", (who, "/"), &[]).ask().await;
    let why = login("bob:larkspur").await.unwrap_err();
    assert!(
        why.contains("refused: its user is to log in by `client_ed25519`, which isn't known here"),
        "{why}"
    );
    assert!(!why.contains("larkspur"), "{why}");
    assert!(login("eve").await.is_ok_and(is(6)), "who has no password");
    assert!(login("eve:word").await.is_err());
    let why = login("ann").await.unwrap_err();
    assert!(why.contains("(using password: NO)"), "{why}");
    server.tell("SET GLOBAL require_secure_transport = 1");
    assert!(login("eve").await.is_err());
}
