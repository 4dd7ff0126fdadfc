//! Which settings are refused, what a trigger and its authentication mean together, and what
//! servers say that MariaDB doesn't: a real MariaDB is asked in `tests/tests/servers`.

mod talk;

use super::*;
use crate::trying::{metadata, secrets, told};

fn refused(pairs: &[(&str, &str)]) -> String {
    told(check(&metadata(pairs)))
}

const QUERY: (&str, &str) = ("query", "SELECT 1");

#[test]
fn settings_that_mean_nothing_are_refused_by_name() {
    let whole = [QUERY, ("host", "db"), ("username", "ann")];
    let with = |more: &[(&str, &str)]| refused(&[&whole[..], more].concat());
    assert_eq!(with(&[]), "");
    assert_eq!(with(&[("port", "3307"), ("dbName", "shop")]), "");
    assert_eq!(refused(&[QUERY, ("authenticationRef", "db")]), "");
    let long = "x".repeat(QUERY_BYTES_MAX + 1);
    for (pairs, why) in [
        (&[("port", "0")][..], "host `db:0` is not an address"),
        (&[("host", "db/x")], "host `db/x:3306` is not an address"),
        (
            &[("password", "word")],
            "password belongs into what an `authenticationRef` names",
        ),
        (
            &[("connectionString", "ann:larkspur@tcp(db)/")],
            "connectionString belongs into what an `authenticationRef` names",
        ),
        (
            &[("userName", "ann")],
            "userName is not supported; allowed: query, queryValue, activationQueryValue, host, \
             port, username, dbName",
        ),
        (&[("query", " ;\n")], "`query` is missing"),
        (&[("query", &long)], "query is longer than 32768 bytes"),
    ] {
        let said = with(pairs);
        assert!(said.contains(why), "{pairs:?}: {said}");
        assert!(!said.contains("larkspur"), "{said}");
    }
    let none = refused(&[]);
    for key in ["host", "username", "query"] {
        assert!(none.contains(&format!("`{key}` is missing")), "{none}");
    }
}

#[test]
fn only_a_number_that_is_not_negative_is_one() {
    for (written, milli) in [
        ("12", 12_000),
        ("4.5000", 4_500),
        ("1e3", 1_000_000),
        (" 7 ", 7_000),
        ("-0.0", 0),
        ("9000000000000000", 9_000_000_000_000_000_000),
    ] {
        let number = value(Some(written)).unwrap();
        assert_eq!(number, Number::of(milli), "{written}");
    }
    for (written, why) in [
        (None, "is not one number: it is NULL"),
        (Some(""), "`value` is ``, not a number"),
        (Some("0x10"), "`value` is `0x10`, not a number"),
        (Some("1,5"), "not a number"),
        (Some("nan"), "not a number"),
        (Some("inf"), "not a number"),
        (Some("-inf"), "is negative: -inf"),
        (Some("-0.001"), "is negative: -0.001"),
        (Some("1e300"), "is too large"),
    ] {
        let said = value(written).unwrap_err().to_string();
        assert!(said.contains(why), "{written:?}: {said}");
    }
}

