//! The one service for callers without a certificate: it gives them theirs.
//!
//! Comes in: whoever answers it, from outside this room. Goes out: a service for
//! the API's listener. Knows nothing of how a caller proves who it is.

use std::sync::Arc;

use starling_proto::enrol::enrol_service_server::{EnrolService, SERVICE_NAME};
use starling_proto::enrol::{CertifyRequest, CertifyResponse};
use tonic::{Request, Response, Status, async_trait};

/// A token and two requests have about 2 KiB; strangers get no room for more.
pub const REQUEST_BYTES_MAX: usize = 32 << 10;

/// Whether a call to `path` is for this service.
pub fn is_for(path: &str) -> bool {
    path.strip_prefix('/')
        .and_then(|path| path.strip_prefix(SERVICE_NAME))
        .is_some_and(|method| method.starts_with('/'))
}

/// Answers by what it holds.
pub struct Shared(pub Arc<dyn EnrolService>);

#[async_trait]
impl EnrolService for Shared {
    async fn certify(
        &self,
        request: Request<CertifyRequest>,
    ) -> Result<Response<CertifyResponse>, Status> {
        self.0.certify(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_service_is_open_to_strangers() {
        assert!(is_for("/starling.enrol.v1.EnrolService/Certify"));
        for other in [
            "/starling.v1.StarlingService/GetClusterStatus",
            "/starling.enrol.v1.EnrolServiceX/Certify",
            "starling.enrol.v1.EnrolService/Certify",
            "//starling.enrol.v1.EnrolService/Certify",
            "/",
            "",
        ] {
            assert!(!is_for(other), "{other}");
        }
    }
}
