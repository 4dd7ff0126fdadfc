//! Brokers that are asked, and answer well or badly.

use crate::kafka::messages::Code;
use crate::kafka::wire::{Answer, Written};
use crate::kept::IDLE_MAX;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What a broker answers to the kind of question that has this number; it ends the connection
/// where it has none.
type Answers = BTreeMap<i16, Vec<u8>>;

/// A broker that says the same to everybody, or the last of several things.
struct Broker {
    port: i32,
    connections: Arc<AtomicUsize>,
}

impl Broker {
    /// Which says what `answers` makes of the port and of how many of that kind were asked
    /// before.
    async fn start(answers: impl Fn(i32, usize) -> Answers + Send + Sync + 'static) -> Broker {
        Broker::start_reading(move |port, before, _| answers(port, before)).await
    }

    /// The same, of what stands in the question too.
    async fn start_reading(
        answers: impl Fn(i32, usize, &[u8]) -> Answers + Send + Sync + 'static,
    ) -> Broker {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = i32::from(listener.local_addr().unwrap().port());
        let connections = Arc::new(AtomicUsize::new(0));
        let opened = connections.clone();
        let (answers, asked) = (Arc::new(answers), Arc::new(std::sync::Mutex::default()));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                opened.fetch_add(1, Ordering::Relaxed);
                let (answers, asked) = (answers.clone(), asked.clone());
                tokio::spawn(async move { serve(stream, port, &*answers, &asked).await });
            }
        });
        Broker { port, connections }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    async fn ask(&self) -> Result<Number, String> {
        asked(&self.address(), &Brokers::default()).await
    }
}

async fn serve(
    mut stream: TcpStream,
    port: i32,
    answers: &(dyn Fn(i32, usize, &[u8]) -> Answers + Send + Sync),
    asked: &std::sync::Mutex<BTreeMap<i16, usize>>,
) -> Option<()> {
    loop {
        let length = stream.read_i32().await.ok()?;
        let mut question = vec![0; length as usize];
        stream.read_exact(&mut question).await.ok()?;
        let mut head = Answer(&question);
        let (key, _version, id) = (head.i16().ok()?, head.i16().ok()?, head.i32().ok()?);
        let _client = head.text().ok()?;
        let before = {
            let mut asked = asked.lock().unwrap();
            let before = asked.entry(key).or_default();
            *before += 1;
            *before - 1
        };
        let answer = answers(port, before, head.0).remove(&key)?;
        let whole = Written::default().i32(answer.len() as i32 + 4).i32(id);
        stream.write_all(&[whole.0, answer].concat()).await.ok()?;
    }
}

async fn asked(servers: &str, brokers: &Brokers) -> Result<Number, String> {
    let metadata = metadata(&[(SERVERS, servers), WHERE[1], TOPIC]);
    let answer = ask(brokers, &metadata, &Secrets::default()).await;
    answer.map_err(|error| error.to_string())
}

fn new() -> Written {
    Written::default()
}

fn list<T: Copy>(with: Written, of: &[T], one: impl Fn(Written, T) -> Written) -> Written {
    with.list(of.iter().copied(), one)
}

/// Of a topic `jobs` with two partitions, at the end 7 and 5, that the group has done 4 of.
fn sound(port: i32) -> Answers {
    leads(port, &[1, 1])
}

fn versions(of: &[(i16, i16, i16)]) -> Vec<u8> {
    list(new().i16(0), of, |with, (key, least, most)| {
        with.i16(key).i16(least).i16(most)
    })
    .0
}

/// The leaders of the partitions; broker 1 is this one.
fn leads(port: i32, leaders: &[i32]) -> Answers {
    led(&[port], leaders)
}

