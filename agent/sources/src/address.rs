//! A trigger's URL: what is allowed, where a redirect leads from there, and how it is
//! shown without its secrets.

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
    let all = format!("/{}{query}", kept.join("/"));
    let mut whole = uri.clone().into_parts();
    whole.path_and_query = Some(all.parse().ok()?);
    Uri::from_parts(whole).ok()
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
