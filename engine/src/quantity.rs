//! Kubernetes quantities (`100m`, `64Mi`, `1.5e3`), exactly.
//!
//! Comes in: text as Kubernetes writes it. Goes out: a whole number of
//! nano-units, rounded away from zero as Kubernetes rounds. No floats.

/// An amount in nano-units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(i128);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "is not a quantity; write a number such as 10, 0.5 or 1e3, or one with a suffix \
         (n u m k M G T P E, Ki Mi Gi Ti Pi Ei)"
    )]
    Malformed,
    #[error("is too large a quantity")]
    TooLarge,
}

const NANO: i128 = 1_000_000_000;
/// Longer texts are malformed: i128 holds 38 digits, and nobody writes more.
const BYTES_MAX: usize = 64;
/// Exponents beyond this can't fit whatever the digits are.
const EXPONENT_MAX: i32 = 64;

impl Quantity {
    /// Reads `[+-]digits[.digits][suffix]`.
    pub fn parse(text: &str) -> Result<Quantity, Error> {
        if text.len() > BYTES_MAX {
            return Err(Error::Malformed);
        }
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return Err(Error::Malformed);
        }
        let (multiplier, exponent) = scale(suffix)?;
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        let mantissa: i128 = match digits {
            "" => 0,
            digits => digits.parse().map_err(|_| Error::TooLarge)?,
        };
        let nano = mantissa
            .checked_mul(multiplier)
            .ok_or(Error::TooLarge)
            .and_then(|value| shift(value, exponent + 9 - fraction.len() as i32))?;
        Ok(Quantity(if negative { -nano } else { nano }))
    }

    pub fn is_negative(self) -> bool {
        self.0 < 0
    }

    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// In thousandths, rounded up. `None` beyond i64.
    pub fn milli(self) -> Option<i64> {
        self.in_units_of(NANO / 1_000)
    }

    /// In thousandths, to the nearest one. `None` beyond i64.
    pub fn nearest_milli(self) -> Option<i64> {
        let milli = NANO / 1_000;
        i64::try_from((self.0 + milli / 2).div_euclid(milli)).ok()
    }

    /// In millionths, rounded up. `None` beyond i64.
    pub fn micro(self) -> Option<i64> {
        self.in_units_of(NANO / 1_000_000)
    }

    /// In whole units, rounded up. `None` beyond i64.
    pub fn whole(self) -> Option<i64> {
        self.in_units_of(NANO)
    }

    fn in_units_of(self, nano: i128) -> Option<i64> {
        let up = i128::from(self.0.rem_euclid(nano) != 0);
        i64::try_from(self.0.div_euclid(nano) + up).ok()
    }
}

/// A suffix as multiplier × 10^exponent.
fn scale(suffix: &str) -> Result<(i128, i32), Error> {
    Ok(match suffix {
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "" => (1, 0),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        other => {
            let exponent = other
                .strip_prefix(['e', 'E'])
                .and_then(|digits| digits.parse::<i32>().ok())
                .ok_or(Error::Malformed)?;
            (1, exponent.clamp(-EXPONENT_MAX, EXPONENT_MAX))
        }
    })
}

/// `value` × 10^`exponent` for a value that isn't negative, rounded up.
fn shift(value: i128, exponent: i32) -> Result<i128, Error> {
    if value == 0 {
        return Ok(0);
    }
    match 10i128.checked_pow(exponent.unsigned_abs()) {
        Some(power) if exponent >= 0 => value.checked_mul(power).ok_or(Error::TooLarge),
        Some(power) => Ok(value / power + i128::from(value % power != 0)),
        None if exponent >= 0 => Err(Error::TooLarge),
        // Smaller than a nano-unit however many digits there are.
        None => Ok(1),
    }
}

#[cfg(test)]
mod tests;
