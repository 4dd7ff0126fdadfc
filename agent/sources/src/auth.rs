//! How a question over HTTP proves who asks: KEDA's `authMode` or `authModes`, one or
//! several of them.
//!
//! Comes in: the trigger's settings and the parameters of its authentication. Goes
//! out: the address and headers to ask with. Credentials go into headers and the
//! query alone, never into a message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use hyper::header::{self, HeaderName, HeaderValue};

use crate::http::Question;
use crate::secrets::{AUTHENTICATION, Secrets};
use crate::settings::{Metadata, Wrong, flag, not_known, shown};
use crate::tls::Trust;
use crate::{Reason, address};

const HEADER_DEFAULT: &str = "X-API-KEY";
const QUERY_DEFAULT: &str = "api_key";
/// Of a header's or a query parameter's name.
const NAME_BYTES_MAX: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    ApiKey,
    Basic,
    Bearer,
    /// A header of any name.
    Custom,
    Tls,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::ApiKey => "apiKey",
            Mode::Basic => "basic",
            Mode::Bearer => "bearer",
            Mode::Custom => "custom",
            Mode::Tls => "tls",
        }
    }
}

/// How questions of one kind of source may prove who asks, by KEDA's names there.
#[derive(Debug)]
pub(crate) struct Ways {
    /// The setting that names one or several of the modes.
    pub key: &'static str,
    pub modes: &'static [Mode],
    /// The parameter that holds the token of [`Mode::Bearer`].
    pub token: &'static str,
}

impl Ways {
    fn modes(&self, metadata: &Metadata) -> Result<Vec<Mode>, String> {
        let Some(written) = metadata.get(self.key) else {
            return Ok(Vec::new());
        };
        let mode = |word: &str| {
            let mut known = self.modes.iter().copied();
            known
                .find(|mode| mode.name() == word.trim())
                .ok_or_else(|| {
                    let allowed: Vec<_> = self.modes.iter().map(|mode| mode.name()).collect();
                    let why = not_known(word.trim(), &allowed);
                    format!("{why}, or several of them with commas between")
                })
        };
        written.split(',').map(mode).collect()
    }

    pub(crate) fn check(&self, metadata: &Metadata) -> Wrong {
        let mut wrong = Vec::new();
        let mut fails = |key: &str, why: String| wrong.push((key.to_owned(), why));
        let modes = self.modes(metadata).unwrap_or_else(|why| {
            fails(self.key, why);
            Vec::new()
        });
        let headers = [Mode::Basic, Mode::Bearer];
        if headers.iter().all(|mode| modes.contains(mode)) {
            fails(
                self.key,
                "names both basic and bearer, which are one header".to_owned(),
            );
        }
        if !modes.is_empty() && !metadata.contains_key(AUTHENTICATION) {
            fails(
                self.key,
                "needs `authenticationRef` beside the metadata, which says with what".to_owned(),
            );
        }
        wrong
    }

    /// What to ask where, with which headers and certificates.
    pub(crate) fn question(
        &self,
        metadata: &Metadata,
        uri: Uri,
        secrets: &Secrets,
    ) -> Result<(Uri, Question), Reason> {
        let (mut uri, mut question) = (uri, unproved(metadata, secrets)?);
        let needed = |parameter: &str| secrets.needed(parameter);
        for mode in self.modes(metadata).map_err(Reason::Misconfigured)? {
            match mode {
                Mode::ApiKey => {
                    let key = needed("apiKey")?;
                    let name = metadata.get("keyParamName").map(String::as_str);
                    if metadata.get("method").is_some_and(|it| it == "query") {
                        uri = with_key(&uri, name.unwrap_or(QUERY_DEFAULT), key)?;
                    } else {
                        let header = header("apiKey", name.unwrap_or(HEADER_DEFAULT), key)?;
                        question.headers.push(header);
                    }
                }
                Mode::Basic => {
                    let (user, password) = (needed("username")?, secrets.get("password"));
                    question
                        .headers
                        .push(basic(user, password.unwrap_or_default())?);
                }
                Mode::Bearer => {
                    let value = format!("Bearer {}", needed(self.token)?);
                    let value = secret_value(self.token, &value)?;
                    question.headers.push((header::AUTHORIZATION, value));
                }
                Mode::Custom => {
                    let name = needed("customAuthHeader")?;
                    let value = needed("customAuthValue")?;
                    question
                        .headers
                        .push(self::header("customAuthValue", name, value)?);
                }
                Mode::Tls => {
                    question.trust.cert = Some(needed("cert")?.to_owned());
                    question.trust.key = secrets.get("key").map(str::to_owned);
                }
            }
        }
        Ok((uri, question))
    }
}

/// Where an API's key goes, which only [`Mode::ApiKey`] has.
pub(crate) fn check_key(metadata: &Metadata) -> Wrong {
    let mut wrong = Vec::new();
    let mut fails = |key: &str, why: String| wrong.push((key.to_owned(), why));
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

/// A question that proves nothing; whom it trusts is said by `ca` and `unsafeSsl`.
pub(crate) fn unproved(metadata: &Metadata, secrets: &Secrets) -> Result<Question, Reason> {
    Ok(Question {
        trust: Trust {
            ca: secrets.get("ca").map(str::to_owned),
            anyone: flag(metadata, "unsafeSsl").map_err(Reason::Misconfigured)?,
            ..Trust::default()
        },
        ..Question::default()
    })
}

/// The header of a user and a password.
pub(crate) fn basic(user: &str, password: &str) -> Result<(HeaderName, HeaderValue), Reason> {
    let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    Ok((header::AUTHORIZATION, secret_value("username", &value)?))
}

fn header(parameter: &str, name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Reason> {
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| Reason::Secret(format!("`{}` is no header's name", shown(name))))?;
    Ok((name, secret_value(parameter, value)?))
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

/// The address with a key in its query.
fn with_key(uri: &Uri, name: &str, key: &str) -> Result<Uri, Reason> {
    address::with_query(uri, &[(name, key)])
        .ok_or_else(|| Reason::Secret("the parameter `apiKey` makes no address".to_owned()))
}
