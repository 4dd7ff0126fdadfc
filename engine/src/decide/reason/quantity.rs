//! Numbers as a person reads them. Integers only.

use crate::policy::{Goal, Resource, resource};

/// What a trigger's numbers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Percent,
    Of(resource::Unit),
    Plain,
}

/// Behind the name of what is measured of the nodes that replicas are on.
pub const OF_NODES: &str = " of the nodes";

/// What a utilization is a percentage of, after the number; `source` as reports name it.
pub fn whole(source: &str) -> &'static str {
    match Resource::ALL.into_iter().find(|it| is(source, *it)) {
        Some(Resource::Throttling) => "of the periods held back",
        Some(resource) if resource.unit() == resource::Unit::Part => "of the time",
        Some(_) if source.ends_with(OF_NODES) => "of what the nodes have is used",
        _ => "of requests used",
    }
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
        self.rounded(number, false)
    }

    /// Of bytes only tenths of a unit are shown.
    fn rounded(self, number: i64, up: bool) -> String {
        match self {
            Unit::Percent => format!("{number} %"),
            Unit::Of(resource::Unit::Cores) => format!("{} cores", decimal(number)),
            Unit::Of(resource::Unit::Gpus) => format!("{} GPUs", decimal(number)),
            Unit::Of(resource::Unit::Bytes) => bytes(number, up),
            Unit::Of(resource::Unit::BytesPerSecond) => format!("{}/s", bytes(number, up)),
            Unit::Of(resource::Unit::Part) | Unit::Plain => decimal(number),
        }
    }
}

impl Unit {
    /// That a number becomes at least so much, by whichever number is rounder: `goes
    /// above 55` rather than `reaches 55.001`.
    pub fn at_least(self, number: i64) -> String {
        match self.rounder(number, number.saturating_sub(1)) {
            Some(before) => format!("goes above {}", self.show(before)),
            None => format!("reaches {}", self.rounded(number, true)),
        }
    }

    /// The same for at most: `falls below 90`, or `falls to 40`.
    pub fn at_most(self, number: i64) -> String {
        match self.rounder(number, number.saturating_add(1)) {
            Some(before) => format!("falls below {}", self.show(before)),
            None => format!("falls to {}", self.rounded(number, false)),
        }
    }

    fn rounder(self, number: i64, before: i64) -> Option<i64> {
        let decimal = !matches!(self, Unit::Percent) && !self.is_bytes();
        (decimal && zeros(before) > zeros(number)).then_some(before)
    }

    fn is_bytes(self) -> bool {
        use resource::Unit::{Bytes, BytesPerSecond};
        matches!(self, Unit::Of(Bytes | BytesPerSecond))
    }
}

/// Decimal zeros at a number's end.
fn zeros(number: i64) -> u32 {
    let mut rest = number.unsigned_abs();
    if rest == 0 {
        return u32::MAX;
    }
    let mut zeros = 0;
    while rest.is_multiple_of(10) {
        rest /= 10;
        zeros += 1;
    }
    zeros
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

fn bytes(milli: i64, up: bool) -> String {
    const UNITS: [(&str, i64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = UNITS.iter().find(|(_, size)| milli / 1_000 >= *size);
    let (name, size, parts) = unit.map_or(("B", 1, 1), |(name, size)| (*name, *size, 10));
    let whole = i128::from(size) * 1_000;
    let more = if up { whole - 1 } else { 0 };
    let shown = (i128::from(milli) * parts + more).div_euclid(whole);
    format!("{}.{} {name}", shown / parts, shown % parts).replace(".0 ", " ")
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