fn server(pairs: &[(&str, &str)], given: &[(&'static str, &str)]) -> Result<String, String> {
    let server = Server::of(&metadata(pairs), &secrets(given));
    server.map(|it| it.shown()).map_err(|why| why.to_string())
}

#[test]
fn where_and_in_whose_name_is_said_apart_or_as_a_whole() {
    const NOBODY: &str = "Trust { ca: false, cert: false, anyone: true, .. }";
    const MACHINE: &str = "Trust { ca: false, cert: false, anyone: false, .. }";
    for (whole, means) in [
        (
            "ann:p@/s@tcp(db:1)/shop",
            format!("ann p@/s db:1 shop Disable {NOBODY} false "),
        ),
        (
            "ann:a:b@tcp([::1]:7)/?tls=true",
            format!("ann a:b [::1]:7  Verify {MACHINE} false "),
        ),
        (
            "ann@tcp([::1])/sh%2Fop?tls=skip-verify&allowCleartextPasswords=true",
            format!("ann  [::1]:3306 sh/op Require {NOBODY} true "),
        ),
        (
            "ann:@/?tls=PREFERRED&multiStatements=false&nothing",
            format!("ann  127.0.0.1:3306  Prefer {NOBODY} false "),
        ),
        (
            "ann:%40@tcp(db)/shop?sql_mode=%27%27&charset=utf8&collation=utf8mb4_bin&wait_timeout=9",
            format!(
                "ann %40 db:3306 shop Disable {NOBODY} false sql_mode='', \
                 collation_connection='utf8mb4_bin', wait_timeout=9"
            ),
        ),
    ] {
        let said = server(&[("host", "other")], &[("connectionString", whole)]);
        assert_eq!(said, Ok(means), "{whole}");
    }

    let apart = [("host", "db"), ("username", "ann"), ("dbName", "")];
    let more = [
        ("host", "other"),
        ("port", "1"),
        ("username", "eve"),
        ("dbName", "shop"),
        ("password", "p@/s"),
    ];
    let said = server(&apart, &more);
    assert_eq!(
        said,
        Ok(format!("ann p@/s db:1 shop Disable {NOBODY} false "))
    );
    let (ca, cert) = (("ca", "pem"), ("cert", "pem"));
    for (given, means) in [
        (
            &[ca][..],
            "Verify Trust { ca: true, cert: false, anyone: false",
        ),
        (
            &[cert],
            "Verify Trust { ca: false, cert: true, anyone: false",
        ),
        (
            &[("tls", "enable")],
            "Verify Trust { ca: false, cert: false, anyone: false",
        ),
        (&[("tls", "disable"), ca, cert], "Disable Trust"),
        (
            &[("tls", "skip-verify"), ca],
            "Require Trust { ca: true, cert: false, anyone: false",
        ),
    ] {
        let said = server(&apart, &[&more[..], given].concat()).unwrap();
        assert!(said.contains(means), "{given:?}: {said}");
    }
}

#[test]
fn what_says_nothing_usable_is_refused_without_what_it_says() {
    for (whole, why) in [
        (
            "mysql://ann:larkspur@db/shop",
            "can't be read; write USER:PASSWORD@tcp(HOST:PORT)",
        ),
        ("larkspur", "can't be read"),
        ("ann:larkspur@db:3306/shop", "can't be read"),
        ("ann:larkspur@tcp(db:3306/shop", "can't be read"),
        ("ann:larkspur@tcp(db:0)/shop", "can't be read"),
        ("ann:larkspur@tcp(a,b)/shop", "can't be read"),
        (
            "ann:x@tcp(db)/shop?loc=Europe/larkspur",
            "a `/` behind the `?` as %2F",
        ),
        ("ann:larkspur@unix(/run/mysqld)/shop", "must name a host"),
        ("tcp(db)/larkspur", "nothing says the `username`"),
        ("ann:x@/larkspur@tcp(db)", "can't be read"),
        ("ann@tcp(db)/larkspur%00", "holds a zero byte"),
        (
            "ann@tcp(db)/?tls=larkspur",
            "`tls` must be true, false, skip-verify or preferred",
        ),
        (
            "ann@tcp(db)/?serverPubKey=larkspur",
            "`serverPubKey` can't be used",
        ),
        (
            "ann@tcp(db)/?multiStatements=true",
            "`multiStatements` can't be anything but false",
        ),
        (
            "ann@tcp(db)/?allowFallbackToPlaintext=true",
            "can't be anything but false",
        ),
        (
            "ann@tcp(db)/?allowNativePasswords=false",
            "can't be anything but true",
        ),
        ("ann@tcp(db)/?collation=lark'spur", "`collation` is no name"),
        ("ann@tcp(db)/?lark;spur=1", "can't be read"),
    ] {
        let said = server(&[], &[("connectionString", whole)]).unwrap_err();
        assert!(said.contains(why), "{whole}: {said}");
        assert!(!said.contains("larkspur"), "{said}");
    }
    let known = [
        ("host", "db"),
        ("username", "ann"),
        ("password", "larkspur"),
    ];
    for (given, why) in [
        (&known[1..], "nothing says the `host`"),
        (&known[..2], "nothing says the `password`"),
        (&[known[0], known[2]], "nothing says the `username`"),
        (
            &[("host", "lark spur"), known[1], known[2]],
            "make no address",
        ),
        (
            &[known[0], known[1], known[2], ("port", "larkspur")],
            "make no address",
        ),
        (
            &[known[0], known[1], known[2], ("tls", "larkspur")],
            "`tls` must be enable",
        ),
    ] {
        let said = server(&[], given).unwrap_err();
        assert!(said.contains(why), "{given:?}: {said}");
        assert!(!said.contains("spur"), "{said}");
    }
    let whole = ("connectionString", "ann@tcp(db)/?tls=false");
    let said = server(&[], &[whole, ("tls", "enable")]).unwrap_err();
    assert!(said.contains("ask for different things"), "{said}");
    assert!(server(&[], &[whole, ("tls", "disable")]).is_ok());
}
