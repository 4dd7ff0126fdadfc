//! A connection to a server that doesn't speak HTTP, over TLS where that is asked for.
//!
//! Comes in: where, and whom to trust. Goes out: a stream of bytes that breaks off where an
//! answer is too long. Keeps none.

use std::io;
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Reason;
use crate::http::BODY_BYTES_MAX;
use crate::reach;
use crate::tls::{self, Trust};

/// A longer answer ends its connection: as much as over HTTP.
pub(crate) const ANSWER_BYTES_MAX: usize = BODY_BYTES_MAX;
/// So long nothing may come before a server is asked whether it is still there.
const ALIVE: Duration = Duration::from_secs(20);
/// And so often, before it counts as gone.
const ALIVE_TRIES: u32 = 3;
/// Of a host's name, as DNS has it.
const HOST_BYTES_MAX: usize = 253;

/// What goes to a server, and what comes from it.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A server's address, without a scheme.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    /// A name, or an IP address without brackets.
    pub host: String,
    pub port: u16,
}

impl Address {
    /// `HOST:PORT`; an IPv6 address stands in brackets.
    pub(crate) fn parse(text: &str) -> Result<Address, String> {
        let malformed = || {
            let shown = crate::settings::shown(text);
            format!("`{shown}` is not an address; write HOST:PORT")
        };
        if text.contains('@') || text.contains("://") {
            return Err(
                "must be HOST:PORT alone: a user and a password belong into what an \
                        `authenticationRef` names"
                    .to_owned(),
            );
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(malformed)?;
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let named = match bare {
            Some(bare) => bare.parse::<Ipv6Addr>().is_ok(),
            None => host.chars().all(inside),
        };
        let port = port.parse().ok().filter(|port| *port > 0);
        let sound = named && !host.is_empty() && host.len() <= HOST_BYTES_MAX;
        let port = port.filter(|_| sound).ok_or_else(malformed)?;
        Ok(Address {
            host: host.to_owned(),
            port,
        })
    }

    /// Of both apart; an IPv6 address has no brackets there.
    pub(crate) fn of(host: &str, port: &str) -> Result<Address, String> {
        if host.contains(':') {
            Address::parse(&format!("[{host}]:{port}"))
        } else {
            Address::parse(&format!("{host}:{port}"))
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How much may still come over a connection.
#[derive(Debug, Clone)]
pub(crate) struct Meter(Arc<AtomicUsize>);

/// That more came than may.
const BROKEN_OFF: usize = usize::MAX;

impl Meter {
    fn new() -> Meter {
        Meter(Arc::new(AtomicUsize::new(ANSWER_BYTES_MAX)))
    }

    /// Before each question.
    pub(crate) fn refill(&self) {
        self.0.store(ANSWER_BYTES_MAX, Ordering::Relaxed);
    }

    /// Why a connection ended, where it is this.
    pub(crate) fn judge<T>(&self, answer: Result<T, Reason>) -> Result<T, Reason> {
        answer.map_err(|why| self.why(why))
    }

    pub(crate) fn why(&self, said: Reason) -> Reason {
        let broken_off = self.0.load(Ordering::Relaxed) == BROKEN_OFF;
        match said {
            Reason::Connection(_) if broken_off => Reason::TooLong,
            said => said,
        }
    }
}

/// Breaks off once more has come than its meter allows.
pub(crate) struct Metered<S> {
    stream: S,
    meter: Meter,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let came = buffer.filled().len() - before;
        let left = self.meter.0.load(Ordering::Relaxed);
        let Some(left) = left.checked_sub(came).filter(|_| left != BROKEN_OFF) else {
            self.meter.0.store(BROKEN_OFF, Ordering::Relaxed);
            return Poll::Ready(Err(io::Error::other("the answer is too long")));
        };
        self.meter.0.store(left, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// In the clear, and no more of an answer than the meter allows.
pub(crate) async fn plain(to: &Address) -> Result<(Metered<TcpStream>, Meter), Reason> {
    let refused = |error: io::Error| Reason::Connection(error.to_string());
    let addresses = reach::addresses(&to.host, to.port).await.map_err(refused)?;
    let stream = TcpStream::connect(&addresses[..]).await.map_err(refused)?;
    // Questions are short, and wait for their answer.
    stream.set_nodelay(true).map_err(refused)?;
    // Where one only listens nothing else tells that nobody is there any more.
    let alive = TcpKeepalive::new().with_time(ALIVE);
    let alive = alive.with_interval(ALIVE).with_retries(ALIVE_TRIES);
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&alive).map_err(refused)?;
    let meter = Meter::new();
    let stream = Metered {
        stream,
        meter: meter.clone(),
    };
    Ok((stream, meter))
}

/// Over TLS where there is somebody to trust.
pub(crate) async fn connect(
    to: &Address,
    trust: Option<&Trust>,
) -> Result<(Box<dyn Stream>, Meter), Reason> {
    connect_for(to, trust, None).await
}

/// The same for a protocol whose servers want to hear of it while TLS is agreed on.
pub(crate) async fn connect_for(
    to: &Address,
    trust: Option<&Trust>,
    protocol: Option<&str>,
) -> Result<(Box<dyn Stream>, Meter), Reason> {
    let (plain, meter) = plain(to).await?;
    let Some(trust) = trust else {
        return Ok((Box::new(plain), meter));
    };
    Ok((secure(Box::new(plain), to, trust, protocol).await?, meter))
}

/// Over TLS from here on.
pub(crate) async fn secure(
    plain: Box<dyn Stream>,
    to: &Address,
    trust: &Trust,
    protocol: Option<&str>,
) -> Result<Box<dyn Stream>, Reason> {
    let mut config = tls::config(trust).map_err(Reason::Secret)?;
    config.alpn_protocols = protocol.map(Into::into).into_iter().collect();
    let name = ServerName::try_from(to.host.clone())
        .map_err(|error| Reason::Misconfigured(error.to_string()))?;
    let secure = TlsConnector::from(Arc::new(config)).connect(name, plain);
    let secure = secure
        .await
        .map_err(|error| Reason::Connection(error.to_string()))?;
    Ok(Box::new(secure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, host, port) in [
            ("redis.shop:6379", "redis.shop", 6379),
            ("10.0.0.1:1", "10.0.0.1", 1),
            ("[::1]:65535", "::1", 65_535),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.to_string(), text);
        }
        for text in [
            "redis",
            "redis:",
            "redis:0",
            "redis:65536",
            ":1",
            "::1:1",
            "a b:1",
            "a/b:1",
            "[a]:1",
        ] {
            let why = Address::parse(text).unwrap_err();
            assert!(
                why.ends_with("is not an address; write HOST:PORT"),
                "{text}: {why}"
            );
        }
        for text in ["redis://h:1", "ann:secret@h:1"] {
            let why = Address::parse(text).unwrap_err();
            assert!(
                why.contains("must be HOST:PORT alone") && !why.contains("secret"),
                "{why}"
            );
        }
    }
}
