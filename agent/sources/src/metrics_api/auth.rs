//! How a question proves who asks: KEDA's `authMode`, one or several of them.
//!
//! Comes in: the trigger's settings and the parameters of its authentication. Goes
//! out: the address and headers to ask with. Credentials go into headers and the
//! query alone, never into a message.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use hyper::header::{self, HeaderName, HeaderValue};

use super::{AUTHENTICATION, flag};
use crate::http::{Question, Trust};
use crate::secrets::Secrets;
use crate::{Reason, address};

const HEADER_DEFAULT: &str = "X-API-KEY";
const QUERY_DEFAULT: &str = "api_key";
/// Of a header's or a query parameter's name.
const NAME_BYTES_MAX: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    ApiKey,
    Basic,
    Bearer,
    Tls,
}

fn modes(metadata: &BTreeMap<String, String>) -> Result<Vec<Mode>, String> {
    let Some(written) = metadata.get("authMode") else {
        return Ok(Vec::new());
    };
    let mode = |word: &str| match word.trim() {
        "apiKey" => Ok(Mode::ApiKey),
        "basic" => Ok(Mode::Basic),
        "bearer" => Ok(Mode::Bearer),
        "tls" => Ok(Mode::Tls),
        other => Err(format!(
            "`{}` is not known; allowed: apiKey, basic, bearer, tls, or several of them with \
             commas between",
            other.escape_debug().take(80).collect::<String>()
        )),
    };
    written.split(',').map(mode).collect()
}

pub(super) fn check(metadata: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    let mut fails = |key: &str, why: String| wrong.push((key.to_owned(), why));
    let modes = modes(metadata).unwrap_or_else(|why| {
        fails("authMode", why);
        Vec::new()
    });
    if modes.contains(&Mode::Basic) && modes.contains(&Mode::Bearer) {
        fails(
            "authMode",
            "names both basic and bearer, which are one header".to_owned(),
        );
    }
    if !modes.is_empty() && !metadata.contains_key(AUTHENTICATION) {
        fails(
            "authMode",
            "needs `authenticationRef` beside the metadata, which says with what".to_owned(),
        );
    }
    if let Some(method) = metadata.get("method")
        && !matches!(method.as_str(), "header" | "query")
    {
        let why = "is not known; allowed: header, query";
        fails("method", format!("`{}` {why}", method.escape_debug()));
    }
    if let Some(name) = metadata.get("keyParamName") {
        let header = HeaderName::from_bytes(name.as_bytes()).is_ok();
        if name.len() > NAME_BYTES_MAX || !header {
            let why = "isn't the name of a header or of a query's parameter";
            fails("keyParamName", format!("{why}: `{}`", name.escape_debug()));
        }
    }
    wrong
}

/// What to ask where, with which headers and certificates.
pub(super) fn question(
    metadata: &BTreeMap<String, String>,
    url: &str,
    secrets: &Secrets,
) -> Result<(Uri, Question), Reason> {
    let mut question = Question {
        trust: Trust {
            ca: secrets.get("ca").map(str::to_owned),
            anyone: flag(metadata, "unsafeSsl").map_err(Reason::Misconfigured)?,
            ..Trust::default()
        },
        ..Question::default()
    };
    let needed = |parameter: &str| {
        secrets.get(parameter).ok_or_else(|| {
            Reason::Secret(format!(
                "the trigger's authentication has no parameter `{parameter}`"
            ))
        })
    };
    let mut uri = address::parse(url).map_err(Reason::Misconfigured)?;
    for mode in modes(metadata).map_err(Reason::Misconfigured)? {
        match mode {
            Mode::ApiKey => {
                let key = needed("apiKey")?;
                let name = metadata.get("keyParamName").map(String::as_str);
                if metadata.get("method").is_some_and(|it| it == "query") {
                    uri = with_query(&uri, name.unwrap_or(QUERY_DEFAULT), key)?;
                } else {
                    let name = name.unwrap_or(HEADER_DEFAULT);
                    let name = HeaderName::from_bytes(name.as_bytes())
                        .map_err(|error| Reason::Misconfigured(error.to_string()))?;
                    question.headers.push((name, secret_value("apiKey", key)?));
                }
            }
            Mode::Basic => {
                let (user, password) = (needed("username")?, secrets.get("password"));
                let pair = format!("{user}:{}", password.unwrap_or_default());
                let value = format!("Basic {}", STANDARD.encode(pair));
                let value = secret_value("username", &value)?;
                question.headers.push((header::AUTHORIZATION, value));
            }
            Mode::Bearer => {
                let value = format!("Bearer {}", needed("token")?);
                let value = secret_value("token", &value)?;
                question.headers.push((header::AUTHORIZATION, value));
            }
            Mode::Tls => {
                question.trust.cert = Some(needed("cert")?.to_owned());
                question.trust.key = secrets.get("key").map(str::to_owned);
            }
        }
    }
    Ok((uri, question))
}

fn secret_value(parameter: &str, text: &str) -> Result<HeaderValue, Reason> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        let why = "holds characters that no header can have";
        Reason::Secret(format!("the parameter `{parameter}` {why}"))
    })?;
    // Whoever writes headers down leaves it out.
    value.set_sensitive(true);
    Ok(value)
}

/// The address with one more parameter in its query.
fn with_query(uri: &Uri, name: &str, value: &str) -> Result<Uri, Reason> {
    let mut path = uri
        .path_and_query()
        .map_or("/", |it| it.as_str())
        .to_owned();
    path.push(if uri.query().is_some() { '&' } else { '?' });
    for (text, end) in [(name, "="), (value, "")] {
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                path.push(char::from(byte));
            } else {
                // Writing to a string can't fail.
                let _ = write!(path, "%{byte:02X}");
            }
        }
        path.push_str(end);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = path.parse().ok();
    Uri::from_parts(parts)
        .map_err(|_| Reason::Secret("the parameter `apiKey` makes no address".to_owned()))
}
