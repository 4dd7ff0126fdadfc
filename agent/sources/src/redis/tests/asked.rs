//! Whom a question goes to, and what becomes of it, where servers say what real ones seldom
//! say.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// A server that answers each command by what `answer` says to its own port and the words.
async fn scripted(answer: impl Fn(u16, &[String]) -> String + Clone + Send + 'static) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = tokio::io::BufReader::new(read).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let count = line.trim_start_matches('*').parse().unwrap();
                    let mut words = Vec::new();
                    for _ in 0..count {
                        lines.next_line().await.unwrap();
                        words.extend(lines.next_line().await.unwrap());
                    }
                    let said = answer(address.port(), &words);
                    if write.write_all(said.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address.to_string()
}

/// A list of three, on a server with this role.
async fn three(role: &'static str) -> String {
    scripted(move |_, words| match words[0].as_str() {
        "ROLE" => format!("*2\r\n+{role}\r\n:0\r\n"),
        "TYPE" => "+list\r\n".to_owned(),
        "LLEN" => ":3\r\n".to_owned(),
        other => format!("-ERR unknown command '{other}'\r\n"),
    })
    .await
}

/// A sentinel that says that the master is there.
async fn sentinel(master: &str) -> String {
    let (host, port) = master.split_once(':').unwrap();
    let said = format!("*2\r\n+{host}\r\n+{port}\r\n");
    scripted(move |_, _| said.clone()).await
}

async fn asked(kind: &str, pairs: &[(&str, &str)], known: &[(&'static str, &str)]) -> String {
    let connections = Connections::default();
    let answer = ask(&connections, kind, &metadata(pairs), &secrets(known)).await;
    answer.map_or_else(|why| why.to_string(), |it| (it.milli / 1_000).to_string())
}

#[tokio::test]
async fn what_a_server_refuses_is_said_in_words_without_what_it_was_told() {
    for (said, why) in [
        (
            "NOAUTH Authentication required.",
            "asks for a password, and the",
        ),
        (
            "LOADING Redis is loading the dataset",
            "has just started and still loads",
        ),
        (
            "MASTERDOWN Link with MASTER is down",
            "is a replica that has lost its master",
        ),
        (
            "CLUSTERDOWN The cluster is down",
            "too few of its cluster's nodes are there",
        ),
        (
            "MOVED 9 10.0.0.1:7000",
            "the key is at 10.0.0.1:7000: a trigger of type `redis-cluster`",
        ),
        (
            "ASK 9 10.0.0.1:7000",
            "the key is at 10.0.0.1:7000: a trigger of type `redis-cluster`",
        ),
        (
            "NOPERM ann may not 'type'",
            "refused: NOPERM ann may not 'type'",
        ),
    ] {
        let at = scripted(move |_, _| format!("-{said}\r\n")).await;
        let found = asked(REDIS, &[("address", &at), ("listName", "jobs")], &[]).await;
        assert!(found.contains(why), "{said}: {found}");
    }
    for (said, why) in [
        (
            "WRONGPASS invalid username-password pair",
            "(`password`) are not accepted",
        ),
        (
            "LOADING Redis is loading the dataset",
            "has just started and still loads",
        ),
        (
            "ERR AUTH <password> called without any password configured for the default user",
            "it asks for no password",
        ),
        ("ERR invalid password", "(`password`) are not accepted"),
        (
            "ERR max number of clients reached",
            "it has as many clients as it takes",
        ),
        (
            "ERR unknown command 'AUTH', with args beginning with: 'word'",
            "(`password`) are not accepted",
        ),
    ] {
        let at = scripted(move |_, _| format!("-{said}\r\n")).await;
        let pairs = [("address", at.as_str()), ("listName", "jobs")];
        let found = asked(REDIS, &pairs, &[("password", "word")]).await;
        assert!(
            found.contains(why) && !found.contains("word'"),
            "{said}: {found}"
        );
    }
}

#[tokio::test]
async fn a_question_that_a_cluster_sends_in_a_circle_or_nowhere_ends() {
    let key = ("listName", "jobs");
    // Without a host it is the same one.
    let circle = scripted(|port, _| format!("-MOVED 9 :{port}\r\n")).await;
    let found = asked(REDIS_CLUSTER, &[("addresses", &circle), key], &[]).await;
    assert!(
        found.contains("sent the question on more than 5 times"),
        "{found}"
    );
    let nowhere = scripted(|_, _| "-MOVED 9 ?:1\r\n".to_owned()).await;
    let found = asked(REDIS_CLUSTER, &[("addresses", &nowhere), key], &[]).await;
    assert!(
        found.contains("on to `?:1`, which is no address"),
        "{found}"
    );
}

#[tokio::test]
async fn a_key_that_is_just_moving_is_asked_for_where_it_goes_each_time() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = heard.clone();
    let new = scripted(move |_, words| {
        log.lock().unwrap().push(words[0].clone());
        let said = match words[0].as_str() {
            "ASKING" | "READWRITE" => "+OK\r\n",
            "TYPE" => "+list\r\n",
            _ => ":3\r\n",
        };
        said.to_owned()
    })
    .await;
    let old = scripted(move |_, _| format!("-ASK 9 {new}\r\n")).await;
    let pairs = [("addresses", old.as_str()), ("listName", "jobs")];
    assert_eq!(asked(REDIS_CLUSTER, &pairs, &[]).await, "3");
    let words = ["READWRITE", "ASKING", "TYPE", "ASKING", "LLEN"];
    assert_eq!(*heard.lock().unwrap(), words);
}

#[tokio::test]
async fn whoever_hangs_fails_or_knows_less_holds_up_none_of_those_who_know() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent
        .local_addr()
        .map(|it| (silent, it.to_string()))
        .unwrap();
    let gone = "127.0.0.1:1".to_owned();
    let (master, replica) = (three("master").await, three("slave").await);
    let (right, late) = (sentinel(&master).await, sentinel(&replica).await);
    let stranger = scripted(|_, _| "*-1\r\n".to_owned()).await;
    let of = async |kind: &str, all: &[&String]| {
        let all: Vec<&str> = all.iter().map(|it| it.as_str()).collect();
        let addresses = all.join(",");
        let mut pairs = vec![("addresses", addresses.as_str()), ("listName", "jobs")];
        if kind == REDIS_SENTINEL {
            pairs.push(("sentinelMaster", "queue"));
        }
        asked(kind, &pairs, &[]).await
    };
    let hangs = &silent.1;
    let every = [hangs, &gone, &late, &stranger, &right];
    assert_eq!(of(REDIS_SENTINEL, &every).await, "3");
    assert_eq!(
        of(REDIS_CLUSTER, &[hangs, &gone, hangs, &master]).await,
        "3"
    );

    // What somebody says counts before that others can't be reached.
    for (all, why) in [
        (
            &[&gone, &stranger, &gone][..],
            "the sentinel knows no master `queue`",
        ),
        (
            &[&gone, &late],
            "says that it is the master `queue`, and it is a slave itself",
        ),
        (&[&gone, &gone], "127.0.0.1:1: can't connect"),
        (&[hangs, &stranger], "the sentinel knows no master `queue`"),
        (
            &[&gone, hangs],
            &format!("{hangs}: no answer within 3000 ms"),
        ),
    ] {
        let found = of(REDIS_SENTINEL, all).await;
        assert!(found.contains(why), "{all:?}: {found}");
    }
}

#[tokio::test]
async fn what_one_says_waits_for_none_that_hangs() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stranger = scripted(|_, _| "*-1\r\n".to_owned()).await;
    let hangs = silent.local_addr().unwrap().to_string();
    for all in [[&hangs, &stranger], [&stranger, &hangs]] {
        let addresses = format!("{},{}", all[0], all[1]);
        let metadata = metadata(&[("addresses", &addresses), ("sentinelMaster", "queue")]);
        let deployment = Deployment::of(Form::Sentinel, &metadata, &Secrets::default()).unwrap();
        let connections = Connections::default();
        let search = Search::new(&connections);
        let question = Question {
            counted: Counted::Key,
            key: "jobs",
            metadata: &metadata,
        };
        // No deadline of the question ends this.
        let asked = deployment.ask(&search, &question);
        let answer = tokio::time::timeout(Duration::from_mins(1), asked).await;
        let why = answer.unwrap().unwrap_err();
        assert_eq!(why.address, stranger);
    }
}

