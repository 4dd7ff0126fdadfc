//! The watch over targets breaks off by a defect: a leader hears that nothing stands
//! behind what it last saw, and soon there is another one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use starling_agent::platform::Platform;
use starling_kube::client::{Source, connect};
use starling_kube::targets::Event;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber};

const PATIENCE: Duration = Duration::from_secs(30);

/// A log that panics at the first line with each of these words: within the task that
/// writes it, as any defect there would.
struct Fragile {
    words: Mutex<BTreeSet<&'static str>>,
}

impl Subscriber for Fragile {
    fn enabled(&self, line: &Metadata<'_>) -> bool {
        *line.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        println!("{}", line.0);
        let found = {
            let mut words = self.words.lock().unwrap();
            let found = words.iter().find(|it| line.0.contains(*it)).copied();
            found.is_some_and(|found| words.remove(found))
        };
        assert!(!found, "a defect");
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

/// An API server that knows nothing, and answers all the same.
async fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 4_096];
                while stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                    let nothing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
                    if stream.write_all(nothing).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address.to_string()
}

#[tokio::test]
async fn a_watch_over_targets_that_breaks_off_is_told_at_once_and_begins_anew() {
    let words = BTreeSet::from([
        // One of its own tasks breaks off, and then it does itself.
        "the API server answers",
        "a task that follows targets has failed",
    ]);
    let log = Fragile {
        words: Mutex::new(words),
    };
    tracing::subscriber::set_global_default(log).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kubeconfig");
    let server = server().await;
    let config = format!(
        r#"{{"clusters": [{{"name": "c", "cluster": {{"server": "http://{server}"}}}}],
            "users": [{{"name": "u", "user": {{}}}}],
            "contexts": [{{"name": "x", "context": {{"cluster": "c", "user": "u"}}}}],
            "current-context": "x"}}"#
    );
    std::fs::write(&file, config).unwrap();
    let source = Source::Kubeconfig {
        file: Some(file),
        context: None,
    };
    let connection = connect(&source).await.unwrap();
    let (_platform, mut events) = Platform::start(&connection, "a");
    for expected in [false, true] {
        let told = tokio::time::timeout(PATIENCE, events.recv()).await;
        assert_eq!(told.unwrap(), Some(Event::Platform(expected)));
    }
}
