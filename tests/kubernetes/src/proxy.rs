//! The way from nodes and pods to the API server: a TCP proxy on the nodes' network, that
//! can delay what clients say and break their connections. It sees bytes, not calls, and
//! has a thread of its own, so that a test that blocks doesn't slow it down.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::error::{Result, Trying};

/// What one read takes at most.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks of one connection that are on their way: 1 MiB. A client that says more meanwhile
/// waits, as on a line of that length.
const CHUNKS_MAX: usize = 64;

pub struct Proxy {
    delay_ms: Arc<AtomicU64>,
    /// Counts how often all connections were broken; closed when the proxy ends.
    breaks: Option<watch::Sender<u64>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    pub fn start(listen: SocketAddr, server: SocketAddr) -> Result<Proxy> {
        let listener = std::net::TcpListener::bind(listen)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .trying(|| format!("listen at {listen} for the API server"))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .trying(|| "start the proxy's runtime".into())?;
        let delay_ms = Arc::new(AtomicU64::new(0));
        let (breaks, broken) = watch::channel(0);
        let delay = Arc::clone(&delay_ms);
        let thread = thread::Builder::new()
            .name("api-proxy".into())
            .spawn(move || {
                // Binding has succeeded; a runtime that refuses the socket ends the proxy,
                // and the first node then reports that it has no API server.
                let _ = runtime.block_on(accept(listener, server, delay, broken));
            })
            .trying(|| "start the proxy's thread".into())?;
        Ok(Proxy {
            delay_ms,
            breaks: Some(breaks),
            thread: Some(thread),
        })
    }

    /// From now on everything that clients send arrives so much later.
    pub fn delay(&self, delay: Duration) {
        let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.delay_ms.store(ms, Ordering::Relaxed);
    }

    /// Closes all connections that there are; new ones are taken.
    pub fn break_connections(&self) {
        if let Some(breaks) = &self.breaks {
            breaks.send_modify(|count| *count += 1);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.breaks = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to say when it ends.
            let _ = thread.join();
        }
    }
}

async fn accept(
    listener: std::net::TcpListener,
    server: SocketAddr,
    delay_ms: Arc<AtomicU64>,
    broken: watch::Receiver<u64>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut ended = broken.clone();
    loop {
        let client = tokio::select! {
            accepted = listener.accept() => accepted,
            gone = ended.changed() => match gone {
                Ok(()) => continue,
                Err(_) => return Ok(()),
            },
        };
        // An error is of one connection that was gone before it was taken.
        let Ok((client, _)) = client else { continue };
        let (delay_ms, mut broken) = (Arc::clone(&delay_ms), broken.clone());
        broken.mark_unchanged();
        tokio::spawn(async move {
            tokio::select! {
                // Either side's end, whatever the reason, ends the connection.
                _ = carry(client, server, delay_ms) => {}
                _ = broken.changed() => {}
            }
        });
    }
}

async fn carry(client: TcpStream, server: SocketAddr, delay_ms: Arc<AtomicU64>) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    let (chunks, due) = mpsc::channel(CHUNKS_MAX);
    tokio::try_join!(
        async {
            tokio::io::copy(&mut from_server, &mut to_client).await?;
            to_client.shutdown().await
        },
        async {
            take(&mut from_client, &chunks, &delay_ms).await?;
            drop(chunks);
            Ok(())
        },
        give(due, to_server),
    )?;
    Ok(())
}

type Chunk = (Instant, Vec<u8>);

async fn take(
    from: &mut OwnedReadHalf,
    chunks: &mpsc::Sender<Chunk>,
    delay_ms: &AtomicU64,
) -> io::Result<()> {
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let length = from.read(&mut chunk).await?;
        if length == 0 {
            return Ok(());
        }
        chunk.truncate(length);
        let delay = Duration::from_millis(delay_ms.load(Ordering::Relaxed));
        if chunks.send((Instant::now() + delay, chunk)).await.is_err() {
            return Ok(());
        }
    }
}

async fn give(mut due: mpsc::Receiver<Chunk>, mut to: OwnedWriteHalf) -> io::Result<()> {
    while let Some((when, chunk)) = due.recv().await {
        // Below the clock's resolution sleeping would add a millisecond to each call.
        if when > Instant::now() {
            sleep_until(when).await;
        }
        to.write_all(&chunk).await?;
    }
    to.shutdown().await
}
