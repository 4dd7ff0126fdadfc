//! Which rows of `starling top` are shown, in which order, and what wide tables show
//! beside CPU and memory.
//!
//! Comes in: rows, and what the command line says about them. Goes out: fewer rows,
//! most used first; columns and cells. A resource that no row has gets no column.

use super::top::{Amount, Resources};
use crate::human;
use crate::output::{Column, right};

/// One line of a table.
pub trait Row {
    fn resources(&self) -> &Resources;

    /// What a filter looks through.
    fn names(&self) -> Vec<String>;
}

/// What the command line says about rows.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub struct Wish {
    /// Who uses most of it first: cpu, memory, or any other that `-o json` names
    #[arg(long, value_name = "RESOURCE")]
    pub sort_by: Option<String>,
    /// Only those with this text in their name, or in NAMESPACE/NAME
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
}

/// Leaves out what isn't wished for and sorts the rest. Rows that don't have the
/// resource come last. Says what came of a wish that nothing fits.
pub fn arrange<R: Row>(rows: &mut Vec<R>, wish: &Wish) -> Option<String> {
    if let Some(text) = &wish.filter {
        let before = rows.len();
        rows.retain(|row| row.names().iter().any(|name| name.contains(text)));
        if rows.is_empty() && before > 0 {
            return Some(format!("None of {before} has {text:?} in its name."));
        }
    }
    let resource = wish.sort_by.as_ref()?;
    // Stable: equal ones keep the order of their names.
    rows.sort_by_key(|row| std::cmp::Reverse(used(row.resources(), resource)));
    let known = rows
        .iter()
        .any(|row| used(row.resources(), resource).is_some());
    if known || rows.is_empty() {
        return None;
    }
    let mut names: Vec<&str> = rows
        .iter()
        .flat_map(|row| row.resources().keys())
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    names.dedup();
    Some(format!(
        "Not sorted: none of these has {resource:?} measured, but {}.",
        names.join(", ")
    ))
}

/// Of a node `disk` and `network` are both directions together.
fn used(of: &Resources, resource: &str) -> Option<u64> {
    let one = |name: &str| of.get(name).map(|amount| amount.used);
    let both = match resource {
        "disk" => ["disk-read", "disk-write"],
        "network" => ["network-received", "network-sent"],
        _ => return one(resource),
    };
    let sum = || {
        let [one_way, other] = both.map(one);
        Some(one_way?.saturating_add(other?))
    };
    one(resource).or_else(sum)
}

/// What has a column of its own, and how it is headed.
const COLUMNS: [(&str, &str); 14] = [
    ("disk", "DISK/s"),
    ("disk-read", "DISK READ/s"),
    ("disk-write", "DISK WRITE/s"),
    ("disk-busy", "DISK BUSY"),
    ("disk-space", "DISK SPACE"),
    ("network", "NET/s"),
    ("network-received", "NET IN/s"),
    ("network-sent", "NET OUT/s"),
    ("gpu", "GPU"),
    ("gpu-memory", "GPU MEMORY"),
    ("psi-cpu", "PSI CPU"),
    ("psi-memory", "PSI MEMORY"),
    ("psi-io", "PSI IO"),
    ("throttling", "THROTTLED"),
];

/// Columns of wide tables, for [`cells`].
pub fn columns<R: Row>(rows: &[R]) -> Vec<Column> {
    let any = |has: &dyn Fn(&Resources) -> bool| rows.iter().any(|row| has(row.resources()));
    let own = COLUMNS.iter().map(|(name, heading)| {
        let known = any(&|of| of.contains_key(*name));
        right(heading).only_wide().only_if(known)
    });
    let known = any(&|of| !others(of).is_empty());
    let rest = crate::output::left("OTHERS").only_wide().only_if(known);
    own.chain([rest]).collect()
}

pub fn cells(of: &Resources) -> impl Iterator<Item = String> {
    let own = COLUMNS.iter().map(|(name, _)| {
        let amount = of.get(*name);
        amount.map(|it| shown(name, it)).unwrap_or_default()
    });
    own.chain([others(of)])
}

