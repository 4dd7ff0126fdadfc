//! What this process uses of its machine, from `/proc/self`.
//!
//! Comes in: nothing. Goes out: numbers under the names that every Prometheus
//! client uses. What can't be read is left out.

use std::fs;

/// This process at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// In user and kernel mode, all threads, since the start.
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
    pub virtual_bytes: u64,
    pub threads: u64,
    /// Since the epoch.
    pub start_seconds: Option<f64>,
    pub open_files: Option<u64>,
    pub open_files_max: Option<u64>,
}

pub fn usage() -> Option<Usage> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let mut usage = parse(&stat, ticks, rustix::param::page_size() as u64)?;
    usage.start_seconds = usage
        .start_seconds
        .zip(boot())
        .map(|(own, boot)| own + boot);
    // The list itself is one that was opened to read the others.
    usage.open_files = fs::read_dir("/proc/self/fd")
        .ok()
        .map(|files| (files.count() as u64).saturating_sub(1));
    usage.open_files_max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    Some(usage)
}

/// The fields of proc(5), counted from the one behind the command's name, which
/// may itself hold spaces and brackets. `start_seconds` is since the boot.
fn parse(stat: &str, ticks_per_second: f64, page_bytes: u64) -> Option<Usage> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // The first field here is number 3 in the manual.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Usage {
        cpu_seconds: (field(14)? + field(15)?) as f64 / ticks_per_second,
        resident_bytes: field(24)? * page_bytes,
        virtual_bytes: field(23)?,
        threads: field(20)?,
        start_seconds: Some(field(22)? as f64 / ticks_per_second),
        open_files: None,
        open_files_max: None,
    })
}

/// When the machine booted, in seconds since the epoch.
fn boot() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_any_command_name() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 12300 \
                    1000000 500 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0";
        let usage = parse(stat, 100.0, 4_096).unwrap();
        assert_eq!(
            usage,
            Usage {
                cpu_seconds: 3.0,
                resident_bytes: 500 * 4_096,
                virtual_bytes: 1_000_000,
                threads: 9,
                start_seconds: Some(123.0),
                open_files: None,
                open_files_max: None,
            }
        );
    }

    #[test]
    fn this_very_process_has_a_size_and_a_start() {
        let usage = usage().unwrap();
        assert!(usage.resident_bytes > 1 << 20, "{usage:?}");
        assert!(usage.open_files.unwrap() >= 3, "{usage:?}");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let age = now.unwrap().as_secs_f64() - usage.start_seconds.unwrap();
        assert!((-2.0..86_400.0).contains(&age), "started {age} s ago");
    }
}
