//! Why an agent cut a connection: a handshake that sends nothing after it.
//!
//! In TLS 1.3 a server refuses a client's certificate when the client has begun
//! to send already, and the refusal may be lost with the connection. Here
//! nothing is sent, so nothing is lost.

use std::io::{self, Read as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use starling_keys::PEER;

/// A server that doesn't refuse says nothing; this is how long that is waited for.
const SILENCE: Duration = Duration::from_millis(500);

/// A user's PEM texts.
#[derive(Clone)]
pub struct Credentials {
    pub ca: String,
    pub certificate: String,
    pub key: String,
}

/// Shakes hands with the agent at `address` and gives the error that ends it;
/// `Ok` where the agent accepts the certificate. Blocks for at most a few waits of
/// [`SILENCE`].
pub fn shake(address: &str, credentials: &Credentials) -> io::Result<()> {
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(credentials.ca.as_bytes()) {
        roots
            .add(ca.map_err(io::Error::other)?)
            .map_err(io::Error::other)?;
    }
    let chain = CertificateDer::pem_slice_iter(credentials.certificate.as_bytes());
    let chain: Result<Vec<_>, _> = chain.collect();
    let key = PrivateKeyDer::from_pem_slice(credentials.key.as_bytes());
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            chain.map_err(io::Error::other)?,
            key.map_err(io::Error::other)?,
        )
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(PEER).map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut addresses = address.to_socket_addrs()?;
    let address = addresses
        .next()
        .ok_or_else(|| io::Error::other("the name has no address"))?;
    let socket = TcpStream::connect_timeout(&address, SILENCE)?;
    socket.set_read_timeout(Some(SILENCE))?;
    socket.set_write_timeout(Some(SILENCE))?;
    match StreamOwned::new(connection, socket).read(&mut [0; 1]) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}
