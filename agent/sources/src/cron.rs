//! KEDA's trigger `cron`: so many replicas between two times of a calendar.
//!
//! Comes in: the trigger's metadata, and the wall time. Goes out: `desiredReplicas`
//! within the window, 0 outside. The window is open when its next end comes no later
//! than its next start (keda.md 4). Reads no clock: a machine's calendar is passed
//! in, and a step of it moves this trigger and nothing else.

mod schedule;

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use schedule::Schedule;

/// KEDA's trigger type for a window of the calendar.
pub const CRON: &str = "cron";
const KEYS: [&str; 4] = ["timezone", "start", "end", "desiredReplicas"];
/// As many as a policy may ever have.
const REPLICAS_MAX: i64 = starling_engine::policy::REPLICAS_MAX as i64;

struct Window {
    zone: TimeZone,
    start: Schedule,
    end: Schedule,
    replicas: i64,
}

/// What is wrong with the metadata: key and reason.
pub(super) fn check(metadata: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut wrong: Vec<(String, String)> = metadata
        .keys()
        .filter(|key| !KEYS.contains(&key.as_str()))
        .map(|key| {
            let why = format!("is not supported; allowed: {}", KEYS.join(", "));
            (key.clone(), why)
        })
        .collect();
    if let Err(found) = window(metadata) {
        wrong.extend(found);
    }
    wrong
}

/// The wanted replicas at a time, in milli-units.
pub(super) fn value(metadata: &BTreeMap<String, String>, wall_ms: i64) -> Result<i64, String> {
    let window = window(metadata).map_err(|wrong| {
        let words: Vec<String> = wrong
            .into_iter()
            .map(|(key, why)| format!("{key} {why}"))
            .collect();
        words.join("; ")
    })?;
    let now = Timestamp::from_millisecond(wall_ms).map_err(|error| error.to_string())?;
    Ok(if window.is_open(now) {
        window.replicas * 1_000
    } else {
        0
    })
}

fn window(metadata: &BTreeMap<String, String>) -> Result<Window, Vec<(String, String)>> {
    let mut wrong = Vec::new();
    let mut setting = |key: &'static str| {
        let text = metadata.get(key).map(|text| text.trim());
        if text.is_none() {
            wrong.push((String::new(), format!("`{key}` is missing")));
        }
        text
    };
    let (zone, start, end, replicas) = (
        setting("timezone"),
        setting("start"),
        setting("end"),
        setting("desiredReplicas"),
    );
    let mut fails = |key: &str, why: String| wrong.push((key.to_owned(), why));
    let zone = zone.and_then(|name| {
        let zone = TimeZone::get(name).ok();
        if zone.is_none() {
            let name: String = name.escape_debug().take(80).collect();
            fails(
                "timezone",
                format!("`{name}` is not a time zone, such as Europe/Berlin or Etc/UTC"),
            );
        }
        zone
    });
    let mut schedule = |key: &str, text: Option<&str>| match Schedule::parse(text?) {
        Ok(schedule) => Some(schedule),
        Err(why) => {
            fails(key, why);
            None
        }
    };
    let (start, end) = (schedule("start", start), schedule("end", end));
    if start.is_some() && start == end {
        fails("end", "must not be the same as start".to_owned());
    }
    let replicas = replicas.and_then(|text| {
        let count = text.parse().ok().filter(|n| (1..=REPLICAS_MAX).contains(n));
        if count.is_none() {
            let text: String = text.escape_debug().take(80).collect();
            fails(
                "desiredReplicas",
                format!("must be a whole number, 1 to {REPLICAS_MAX}, is `{text}`"),
            );
        }
        count
    });
    match (zone, start, end, replicas) {
        (Some(zone), Some(start), Some(end), Some(replicas)) if wrong.is_empty() => Ok(Window {
            zone,
            start,
            end,
            replicas,
        }),
        _ => Err(wrong),
    }
}

impl Window {
    /// A schedule that never comes again lies behind everything.
    fn is_open(&self, now: Timestamp) -> bool {
        let next = |schedule: &Schedule| {
            let next = schedule.next(now, &self.zone);
            next.unwrap_or(Timestamp::MAX)
        };
        let (end, start) = (next(&self.end), next(&self.start));
        end <= start && end != Timestamp::MAX
    }
}

#[cfg(test)]
mod tests;
