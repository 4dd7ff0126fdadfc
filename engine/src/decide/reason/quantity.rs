//! Numbers as a person reads them. Integers only.

use crate::policy::{Goal, Resource, resource};

/// What a trigger's numbers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Percent,
    Of(resource::Unit),
    Plain,
}

impl Unit {
    /// `source` as reports name it.
    pub fn of(source: &str, goal: Goal) -> Unit {
        if let Goal::Utilization { .. } = goal {
            return Unit::Percent;
        }
        let measured = Resource::ALL.into_iter().find(|it| is(source, *it));
        measured.map_or(Unit::Plain, |it| Unit::Of(it.unit()))
    }

    /// Percent for a utilization, else milli-units.
    pub fn show(self, number: i64) -> String {
        match self {
            Unit::Percent => format!("{number} %"),
            Unit::Of(resource::Unit::Cores) => format!("{} cores", decimal(number)),
            Unit::Of(resource::Unit::Gpus) => format!("{} GPUs", decimal(number)),
            Unit::Of(resource::Unit::Bytes) => bytes(number / 1_000),
            Unit::Of(resource::Unit::BytesPerSecond) => format!("{}/s", bytes(number / 1_000)),
            Unit::Of(resource::Unit::Part) | Unit::Plain => decimal(number),
        }
    }
}

fn is(source: &str, resource: Resource) -> bool {
    let rest = source.strip_prefix(resource.name());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(" of "))
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
