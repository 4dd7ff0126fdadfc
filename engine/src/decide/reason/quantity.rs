//! Numbers as a person reads them. Integers only.

use crate::policy::{Goal, Resource, Source};

/// What a trigger's numbers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Percent,
    Cores,
    Bytes,
    Plain,
}

impl Unit {
    /// `source` as reports name it.
    pub fn of(source: &str, goal: Goal) -> Unit {
        match (goal, source) {
            (Goal::Utilization { .. }, _) => Unit::Percent,
            (_, s) if is(s, Resource::Cpu) => Unit::Cores,
            (_, s) if is(s, Resource::Memory) => Unit::Bytes,
            _ => Unit::Plain,
        }
    }

    /// Percent for a utilization, else milli-units.
    pub fn show(self, number: i64) -> String {
        match self {
            Unit::Percent => format!("{number} %"),
            Unit::Cores => format!("{} cores", decimal(number)),
            Unit::Bytes => bytes(number / 1_000),
            Unit::Plain => decimal(number),
        }
    }
}

fn is(source: &str, resource: Resource) -> bool {
    let name = super::source_name(&Source::Resource(resource));
    source == name || source.starts_with(&format!("{name} of container "))
}

/// Milli-units with at most three places.
pub fn decimal(milli: i64) -> String {
    let sign = if milli < 0 { "-" } else { "" };
    let (whole, part) = (milli.unsigned_abs() / 1_000, milli.unsigned_abs() % 1_000);
    let text = format!("{sign}{whole}.{part:03}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn bytes(bytes: i64) -> String {
    const UNITS: [(&str, i64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = UNITS.iter().find(|(_, size)| bytes >= *size);
    match unit {
        Some((name, size)) => {
            let tenths = i128::from(bytes) * 10 / i128::from(*size);
            format!("{}.{} {name}", tenths / 10, tenths % 10).replace(".0 ", " ")
        }
        None => format!("{bytes} B"),
    }
}

/// The two largest units that matter: `4 min 20 s`.
pub fn duration(ms: u64) -> String {
    let seconds = ms.div_ceil(1_000);
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    let parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")];
    let first = parts.iter().position(|(n, _)| *n > 0).unwrap_or(3);
    let shown: Vec<String> = parts
        .iter()
        .skip(first)
        .take(2)
        .enumerate()
        .filter(|(i, (n, _))| *i == 0 || *n > 0)
        .map(|(_, (n, unit))| format!("{n} {unit}"))
        .collect();
    shown.join(" ")
}

pub fn replicas(n: u32) -> String {
    plural(n, "replica")
}

pub fn plural(n: u32, noun: &str) -> String {
    if n == 1 {
        format!("1 {noun}")
    } else {
        format!("{n} {noun}s")
    }
}
