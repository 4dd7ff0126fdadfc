//! Who may ask: holders of a certificate for a user or an agent of this cluster.
//!
//! TLS has already checked that the cluster's authority signed it; here its
//! names are. Without this, any key that the authority ever signed would do.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::{Code, Request, Status};
use tower::Layer;

use crate::{enrol, refuse};

/// Names of which a caller's certificate must carry one.
const NAMES: [&str; 2] = ["client.starling", "peer.starling"];

/// Refuses everyone else, for every service of the listener but the one that
/// gives agents their certificates.
#[derive(Debug, Clone, Copy)]
pub struct Admit;

impl<S> Layer<S> for Admit {
    type Service = Admitted<S>;

    fn layer(&self, inner: S) -> Admitted<S> {
        Admitted { inner }
    }
}

/// What stands behind [`Admit`].
#[derive(Debug, Clone)]
pub struct Admitted<S> {
    inner: S,
}

impl<S, B> Service<http::Request<B>> for Admitted<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if enrol::is_for(request.uri().path()) {
            return Box::pin(self.inner.call(request));
        }
        match admit(request.extensions()) {
            Ok(()) => Box::pin(self.inner.call(request)),
            Err(status) => Box::pin(std::future::ready(Ok(status.into_http()))),
        }
    }
}

fn admit(connection: &http::Extensions) -> Result<(), Status> {
    let certificates = connection
        .get::<TlsConnectInfo<TcpConnectInfo>>()
        .and_then(TlsConnectInfo::peer_certs);
    match certificates.as_deref().and_then(|chain| chain.first()) {
        Some(certificate) if carries_a_name(certificate) => Ok(()),
        Some(_) => Err(refuse::with(
            Code::PermissionDenied,
            refuse::CERTIFICATE,
            "the certificate is for neither a user nor an agent: it must carry the DNS name \
             client.starling; make one with `starling keys`",
        )),
        None => Err(refuse::with(
            Code::Unauthenticated,
            refuse::CERTIFICATE,
            "no client certificate; use one made with `starling keys`",
        )),
    }
}

/// Who calls, for the log.
pub fn words<T>(request: &Request<T>) -> String {
    let certificates = request.peer_certs();
    let first = certificates.as_deref().and_then(|chain| chain.first());
    let who = match first {
        Some(certificate) if carries(certificate, &NAMES[..1]) => "a user",
        Some(_) => "an agent",
        None => "somebody",
    };
    match request.remote_addr() {
        Some(address) => format!("{who} at {address}"),
        None => who.to_owned(),
    }
}

fn carries_a_name(certificate: &CertificateDer<'_>) -> bool {
    carries(certificate, &NAMES)
}

fn carries(certificate: &CertificateDer<'_>, names: &[&'static str]) -> bool {
    let Ok(certificate) = ParsedCertificate::try_from(certificate) else {
        return false;
    };
    names.iter().any(|name| {
        ServerName::try_from(*name)
            .is_ok_and(|name| verify_server_name(&certificate, &name).is_ok())
    })
}