/// By brokers at these ports, the first of which is broker 1, and coordinates.
fn led(ports: &[i32], leaders: &[i32]) -> Answers {
    let numbered: Vec<_> = (1..).zip(ports.iter().copied()).collect();
    let brokers = list(new().i32(0), &numbered, |with, (id, port)| {
        with.i32(id).text("127.0.0.1").i32(port).i16(-1)
    });
    let topic = brokers.i16(-1).i32(1).i32(1).i16(0).text("jobs").i8(0);
    let numbered: Vec<_> = (0..).zip(leaders.iter().copied()).collect();
    let metadata = list(topic, &numbered, |with, (index, leader)| {
        let copies = with.i16(0).i32(index).i32(leader).i32(1).i32(1);
        copies.i32(1).i32(1)
    });
    let port = ports[0];
    let coordinator = new()
        .i32(0)
        .i16(0)
        .i16(-1)
        .i32(1)
        .text("127.0.0.1")
        .i32(port);
    Answers::from([
        (
            18,
            versions(&[(2, 1, 7), (3, 0, 12), (9, 1, 8), (10, 0, 4)]),
        ),
        (3, metadata.0),
        (10, coordinator.0),
        (9, committed(&[(0, 4, 0), (1, -1, 0)])),
        (2, ends(&[(0, 0, 7), (1, 0, 5)])),
    ])
}

/// Partition, offset and error.
fn committed(of: &[(i32, i64, i16)]) -> Vec<u8> {
    let topic = new().i32(1).text("jobs");
    let all = list(topic, of, |with, (index, offset, code)| {
        with.i32(index).i64(offset).i16(-1).i16(code)
    });
    all.i16(0).0
}

/// Partition, error and end.
fn ends(of: &[(i32, i16, i64)]) -> Vec<u8> {
    let topic = new().i32(1).text("jobs");
    let all = list(topic, of, |with, (index, code, end)| {
        with.i32(index).i16(code).i64(-1).i64(end)
    });
    all.0
}

#[tokio::test]
async fn a_connection_waits_for_the_next_question_and_one_that_was_closed_is_opened_again() {
    let broker = Broker::start(|port, before| {
        let mut answers = sound(port);
        // In the middle of the third round it closes the connection.
        if before == 2 {
            answers.remove(&10);
        }
        answers
    })
    .await;
    let brokers = Brokers::default();
    for _ in 0..4 {
        let number = asked(&broker.address(), &brokers).await.unwrap();
        assert_eq!(number.milli, 4_000);
    }
    // Sound connections are shared by all questions, one after the other.
    assert_eq!(broker.connections.load(Ordering::Relaxed), 2);
    assert_eq!(format!("{brokers:?}").matches("Address").count(), 1);
}

