//! A listener that holds only so many TLS connections at once, for peers here
//! and for users in the agent's API.
//!
//! Comes in: a listener. Goes out: connections whose handshake is done, each by the
//! newest certificate. Everybody is accepted at once, so that nobody waits behind those
//! who don't get on: strangers are turned out by their handshake, by its deadline, or
//! by whoever comes after them ([`doors`]). A connection ends with the first of its two
//! certificates. A failed accept is tried again.

mod doors;

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::net::PEER_NAME;
use crate::net::identity::is_for;
use crate::tls::{Callers, Credentials, Validity, now_s};
use doors::{Caller, Doors, Place};

/// Connections that the kernel keeps until they are accepted. Where they are more it lets
/// callers try again after 1, 2, 4 and more seconds, and the 128 that the standard library
/// asks for a crowd fills between two looks.
const BACKLOG: std::ffi::c_int = 4_096;
/// A pause after a failed accept, which is mostly a lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// Who takes longer to prove itself is cut off.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// So is who has proved itself and then says nothing for so long.
const FIRST_WORD: Duration = Duration::from_secs(10);
/// Where callers may show nothing, more of such connections are turned away, so
/// that strangers can't take all places.
const STRANGERS_MAX: usize = 32;
/// Such a connection ends after this long, whatever it does.
const STRANGER_STAYS: Duration = Duration::from_secs(15);

/// How often an open connection looks whether its certificates are still good, at least.
const LOOK_EVERY: Duration = Duration::from_hours(1);

/// Accepted connections whose handshake is done, at most `connections_max` of
/// them open at a time. More are turned away, those that aren't members' first.
pub fn connections(
    listener: TcpListener,
    connections_max: usize,
    credentials: Credentials,
    callers: Callers,
) -> impl Stream<Item = io::Result<TlsStream<Connection>>> {
    let doors = Doors::new(connections_max);
    let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
    if let Err(why) = socket2::SockRef::from(&listener).listen(BACKLOG) {
        tracing::warn!(%why, "fewer callers than wanted can wait for being accepted");
    }
    let (sender, accepted) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = sender.closed() => return,
            };
            let (stream, caller) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // No descriptors, or the caller has gone already.
                    tracing::warn!(%error, "a connection was not accepted; trying again");
                    doors.make_room();
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            // Without it small answers wait for the acknowledgement of earlier
            // ones. It fails where the caller has gone, which shows soon enough.
            let _ = stream.set_nodelay(true);
            let mut shaking = doors.enter(caller.ip());
            let connection = Connection {
                stream,
                spoke: Some(shaking.spoke()),
                place: None,
                silent: None,
                stranger: None,
                papers: None,
            };
            let (config, own) = credentials.serving(callers);
            let handshake = TlsAcceptor::from(config).accept(connection);
            let (sender, strangers) = (sender.clone(), strangers.clone());
            tokio::spawn(async move {
                let shaken = tokio::select! {
                    shaken = tokio::time::timeout(HANDSHAKE, handshake) => shaken,
                    () = shaking.cut_off() => {
                        return tracing::debug!(%caller, "a caller was cut off for later ones");
                    }
                };
                let mut stream = match shaken {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(why)) => {
                        return tracing::debug!(%caller, %why, "a caller was turned away");
                    }
                    Err(_) => {
                        return tracing::debug!(%caller, "a caller didn't prove itself in time");
                    }
                };
                let shown = stream.get_ref().1.peer_certificates();
                let (nothing, role) = (shown.is_none(), role(shown));
                let theirs = shown.and_then(|all| Validity::of_der(all.first()?));
                let until_s = theirs.map_or(own.until_s, |it| it.until_s.min(own.until_s));
                let Some(place) = shaking.admit(role) else {
                    return tracing::debug!(%caller, "too many connections are open");
                };
                let (connection, _) = stream.get_mut();
                connection.place = Some(place);
                connection.silent = Some(Box::pin(tokio::time::sleep(FIRST_WORD)));
                connection.papers = Some(Papers::until(until_s));
                if nothing {
                    let Ok(slot) = strangers.try_acquire_owned() else {
                        return tracing::debug!(%caller, "too many callers without a certificate");
                    };
                    connection.stranger = Some(Stranger {
                        _slot: slot,
                        until: Box::pin(tokio::time::sleep(STRANGER_STAYS)),
                    });
                }
                // Refused where the server has ended meanwhile.
                drop(sender.send(Ok(stream)).await);
            });
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(accepted)
}

/// What the handshake has shown; the authority has signed users' certificates too.
fn role(shown: Option<&[CertificateDer<'_>]>) -> Caller {
    let first = shown.and_then(|all| all.first());
    if first.is_some_and(|certificate| is_for(certificate, PEER_NAME)) {
        Caller::Member
    } else {
        Caller::Other
    }
}

/// A connection and its place among those allowed.
pub struct Connection {
    stream: TcpStream,
    /// Until something has been read.
    spoke: Option<Arc<AtomicBool>>,
    /// From the end of the handshake on.
    place: Option<Place>,
    /// From then on until the first word.
    silent: Option<Pin<Box<tokio::time::Sleep>>>,
    stranger: Option<Stranger>,
    /// From the end of the handshake on.
    papers: Option<Papers>,
}

/// When the first of a connection's two certificates ends: what was proved by them holds
/// no longer, and whoever didn't renew shall learn of it then and not at the next restart.
struct Papers {
    until_s: u64,
    /// The machine's clock is looked at then: it may have been set.
    look: Pin<Box<tokio::time::Sleep>>,
}

impl Papers {
    fn until(until_s: u64) -> Papers {
        let wait = Papers::wait(until_s);
        Papers {
            until_s,
            look: Box::pin(tokio::time::sleep(wait)),
        }
    }

    fn wait(until_s: u64) -> Duration {
        // The last second still counts.
        let left = Duration::from_secs((until_s + 1).saturating_sub(now_s()));
        left.min(LOOK_EVERY)
    }

    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.look.as_mut().poll(context).is_ready() {
            if now_s() > self.until_s {
                return Poll::Ready(());
            }
            let wait = Papers::wait(self.until_s);
            self.look.as_mut().reset(tokio::time::Instant::now() + wait);
        }
        Poll::Pending
    }
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
        if let Some(papers) = &mut self.papers
            && papers.poll_ended(context).is_ready()
        {
            tracing::warn!("a connection has ended with its certificate; see who didn't renew");
            let words = "a certificate of this connection has expired";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, words)));
        }
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready()
            && let Some(spoke) = self.spoke.take()
        {
            spoke.store(true, Ordering::Relaxed);
        }
        match &read {
            Poll::Ready(_) if self.place.is_some() => self.silent = None,
            Poll::Pending => {
                if let Some(silent) = &mut self.silent
                    && silent.as_mut().poll(context).is_ready()
                {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
            Poll::Ready(_) => {}
        }
        read
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
