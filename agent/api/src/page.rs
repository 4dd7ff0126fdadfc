//! Lists, a page at a time.
//!
//! A page token holds the key of the last item that was given, not a position:
//! items that come and go in between move nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;
use tonic::Status;

use crate::refuse;

/// Items on a page where the caller states none.
pub const SIZE_DEFAULT: usize = 100;
/// A larger wish is brought down to this.
pub const SIZE_MAX: usize = 1_000;
/// A page ends before it grows beyond this, whatever its size in items. Three
/// quarters of the reply's limit: one more item and the header fit in the rest.
pub const BYTES_MAX: usize = starling_proto::REPLY_BYTES_MAX / 4 * 3;
/// The longest token that is looked at. Each of a target's parts has at most 253 bytes.
const TOKEN_BYTES_MAX: usize = 2_048;

/// What a caller asked for.
pub struct Page {
    pub size: usize,
    /// Only items beyond this key.
    pub after: Option<String>,
    list: &'static str,
}

impl Page {
    /// `list` names what is listed, so that a token of another list is noticed.
    pub fn parse(list: &'static str, size: i32, token: &str) -> Result<Page, Status> {
        let size = match usize::try_from(size) {
            Ok(0) => SIZE_DEFAULT,
            Ok(size) => size.min(SIZE_MAX),
            Err(_) => {
                return Err(refuse::invalid(format!(
                    "page_size: {size} is negative; use 1 to {SIZE_MAX}, or 0 for {SIZE_DEFAULT}"
                )));
            }
        };
        if token.is_empty() {
            return Ok(Page {
                size,
                after: None,
                list,
            });
        }
        let after = (token.len() <= TOKEN_BYTES_MAX)
            .then(|| URL_SAFE_NO_PAD.decode(token).ok())
            .flatten()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .and_then(|text| {
                text.strip_prefix(list)?
                    .strip_prefix('/')
                    .map(str::to_owned)
            })
            .ok_or_else(|| {
                refuse::invalid(
                    "page_token: not one that this list gave; take next_page_token of the page \
                     before, or leave it empty to begin anew",
                )
            })?;
        Ok(Page {
            size,
            after: Some(after),
            list,
        })
    }

    /// The same, for lists by number.
    pub fn parse_numbered(
        list: &'static str,
        size: i32,
        token: &str,
    ) -> Result<(Page, Option<u64>), Status> {
        let page = Page::parse(list, size, token)?;
        let after = match &page.after {
            None => None,
            Some(text) => Some(
                text.parse()
                    .map_err(|_| refuse::invalid("page_token: not one that this list gave"))?,
            ),
        };
        Ok((page, after))
    }

    /// Takes one page from `items`, which begin after the token's key, and the
    /// token for the next: empty where nothing is left.
    pub fn take<T: Message>(
        &self,
        items: impl IntoIterator<Item = (String, T)>,
    ) -> (Vec<T>, String) {
        let mut taken = Vec::new();
        let mut bytes = 0;
        let mut last: Option<String> = None;
        for (key, item) in items {
            // Every page holds at least one item, so that a listing always ends.
            let full = taken.len() == self.size || bytes + item.encoded_len() > BYTES_MAX;
            if full && let Some(last) = last {
                return (taken, token(self.list, &last));
            }
            bytes += item.encoded_len();
            taken.push(item);
            last = Some(key);
        }
        (taken, String::new())
    }
}

/// Where a list goes on: beyond `key`.
pub fn token(list: &str, key: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{list}/{key}"))
}

#[cfg(test)]
mod tests {
    use starling_proto::v1;

    use super::*;

    fn items(keys: impl IntoIterator<Item = usize>) -> Vec<(String, v1::Warning)> {
        keys.into_iter()
            .map(|n| {
                (
                    format!("{n:05}"),
                    v1::Warning {
                        subject: n.to_string(),
                        ..Default::default()
                    },
                )
            })
            .collect()
    }

    #[test]
    fn pages_add_up_to_the_whole_list_even_while_items_vanish() {
        let (first, token) = Page::parse("x", 2, "").unwrap().take(items(0..5));
        assert_eq!(first.len(), 2);
        let page = Page::parse("x", 2, &token).unwrap();
        assert_eq!(page.after.as_deref(), Some("00001"));
        // Item 1, the last of the first page, is gone by now.
        let (second, token) = page.take(items(2..4));
        assert_eq!(
            second
                .iter()
                .map(|w| w.subject.as_str())
                .collect::<Vec<_>>(),
            ["2", "3"]
        );
        assert_eq!(token, "");
    }

    #[test]
    fn a_page_is_cut_to_the_reply_limit_and_never_empty() {
        let large = v1::Warning {
            text: "x".repeat(BYTES_MAX / 2 + 1),
            ..Default::default()
        };
        let huge = v1::Warning {
            text: "x".repeat(BYTES_MAX + 1),
            ..Default::default()
        };
        let page = Page::parse("x", 1_000, "").unwrap();
        let (taken, next) = page.take([("a".into(), large.clone()), ("b".into(), large)]);
        assert_eq!(taken.len(), 1);
        assert_ne!(next, "");
        let (taken, next) = page.take([("a".into(), huge)]);
        assert_eq!((taken.len(), next.as_str()), (1, ""));
    }

    #[test]
    fn sizes_are_bounded_and_foreign_tokens_refused() {
        assert_eq!(Page::parse("x", 0, "").unwrap().size, SIZE_DEFAULT);
        assert_eq!(Page::parse("x", i32::MAX, "").unwrap().size, SIZE_MAX);
        assert!(Page::parse("x", -1, "").is_err());
        let (_, token) = Page::parse("x", 1, "").unwrap().take(items(0..2));
        assert!(Page::parse("y", 1, &token).is_err());
        assert!(Page::parse("x", 1, "no token").is_err());
        assert!(Page::parse("x", 1, &"a".repeat(TOKEN_BYTES_MAX + 1)).is_err());
        assert!(Page::parse_numbered("x", 1, &URL_SAFE_NO_PAD.encode("x/one")).is_err());
    }
}
