//! Conversations with a server that says what it is told to, as MySQL's documentation and its
//! own clients have them: of other ways to log in than MariaDB has, and of odd answers.

use ring::digest::{SHA256, digest};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::super::ask;
use super::super::login::{Account, Tls, log_in};
use super::super::proof;
use super::super::query;
use super::super::wire::Wire;
use crate::Reason;
use crate::stream::Stream;
use crate::trying::{metadata, secrets};

const SCRAMBLE: [u8; 20] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
];
const WORD: &str = "p@/s";
const KEY: &[u8] = include_bytes!("key.pem");
const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
const END: &[u8] = &[0xfe, 0, 0, 2, 0];

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

/// Computed by Python's hashlib; OpenSSL has read what is sealed with the key to `KEY`.
#[test]
fn proofs_are_what_others_compute() {
    assert_eq!(
        hex(&proof::native(WORD, &SCRAMBLE)),
        "368633a803fa0f50f2b1df656688fd8144640e22"
    );
    assert_eq!(
        hex(&proof::caching_sha2(WORD, &SCRAMBLE)),
        "115241abb9049d7acd8c20ae21cb5741c94d10d938afbf95d09e2056039621cb"
    );
    let sealed = proof::sealed(WORD, &SCRAMBLE, KEY, &[7; 20]).unwrap();
    assert_eq!(hex(&sealed[..8]), "05b030310fa16618");
    assert_eq!(
        hex(digest(&SHA256, &sealed).as_ref()),
        "974d5e5a9255a8508ff97e06f2b91fb464d6effebcb5397e9896012dbfc64393"
    );
    let long = "x".repeat(256);
    for (word, key) in [(long.as_str(), KEY), (WORD, b"no key"), (WORD, &KEY[..99])] {
        assert!(proof::sealed(word, &SCRAMBLE, key, &[7; 20]).is_err());
    }
}

/// What MySQL 8 begins with, of this way to log in.
fn greeting(plugin: &str) -> Vec<u8> {
    let (first, second) = SCRAMBLE.split_at(8);
    let parts: [&[u8]; 10] = [
        b"\x0a8.4.6\0",
        &[9, 0, 0, 0],
        first,
        // All that it can do, with TLS.
        &[0, 0xff, 0xff, 255, 2, 0, 0xff, 0xdf],
        &[21],
        &[0; 10],
        second,
        &[0],
        plugin.as_bytes(),
        &[0],
    ];
    parts.concat()
}

