//! A listener that holds only so many TLS connections at once, for peers here
//! and for users in the agent's API.
//!
//! Whoever comes later waits in the kernel's queue until one ends; strangers
//! are turned out by the handshake, or by its deadline. Each handshake is by the
//! newest certificate. A failed accept is tried again.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::tls::{Callers, Credentials};

/// A pause after a failed accept, which is mostly a lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// Who takes longer to prove itself is cut off.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Where callers may show nothing, more of such connections are turned away, so
/// that strangers can't take all places.
const STRANGERS_MAX: usize = 32;
/// Such a connection ends after this long, whatever it does.
const STRANGER_STAYS: Duration = Duration::from_secs(15);

/// Accepted connections whose handshake is done, at most `connections_max` of
/// them open at a time, handshakes included.
pub fn connections(
    listener: TcpListener,
    connections_max: usize,
    credentials: Credentials,
    callers: Callers,
) -> impl Stream<Item = io::Result<TlsStream<Connection>>> {
    let slots = Arc::new(Semaphore::new(connections_max));
    let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
    let (sender, accepted) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        // The slots are never closed.
        while let Ok(slot) = slots.clone().acquire_owned().await {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = sender.closed() => return,
            };
            let (stream, caller) = match accepted {
                Ok(accepted) => accepted,
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
                stranger: None,
            };
            let handshake = TlsAcceptor::from(credentials.server(callers)).accept(connection);
            let (sender, strangers) = (sender.clone(), strangers.clone());
            tokio::spawn(async move {
                match tokio::time::timeout(HANDSHAKE, handshake).await {
                    Ok(Ok(mut stream)) => {
                        if stream.get_ref().1.peer_certificates().is_none() {
                            let Ok(slot) = strangers.try_acquire_owned() else {
                                tracing::debug!(%caller, "too many callers without a certificate");
                                return;
                            };
                            stream.get_mut().0.stranger = Some(Stranger {
                                _slot: slot,
                                until: Box::pin(tokio::time::sleep(STRANGER_STAYS)),
                            });
                        }
                        // Refused where the server has ended meanwhile.
                        drop(sender.send(Ok(stream)).await);
                    }
                    Ok(Err(why)) => tracing::debug!(%caller, %why, "a caller was turned away"),
                    Err(_) => tracing::debug!(%caller, "a caller didn't prove itself in time"),
                }
            });
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(accepted)
}

/// A connection and its place among those allowed.
pub struct Connection {
    stream: TcpStream,
    _slot: OwnedSemaphorePermit,
    stranger: Option<Stranger>,
}

/// What a caller without a certificate is allowed.
struct Stranger {
    _slot: OwnedSemaphorePermit,
    until: Pin<Box<tokio::time::Sleep>>,
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
        if let Some(stranger) = &mut self.stranger
            && stranger.until.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
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
