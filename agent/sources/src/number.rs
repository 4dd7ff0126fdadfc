//! A number as sources write it: digits, a Kubernetes quantity, or what was computed of
//! such.

use starling_engine::quantity::{Error, Quantity};

use crate::settings::shown;
use crate::{Number, Reason};

/// The number in milli-units, to the nearest one as KEDA tells it to an HPA. Rounded up it is
/// held against the activation: 0.0001 is more than 0.
pub(crate) fn read(number: &str, location: &str) -> Result<Number, Reason> {
    let location = || location.to_owned();
    let too_large = || Reason::TooLarge {
        location: location(),
        is: shown(number),
    };
    let quantity = match Quantity::parse(number) {
        Ok(quantity) => quantity,
        Err(Error::Malformed) => {
            return Err(Reason::NotANumber {
                location: location(),
                is: format!("`{}`", shown(number)),
            });
        }
        Err(Error::TooLarge) => return Err(too_large()),
    };
    if quantity.is_negative() {
        return Err(Reason::Negative {
            location: location(),
            is: shown(number),
        });
    }
    let milli = quantity.nearest_milli().zip(quantity.milli());
    let (milli, activity_milli) = milli.ok_or_else(too_large)?;
    Ok(Number {
        milli,
        activity_milli,
    })
}

/// Where the number stands that a query gives.
pub(crate) const COLUMN: &str = "value";

/// What is written in the only column of a query's first row; `None` is NULL.
pub(crate) fn of_column(written: Option<&str>) -> Result<f64, Reason> {
    let written = written.ok_or_else(|| not_one("it is NULL"))?;
    written.trim().parse().map_err(|_| Reason::NotANumber {
        location: COLUMN.to_owned(),
        is: format!("`{}`", shown(written)),
    })
}

/// Why a query gives no number.
pub(crate) fn not_one(why: &str) -> Reason {
    Reason::Unreadable {
        format: "one number",
        why: why.to_owned(),
    }
}

/// What was counted.
pub(crate) fn count(count: u64) -> Result<Number, Reason> {
    let milli = i64::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(1_000));
    milli.map(Number::of).ok_or_else(|| Reason::TooLarge {
        location: "the count".to_owned(),
        is: count.to_string(),
    })
}

/// The same of what a server has computed. As with KEDA less than nothing is nothing, since
/// a difference of two rates may well be that.
pub(crate) fn computed(number: f64, location: &str) -> Result<Number, Reason> {
    // The largest f64 that an i64 surely holds.
    const MILLI_MAX: f64 = 9_223_372_036_854_774_784.0;
    // A thousand times 2.007 is a little more than 2,007, by some of f64's last digits.
    const NOISE: f64 = 4.0 * f64::EPSILON;
    if !number.is_finite() {
        return Err(Reason::NotANumber {
            location: location.to_owned(),
            is: number.to_string(),
        });
    }
    let milli = (number * 1_000.0).max(0.0);
    if milli > MILLI_MAX {
        return Err(Reason::TooLarge {
            location: location.to_owned(),
            is: number.to_string(),
        });
    }
    Ok(Number {
        milli: milli.round() as i64,
        activity_milli: (milli - milli * NOISE).ceil().max(milli.round()) as i64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_computed_is_rounded_to_the_nearest_milli_unit_and_never_negative() {
        for (number, milli) in [
            (0.009_063, Some((9, 10))),
            (0.000_2, Some((0, 1))),
            (2.007, Some((2_007, 2_007))),
            (
                2_000_000_000.123,
                Some((2_000_000_000_123, 2_000_000_000_123)),
            ),
            (-0.2, Some((0, 0))),
            (-1e300, Some((0, 0))),
            (9.3e15, None),
            (f64::INFINITY, None),
            (f64::NAN, None),
        ] {
            let found = computed(number, "x").ok();
            let found = found.map(|it| (it.milli, it.activity_milli));
            assert_eq!(found, milli, "{number}");
        }
        let large = computed(9.2e15, "x").unwrap();
        assert_eq!(large.milli, 9_200_000_000_000_000_000);
    }
}
