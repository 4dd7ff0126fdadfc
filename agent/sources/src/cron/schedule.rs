//! A cron expression of five fields, and when it comes next.
//!
//! Minute, hour, day of the month, month, day of the week: `*`, `?`, numbers, names
//! of months and days, ranges, steps and lists; `@daily` and the like. Where both
//! days are restricted either one suffices, as in every cron. A time that a clock
//! skips in spring isn't there that day; one that it shows twice in autumn comes
//! twice.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};

/// A day that hasn't come in so many doesn't exist (29 February on a given day of
/// the week comes within 40 years, but nobody waits for that).
const DAYS_MAX: usize = 366 * 5;
/// A longer text is no expression.
const BYTES_MAX: usize = 256;

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A bit for each value that a field may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Neither day says anything unless it is restricted.
    any_day: bool,
    any_weekday: bool,
}

impl Schedule {
    pub(super) fn parse(text: &str) -> Result<Schedule, String> {
        let malformed = || {
            let shown: String = text.escape_debug().take(80).collect();
            format!(
                "`{shown}` is not a cron expression: minute, hour, day of the month, month and day \
                 of the week, such as `0 8 * * 1-5`"
            )
        };
        if text.len() > BYTES_MAX {
            return Err(malformed());
        }
        let text = match text.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            text => text,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(malformed());
        };
        let field = |text: &str, min, max, names: &[&str]| {
            field(text, min, max, names).ok_or_else(malformed)
        };
        let mut weekdays = field(weekday, 0, 7, &DAYS)?;
        // Both 0 and 7 are Sunday.
        weekdays |= weekdays >> 7;
        Ok(Schedule {
            minutes: field(minute, 0, 59, &[])?,
            hours: field(hour, 0, 23, &[])?,
            days: field(day, 1, 31, &[])?,
            months: field(month, 1, 12, &MONTHS)?,
            weekdays: weekdays & 0x7f,
            any_day: day.starts_with(['*', '?']),
            any_weekday: weekday.starts_with(['*', '?']),
        })
    }

    /// The first time after `now`, to the minute.
    pub(super) fn next(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let today = now.to_zoned(zone.clone()).date();
        let mut date = today;
        for _ in 0..DAYS_MAX {
            if self.has_day(date) {
                let first = self.times().flat_map(|time| moments(date, time, zone));
                // Where a clock is set back times don't come in the order of the day.
                if let Some(first) = first.filter(|at| *at > now).min() {
                    return Some(first);
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let both = self.any_day || self.any_weekday;
        has(self.months, date.month()) && if both { day && weekday } else { day || weekday }
    }

    fn times(&self) -> impl Iterator<Item = Time> {
        let hours = (0..24).filter(|hour| has(self.hours, *hour));
        hours.flat_map(|hour| {
            let minutes = (0..60).filter(|minute| has(self.minutes, *minute));
            minutes.filter_map(move |minute| Time::new(hour, minute, 0, 0).ok())
        })
    }
}

fn has(bits: u64, value: i8) -> bool {
    bits >> value & 1 == 1
}

/// When a zone's clocks show that time: once, twice, or never.
fn moments(date: Date, time: Time, zone: &TimeZone) -> impl Iterator<Item = Timestamp> {
    let shown = DateTime::from_parts(date, time);
    let (first, second) = match zone.to_ambiguous_timestamp(shown).offset() {
        AmbiguousOffset::Unambiguous { offset } => (Some(offset), None),
        AmbiguousOffset::Gap { .. } => (None, None),
        AmbiguousOffset::Fold { before, after } => (Some(before), Some(after)),
    };
    let offsets = first.into_iter().chain(second);
    offsets.filter_map(move |offset| offset.to_timestamp(shown).ok())
}

/// The bits of one field; `None` where it isn't one.
fn field(text: &str, min: u32, max: u32, names: &[&str]) -> Option<u64> {
    let number = |text: &str| {
        let position = names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(text))
            .map(|at| at as u32 + min);
        let value = position.or_else(|| text.parse().ok())?;
        (min..=max).contains(&value).then_some(value)
    };
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u32>().ok()?)),
            None => (part, None),
        };
        let (first, last) = match range {
            "*" | "?" => (min, max),
            range => {
                if let Some((first, last)) = range.split_once('-') {
                    (number(first)?, number(last)?)
                } else {
                    // `5/15` begins at 5 and goes on to the end.
                    let first = number(range)?;
                    (first, if step.is_some() { max } else { first })
                }
            }
        };
        let step = step.unwrap_or(1);
        if step == 0 || first > last {
            return None;
        }
        for value in (first..=last).step_by(step as usize) {
            bits |= 1 << value;
        }
    }
    Some(bits)
}
