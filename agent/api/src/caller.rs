//! Who may ask: holders of a certificate for a user or an agent of this cluster.
//!
//! TLS has already checked that the cluster's authority signed it; here its
//! names are. Without this, any key that the authority ever signed would do.

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::{Request, Status};

/// Names of which a caller's certificate must carry one.
const NAMES: [&str; 2] = ["client.starling", "peer.starling"];

/// Refuses everyone else, for every service of the listener.
pub fn admit(request: Request<()>) -> Result<Request<()>, Status> {
    let certificates = request
        .extensions()
        .get::<TlsConnectInfo<TcpConnectInfo>>()
        .and_then(TlsConnectInfo::peer_certs);
    match certificates.as_deref().and_then(|chain| chain.first()) {
        Some(certificate) if carries_a_name(certificate) => Ok(request),
        Some(_) => Err(Status::permission_denied(
            "the certificate is for neither a user nor an agent: it must carry the DNS name \
             client.starling; make one with `starling keys`",
        )),
        None => Err(Status::unauthenticated(
            "no client certificate; use one made with `starling keys`",
        )),
    }
}

fn carries_a_name(certificate: &CertificateDer<'_>) -> bool {
    let Ok(certificate) = ParsedCertificate::try_from(certificate) else {
        return false;
    };
    NAMES.iter().any(|name| {
        ServerName::try_from(*name)
            .is_ok_and(|name| verify_server_name(&certificate, &name).is_ok())
    })
}
