//! Whom a connection over TLS trusts, and by what it shows who asks.
//!
//! Comes in: PEM texts as KEDA's parameters `ca`, `cert` and `key` hold them, or others of
//! the same meaning. Goes out: rustls' settings. Nothing of a key is ever told.

use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::Reason;
use crate::secrets::Secrets;

/// One set of certificates.
#[derive(Default, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Trust {
    /// In place of this machine's authorities.
    pub ca: Option<String>,
    pub cert: Option<String>,
    pub key: Option<String>,
    /// Believe whoever answers: KEDA's `unsafeSsl`.
    pub anyone: bool,
    /// Whose certificate it must be, where the address doesn't say so.
    pub name: Option<String>,
    /// Which parameters hold them.
    pub parameters: Parameters,
}

/// What a kind of source calls its certificates.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Parameters {
    pub ca: &'static str,
    pub cert: &'static str,
    pub key: &'static str,
}

/// KEDA's for most kinds.
impl Default for Parameters {
    fn default() -> Parameters {
        Parameters {
            ca: "ca",
            cert: "cert",
            key: "key",
        }
    }
}

impl Trust {
    /// As the parameters `ca`, `cert` and `key` of a trigger's authentication say.
    pub(crate) fn of(secrets: &Secrets, anyone: bool) -> Trust {
        Trust::by(Parameters::default(), secrets, anyone)
    }

    pub(crate) fn by(parameters: Parameters, secrets: &Secrets, anyone: bool) -> Trust {
        let own = |parameter: &str| secrets.get(parameter).map(str::to_owned);
        Trust {
            ca: own(parameters.ca),
            cert: own(parameters.cert),
            key: own(parameters.key),
            anyone,
            name: None,
            parameters,
        }
    }
}

/// Whether a server is to be asked over TLS: as `asked` of the trigger's settings, or the
/// parameter `tls` of its authentication says. Never in the clear because of a word that
/// isn't known. `setting` is what the trigger says it by.
pub(crate) fn is_wanted(secrets: &Secrets, asked: bool, setting: &str) -> Result<bool, Reason> {
    match secrets.get("tls") {
        None => Ok(asked),
        Some("enable") => Ok(true),
        Some("disable") if !asked => Ok(false),
        Some(_) => Err(Reason::Secret(format!(
            "the parameter `tls` must be enable or disable, and not against {setting}"
        ))),
    }
}

/// What there is, never what it holds.
impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("ca", &self.ca.is_some())
            .field("cert", &self.cert.is_some())
            .field("anyone", &self.anyone)
            .finish_non_exhaustive()
    }
}

pub(crate) fn config(trust: &Trust) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let trusting = if trust.anyone {
        versions
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
    } else {
        versions.with_root_certificates(roots(trust)?)
    };
    let (Some(cert), Some(key)) = (&trust.cert, trust.key.as_ref().or(trust.cert.as_ref())) else {
        return Ok(trusting.with_no_client_auth());
    };
    let named = &trust.parameters;
    let chain = certificates(named.cert, cert)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| {
        let key = named.key;
        format!("the parameter `{key}` holds no private key in PEM form")
    })?;
    trusting.with_client_auth_cert(chain, key).map_err(|error| {
        let (cert, key) = (named.cert, named.key);
        format!("the parameters `{cert}` and `{key}` can't be used: {error}")
    })
}

/// The name that the certificate must be for, in place of the address.
pub(crate) fn name(trust: &Trust) -> Result<Option<ServerName<'static>>, String> {
    let name = trust.name.clone().map(ServerName::try_from);
    name.transpose().map_err(|error| error.to_string())
}

fn roots(trust: &Trust) -> Result<Arc<RootCertStore>, String> {
    if let Some(ca) = &trust.ca {
        let parameter = trust.parameters.ca;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(parameter, ca)? {
            roots
                .add(certificate)
                .map_err(|error| format!("the parameter `{parameter}` can't be used: {error}"))?;
        }
        return Ok(Arc::new(roots));
    }
    Ok(MACHINE.clone())
}

/// This machine's authorities, or where it has none, those that the program carries. Read
/// once: that takes a while, and most questions need none.
static MACHINE: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    // Single ones that can't be read are no reason to trust none.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let carried = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned();
        roots.add_parsable_certificates(carried);
    }
    Arc::new(roots)
});

fn certificates(parameter: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!(
            "the parameter `{parameter}` holds no certificate in PEM form"
        )),
    }
}

/// Checks that the other side holds the key of the certificate that it shows, and
/// nothing else of it.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