#[tokio::test]
async fn what_a_key_s_own_node_says_for_good_is_asked_of_no_other() {
    let of = async |first: &str, second: &str| {
        let addresses = format!("{first},{second}");
        let pairs = [("addresses", addresses.as_str()), ("listName", "jobs")];
        asked(REDIS_CLUSTER, &pairs, &[]).await
    };
    let other = three("master").await;
    for (kind, length, why) in [
        ("+list", "-NOPERM ann may not 'llen'", "refused: NOPERM ann"),
        ("-NOPERM ann may not 'type'", "", "refused: NOPERM ann"),
        ("+list", "-WRONGTYPE it is none", "refused: WRONGTYPE it"),
        ("+list", "-NOGROUP there is none", "refused: NOGROUP there"),
        ("+list", "+many", "the answer couldn't be looked through"),
        ("+stream", "", "it is a stream"),
    ] {
        let own = scripted(move |_, words| match words[0].as_str() {
            "READWRITE" => "+OK\r\n".to_owned(),
            "TYPE" => format!("{kind}\r\n"),
            _ => format!("{length}\r\n"),
        })
        .await;
        let moved = format!("-MOVED 9 {own}\r\n");
        let sends = scripted(move |_, _| moved.clone()).await;
        let found = of(&sends, &other).await;
        assert!(
            found.starts_with(&own) && found.contains(why),
            "{kind} {length}: {found}"
        );
        // A node may refuse so what isn't its own, and another one knows more then.
        let found = of(&own, &other).await;
        if kind.starts_with("-NOPERM") {
            assert_eq!(found, "3");
        } else {
            assert!(found.contains(why), "{kind} {length}: {found}");
        }
    }
}

