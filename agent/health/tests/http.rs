//! The listener, asked over real sockets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use starling_health::{CONNECTIONS_MAX, Health, Log, Reading, Source, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Fixed(Reading);

impl Source for Fixed {
    fn read(&self) -> Reading {
        self.0.clone()
    }
}

struct Server {
    health: Health,
    address: SocketAddr,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let health = Health::default();
    let (end, ended) = oneshot::channel();
    let task = tokio::spawn(serve(listener, health.clone(), async {
        let _ = ended.await;
    }));
    Server {
        health,
        address,
        end,
        task,
    }
}

/// Sends `request` as it is, and returns all that comes back.
async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A refused caller may find its connection reset behind the answer.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// Status and body.
async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = raw(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

#[tokio::test]
async fn a_kubelet_sees_an_agent_become_ready_and_end() {
    let server = start().await;
    assert_eq!(get(server.address, "/healthz").await, (200, "ok\n".into()));
    let (status, words) = get(server.address, "/readyz").await;
    assert_eq!(status, 503);
    assert!(
        words.contains("[-] member: ") && words.contains("not ready"),
        "{words}"
    );

    let log = Log {
        id: 4,
        leader: Some(2),
        led: true,
        applied_index: 90,
        committed_index: 92,
        ..Log::default()
    };
    server.health.joined(Fixed(Reading {
        log,
        ..Reading::default()
    }));
    server.health.turned();
    server.health.caught_up();
    assert_eq!(get(server.address, "/readyz").await, (200, "ok\n".into()));
    let (status, words) = get(server.address, "/readyz?verbose").await;
    assert_eq!(status, 200);
    assert!(
        words.contains("[+] log: applied entry 90, 2 behind"),
        "{words}"
    );
    assert!(words.contains("member 2 leads"), "{words}");

    server.health.ending();
    assert_eq!(get(server.address, "/readyz").await.0, 503);
    assert_eq!(get(server.address, "/healthz").await.0, 200);
    drop(server.end);
    server.task.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn prometheus_is_told_which_form_it_gets() {
    let server = start().await;
    let ask =
        |accept: &str| format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n");
    let modern = raw(server.address, &ask("application/openmetrics-text")).await;
    assert!(modern.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(modern.ends_with("# EOF\n"), "{modern}");
    let old = raw(server.address, &ask("text/plain")).await;
    assert!(
        old.contains("content-type: text/plain; version=0.0.4"),
        "{old}"
    );
    assert!(old.contains("\nprocess_resident_memory_bytes "), "{old}");
}

#[tokio::test]
async fn nothing_else_is_there_and_nothing_can_be_changed() {
    let server = start().await;
    let (status, words) = get(server.address, "/loglevel").await;
    assert_eq!(status, 404);
    assert!(words.contains("/readyz"), "{words}");
    for method in ["PUT", "POST", "DELETE"] {
        let request = format!("{method} /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        let answer = raw(server.address, &request).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    }
}

#[tokio::test]
async fn a_request_that_is_too_long_is_refused() {
    let server = start().await;
    let long = "x".repeat(64 << 10);
    let request = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n");
    let answer = raw(server.address, &request).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    let headers: String = "X-Some: y\r\n".repeat(100);
    let answer = raw(
        server.address,
        &format!("GET /healthz HTTP/1.1\r\n{headers}\r\n"),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(get(server.address, "/healthz").await.0, 200);
}

#[tokio::test]
async fn silent_callers_at_the_bound_are_cut_off_and_the_next_one_is_answered() {
    let server = start().await;
    // A caller who had to wait until the silent ones end would be late each time, since they have
    // 5 s; one whom a busy machine delays isn't.
    for _ in 0..3 {
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX * 4 {
            silent.push(TcpStream::connect(server.address).await.unwrap());
        }
        let asked = tokio::time::timeout(Duration::from_secs(4), get(server.address, "/healthz"));
        if let Ok((status, _)) = asked.await {
            assert_eq!(status, 200);
            return;
        }
        eprintln!("tried again: there was no answer within 4 s");
    }
    panic!("never in time");
}
