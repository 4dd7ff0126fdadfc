//! A connection to a server that doesn't speak HTTP, over TLS where that is asked for.
//!
//! Comes in: where, and whom to trust. Goes out: a stream of bytes. Keeps none.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Reason;
use crate::tls::{self, Trust};

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
        let named = host.chars().all(inside) || bare.is_some();
        let port = port.parse().ok().filter(|port| *port > 0);
        let sound = named && !host.is_empty() && host.len() <= HOST_BYTES_MAX;
        let port = port.filter(|_| sound).ok_or_else(malformed)?;
        Ok(Address {
            host: host.to_owned(),
            port,
        })
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

/// Over TLS where there is somebody to trust.
pub(crate) async fn connect(
    to: &Address,
    trust: Option<&Trust>,
) -> Result<Box<dyn Stream>, Reason> {
    let refused = |error: std::io::Error| Reason::Connection(error.to_string());
    let plain = TcpStream::connect((to.host.as_str(), to.port)).await;
    let plain = plain.map_err(refused)?;
    // Questions are short, and wait for their answer.
    plain.set_nodelay(true).map_err(refused)?;
    let Some(trust) = trust else {
        return Ok(Box::new(plain));
    };
    let config = tls::config(trust).map_err(Reason::Secret)?;
    let name = ServerName::try_from(to.host.clone())
        .map_err(|error| Reason::Misconfigured(error.to_string()))?;
    let secure = TlsConnector::from(Arc::new(config)).connect(name, plain);
    Ok(Box::new(secure.await.map_err(refused)?))
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
