//! A trigger's URL: what is allowed, where a redirect leads from there, and how it is
//! shown without its secrets.

use std::fmt::Write as _;

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
             put them into what an `authenticationRef` names"
                .to_owned(),
        );
    }
    let uri: Uri = url.parse().map_err(|_| malformed())?;
    let host = uri.host().filter(|host| !host.is_empty());
    // Behind an IPv6 address stands a bracket.
    let has_port = authority
        .rsplit(']')
        .next()
        .is_some_and(|it| it.contains(':'));
    match (host, uri.port_u16()) {
        (Some(_), None) if has_port => Err(malformed()),
        (Some(_), _) => Ok(uri),
        (None, _) => Err(malformed()),
    }
}

/// The address of a server whose API has paths and queries of its own.
pub(super) fn bare(url: &str) -> Result<Uri, String> {
    let uri = parse(url)?;
    if uri.query().is_some() {
        return Err(format!(
            "`{}` has a query, which nobody would be asked",
            shown(url)
        ));
    }
    Ok(uri)
}

/// The URL without the user and the password that it holds, and these. A `%` stands for
/// what it encodes.
///
/// # Errors
///
/// Where a user or a password holds what ends a host's name, so that nobody knows which of
/// it is the host; it is not shown.
pub(super) fn without_user(url: &str) -> Result<(String, Option<(String, String)>), String> {
    let known = url.starts_with("http://") || url.starts_with("https://");
    let Some((scheme, rest)) = url.split_once("://").filter(|_| known) else {
        if url.contains('@') {
            return Err("must begin with http:// or https://".to_owned());
        }
        return Ok((url.to_owned(), None));
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    if rest[end..].contains('@') {
        return Err(
            "holds an `@` behind its host: write `/`, `?`, `#` and `@` of a user or a \
                    password as %2F, %3F, %23 and %40"
                .to_owned(),
        );
    }
    let Some((user, _)) = rest[..end].rsplit_once('@') else {
        return Ok((url.to_owned(), None));
    };
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let rest = &rest[user.len() + 1..];
    let user = (decoded(name), decoded(password));
    Ok((format!("{scheme}://{rest}"), Some(user)))
}

/// What [`encoded`] makes of a text, and the text where it isn't such.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let code = (*first == b'%').then(|| behind.get(..2)).flatten();
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let code = code.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// Where a redirect leads whose `Location` this is, as RFC 3986 resolves one; of what is
/// behind a `#` only the asker would know. It never leads to another scheme: whoever asks
/// over TLS is not sent away from it, and what is trusted is stated for that scheme alone.
pub(super) fn onward(from: &Uri, location: &str) -> Result<Uri, String> {
    let location = location.split('#').next().unwrap_or_default();
    let scheme = from.scheme_str().unwrap_or("http");
    let host = from.authority().map_or("", |authority| authority.as_str());
    let path = from.path();
    let url = if has_scheme(location) {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{host}{location}")
    } else if location.starts_with('?') || location.is_empty() {
        format!("{scheme}://{host}{path}{location}")
    } else {
        let folder = path.rfind('/').map_or("/", |end| &path[..=end]);
        format!("{scheme}://{host}{folder}{location}")
    };
    let uri = parse(&url).map_err(|why| format!("to what {why}"))?;
    if uri.scheme_str() != Some(scheme) {
        return Err(format!(
            "to {}, which is another scheme; write that address",
            shown(&url)
        ));
    }
    without_dots(&uri).ok_or_else(|| format!("to {}, which is no address", shown(&url)))
}

/// That it is an address of its own, and not a path whose query holds one.
fn has_scheme(location: &str) -> bool {
    location.split_once("://").is_some_and(|(scheme, _)| {
        let may_be = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        !scheme.is_empty() && scheme.bytes().all(may_be)
    })
}

/// The address with more parameters in its query; `None` where they make it too long.
pub(super) fn with_query(uri: &Uri, parameters: &[(&str, &str)]) -> Option<Uri> {
    let mut path = uri
        .path_and_query()
        .map_or("/", |it| it.as_str())
        .to_owned();
    let mut separator = if uri.query().is_some() { '&' } else { '?' };
    for (name, value) in parameters {
        path.push(separator);
        path.push_str(&encoded(name));
        path.push('=');
        path.push_str(&encoded(value));
        separator = '&';
    }
    with_path(uri, &path)
}

/// The same host with another path, and query behind it.
pub(super) fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// As one part of a path or of a query.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// `/a/./b/../c` is `/a/c`.
fn without_dots(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    if !path.split('/').any(|part| matches!(part, "." | "..")) {
        return Some(uri.clone());
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            part => kept.push(part),
        }
    }
    let query = uri
        .query()
        .map_or_else(String::new, |query| format!("?{query}"));
    with_path(uri, &format!("/{}{query}", kept.join("/")))
}

