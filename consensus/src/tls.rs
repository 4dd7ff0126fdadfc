//! TLS by certificates that are replaced while the agent runs.
//!
//! Comes in: PEM texts, at the start and whenever they have been renewed. Goes
//! out: for each new connection, at either end, settings made of the newest ones.
//! A connection that is open goes on with what it began with, until one of its two
//! certificates ends ([`crate::accept`]). TLS 1.3 and nothing older. Never reads a file.

mod validity;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::Service;
use tonic::transport::Uri;

use crate::net::PEER_NAME;
use crate::{Error, Tls};

pub use validity::{Validities, Validity, now_s};

/// All that is spoken, at either end.
const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// Agents speak nothing but HTTP/2.
const ALPN: &[u8] = b"h2";

/// What a listener asks of its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callers {
    /// A certificate of the cluster's authority.
    Certified,
    /// One of the cluster's authority, or none: whoever answers must look.
    Anyone,
}

/// This agent's certificate and key, and the authority that it believes, as they
/// are now. Clones share them.
#[derive(Clone)]
pub struct Credentials {
    now: Arc<RwLock<Arc<Settings>>>,
}

struct Settings {
    validities: Validities,
    certified: Arc<ServerConfig>,
    anyone: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// The key stays out of logs.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    pub fn new(tls: &Tls) -> Result<Credentials, Error> {
        let now = Arc::new(RwLock::new(Arc::new(Settings::new(tls)?)));
        Ok(Credentials { now })
    }

    /// From here on new connections use `tls`. Where that can't be used, all
    /// stays as it was.
    pub fn replace(&self, tls: &Tls) -> Result<(), Error> {
        let settings = Arc::new(Settings::new(tls)?);
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = settings;
        Ok(())
    }

    /// For the next connection that is accepted.
    pub fn server(&self, callers: Callers) -> Arc<ServerConfig> {
        self.serving(callers).0
    }

    /// The same, and how long what it shows is good.
    pub(crate) fn serving(&self, callers: Callers) -> (Arc<ServerConfig>, Validity) {
        let settings = self.settings();
        let config = match callers {
            Callers::Certified => settings.certified.clone(),
            Callers::Anyone => settings.anyone.clone(),
        };
        (config, settings.validities.certificate)
    }

    /// How long the newest certificate is good, and the authority that it believes.
    pub fn validities(&self) -> Validities {
        self.settings().validities
    }

    /// Connects to other agents, and takes nothing else for one.
    pub fn connector(&self) -> Connector {
        Connector {
            shown: Shown::Credentials(self.clone()),
        }
    }

    fn settings(&self) -> Arc<Settings> {
        self.now
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Settings {
    fn new(tls: &Tls) -> Result<Settings, Error> {
        let provider = provider();
        let authorities = certificates("the authority", &tls.ca)?;
        let roots = roots(&authorities)?;
        let chain = certificates("the certificate", &tls.certificate)?;
        let validities = validities(&chain, &authorities)?;
        let key = PrivateKeyDer::from_pem_slice(tls.key.as_bytes())
            .map_err(|e| Error::Tls(format!("the key isn't one in PEM ({e})")))?;
        let verifier =
            || WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
        let verifier_failed = |e: rustls::server::VerifierBuilderError| Error::Tls(e.to_string());
        let server = |verifier| {
            let mut config = ServerConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(VERSIONS)?
                .with_client_cert_verifier(verifier)
                .with_single_cert(chain.clone(), key.clone_key())?;
            config.alpn_protocols = vec![ALPN.to_vec()];
            // Whoever takes a former session up again isn't asked for its certificate, and may
            // come with one that has expired since. Connections are few and last.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            Ok::<_, Error>(Arc::new(config))
        };
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(VERSIONS)?
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(chain.clone(), key.clone_key())?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        Ok(Settings {
            validities,
            certified: server(verifier().build().map_err(verifier_failed)?)?,
            anyone: server(
                verifier()
                    .allow_unauthenticated()
                    .build()
                    .map_err(verifier_failed)?,
            )?,
            client: Arc::new(client),
        })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl From<rustls::Error> for Error {
    fn from(error: rustls::Error) -> Error {
        Error::Tls(error.to_string())
    }
}

fn certificates(what: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| Error::Tls(format!("{what} isn't PEM ({e})")))?;
    if all.is_empty() {
        return Err(Error::Tls(format!("{what} isn't one in PEM")));
    }
    Ok(all)
}

fn roots(authorities: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities {
        roots.add(certificate.clone())?;
    }
    Ok(Arc::new(roots))
}

fn validities(
    chain: &[CertificateDer<'_>],
    authorities: &[CertificateDer<'_>],
) -> Result<Validities, Error> {
    let unreadable = || Error::Tls("a certificate isn't one of X.509".into());
    let certificate = chain.first().and_then(Validity::of_der);
    let authority = authorities.iter().filter_map(Validity::of_der);
    Ok(Validities {
        certificate: certificate.ok_or_else(unreadable)?,
        authority: authority
            .min_by_key(|it| it.until_s)
            .ok_or_else(unreadable)?,
    })
}

/// Opens connections to agents at `http://HOST:PORT`: whatever the scheme says,
/// they are TLS, and who answers must show a certificate for `peer.starling`.
#[derive(Clone)]
pub struct Connector {
    shown: Shown,
}

/// What a connector shows of itself.
#[derive(Clone)]
enum Shown {
    Credentials(Credentials),
    Nothing(Arc<ClientConfig>),
}

impl Connector {
    /// For who has no certificate yet: believes the authority `ca` (PEM) and
    /// shows nothing.
    pub fn anonymous(ca: &str) -> Result<Connector, Error> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)?
            .with_root_certificates(roots(&certificates("the authority", ca)?)?)
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Connector {
            shown: Shown::Nothing(Arc::new(config)),
        })
    }

    fn config(&self) -> Arc<ClientConfig> {
        match &self.shown {
            Shown::Credentials(credentials) => credentials.settings().client.clone(),
            Shown::Nothing(config) => config.clone(),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let config = self.config();
        Box::pin(async move {
            let address = uri.authority().map_or("", |authority| authority.as_str());
            let stream = TcpStream::connect(address).await?;
            // Without it small messages wait for the acknowledgement of earlier ones.
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(PEER_NAME).map_err(io::Error::other)?;
            let stream = TlsConnector::from(config).connect(name, stream).await?;
            if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
                return Err(io::Error::other("who answers doesn't speak HTTP/2"));
            }
            Ok(TokioIo::new(stream))
        })
    }
}