/// Answers with the beginning of a text that never ends, also while nobody asks.
async fn endless() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let begin = stream.write_all(b"$500000000\r\n").await;
                let mut sent = begin.map(|()| 0_usize);
                while let Ok(bytes) = sent {
                    assert!(bytes < 64 << 20, "somebody reads on");
                    let piece = [b'x'; 8 << 10];
                    sent = stream.write_all(&piece).await.map(|()| bytes + piece.len());
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn an_answer_without_an_end_breaks_off() {
    let metadata = metadata(&[("address", &endless().await), ("listName", "jobs")]);
    let connections = Connections::default();
    let why = ask(&connections, REDIS, &metadata, &Secrets::default())
        .await
        .unwrap_err();
    assert_eq!(why.reason, Reason::TooLong);
}

#[tokio::test]
async fn a_question_that_nobody_waits_for_leaves_no_connection_behind() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let metadata = metadata(&[("address", &address), ("listName", "jobs")]);
    let connections = Connections::default();
    let none = Secrets::default();
    let question = ask(&connections, REDIS, &metadata, &none);
    let heard = async {
        let (mut stream, _) = silent.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        stream
    };
    let mut stream = tokio::select! {
        stream = heard => stream,
        answer = question => panic!("{answer:?} of nobody"),
    };
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(format!("{connections:?}"), "[]");
}

/// As a Redis does whose HELLO has another name.
#[tokio::test]
async fn why_nobody_may_listen_is_said_without_what_it_was_told() {
    let at = scripted(|_, words| match words[0].as_str() {
        "AUTH" => "+OK\r\n".to_owned(),
        "TYPE" => "+list\r\n".to_owned(),
        "LLEN" => ":3\r\n".to_owned(),
        other => {
            let told = words[1..].join("' '");
            format!("-ERR unknown command '{other}', with args beginning with: '{told}'\r\n")
        }
    })
    .await;
    let known = [("username", "ann"), ("password", "larkspur")];
    let pairs = [("address", at.as_str()), ("listName", "jobs")];
    let (connections, signs) = (Connections::default(), Notify::new());
    let (pairs, known) = (metadata(&pairs), secrets(&known));
    let heard = listen(&connections, REDIS, &pairs, &known, &signs).await;
    let Err(why) = heard;
    let why = why.to_string();
    assert!(why.contains("or not to this user (HELLO 3)"), "{why}");
    assert!(!why.contains("larkspur") && !why.contains("ann"), "{why}");
}
