//! This pod's own token, read anew each time: the kubelet replaces it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use starling_kube::token::TOKEN_BYTES_MAX;

use crate::{Error, Settings};

/// The token as it is now.
pub async fn read(settings: &Settings) -> Result<String, Error> {
    let path = &settings.token;
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|source| Error::Token {
            path: path.clone(),
            audience: settings.audience(),
            source,
        })?;
    let why = match text.trim() {
        "" => "is empty",
        token if token.len() > TOKEN_BYTES_MAX => "is longer than 16 KiB",
        token => return Ok(token.to_owned()),
    };
    Err(Error::NoToken {
        path: path.clone(),
        why,
    })
}

/// The account that this pod's token is of: other agents have the same one. Our
/// own token's word is enough; others' are reviewed.
pub async fn own_account(settings: &Settings) -> Result<String, Error> {
    let token = read(settings).await?;
    account(&token).ok_or_else(|| Error::NoToken {
        path: settings.token.clone(),
        why: "names no account",
    })
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

fn account(token: &str) -> Option<String> {
    let claims = token.split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    Some(claims.sub).filter(|sub| sub.starts_with("system:serviceaccount:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn the_account_is_the_tokens_subject() {
        let sub = "system:serviceaccount:starling-system:starling";
        let good = token(&format!(r#"{{"sub": "{sub}", "aud": ["x"]}}"#));
        assert_eq!(account(&good).as_deref(), Some(sub));
        for bad in [
            token(r#"{"sub": "admin"}"#),
            token("{}"),
            token("nonsense"),
            "nonsense".into(),
            "a.!.c".into(),
            String::new(),
        ] {
            assert_eq!(account(&bad), None, "{bad}");
        }
    }
}
