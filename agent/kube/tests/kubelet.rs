//! A kubelet's summary, asked over a real socket of one that answers well, badly or
//! never.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use starling_kube::client::{self, Connection};
use starling_kube::kubelet::{self, SUMMARY_BYTES_MAX, SUMMARY_DEADLINE};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// A kubelet that says `head` and then so many bytes; `None` says nothing at all.
async fn kubelet(
    answers: impl Fn(usize) -> Option<(String, usize)> + Send + 'static,
) -> Connection {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            assert!(head.starts_with("GET /stats/summary "), "{head}");
            let Some((head, length)) = answers(number) else {
                open.push(stream);
                continue;
            };
            // Whoever has read enough hangs up.
            let _ = stream.write_all(head.as_bytes()).await;
            let chunk = Arc::new(vec![b'x'; 64 << 10]);
            tokio::spawn(async move {
                let mut left = length;
                while left > 0 {
                    let part = left.min(chunk.len());
                    if stream.write_all(&chunk[..part]).await.is_err() {
                        return;
                    }
                    left -= part;
                }
            });
        }
    });
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = kube::Config::new(format!("http://{address}").parse().unwrap());
    client::over(config).unwrap()
}

fn status(status: &str, length: usize) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn an_answer_is_given_as_it_is_and_a_refusal_in_words() {
    let whole = kubelet(|_| Some((status("200 OK", 100_000), 100_000))).await;
    assert_eq!(kubelet::ask(&whole).await.unwrap().len(), 100_000);
    let forbidden = kubelet(|_| Some((status("403 Forbidden", 3), 3))).await;
    let why = kubelet::ask(&forbidden).await.unwrap_err();
    assert_eq!(
        why,
        "it answers 403 Forbidden: xxx; the agents need the right to get nodes/stats"
    );
}

#[tokio::test]
async fn a_summary_without_end_is_refused_at_the_bound() {
    let length = SUMMARY_BYTES_MAX + 1;
    let endless = kubelet(move |_| Some((status("200 OK", length), length))).await;
    let why = kubelet::ask(&endless).await.unwrap_err();
    assert_eq!(
        why,
        format!("its summary has more than {SUMMARY_BYTES_MAX} bytes")
    );
}

#[tokio::test]
async fn a_kubelet_that_hangs_is_given_up_and_asked_again() {
    // The first question is never answered, and the second one stops half-way.
    let answers = |number| match number {
        0 => None,
        1 => Some((status("200 OK", 10), 5)),
        _ => Some((status("200 OK", 10), 10)),
    };
    let connection = kubelet(answers).await;
    let (heard, mut answers) = mpsc::unbounded_channel();
    let began = Instant::now();
    let every = Duration::from_millis(10);
    let follows = tokio::spawn(async move {
        kubelet::follow(&connection, every, |answer| {
            let _ = heard.send(answer);
        })
        .await;
    });
    let late = answers.recv().await.unwrap();
    assert_eq!(late, Err("no answer within 4 s".to_owned()));
    let took = began.elapsed();
    assert!(
        took >= SUMMARY_DEADLINE && took < 3 * SUMMARY_DEADLINE,
        "{took:?}"
    );
    let broken = answers.recv().await.unwrap().unwrap_err();
    assert!(broken.starts_with("its answer broke off"), "{broken}");
    assert_eq!(answers.recv().await.unwrap().unwrap().len(), 10);
    follows.abort();
}
