//! Who calls whom: the envelope of each call, and the certificate behind it.

use rustls::pki_types::ServerName;
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
    }
}

/// Refuses a call that isn't for this agent in this cluster and generation:
/// an address may have passed to another agent, or a directory been swapped.
pub fn check(own: &Identity, envelope: Option<&Envelope>) -> Result<(), Status> {
    let Some(envelope) = envelope else {
        return Err(Status::invalid_argument("the call says not who it is for"));
    };
    let Envelope {
        target,
        cluster,
        generation,
        ..
    } = envelope;
    if *target == own.id && *cluster == own.cluster && *generation == own.generation {
        return Ok(());
    }
    Err(Status::failed_precondition(format!(
        "this is agent {} of cluster {}, generation {}; the call is for agent {target} of cluster {}, generation {generation}",
        own.id,
        own.cluster,
        own.generation,
        shorten(cluster),
    )))
}

/// What a stranger wrote goes into messages only in part.
pub fn shorten(text: &str) -> String {
    text.chars().take(63).collect()
}

/// Refuses a caller whose certificate isn't an agent's; the authority has
/// signed users' certificates too.
pub fn check_certificate(request: Request<()>) -> Result<Request<()>, Status> {
    if holds_name(&request, PEER_NAME) {
        return Ok(request);
    }
    Err(Status::permission_denied(
        "the caller shows no certificate with the DNS name peer.starling: only agents may call here",
    ))
}

/// Refuses an agent that gives another's name for its own.
pub fn check_name<T>(request: &Request<T>, name: &str) -> Result<(), Status> {
    if holds_name(request, name) {
        return Ok(());
    }
    Err(Status::permission_denied(format!(
        "the caller's certificate is not for an agent called {}: give it the keys of that name",
        shorten(name)
    )))
}

fn holds_name<T>(request: &Request<T>, name: &str) -> bool {
    let certificates = request.peer_certs();
    let Some(certificate) = certificates.as_deref().and_then(|all| all.first()) else {
        return false;
    };
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
