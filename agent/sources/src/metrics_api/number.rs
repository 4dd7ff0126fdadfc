//! A number as sources write it: digits, or a Kubernetes quantity.

use starling_engine::quantity::{Error, Quantity};

use crate::Reason;

/// Milli-units, rounded up as Kubernetes rounds them.
pub(super) fn milli(number: &str, location: &str) -> Result<i64, Reason> {
    let location = || location.to_owned();
    let too_large = || Reason::TooLarge {
        location: location(),
        is: clip(number),
    };
    let quantity = match Quantity::parse(number) {
        Ok(quantity) => quantity,
        Err(Error::Malformed) => {
            return Err(Reason::NotANumber {
                location: location(),
                is: format!("`{}`", clip(number)),
            });
        }
        Err(Error::TooLarge) => return Err(too_large()),
    };
    if quantity.is_negative() {
        return Err(Reason::Negative {
            location: location(),
            is: clip(number),
        });
    }
    quantity.milli().ok_or_else(too_large)
}

/// The beginning of what a source answered, in one line, for a message.
fn clip(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let rest = text.chars().nth(CHARS_MAX).map(|_| '…');
    let begin = text.chars().take(CHARS_MAX).flat_map(char::escape_debug);
    begin.chain(rest).collect()
}
