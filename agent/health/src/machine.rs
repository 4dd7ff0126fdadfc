//! What this agent's own machine does, device by device, on `/metrics`.
//!
//! Comes in: what `collect` measured last. Goes out: gauges with the device as
//! label. What couldn't be read has no series, and is named as such instead. Other
//! nodes' machines never stand here: each agent tells of its own.

use std::fmt;

use prometheus_client::encoding::EncodeMetric as _;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use starling_collect::gpu::Device;
use starling_collect::gpu::driver::Memory;
use starling_collect::node::{Machine, disk, network, space};

use crate::reading::Page;

/// One number with its labels.
pub(crate) type Series<'a> = (Vec<(&'static str, &'a str)>, f64);

/// Name, value and help of one number that each device of a kind has.
type Number<D, V = f64> = (&'static str, fn(&D) -> V, &'static str);

pub(crate) fn encode(machine: &Machine, page: &mut Page) -> fmt::Result {
    of_each(page, "device", &DISKS, || names(&machine.disks))?;
    of_each(page, "interface", &INTERFACES, || {
        names(&machine.interfaces)
    })?;
    of_each(page, "file_system", &FILE_SYSTEMS, || {
        machine.file_systems.iter().map(|(name, it)| (*name, it))
    })?;
    let pressures = machine.pressures.iter().flat_map(|(resource, rates)| {
        let some = ("some", Some(rates.some_milli));
        [some, ("full", rates.full_milli)].map(|(kind, milli)| (*resource, kind, milli))
    });
    let pressures = pressures.filter_map(|(resource, kind, milli)| {
        let labels = vec![("resource", resource), ("tasks", kind)];
        Some((labels, ratio(milli?)))
    });
    family(
        page,
        "node_pressure_ratio",
        pressures,
        "Share of time in which some or all tasks of this node waited for a resource",
    )?;
    gpus(&machine.gpus.devices, page)?;
    let silent = machine.silent.iter();
    family(
        page,
        "node_reader_silent_seconds",
        silent.map(|(name, since)| (vec![("reader", name.as_str())], since.as_secs_f64())),
        "For how long a reader that should have answered hasn't; absent where all answer",
    )?;
    let unread = machine.unread.iter().map(|unread| {
        let fault = if unread.fault { "true" } else { "false" };
        (vec![("what", unread.what.as_str()), ("fault", fault)], 1.0)
    });
    family(
        page,
        "node_unread",
        unread,
        "1 for each thing that can't be measured here: by fault, or since this node lacks it",
    )
}

/// By UUID; parts of a device that MIG splits have theirs.
fn gpus(devices: &[Device], page: &mut Page) -> fmt::Result {
    for (name, number, help) in GPUS {
        let series = devices.iter().filter_map(|device| {
            let labels = vec![("gpu", device.identity.uuid.as_str())];
            Some((labels, number(device)?))
        });
        family(page, name, series, help)?;
    }
    let memory = devices.iter().flat_map(|device| {
        let parts = device.instances.iter().flatten();
        let parts = parts.map(|part| (part.uuid.as_str(), part.memory));
        std::iter::once((device.identity.uuid.as_str(), device.memory)).chain(parts)
    });
    let memory: Vec<(&str, Option<Memory>)> = memory.collect();
    for (name, number, help) in GPU_MEMORY {
        let told = memory.iter();
        let series =
            told.filter_map(|(uuid, it)| Some((vec![("gpu", *uuid)], number(it.as_ref()?))));
        family(page, name, series, help)?;
    }
    Ok(())
}

/// What the driver doesn't tell has no series.
const GPUS: [Number<Device, Option<f64>>; 4] = [
    (
        "node_gpu_busy_ratio",
        |gpu| gpu.utilization_milli.map(ratio),
        "Share of time in which a GPU of this node computed at all",
    ),
    (
        "node_gpu_temperature_celsius",
        |gpu| gpu.temperature_celsius.map(f64::from),
        "How warm a GPU of this node is",
    ),
    (
        "node_gpu_power_watts",
        |gpu| gpu.power_milliwatts.map(|milli| ratio(milli.into())),
        "What a GPU of this node draws",
    ),
    (
        "node_gpu_lost",
        |gpu| Some(f64::from(u8::from(gpu.lost))),
        "1 where a GPU of this node has fallen off the bus",
    ),
];

