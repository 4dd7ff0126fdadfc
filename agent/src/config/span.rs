//! A stretch of time as settings state it: `90s`, `30m`, `24h`, `7d`.
//!
//! Comes in: text. Goes out: a duration within bounds, or what is wrong with it.

use std::time::Duration;

/// Who is silent for less isn't noticed to be away.
const MIN: Duration = Duration::from_secs(10);
const MAX: Duration = Duration::from_hours(365 * 24);

pub fn parse(text: &str) -> Result<Duration, &'static str> {
    const WORDS: &str = "is no stretch of time from 10s to 365d: write a whole number and s, m, h or d, such as 24h";
    let (number, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(WORDS),
    };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = number.parse::<u64>().ok().filter(|_| digits);
    let span = seconds.and_then(|n| n.checked_mul(unit_s));
    let span = span.map(Duration::from_secs).ok_or(WORDS)?;
    if (MIN..=MAX).contains(&span) {
        Ok(span)
    } else {
        Err(WORDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_whole_numbers_with_a_unit_within_bounds() {
        assert_eq!(parse("24h"), Ok(Duration::from_hours(24)));
        assert_eq!(parse("7d"), Ok(Duration::from_hours(7 * 24)));
        assert_eq!(parse("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse("90m"), Ok(Duration::from_mins(90)));
        for wrong in [
            "", "24", "h", "9s", "366d", "-1h", "+1h", "1.5h", "1w", "1 h", "24H",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("99999999999999999999h").is_err());
        assert!(parse("18446744073709551615d").is_err());
    }
}
