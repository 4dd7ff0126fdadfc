//! What the tests of several kinds of source begin with: settings and parameters from pairs,
//! and what became of them in words.

use hyper::Uri;

use crate::http::Question;
use crate::secrets::Secrets;
use crate::settings::{Metadata, Wrong};

pub(crate) fn metadata(pairs: &[(&str, &str)]) -> Metadata {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

pub(crate) fn secrets(pairs: &[(&'static str, &str)]) -> Secrets {
    let pairs = pairs.iter();
    Secrets(
        pairs
            .map(|(key, value)| (*key, (*value).to_owned()))
            .collect(),
    )
}

/// What is wrong with settings, in one line.
pub(crate) fn told(wrong: Wrong) -> String {
    let wrong = wrong.into_iter();
    let wrong = wrong.map(|(key, why)| format!("{key} {why}").trim().to_owned());
    wrong.collect::<Vec<_>>().join("; ")
}

/// The address and the headers of a question.
pub(crate) fn sent(uri: &Uri, question: &Question) -> String {
    let headers = question.headers.iter();
    let headers = headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
    let words = std::iter::once(uri.to_string()).chain(headers);
    words.collect::<Vec<_>>().join(" ")
}