const GPU_MEMORY: [Number<Memory>; 2] = [
    (
        "node_gpu_memory_used_bytes",
        |memory| memory.used_bytes as f64,
        "Memory of a GPU, or of a part of one, that is in use",
    ),
    (
        "node_gpu_memory_bytes",
        |memory| memory.total_bytes as f64,
        "Memory that a GPU, or a part of one, has",
    ),
];

const DISKS: [Number<disk::Rates>; 5] = [
    (
        "node_disk_read_bytes_per_second",
        |disk| disk.read_bytes as f64,
        "Bytes that are read from a disk of this node",
    ),
    (
        "node_disk_written_bytes_per_second",
        |disk| disk.written_bytes as f64,
        "Bytes that are written to a disk of this node",
    ),
    (
        "node_disk_reads_per_second",
        |disk| disk.reads as f64,
        "Reads from a disk of this node",
    ),
    (
        "node_disk_writes_per_second",
        |disk| disk.writes as f64,
        "Writes to a disk of this node",
    ),
    (
        "node_disk_busy_ratio",
        |disk| ratio(disk.busy_milli),
        "Share of time in which a disk of this node had something to do",
    ),
];

const INTERFACES: [Number<network::Rates>; 4] = [
    (
        "node_network_received_bytes_per_second",
        |it| it.received_bytes as f64,
        "Bytes that come in through an interface of this node",
    ),
    (
        "node_network_sent_bytes_per_second",
        |it| it.sent_bytes as f64,
        "Bytes that go out through an interface of this node",
    ),
    (
        "node_network_errors_per_second",
        |it| it.errors as f64,
        "Packets that an interface of this node couldn't receive or send",
    ),
    (
        "node_network_drops_per_second",
        |it| it.drops as f64,
        "Packets that were dropped at an interface of this node",
    ),
];

const FILE_SYSTEMS: [Number<space::Space>; 4] = [
    (
        "node_file_system_capacity_bytes",
        |it| it.capacity_bytes as f64,
        "Size of a file system that this node needs",
    ),
    (
        "node_file_system_free_bytes",
        |it| it.free_bytes as f64,
        "What of a file system others than root may still write",
    ),
    (
        "node_file_system_inodes",
        |it| it.inodes as f64,
        "How many files a file system that this node needs can hold",
    ),
    (
        "node_file_system_free_inodes",
        |it| it.inodes_free as f64,
        "How many more files a file system that this node needs can hold",
    ),
];

fn ratio(milli: u64) -> f64 {
    milli as f64 / 1_000.0
}

fn names<D>(devices: &std::collections::BTreeMap<String, D>) -> impl Iterator<Item = (&str, &D)> {
    devices.iter().map(|(name, device)| (name.as_str(), device))
}

/// A family for each number, with a series for each device.
fn of_each<'a, D: 'a, I: Iterator<Item = (&'a str, &'a D)>>(
    page: &mut Page,
    label: &'static str,
    numbers: &[Number<D>],
    devices: impl Fn() -> I,
) -> fmt::Result {
    for (name, number, help) in numbers {
        let series = devices().map(|(device, it)| (vec![(label, device)], number(it)));
        family(page, name, series, help)?;
    }
    Ok(())
}

/// Nothing at all where there is no series.
pub(crate) fn family<'a>(
    page: &mut Page,
    name: &str,
    series: impl Iterator<Item = Series<'a>>,
    help: &str,
) -> fmt::Result {
    let mut series = series.peekable();
    if series.peek().is_none() {
        return Ok(());
    }
    let mut encoder = page.describe(name, None, MetricType::Gauge, help)?;
    for (labels, number) in series {
        ConstGauge::new(number).encode(encoder.encode_family(&labels)?)?;
    }
    Ok(())
}
