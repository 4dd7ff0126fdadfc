//! Whose a service account token is.
//!
//! Comes in: a token that somebody showed, and the audience that it must be for.
//! Goes out: the account, and the pod and node that the token is bound to, as the
//! API server vouches for them (`TokenReview`). Never looks into the token itself.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{
    TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo,
};
use kube::Api;
use kube::api::PostParams;

use crate::client::{Failure, call};

/// A longer token isn't asked about; those of today have about 1 KiB.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Whoever showed the token waits meanwhile.
const DEADLINE: Duration = Duration::from_secs(3);

const POD: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const NODE: &str = "authentication.kubernetes.io/node-name";

/// Who showed the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// `system:serviceaccount:NAMESPACE:NAME`.
    pub account: String,
    pub bound: Option<Bound>,
}

/// The token ends with this pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    pub node: String,
    pub pod: String,
    pub pod_uid: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is forged, has expired, is for another audience, or its pod is gone.
    #[error("the API server doesn't believe the token: {0}")]
    Refused(String),
    /// Nothing is known about the token.
    #[error("the API server can't be asked whose the token is: {0}")]
    Away(#[from] Failure),
}

/// Asks the API server, for at most three seconds.
pub async fn review(client: &kube::Client, token: &str, audience: &str) -> Result<Bearer, Error> {
    let asked = TokenReview {
        spec: TokenReviewSpec {
            token: token.to_owned(),
            audiences: Some(vec![audience.to_owned()]),
        },
        ..TokenReview::default()
    };
    let api: Api<TokenReview> = Api::all(client.clone());
    let answer = call(DEADLINE, api.create(&PostParams::default(), &asked)).await?;
    bearer(answer.status.unwrap_or_default(), audience)
}

fn bearer(status: TokenReviewStatus, audience: &str) -> Result<Bearer, Error> {
    if status.authenticated != Some(true) {
        let why = status.error.filter(|why| !why.is_empty());
        let why = why.unwrap_or_else(|| "it isn't one of this cluster's".into());
        return Err(Error::Refused(why));
    }
    // A server that knows nothing of audiences believes any token.
    let audiences = status.audiences.unwrap_or_default();
    if !audiences.iter().any(|one| one == audience) {
        let why = format!("it isn't for the audience {audience}");
        return Err(Error::Refused(why));
    }
    let user = status.user.unwrap_or_default();
    Ok(Bearer {
        bound: bound(&user),
        account: user.username.unwrap_or_default(),
    })
}

fn bound(user: &UserInfo) -> Option<Bound> {
    let extra = user.extra.as_ref()?;
    // Each is a list of one.
    let one = |key: &str| match extra.get(key)?.as_slice() {
        [value] if !value.is_empty() => Some(value.clone()),
        _ => None,
    };
    Some(Bound {
        node: one(NODE)?,
        pod: one(POD)?,
        pod_uid: one(POD_UID)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(json: serde_json::Value) -> TokenReviewStatus {
        serde_json::from_value(json).expect("a status")
    }

    #[test]
    fn a_bearer_is_who_the_api_server_says_it_is() {
        let bearer = bearer(
            status(serde_json::json!({
                "authenticated": true, "audiences": ["starling/a"],
                "user": {
                    "username": "system:serviceaccount:s:starling",
                    "extra": {
                        "authentication.kubernetes.io/node-name": ["n1"],
                        "authentication.kubernetes.io/pod-name": ["p1"],
                        "authentication.kubernetes.io/pod-uid": ["u1"],
                    },
                },
            })),
            "starling/a",
        )
        .expect("believed");
        assert_eq!(bearer.account, "system:serviceaccount:s:starling");
        let bound = bearer.bound.expect("bound");
        assert_eq!((bound.node.as_str(), bound.pod.as_str()), ("n1", "p1"));
    }

    #[test]
    fn a_server_that_knows_no_audiences_and_one_that_says_nothing_vouch_for_nobody() {
        for json in [
            serde_json::json!({}),
            serde_json::json!({"authenticated": false, "error": "expired"}),
            serde_json::json!({"authenticated": true}),
            serde_json::json!({"authenticated": true, "audiences": ["other"]}),
        ] {
            let result = bearer(status(json), "starling/a");
            assert!(matches!(result, Err(Error::Refused(_))), "{result:?}");
        }
    }

    #[test]
    fn a_token_that_names_no_node_or_two_is_bound_to_none() {
        for node in [
            serde_json::json!([]),
            serde_json::json!([""]),
            serde_json::json!(["a", "b"]),
        ] {
            let status = status(serde_json::json!({
                "authenticated": true, "audiences": ["a"],
                "user": {"extra": {
                    "authentication.kubernetes.io/node-name": node,
                    "authentication.kubernetes.io/pod-name": ["p"],
                    "authentication.kubernetes.io/pod-uid": ["u"],
                }},
            }));
            assert_eq!(bearer(status, "a").expect("believed").bound, None);
        }
    }
}
