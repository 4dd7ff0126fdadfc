//! Servers for `metrics-api` triggers, which note when each path was asked for.
//!
//! A path is a number. One server answers all of its paths with nothing to do; others take
//! connections and questions, and never answer.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// A connection that sends more is given up.
const SENT_BYTES_MAX: u64 = 64 << 10;

/// By path, when it was asked for; the earliest first.
pub type Times = Vec<Vec<Instant>>;

/// Times that a server adds to.
#[derive(Debug, Clone)]
struct Heard(Arc<Mutex<Times>>);

impl Heard {
    fn of(paths: usize) -> Heard {
        Heard(Arc::new(Mutex::new(vec![Vec::new(); paths])))
    }

    fn lock(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False where there is no such path.
    fn hear(&self, path: usize) -> bool {
        let mut times = self.lock();
        let known = times.get_mut(path);
        // Under the lock, so that they stay in order.
        known.map(|times| times.push(Instant::now())).is_some()
    }
}

/// Answers each question with `{"waiting": 0}`. Dropping it stops that.
#[derive(Debug)]
pub struct Answering {
    address: SocketAddr,
    heard: Heard,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Answering {
    pub async fn start(paths: usize) -> std::io::Result<Answering> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let heard = Heard::of(paths);
        let connections = Arc::new(AtomicUsize::new(0));
        let router = Router::new().route("/{path}", get(answer));
        let router = router.with_state(heard.clone());
        let counted = connections.clone();
        let task = tokio::spawn(async move {
            let listener = listener.tap_io(move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
            });
            // Ends with the task; a listener on loopback doesn't fail.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Answering {
            address,
            heard,
            connections,
            task,
        })
    }

    pub fn url(&self, path: usize) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub fn times(&self) -> Times {
        self.heard.lock().clone()
    }

    pub fn paths(&self) -> usize {
        self.heard.lock().len()
    }

    /// Paths that have been asked for.
    pub fn asked(&self) -> usize {
        let times = self.heard.lock();
        times.iter().filter(|times| !times.is_empty()).count()
    }

    /// Taken so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State(heard): State<Heard>,
    Path(path): Path<usize>,
) -> Result<Json<Value>, StatusCode> {
    if !heard.hear(path) {
        return Err(StatusCode::NOT_FOUND);
    }
    Ok(Json(json!({ "waiting": 0 })))
}

/// Servers that take questions and never answer, each for its share of the paths.
/// Dropping them closes their connections.
#[derive(Debug)]
pub struct Hanging {
    addresses: Vec<SocketAddr>,
    heard: Heard,
    _tasks: JoinSet<()>,
}

impl Hanging {
    pub async fn start(paths: usize, servers: usize) -> std::io::Result<Hanging> {
        let heard = Heard::of(paths);
        let (mut addresses, mut tasks) = (Vec::new(), JoinSet::new());
        for _ in 0..servers {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            addresses.push(listener.local_addr()?);
            tasks.spawn(take(listener, heard.clone()));
        }
        Ok(Hanging {
            addresses,
            heard,
            _tasks: tasks,
        })
    }

    pub fn servers(&self) -> usize {
        self.addresses.len()
    }

    pub fn url(&self, path: usize) -> String {
        let server = self.addresses[path % self.addresses.len()];
        format!("http://{server}/{path}")
    }

    pub fn times(&self) -> Times {
        self.heard.lock().clone()
    }

    /// Servers that have been asked.
    pub fn servers_asked(&self) -> usize {
        let times = self.heard.lock();
        let servers = self.addresses.len();
        let of = |server| times.iter().skip(server).step_by(servers);
        let heard = |server: &usize| of(*server).any(|times| !times.is_empty());
        (0..servers).filter(heard).count()
    }
}

async fn take(listener: TcpListener, heard: Heard) {
    let mut held = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        held.spawn(hang(stream, heard.clone()));
        // Those whose other end has been closed.
        while held.try_join_next().is_some() {}
    }
}

/// Until the other end closes the connection.
async fn hang(stream: impl AsyncRead + Unpin, heard: Heard) {
    let mut lines = BufReader::new(stream.take(SENT_BYTES_MAX)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(path) = path(&line) {
            heard.hear(path);
        }
    }
}

/// Of a question's first line.
fn path(line: &str) -> Option<usize> {
    let (path, _) = line.strip_prefix("GET /")?.split_once(' ')?;
    path.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpStream;

    use super::*;

    /// Asks, and gives back the connection.
    async fn ask(url: &str) -> TcpStream {
        let (address, path) = url
            .strip_prefix("http://")
            .and_then(|rest| rest.split_once('/'))
            .unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let question = format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(question.as_bytes()).await.unwrap();
        stream
    }

    #[tokio::test]
    async fn one_answers_and_notes_what_it_was_asked() {
        let server = Answering::start(2).await.unwrap();
        let mut answer = [0; 12];
        for _ in 0..2 {
            let mut stream = ask(&server.url(1)).await;
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
        }
        let mut stream = ask(&server.url(2)).await;
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 404");
        let times = server.times();
        assert_eq!((times[0].len(), times[1].len(), times.len()), (0, 2, 2));
        assert!(times[1][0] < times[1][1]);
        assert_eq!((server.asked(), server.connections()), (1, 3));
    }

    #[tokio::test]
    async fn others_note_what_they_were_asked_and_say_nothing() {
        let servers = Hanging::start(5, 2).await.unwrap();
        let mut streams = Vec::new();
        for path in [0, 4, 4] {
            streams.push(ask(&servers.url(path)).await);
        }
        while servers.times().iter().flatten().count() < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let counts: Vec<usize> = servers.times().iter().map(Vec::len).collect();
        assert_eq!(counts, [1, 0, 0, 0, 2]);
        assert_eq!((servers.servers_asked(), servers.servers()), (1, 2));
        let read = streams[0].read_u8();
        let read = tokio::time::timeout(Duration::from_millis(50), read).await;
        assert!(read.is_err(), "it says something: {read:?}");
    }
}
