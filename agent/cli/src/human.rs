//! Numbers as people read and write them.

use std::time::Duration;

use starling_engine::unit::Ms;

/// `850ms`, `3s`, `2m5s`, `3h`, `4d`: at most two units, rounded down.
pub fn age(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0 => format!("{ms}ms"),
        1..=119 => format!("{s}s"),
        120..=599 => match s % 60 {
            0 => format!("{}m", s / 60),
            rest => format!("{}m{rest}s", s / 60),
        },
        600..=7_199 => format!("{}m", s / 60),
        7_200..=172_799 => format!("{}h", s / 3_600),
        _ => format!("{}d", s / 86_400),
    }
}

/// Binary prefixes, as Kubernetes writes them: `512Mi`, `1.5Gi`.
pub fn bytes(bytes: u64) -> String {
    let units = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let mut unit = 0;
    let mut scaled = bytes as f64;
    // 1,023.95 would be shown as 1024.0.
    while scaled >= 1_023.95 && unit < units.len() - 1 {
        scaled /= 1_024.0;
        unit += 1;
    }
    if unit == 0 || scaled >= 9.95 {
        format!("{scaled:.0}{}", units[unit])
    } else {
        format!("{scaled:.1}{}", units[unit])
    }
}

/// Thousandths: `1500` is `1.5`, `-20` is `-0.02`.
pub fn milli(milli: i64) -> String {
    let sign = if milli < 0 { "-" } else { "" };
    let whole = milli.unsigned_abs() / 1_000;
    let text = format!("{sign}{whole}.{:03}", milli.unsigned_abs() % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `37%`, or `-` where there is no whole.
pub fn percent(part: u64, whole: u64) -> String {
    match u128::from(part)
        .saturating_mul(100)
        .checked_div(u128::from(whole))
    {
        Some(percent) => format!("{percent}%"),
        None => "-".into(),
    }
}

/// RFC 3339 in UTC, to the millisecond.
pub fn time(at: Ms) -> String {
    let timestamp = i64::try_from(at.0)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    timestamp.map_or_else(|| "-".into(), |t| format!("{t:.3}"))
}

/// The time of day in UTC, `17:45:02`.
pub fn clock(at: Ms) -> String {
    let s = at.0 / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02}", s / 3_600, s / 60 % 60, s % 60)
}

/// Text that came from elsewhere, with what could steer a terminal made visible.
pub fn clean(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// The longest duration that [`duration`] takes.
pub const DURATION_MAX: Duration = Duration::from_hours(24);

/// A command line's duration: a whole number and `ms`, `s`, `m` or `h`; more
/// than 0, at most [`DURATION_MAX`].
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("write a whole number and ms, s, m or h, such as 90s".into()),
    };
    let duration = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(unit_ms))
        .map(Duration::from_millis)
        .ok_or("the number is missing or too large; write one such as 90s")?;
    if duration.is_zero() || duration > DURATION_MAX {
        return Err("must be more than 0 and at most 24h".into());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_at_most_two_units() {
        let shown: Vec<String> = [
            0,
            999,
            1_000,
            119_999,
            120_000,
            125_000,
            3_600_000,
            7_200_000,
            200_000_000,
        ]
        .map(age)
        .to_vec();
        assert_eq!(
            shown,
            [
                "0ms", "999ms", "1s", "119s", "2m", "2m5s", "60m", "2h", "2d"
            ]
        );
    }

    #[test]
    fn sizes_round_to_two_or_more_digits() {
        let shown: Vec<String> = [
            0,
            1_023,
            1_024,
            10_188,
            1 << 20,
            3 << 29,
            (1 << 30) - 1,
            u64::MAX,
        ]
        .map(bytes)
        .to_vec();
        assert_eq!(
            shown,
            [
                "0", "1023", "1.0Ki", "9.9Ki", "1.0Mi", "1.5Gi", "1.0Gi", "16Ei"
            ]
        );
    }

    #[test]
    fn thousandths_lose_their_trailing_zeros_and_keep_their_sign() {
        let shown: Vec<String> = [0, 1_500, -20, 70_000, 1, i64::MIN].map(milli).to_vec();
        assert_eq!(
            shown,
            ["0", "1.5", "-0.02", "70", "0.001", "-9223372036854775.808"]
        );
    }

    #[test]
    fn a_percentage_of_nothing_is_a_dash() {
        assert_eq!(percent(1, 0), "-");
        assert_eq!(percent(u64::MAX, u64::MAX), "100%");
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(time(Ms(1_795_369_561_234)), "2026-11-22T17:46:01.234Z");
        assert_eq!(time(Ms(u64::MAX)), "-");
        assert_eq!(clock(Ms(1_795_369_561_234)), "17:46:01");
    }

    #[test]
    fn durations_are_a_number_with_a_unit_and_bounded() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in [
            "",
            "90",
            "s",
            "-1s",
            "1.5s",
            "0s",
            "25h",
            "99999999999999999999s",
            "1 s",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