/// The URL without user, password and query, in one line of bounded length.
pub(super) fn shown(url: &str) -> String {
    const CHARS_MAX: usize = 200;
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_and_a_password_are_taken_out_of_an_address() {
        let pair = |user: &str, word: &str| Some((user.to_owned(), word.to_owned()));
        for (url, bare, user) in [
            ("http://h:1/v", "http://h:1/v", None),
            ("http://a:b@h:1/v", "http://h:1/v", pair("a", "b")),
            ("http://a@h", "http://h", pair("a", "")),
            ("http://a:p%40%2Fs%+1@h", "http://h", pair("a", "p@/s%+1")),
            ("http://a:b@c:d@h/x", "http://h/x", pair("a", "b@c:d")),
        ] {
            assert_eq!(without_user(url), Ok((bare.to_owned(), user)), "{url}");
        }
        // Which of it is the host nobody knows.
        for url in ["http://a:p/s@h", "http://a:p?s@h:1/", "http://a:p#s@h"] {
            let why = without_user(url).unwrap_err();
            assert!(why.contains("holds an `@` behind its host") && !why.contains("a:p"));
        }
        for url in ["http:/a:p@h", "a:p@h:1", "amqp://a:p@h"] {
            let why = without_user(url).unwrap_err();
            assert_eq!(why, "must begin with http:// or https://");
        }
    }

    #[test]
    fn a_redirect_leads_where_its_location_says_seen_from_the_address_that_was_asked() {
        let from = "http://queue.example:8080/v1/stats/jobs?key=secret"
            .parse()
            .unwrap();
        for (location, to) in [
            ("http://other.example/x", "http://other.example/x"),
            ("//other.example/x?a=1", "http://other.example/x?a=1"),
            ("/x#part", "http://queue.example:8080/x"),
            ("x", "http://queue.example:8080/v1/stats/x"),
            ("../x/./y?a=../b", "http://queue.example:8080/v1/x/y?a=../b"),
            ("../../../..", "http://queue.example:8080/"),
            ("?a=1", "http://queue.example:8080/v1/stats/jobs?a=1"),
            (
                "/x/?target=http://other.example&a=1",
                "http://queue.example:8080/x/?target=http://other.example&a=1",
            ),
        ] {
            assert_eq!(onward(&from, location).unwrap().to_string(), to);
        }
        for (location, why) in [
            (
                "https://queue.example/x?a",
                "to https://queue.example/x, which is another scheme",
            ),
            ("ftp://queue.example/x", "is not an address"),
            (
                "http://user:word@queue.example/x",
                "holds a user or password",
            ),
            ("/a b?at=http://x&a", "is not an address"),
        ] {
            let said = onward(&from, location).unwrap_err();
            assert!(said.contains(why), "{location}: {said}");
            assert!(!said.contains("word@") && !said.contains("?a"), "{said}");
        }
        let secure = "https://queue.example/x".parse().unwrap();
        assert!(onward(&secure, "http://queue.example/x").is_err());
        assert!(onward(&secure, "/y").is_ok());
    }
}
