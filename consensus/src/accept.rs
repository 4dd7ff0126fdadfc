//! A listener that holds only so many connections at once, for peers here and
//! for users in the agent's API.
//!
//! Whoever comes later waits in the kernel's queue until one ends; strangers
//! are turned out by the handshake's deadline. A failed accept is tried again.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::Stream;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// A pause after a failed accept, which is mostly a lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepted connections, at most `connections_max` of them open at a time.
pub fn connections(
    listener: TcpListener,
    connections_max: usize,
) -> impl Stream<Item = io::Result<Connection>> {
    let slots = Arc::new(Semaphore::new(connections_max));
    let (sender, accepted) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        // The slots are never closed.
        while let Ok(slot) = slots.clone().acquire_owned().await {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = sender.closed() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // No descriptors, or the caller has gone already.
                    tracing::warn!(%error, "a connection was not accepted; trying again");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            // Without it small answers wait for the acknowledgement of earlier
            // ones. It fails where the caller has gone, which shows soon enough.
            let _ = stream.set_nodelay(true);
            let connection = Connection {
                stream,
                _slot: slot,
            };
            if sender.send(Ok(connection)).await.is_err() {
                return;
            }
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(accepted)
}

/// A connection and its place among those allowed.
pub struct Connection {
    stream: TcpStream,
    _slot: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt as _;

    #[tokio::test]
    async fn one_more_connection_waits_until_another_one_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accepted = Box::pin(connections(listener, 2));
        let mut callers = Vec::new();
        for _ in 0..3 {
            callers.push(TcpStream::connect(address).await.unwrap());
        }
        let first = accepted.next().await.unwrap().unwrap();
        let second = accepted.next().await.unwrap().unwrap();
        let third = accepted.next();
        tokio::pin!(third);
        let early = tokio::time::timeout(Duration::from_millis(200), &mut third).await;
        assert!(early.is_err(), "a third connection was accepted");
        drop(first);
        assert!(third.await.unwrap().is_ok());
        drop(second);
    }
}