#[tokio::test]
async fn with_a_connection_that_is_lost_or_given_up_the_others_that_wait_are_closed() {
    let broker = Broker::start(|port, before| {
        let mut answers = sound(port);
        // As the third one begins it closes the connection.
        if before == 2 {
            answers.remove(&3);
        }
        answers
    })
    .await;
    let (brokers, address) = (Brokers::default(), broker.address());
    let waiting = || format!("{brokers:?}").matches("Address").count();
    let at_once = tokio::join!(asked(&address, &brokers), asked(&address, &brokers));
    assert!(at_once.0.is_ok() && at_once.1.is_ok());
    assert_eq!(waiting(), 2);
    assert!(asked(&address, &brokers).await.is_ok());
    assert_eq!(waiting(), 1);
    let at_once = tokio::join!(asked(&address, &brokers), asked(&address, &brokers));
    assert!(at_once.0.is_ok() && at_once.1.is_ok());
    assert_eq!(waiting(), 2);
    // Nobody waits for the answer once the question has been sent.
    tokio::select! {
        biased;
        said = asked(&address, &brokers) => panic!("{said:?}"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(waiting(), 0);
}

#[tokio::test]
async fn a_server_is_asked_first_while_a_connection_to_it_may_still_be_open() {
    let first = Broker::start(|port, _| sound(port)).await;
    let second = Broker::start(|port, _| sound(port)).await;
    let brokers = Brokers::default();
    assert!(asked(&second.address(), &brokers).await.is_ok());
    let both = format!("{},{}", first.address(), second.address());
    assert!(asked(&both, &brokers).await.is_ok());
    assert_eq!(first.connections.load(Ordering::Relaxed), 0);
    brokers.age(IDLE_MAX);
    assert!(asked(&both, &brokers).await.is_ok());
    assert_eq!(first.connections.load(Ordering::Relaxed), 1);
    assert_eq!(second.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_leader_that_has_moved_is_looked_up_once_more() {
    const MOVED: i16 = 6;
    let moving = |until: usize| {
        Broker::start(move |port, before| {
            let mut answers = sound(port);
            if before < until {
                answers.insert(2, ends(&[(0, MOVED, -1), (1, 0, 5)]));
            }
            answers
        })
    };
    assert_eq!(moving(1).await.ask().await.unwrap().milli, 4_000);
    let broker = moving(2).await;
    let why = broker.ask().await.unwrap_err();
    let at = broker.address();
    assert_eq!(
        why,
        format!(
            "{at}, the leader of partition 0 of `jobs`: refused: partition 0 of `jobs`: \
             NOT_LEADER_OR_FOLLOWER, its leader has moved"
        )
    );
}

#[tokio::test]
async fn each_partition_s_end_is_asked_of_its_own_leader() {
    let second = Broker::start(|port, _| {
        let mut answers = sound(port);
        answers.insert(2, ends(&[(1, 0, 5)]));
        answers
    })
    .await;
    let other = second.port;
    let first = Broker::start(move |port, _| {
        let mut answers = led(&[port, other], &[1, 2]);
        answers.insert(2, ends(&[(0, 0, 7)]));
        answers.insert(9, committed(&[(0, 4, 0), (1, 1, 0)]));
        answers
    })
    .await;
    let number = first.ask().await.unwrap();
    assert_eq!(number.milli, 7_000);
    assert_eq!(second.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn brokers_that_others_refer_to_and_nobody_reaches_are_named() {
    // A port that nobody listens at.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = i32::from(gone.local_addr().unwrap().port());
    drop(gone);
    let broker = Broker::start(move |port, _| {
        let mut answers = sound(port);
        answers.insert(3, leads(nobody, &[1, 1]).remove(&3).unwrap());
        answers
    })
    .await;
    let why = broker.ask().await.unwrap_err();
    let begin = format!("127.0.0.1:{nobody}, the leader of partition 0 of `jobs`: can't connect:");
    assert!(why.starts_with(&begin), "{why}");
    let strange = Broker::start(|port, _| {
        let mut answers = sound(port);
        let away = new().i32(0).i16(0).i16(-1).i32(1).text("a b").i32(-1);
        answers.insert(10, away.0);
        answers
    });
    let why = strange.await.ask().await.unwrap_err();
    assert!(
        why.contains("of broker 1, the coordinator of group `workers`: `a b:-1` is not"),
        "{why}"
    );
}

/// KEDA takes a partition that the answer leaves out for one without lag.
#[tokio::test]
async fn what_isn_t_known_of_one_partition_is_no_number() {
    for (key, answer, why) in [
        (
            18,
            versions(&[(2, 1, 7), (3, 0, 12), (9, 3, 8), (10, 0, 4)]),
            "it speaks OffsetFetch in versions 3 to 8, not in 2",
        ),
        (
            18,
            versions(&[(3, 0, 12)]),
            "it doesn't know FindCoordinator",
        ),
        (
            3,
            leads(1, &[1, -1]).remove(&3).unwrap(),
            "partition 1 of `jobs`: LEADER_NOT_AVAILABLE",
        ),
        (
            3,
            leads(1, &[1, 2]).remove(&3).unwrap(),
            "broker 2, the leader of partition 1 of `jobs`, is not in it",
        ),
        (
            3,
            new().i32(0).i32(0).i16(-1).i32(1).i32(0).0,
            "the answer has no `topic jobs`",
        ),
        (
            3,
            new()
                .i32(0)
                .i32(0)
                .i16(-1)
                .i32(1)
                .i32(1)
                .i16(29)
                .text("jobs")
                .i8(0)
                .i32(0)
                .0,
            "topic `jobs`: TOPIC_AUTHORIZATION_FAILED, needs Describe of the topic",
        ),
        (
            3,
            new().i32(0).i32(i32::MAX).0,
            "it has more than 1000 brokers",
        ),
        (3, new().i32(0).i32(1_000).0, "it ends too early"),
        (
            3,
            new().i32(0).i32(0).i16(-1).i32(1).i32(0).i32(7).0,
            "behind its end stands",
        ),
        (3, vec![], "it ends too early"),
        (3, vec![0; 2 << 20], "the answer is longer than 1024 KiB"),
        (9, committed(&[(0, 4, 0)]), "the answer has no `jobs-1`"),
        (
            9,
            committed(&[(0, 4, 0), (1, -1, 29)]),
            "partition 1 of `jobs`: TOPIC_AUTHORIZATION_FAILED",
        ),
        (
            9,
            new().i32(0).i16(30).0,
            "group `workers`: GROUP_AUTHORIZATION_FAILED, needs Describe of the group",
        ),
        (2, ends(&[(0, 0, 7)]), "the answer has no `jobs-1`"),
        (
            2,
            ends(&[(0, 0, 7), (1, 0, -1)]),
            "partition 1 of `jobs` ends at -1",
        ),
        (
            2,
            ends(&[(0, 0, 7), (1, -1, 0)]),
            "partition 1 of `jobs`: UNKNOWN_SERVER_ERROR",
        ),
        (
            2,
            new().i32(1).text("jobs").i32(i32::MAX).0,
            "it has more than 10000 partitions",
        ),
        (
            10,
            new().i32(0).i16(15).i16(-1).i32(-1).text("").i32(-1).0,
            "coordinator of group `workers`: COORDINATOR_NOT_AVAILABLE",
        ),
    ] {
        let broker = Broker::start(move |port, _| {
            let mut answers = sound(port);
            answers.insert(key, answer.clone());
            answers
        });
        let said = broker.await.ask().await.unwrap_err();
        assert!(said.contains(why), "{why}: {said}");
    }
    assert!(Code(99).told().contains("error 99"));
}

#[tokio::test]
async fn a_partition_that_the_group_has_committed_and_nobody_lists_is_no_number() {
    let broker = Broker::start(|port, _| {
        let mut answers = sound(port);
        answers.insert(9, committed(&[(0, 4, 0), (2, 1, 0)]));
        answers
    })
    .await;
    // All that the group reads counts.
    let metadata = metadata(&[(SERVERS, &broker.address()), WHERE[1]]);
    let answer = ask(&Brokers::default(), &metadata, &Secrets::default()).await;
    let why = answer.unwrap_err().to_string();
    let at = broker.address();
    assert_eq!(why, format!("{at}: the answer has no `jobs-2`"));
}

/// Says this at once, to everybody, and nothing more.
async fn says(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut all = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(bytes).await;
            all.push(stream);
        }
    });
    address
}

#[tokio::test]
async fn whoever_isn_t_a_broker_is_told_from_one() {
    for (bytes, why) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            "it begins otherwise, as where another `tls` or `sasl` is wanted",
        ),
        (b"\xff\xff\xff\xff", "its length is negative"),
        (b"\x00\x00\x00\x02\x00\x00", "it ends too early"),
        (
            b"\x00\x00\x00\x04\x00\x00\x00\x09",
            "it answers another question",
        ),
    ] {
        let said = asked(&says(bytes).await, &Brokers::default()).await;
        let said = said.unwrap_err();
        assert!(said.contains(why), "{why}: {said}");
    }
    let ends = Broker::start(|_, _| Answers::new()).await;
    let why = ends.ask().await.unwrap_err();
    let hint = "the broker ended the connection, as where another `tls` or `sasl` is wanted";
    assert!(why.contains(hint), "{why}");
}

#[tokio::test]
async fn one_of_several_servers_is_enough() {
    let broker = Broker::start(|port, _| sound(port)).await;
    let (silent, brokers) = (says(b"").await, Brokers::default());
    let servers = format!("{silent},{}", broker.address());
    let number = asked(&servers, &brokers).await.unwrap();
    assert_eq!(number.milli, 4_000);
    // The one that hangs isn't asked first again.
    let since = Instant::now();
    assert!(asked(&servers, &brokers).await.is_ok());
    assert!(since.elapsed() < Duration::from_millis(TIMEOUT_DEFAULT_MS / 2));
    let why = asked(&silent, &brokers).await.unwrap_err();
    assert_eq!(why, format!("{silent}: no answer within 3000 ms"));
}

#[tokio::test]
async fn a_server_that_hangs_has_its_share_of_the_time_and_is_told_from_one_that_is_gone() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = gone.local_addr().unwrap().port();
    drop(gone);
    let (silent, refuses) = (says(b"").await, format!("127.0.0.1:{nobody}"));
    let more = format!("127.0.0.2:{nobody}, 127.0.0.3:{nobody}");
    for (servers, said) in [
        (
            format!("{refuses}, {silent}, {refuses}, {more}"),
            "no answer within 1000 ms",
        ),
        // Half of 3 s, less what has passed before.
        (format!("{silent}, {refuses}"), "no answer within 1"),
    ] {
        let why = asked(&servers, &Brokers::default()).await.unwrap_err();
        assert!(why.contains(said), "{servers}: {why}");
        assert!(why.contains(&refuses) && why.contains(&silent), "{why}");
    }
}