/// The server's end: a packet that is said, or one that must have come.
enum Turn<'a> {
    Says(&'a [u8]),
    Hears(&'a [u8]),
    /// So many bytes of whatever.
    HearsSome(usize),
}
use Turn::{Hears, HearsSome, Says};

/// In the end it says no more, and whatever it is told goes nowhere.
async fn play<S: AsyncRead + AsyncWrite + Unpin>(mut end: S, turns: &[Turn<'_>]) -> S {
    let mut number = 0_u8;
    for turn in turns {
        match turn {
            Says(packet) => {
                let mut bytes = (packet.len() as u32).to_le_bytes();
                bytes[3] = number;
                number = number.wrapping_add(1);
                // Who has heard enough is gone.
                let _ = end.write_all(&[&bytes, *packet].concat()).await;
            }
            Hears(_) | HearsSome(_) => {
                let mut head = [0; 4];
                end.read_exact(&mut head).await.unwrap();
                number = head[3].wrapping_add(1);
                head[3] = 0;
                let mut packet = vec![0; u32::from_le_bytes(head) as usize];
                end.read_exact(&mut packet).await.unwrap();
                match turn {
                    Hears(right) => assert_eq!(hex(&packet), hex(right)),
                    HearsSome(length) => assert_eq!(packet.len(), *length),
                    Says(_) => unreachable!(),
                }
            }
        }
    }
    let _ = end.shutdown().await;
    end
}

/// A login, after which the server has said and heard all that it was to.
async fn login(tls: Tls, account: &Account, turns: &[Turn<'_>]) -> Result<(), String> {
    let (ours, end) = tokio::io::duplex(1 << 20);
    let ours: Box<dyn Stream> = Box::new(ours);
    // As if all from there on were over TLS.
    let secure = async |plain| Ok::<_, Reason>(plain);
    let (login, _) = tokio::join!(log_in(ours, account, tls, secure), play(end, turns));
    login.map(|_| ()).map_err(|why| why.to_string())
}

fn ann(password: &str) -> Account {
    Account {
        user: "ann".to_owned(),
        password: password.to_owned(),
        database: "shop".to_owned(),
        in_the_clear: false,
    }
}

/// What is said first, or with TLS: what it can do, how long an answer may be, letters.
fn begins(is_secure: bool) -> Vec<u8> {
    let capabilities: u32 = if is_secure { 0x002a_aa09 } else { 0x002a_a209 };
    let mut packet = capabilities.to_le_bytes().to_vec();
    packet.extend([0, 0, 0, 1, 45]);
    packet.extend([0; 23]);
    packet
}

fn introduces(is_secure: bool, proof: &[u8], plugin: &str) -> Vec<u8> {
    let length = proof.len() as u8;
    let begins = begins(is_secure);
    [
        &begins,
        &b"ann\0"[..],
        &[length],
        proof,
        b"shop\0",
        plugin.as_bytes(),
        &[0],
    ]
    .concat()
}

const NATIVE: &str = "mysql_native_password";
const SHA2: &str = "caching_sha2_password";

fn switch(plugin: &str) -> Vec<u8> {
    [&[0xfe], plugin.as_bytes(), &[0], &SCRAMBLE, &[0]].concat()
}

#[tokio::test]
async fn a_password_is_proved_and_told_only_over_tls_or_sealed() {
    let key = [&[1], KEY].concat();
    let (native, sha2) = (
        proof::native(WORD, &SCRAMBLE),
        proof::caching_sha2(WORD, &SCRAMBLE),
    );
    let (by_sha2, by_native) = (greeting(SHA2), greeting(NATIVE));
    let plain = introduces(false, &sha2, SHA2);
    let clear = b"p@/s\0";
    let to_sha2 = switch(SHA2);
    let to_native = switch(NATIVE);
    let to_sha256 = switch("sha256_password");
    let to_clear = [&[0xfe], &b"mysql_clear_password\0"[..]].concat();
    let over_tls = [begins(true), introduces(true, &sha2, SHA2)];
    let first = introduces(false, &native, NATIVE);
    let word = ann(WORD);

    // One that knows a hash of it; one that doesn't, and asks for it.
    let known = [Says(&by_sha2), Hears(&plain), Says(&[1, 3]), Says(OK)];
    assert_eq!(login(Tls::Never, &word, &known).await, Ok(()));
    let sealed = [
        Says(&by_sha2),
        Hears(&plain),
        Says(&[1, 4]),
        Hears(&[2]),
        Says(&key),
        HearsSome(256),
        Says(OK),
    ];
    assert_eq!(login(Tls::Never, &word, &sealed).await, Ok(()));
    let whole = [
        Says(&by_sha2),
        Hears(&over_tls[0]),
        Hears(&over_tls[1]),
        Says(&[1, 4]),
        Hears(clear),
        Says(OK),
    ];
    for tls in [Tls::WhereOffered, Tls::Always] {
        assert_eq!(login(tls, &word, &whole).await, Ok(()));
    }

    // Users who log in by another way than the server's usual one.
    let other = [
        Says(&by_native),
        Hears(&first),
        Says(&to_sha2),
        Hears(&sha2),
        Says(&[1, 3]),
        Says(OK),
    ];
    assert_eq!(login(Tls::Never, &word, &other).await, Ok(()));
    let other = [
        Says(&by_sha2),
        Hears(&plain),
        Says(&to_native),
        Hears(&native),
        Says(OK),
    ];
    assert_eq!(login(Tls::Never, &word, &other).await, Ok(()));
    let other = [
        Says(&by_sha2),
        Hears(&plain),
        Says(&to_sha256),
        Hears(&[1]),
        Says(&key),
        HearsSome(256),
        Says(OK),
    ];
    assert_eq!(login(Tls::Never, &word, &other).await, Ok(()));

    // Never to whoever asks for it in the clear.
    let asks = [Says(&by_sha2), Hears(&plain), Says(&to_clear)];
    let may = Account {
        in_the_clear: true,
        ..ann(WORD)
    };
    for account in [&word, &may] {
        let why = login(Tls::Never, account, &asks).await.unwrap_err();
        assert!(why.contains("asks for the password itself"), "{why}");
    }
    let asks = |more| {
        let mut turns = vec![Says(&by_sha2), Hears(&over_tls[0]), Hears(&over_tls[1])];
        turns.push(Says(&to_clear));
        turns.extend(more);
        turns
    };
    assert!(login(Tls::Always, &word, &asks(vec![])).await.is_err());
    let told = asks(vec![Hears(clear), Says(OK)]);
    assert_eq!(login(Tls::Always, &may, &told).await, Ok(()));
    // Nor at first, whatever the server calls its usual way.
    for plugin in ["sha256_password", "mysql_clear_password", "parsec"] {
        let usual = greeting(plugin);
        let turns = [Says(&usual), Hears(&first), Says(OK)];
        assert_eq!(login(Tls::Never, &may, &turns).await, Ok(()));
    }

    // Who has none.
    let nothing = introduces(false, &[], SHA2);
    let turns = [Says(&by_sha2), Hears(&nothing), Says(OK)];
    assert_eq!(login(Tls::Never, &ann(""), &turns).await, Ok(()));
}

#[tokio::test]
async fn a_login_that_goes_on_as_none_does_fails_with_a_reason() {
    let by_sha2 = greeting(SHA2);
    let mut no_tls = by_sha2.clone();
    // Where what it can do stands, behind its version, its number and half of a scramble.
    no_tls[21] &= !8;
    let mut old = by_sha2.clone();
    old[21] &= !2;
    let word = ann(WORD);
    for (tls, packet, why) in [
        (
            Tls::Always,
            &no_tls[..],
            "can't connect: the server has no TLS",
        ),
        (Tls::Never, &old, "the server is too old"),
        (
            Tls::Never,
            b"\xff\x10\x04Too many connections",
            "refused: Too many connections",
        ),
        (Tls::Never, b"\x0b8.4.6\0", "no greeting that is known"),
        (Tls::Never, &by_sha2[..30], "a packet is too short"),
        (Tls::Never, b"", "a packet is too short"),
    ] {
        let said = login(tls, &word, &[Says(packet)]).await.unwrap_err();
        assert!(said.contains(why), "{said}");
    }
    let gone = login(Tls::Never, &word, &[]).await.unwrap_err();
    assert_eq!(gone, "can't connect: the server ended the connection");

    let plain = introduces(false, &proof::caching_sha2(WORD, &SCRAMBLE), SHA2);
    let denied = b"\xff\x15\x04#28000Access denied for user 'ann'";
    let twice = [switch(NATIVE), switch(SHA2)];
    for (packets, why) in [
        (&[&denied[..]][..], "refused: Access denied for user 'ann'"),
        (&[&[0xfe]], "`mysql_old_password`, which isn't known here"),
        (&[b"\xfedialog\0Password: "], "to log in by `dialog`"),
        (
            &[b"\xfemysql_native_password\0short"],
            "is of another length",
        ),
        (&[&[1, 9]], "the server's key is no RSA key"),
        (&[&[1, 4], b"\x01no key"], "the server's key is no RSA key"),
        (&[&twice[0], &twice[1]], "goes on as none does"),
        (&[&[1_u8, 3][..]; 9], "goes on as none does"),
        (&[b"HTTP"], "goes on as none does"),
        (&[&[]], "goes on as none does"),
    ] {
        let mut turns = vec![Says(&by_sha2), Hears(&plain)];
        turns.extend(packets.iter().map(|packet| Says(packet)));
        let said = login(Tls::Never, &word, &turns).await.unwrap_err();
        assert!(said.contains(why), "{said}");
        assert!(!said.contains(WORD), "{said}");
    }
}

#[tokio::test]
async fn of_an_answer_the_first_row_counts_and_an_odd_one_is_none() {
    const COLUMN: &[u8] = b"\x03def\0\0\0\x01n\0\x0c\x3f\0\x01\0\0\0\x08\x81\0\0\0\0";
    let asked = b"\x03SELECT 1";
    for (packets, answer) in [
        (
            &[&[1][..], COLUMN, END, b"\x0212", b"\x0213", END][..],
            Ok(Some("12")),
        ),
        (&[&[1], COLUMN, END, &[0xfb], END], Ok(None)),
        // A procedure's own statements come first, each with nothing to show.
        (
            &[b"\0\0\0\x0a\0\0\0", &[1], COLUMN, END, b"\x017"],
            Ok(Some("7")),
        ),
        (&[&[1], COLUMN, END, END], Err("the query gives no row")),
        (&[OK], Err("the query gives no row")),
        (&[&[2]], Err("its row has 2 columns")),
        (&[&[0xfc, 0, 1]], Err("its row has 256 columns")),
        (
            &[&[1], COLUMN, END, b"\xff\x25\x05#70100Query was ended"],
            Err("refused: Query was ended"),
        ),
        (&[b"\xfb/etc/shadow"], Err("the server asks for a file")),
        (
            &[&[1], COLUMN, b"\x0212"],
            Err("no row begins where one should"),
        ),
        (
            &[&[1], COLUMN, END, b"\x0912"],
            Err("a packet is too short"),
        ),
        (
            &[
                &[1],
                COLUMN,
                END,
                &[0xfe, 255, 255, 255, 255, 255, 255, 255, 255],
            ],
            Err("a packet is too short"),
        ),
        (&[&[1], COLUMN, END, &[0xff]], Err("refused: ")),
        (&[&[1], COLUMN, END, b"\x02\xc3\x28"], Err("it is no text")),
        (&[&[0]], Err("a packet is too short")),
        (&[&[]], Err("a packet is too short")),
        (&[&[1], COLUMN], Err("the server ended the connection")),
    ] {
        let (ours, end) = tokio::io::duplex(1 << 20);
        let mut wire = Wire::new(Box::new(ours));
        let mut turns = vec![Hears(asked)];
        turns.extend(packets.iter().map(|packet| Says(packet)));
        let (said, _) = tokio::join!(query::one(&mut wire, "SELECT 1"), play(end, &turns));
        let said = said.map_err(|why| why.to_string());
        match (said, answer) {
            (Ok(said), right) => assert_eq!(Ok(said.as_deref()), right),
            (Err(said), Err(why)) => assert!(said.contains(why), "{said}"),
            (said, right) => panic!("{said:?} is not {right:?}"),
        }
    }
    // Longer than may be, by what it says alone.
    let (ours, mut end) = tokio::io::duplex(64);
    end.write_all(&[1, 0, 0x10, 1]).await.unwrap();
    assert_eq!(Wire::new(Box::new(ours)).read().await, Err(Reason::TooLong));
}

#[tokio::test]
async fn whoever_has_answered_oddly_is_left_as_whoever_has_said_a_number() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let metadata = metadata(&[
        ("query", "SELECT 1"),
        ("host", "127.0.0.1"),
        ("port", &port),
        ("username", "ann"),
        ("dbName", "shop"),
    ]);
    let secrets = secrets(&[("password", WORD)]);
    let usual = greeting(NATIVE);
    let first = introduces(false, &proof::native(WORD, &SCRAMBLE), NATIVE);
    for (odd, why) in [
        (&[2][..], "its row has 2 columns"),
        (OK, "the query gives no row"),
        (b"\xfb/etc/shadow", "the server asks for a file"),
        (b"\xff\x25\x05#70100Query was ended", "Query was ended"),
    ] {
        let turns = [
            Says(&usual),
            Hears(&first),
            Says(OK),
            Hears(b"\x03SET SESSION TRANSACTION READ ONLY"),
            Says(OK),
            Hears(b"\x03SET SESSION max_execution_time=4000"),
            Says(OK),
            Hears(b"\x03SELECT 1"),
            Says(odd),
            // It ends, and nobody comes to end what runs there.
            Hears(&[1]),
        ];
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            play(stream, &turns).await
        };
        let (answer, _) = tokio::join!(ask(&metadata, &secrets), server);
        let said = answer.unwrap_err().to_string();
        assert!(said.contains(why), "{said}");
    }
}
