//! Which settings are refused, and what a trigger and its authentication mean together.
//! What a real PostgreSQL says is asked in `tests/tests/servers`.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::trying::{metadata, secrets, told};

fn refused(pairs: &[(&str, &str)]) -> String {
    told(check(&metadata(pairs)))
}

const QUERY: (&str, &str) = ("query", "SELECT 1");
const WHERE: [(&str, &str); 3] = [("host", "db"), ("userName", "ann"), ("dbName", "shop")];

#[test]
fn settings_that_mean_nothing_are_refused_by_name() {
    let with = |more: &[(&str, &str)]| refused(&[&[QUERY], &WHERE[..], more].concat());
    assert_eq!(with(&[]), "");
    assert_eq!(refused(&[QUERY, ("authenticationRef", "db")]), "");
    for (pairs, why) in [
        (
            &[("port", "0")][..],
            "host `db:0` is not an address; write HOST:PORT",
        ),
        (
            &[("host", ""), ("port", "abc")],
            "host `:abc` is not an address",
        ),
        (
            &[("sslmode", "allow")],
            "sslmode `allow` is not known; allowed: disable, prefer, require",
        ),
        (
            &[("password", "word")],
            "password is not supported; allowed: query",
        ),
        (&[("query", " ")], "`query` is missing"),
    ] {
        let said = with(pairs);
        assert!(said.contains(why), "{pairs:?}: {said}");
    }
    let none = refused(&[]);
    for key in ["host", "userName", "dbName", "query"] {
        assert!(none.contains(&format!("`{key}` is missing")), "{none}");
    }
}

fn server(pairs: &[(&str, &str)], given: &[(&'static str, &str)]) -> Result<String, String> {
    let server = Server::of(&metadata(pairs), &secrets(given));
    server.map(|it| it.shown()).map_err(|why| why.to_string())
}

#[test]
fn where_and_in_whose_name_is_said_apart_or_as_a_whole() {
    let apart = [
        ("host", "db"),
        ("port", "1"),
        ("userName", "ann"),
        ("dbName", "shop"),
    ];
    let word = [("password", "p@/ s")];
    let same = |mode: &str| server(&[&apart[..], &[("sslmode", mode)]].concat(), &word).unwrap();
    for (whole, mode) in [
        ("postgresql://ann:p%40%2F%20s@db:1/shop", "prefer"),
        (
            "postgres://ann:p%40%2F%20s@db:1/shop?sslmode=require",
            "require",
        ),
        (
            "postgres://ann:p%40%2F%20s@db:1/shop?sslmode=verify-full",
            "verify-full",
        ),
        (
            "host=db port=1 user=ann password='p@/ s' dbname=shop",
            "prefer",
        ),
        (
            "host=db port=1 user=ann password='p@/ s' dbname=shop sslmode = disable",
            "disable",
        ),
        (
            "host=db port=1 user=ann password='p@/ s' dbname=shop sslmode='verify-ca'",
            "verify-ca",
        ),
    ] {
        let said = server(&[("host", "other")], &[("connection", whole)]);
        assert_eq!(said, Ok(same(mode)), "{whole}");
    }
    assert_ne!(same("disable"), same("verify-full"));
    assert_ne!(same("require"), same("verify-full"));
    // No word in a password is taken for a mode.
    let sly = "host=db port=1 user=ann password='sslmode=disable' dbname=shop sslmode=verify-full";
    let other = server(
        &apart,
        &[("password", "sslmode=disable"), ("sslmode", "verify-full")],
    );
    assert_eq!(server(&[], &[("connection", sly)]), other);
}

#[test]
fn a_connection_that_says_nothing_usable_is_refused_without_what_it_says() {
    for (whole, why) in [
        ("postgresql://ann:larkspur@a,b/shop", "must name one host"),
        (
            "host=/run/postgresql user=ann password=larkspur",
            "must name one host",
        ),
        ("host=db;user=ann;password=larkspur", "must name one host"),
        (
            "postgresql://ann:lark@larkspur!/x@db/shop",
            "more than one `@`",
        ),
        (
            "mysql://ann:larkspur@db/shop",
            "can't be read; write postgresql://USER:PASSWORD",
        ),
        ("password=larkspur sslmode=prefer2", "can't be read"),
        ("user=ann password=larkspur", "must name one host"),
        ("host=db password=larkspur", "nothing says the `userName`"),
        ("host=db user=larkspur", "nothing says the `password`"),
    ] {
        let said = server(&[], &[("connection", whole)]).unwrap_err();
        assert!(said.contains(why), "{whole}: {said}");
        assert!(!said.contains("larkspur"), "{said}");
    }
}

#[tokio::test]
async fn whoever_says_that_there_is_no_tls_hears_no_more_where_an_authority_is_named() {
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let ca = signed.cert.pem();
    let given = [("password", "larkspur"), ("ca", ca.as_str())];
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let apart = [QUERY, ("userName", "ann"), ("dbName", "shop")];
    let there = [("host", "127.0.0.1"), ("port", &*port)];
    for mode in ["", "prefer", "require", "verify-full"] {
        let metadata = metadata(&[&apart[..], &there, &[("sslmode", mode)]].concat());
        let secrets = secrets(&given);
        let between = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // It asks for TLS, in eight bytes.
            stream.read_exact(&mut [0; 8]).await.unwrap();
            stream.write_all(b"N").await.unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).await.unwrap();
            heard
        };
        let (answer, heard) = tokio::join!(ask(&metadata, &secrets), between);
        let why = answer.unwrap_err().reason.to_string();
        assert_eq!(why, "can't connect: server does not support TLS", "{mode}");
        assert!(heard.is_empty(), "{mode}: {heard:?}");
    }
}
