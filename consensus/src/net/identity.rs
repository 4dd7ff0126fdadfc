//! Who calls whom: the envelope of each call, and the certificate behind it.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use starling_proto::raft::Envelope;
use tonic::{Request, Status};
use webpki::EndEntityCert;

use super::PEER_NAME;
use crate::store::keys::Identity;

/// What a call from `own` to agent `target` carries.
pub fn envelope(own: &Identity, target: u64) -> Envelope {
    Envelope {
        target,
        sender: own.id,
        cluster: own.cluster.clone(),
        generation: own.generation,
        cluster_id: own.cluster_id.clone(),
    }
}

/// Refuses a call that isn't for this agent in this cluster and generation:
/// an address may have passed to another agent, or a directory been swapped.
/// Gives the id that the sender says it has.
pub fn check(own: &Identity, envelope: Option<&Envelope>) -> Result<u64, Status> {
    let Some(envelope) = envelope else {
        return Err(Status::invalid_argument("the call says not who it is for"));
    };
    let Envelope {
        target,
        cluster,
        generation,
        cluster_id,
        ..
    } = envelope;
    check_cluster(own, cluster, cluster_id)?;
    if *target == own.id && *generation == own.generation {
        return Ok(envelope.sender);
    }
    Err(Status::failed_precondition(format!(
        "this is agent {} in generation {} of cluster {}; the call is for agent {target} in generation {generation}",
        own.id, own.generation, own.cluster,
    )))
}

/// Refuses who means another cluster, also one of the same name.
pub fn check_cluster(own: &Identity, name: &str, id: &str) -> Result<(), Status> {
    if *name != own.cluster {
        return Err(Status::failed_precondition(format!(
            "this agent belongs to cluster {}, not to {}: check the seeds and the cluster's name",
            own.cluster,
            shorten(name),
        )));
    }
    if *id != own.cluster_id {
        return Err(Status::failed_precondition(format!(
            "this agent belongs to the cluster {} with id {}, not to the one with id {}, founded \
             apart: give one of them another name and seeds of its own",
            own.cluster,
            own.cluster_id,
            shorten(id),
        )));
    }
    Ok(())
}

/// What a stranger wrote goes into messages only in part.
pub fn shorten(text: &str) -> String {
    text.chars().take(63).collect()
}

/// Refuses a caller whose certificate isn't an agent's; the authority has
/// signed users' certificates too.
pub fn check_certificate(request: Request<()>) -> Result<Request<()>, Status> {
    if Caller::behind(&request).is_called(PEER_NAME) {
        return Ok(request);
    }
    Err(Status::permission_denied(
        "the caller shows no certificate with the DNS name peer.starling: only agents may call here",
    ))
}

/// Who calls, by the certificate of its connection.
pub struct Caller {
    /// As shown: its own one first.
    certificates: Option<Arc<Vec<CertificateDer<'static>>>>,
}

impl Caller {
    /// The caller of `request`, and what it says.
    pub fn of<T>(request: Request<T>) -> (Caller, T) {
        (Caller::behind(&request), request.into_inner())
    }

    fn behind<T>(request: &Request<T>) -> Caller {
        Caller {
            certificates: request.peer_certs(),
        }
    }

    pub fn is_called(&self, name: &str) -> bool {
        let first = self.certificates.as_deref().and_then(|all| all.first());
        first.is_some_and(|certificate| is_for(certificate, name))
    }

    /// Refuses an agent that gives another's name for its own.
    pub fn check_name(&self, name: &str) -> Result<(), Status> {
        if self.is_called(name) {
            return Ok(());
        }
        Err(Status::permission_denied(format!(
            "the caller's certificate is not for an agent called {}: give it the keys of that name",
            shorten(name)
        )))
    }
}

/// Whether `certificate`, which a handshake has proved, is for `name`.
pub fn is_for(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok(name) = ServerName::try_from(name) else {
        return false;
    };
    EndEntityCert::try_from(certificate)
        .and_then(|certificate| certificate.verify_is_valid_for_subject_name(&name))
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_for_another_agent_cluster_or_generation_is_refused() {
        let own = Identity {
            cluster: "a".into(),
            cluster_id: "7".into(),
            generation: 1,
            id: 3,
            founder: false,
        };
        let good = envelope(&own, 3);
        assert!(check(&own, Some(&good)).is_ok());
        let wrong = [
            Envelope {
                target: 4,
                ..good.clone()
            },
            Envelope {
                cluster: "b".into(),
                ..good.clone()
            },
            Envelope {
                cluster_id: "8".into(),
                ..good.clone()
            },
            Envelope {
                generation: 2,
                ..good
            },
        ];
        for envelope in wrong {
            let status = check(&own, Some(&envelope)).unwrap_err();
            assert_eq!(
                status.code(),
                tonic::Code::FailedPrecondition,
                "{envelope:?}"
            );
        }
        assert!(check(&own, None).is_err());
    }
}