/// Devices and the like: `nvidia.com/gpu 1/4, pods/queue 7.5`.
fn others(of: &Resources) -> String {
    let has_column = |name: &str| {
        let own = COLUMNS.iter().any(|(known, _)| *known == name);
        own || name == "cpu" || name == "memory"
    };
    let rest = of.iter().filter(|(name, _)| !has_column(name));
    let rest = rest.map(|(name, amount)| format!("{name} {}", shown(name, amount)));
    rest.collect::<Vec<_>>().join(", ")
}

/// An amount in the unit that people read it in.
fn shown(name: &str, amount: &Amount) -> String {
    let number = |n: u64| match amount.unit {
        "milli_cores" => format!("{n}m"),
        "bytes" | "bytes_per_second" => human::bytes(n),
        "milli" => human::milli(i64::try_from(n).unwrap_or(i64::MAX)),
        _ => n.to_string(),
    };
    if is_part_of_time(name) {
        // Thousandths, so that tenths of a percent are left.
        return format!("{}.{}%", amount.used / 10, amount.used % 10);
    }
    match amount.allocatable {
        Some(whole) => format!("{}/{}", number(amount.used), number(whole)),
        None => number(amount.used),
    }
}

fn is_part_of_time(name: &str) -> bool {
    let name = name.strip_prefix("node/").unwrap_or(name);
    let name = name.split(['/', '@']).next().unwrap_or_default();
    name.starts_with("psi-") || name == "throttling" || name == "disk-busy"
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(&'static str, Resources);

    impl Row for Named {
        fn resources(&self) -> &Resources {
            &self.1
        }

        fn names(&self) -> Vec<String> {
            vec![self.0.to_owned()]
        }
    }

    fn rows() -> Vec<Named> {
        let amount = |used| Amount {
            used,
            requested: None,
            allocatable: None,
            unit: "bytes_per_second",
        };
        let row = |name, disk: &[(&str, u64)]| {
            let of = disk
                .iter()
                .map(|(name, used)| ((*name).to_owned(), amount(*used)));
            Named(name, of.collect())
        };
        vec![
            row("shop/a", &[("disk", 5)]),
            row("shop/silent", &[]),
            row("shop/b", &[("disk-read", 4), ("disk-write", 3)]),
            row("bar/c", &[("disk", 9)]),
        ]
    }

    fn arranged(
        sort_by: Option<&str>,
        filter: Option<&str>,
    ) -> (Vec<&'static str>, Option<String>) {
        let mut rows = rows();
        let wish = Wish {
            sort_by: sort_by.map(str::to_owned),
            filter: filter.map(str::to_owned),
        };
        let note = arrange(&mut rows, &wish);
        (rows.iter().map(|row| row.0).collect(), note)
    }

    #[test]
    fn most_used_comes_first_and_what_is_not_known_last() {
        let (names, note) = arranged(Some("disk"), None);
        assert_eq!(names, ["bar/c", "shop/b", "shop/a", "shop/silent"]);
        assert_eq!(note, None);
    }

    #[test]
    fn a_filter_looks_into_names_and_namespaces() {
        let (names, _) = arranged(None, Some("shop/"));
        assert_eq!(names, ["shop/a", "shop/silent", "shop/b"]);
        let (names, note) = arranged(Some("disk"), Some("nobody"));
        assert!(names.is_empty());
        assert_eq!(
            note.as_deref(),
            Some("None of 4 has \"nobody\" in its name.")
        );
    }

    #[test]
    fn a_resource_that_nobody_has_is_told_with_those_that_there_are() {
        let (names, note) = arranged(Some("dsk"), None);
        assert_eq!(names, ["shop/a", "shop/silent", "shop/b", "bar/c"]);
        insta::assert_snapshot!(
            note.unwrap(),
            @r#"Not sorted: none of these has "dsk" measured, but disk, disk-read, disk-write."#
        );
    }
}
