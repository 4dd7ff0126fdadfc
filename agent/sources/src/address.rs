//! A trigger's URL: what is allowed, and how it is shown without its secrets.

use hyper::Uri;

const BYTES_MAX: usize = 2_048;

pub(super) fn check(url: &str) -> Result<(), String> {
    parse(url).map(|_| ())
}

/// The address to ask.
pub(super) fn parse(url: &str) -> Result<Uri, String> {
    if url.len() > BYTES_MAX {
        return Err(format!("is longer than {BYTES_MAX} bytes"));
    }
    let malformed = || {
        format!(
            "`{}` is not an address; write http://HOST:PORT/PATH or https://HOST/PATH",
            shown(url)
        )
    };
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))
        .ok_or_else(malformed)?;
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    if authority.contains('@') {
        return Err(
            "holds a user or password, which everyone who may read policies would see; \
             use `authMode: basic`"
                .to_owned(),
        );
    }
    let uri: Uri = url.parse().map_err(|_| malformed())?;
    match uri.host() {
        None | Some("") => Err(malformed()),
        Some(_) => Ok(uri),
    }
}

/// The URL without user, password and query, in one line of bounded length.
pub(super) fn shown(url: &str) -> String {
    const CHARS_MAX: usize = 200;
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or_default();
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{host}{path}")
        .chars()
        .take(CHARS_MAX)
        .flat_map(char::escape_debug)
        .collect()
}