#[tokio::test]
async fn a_broker_that_doesn_t_know_the_password_is_not_believed() {
    // It lets everybody in, and never shows that it knows the password.
    let broker = Broker::start_reading(|port, _, question| {
        let mut answers = sound(port);
        let spoken = [
            (2, 1, 7),
            (3, 0, 12),
            (9, 1, 8),
            (10, 0, 4),
            (17, 0, 1),
            (36, 0, 2),
        ];
        answers.insert(18, versions(&spoken));
        answers.insert(17, new().i16(0).i32(0).0);
        let told = Answer(question).bytes().unwrap_or_default();
        let told = std::str::from_utf8(told).unwrap_or_default();
        let said = match told.strip_prefix("n,,n=ann,r=") {
            Some(nonce) => format!("r={nonce}x,s=eA==,i=4096"),
            // What proves another password.
            None => "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".to_owned(),
        };
        answers.insert(36, new().i16(0).i16(-1).bytes(said.as_bytes()).0);
        answers
    })
    .await;
    let given = secrets(&[("username", "ann"), ("password", "larkspur")]);
    let address = broker.address();
    let of = |sasl: &'static str| {
        metadata(&[
            (SERVERS, &address),
            WHERE[1],
            TOPIC,
            ("sasl", sasl),
            ("authenticationRef", "kafka"),
        ])
    };
    let why = ask(&Brokers::default(), &of("scram_sha256"), &given).await;
    let why = why.unwrap_err().to_string();
    assert!(
        why.ends_with("refused: the broker doesn't prove that it knows the password"),
        "{why}"
    );
    // By PLAIN there is nothing to prove.
    let number = ask(&Brokers::default(), &of("plaintext"), &given).await;
    assert_eq!(number.unwrap().milli, 4_000);
}

#[test]
fn what_stands_behind_the_answer_to_a_password_is_not_shown() {
    let said = new().i16(0).i16(-1).bytes(b"").text("larkspur").0;
    let why = messages::read_sasl_authenticate(&said).unwrap_err();
    assert_eq!(
        why.to_string(),
        "the answer is not Kafka's protocol: something stands behind its end"
    );
}
