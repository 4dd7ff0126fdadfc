//! Replays arrival traces against scaling policies through a queue model, and
//! prints what each would have cost: violation minutes, replica-hours, changes.
//!
//! `cargo run --release -p starling-engine --example replay -- --seeds 5 FOLDER`
//!
//! HPA-70 and target-70 are the engine's own `target` strategy on Kubernetes'
//! signals and on an agent's; KEDA-70 and KPA-70 are models.

mod load;
mod ours;
mod peers;
mod random;
mod report;
mod score;
mod shapes;
mod target;
mod world;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Parser;

use load::Load;
use peers::{Keda, Kpa, Policy};
use report::{Report, Row};
use score::Total;
use target::Target;
use world::World;

#[derive(Debug, Parser)]
#[command(about = "Replay arrival traces against scaling policies")]
struct Args {
    /// CSV files or folders of them; `FILE=PROFILE` says what kind of work it is.
    paths: Vec<String>,
    /// Runs of each trace; means are printed.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The kind of work of a trace that isn't known by name.
    #[arg(long, default_value = "web")]
    profile: String,
    /// Only these policies (by name).
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    #[arg(long)]
    json: bool,
    /// Also replay made-up loads: every shape in every profile.
    #[arg(long)]
    shapes: bool,
    /// Replicas take this many times as long for each piece of work as stated.
    #[arg(long, default_value_t = 1.0)]
    slower: f64,
    /// Print the violated minutes of each run.
    #[arg(long)]
    minutes: bool,
}

type Make = fn(load::Profile) -> Box<dyn Policy>;

const POLICIES: [(&str, Make); 5] = [
    ("HPA-70", |profile| {
        Box::new(Target::new(profile, target::KUBERNETES))
    }),
    ("KEDA-70", |profile| Box::new(Keda::new(profile))),
    ("KPA-70", |profile| Box::new(Kpa::new(profile))),
    ("objective", |profile| Box::new(ours::Ours::new(profile))),
    ("target-70", |profile| {
        Box::new(Target::new(profile, target::STARLING))
    }),
];

fn main() -> Result<()> {
    let args = Args::parse();
    for only in &args.only {
        if !POLICIES.iter().any(|(policy, _)| policy == only) {
            let names = POLICIES.map(|(policy, _)| policy).join(", ");
            bail!("no policy {only}; there are {names}");
        }
    }
    let mut rows = Vec::new();
    for load in loads(&args)? {
        for (policy, make) in POLICIES {
            if !args.only.is_empty() && !args.only.iter().any(|only| only == policy) {
                continue;
            }
            let runs = 0..args.seeds;
            let totals: Vec<Total> = runs.map(|seed| run(&load, make, seed, &args)).collect();
            rows.push(Row {
                trace: load.name.clone(),
                profile: load.profile.name,
                policy,
                total: Total::mean(&totals),
            });
        }
    }
    let report = Report::new(args.seeds, rows, &["HPA-70", "KEDA-70"]);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        report.print();
    }
    Ok(())
}

fn loads(args: &Args) -> Result<Vec<Load>> {
    let fallback = load::profile_named(&args.profile)?;
    let mut loads = Vec::new();
    for path in &args.paths {
        let (path, profile) = match path.rsplit_once('=') {
            Some((path, profile)) => (path, Some(load::profile_named(profile)?)),
            None => (path.as_str(), None),
        };
        for file in files(Path::new(path))? {
            let mut load = Load::read(&file, fallback)?;
            load.profile = profile.unwrap_or(load.profile);
            loads.push(load);
        }
    }
    if args.shapes {
        loads.extend(shapes::all());
    }
    if loads.is_empty() {
        bail!("nothing to replay: name CSV files or a folder of them, or give --shapes");
    }
    Ok(loads)
}

/// The file itself, or the CSV files of a folder, by name.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    let entries =
        std::fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?;
    for entry in entries {
        let file = entry?.path();
        if file.extension() == Some(Path::new("csv").as_os_str()) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// The size that every policy starts from: enough, at 70 %, for the busiest of
/// the minutes that aren't scored.
fn right_size(load: &Load) -> u32 {
    let profile = &load.profile;
    let minutes = (0..score::UNSCORED_S as usize / 60).map(|minute| {
        (0..60)
            .map(|second| load.rate(minute * 60 + second))
            .sum::<f64>()
            / 60.0
    });
    let rate = minutes.fold(0.0, f64::max);
    let replicas = rate * profile.service_s / (0.7 * f64::from(profile.slots));
    (replicas.ceil() as u32).max(profile.min)
}

fn run(load: &Load, make: Make, seed: u64, args: &Args) -> Total {
    let arrivals = load.arrivals(seed);
    let mut real = load.profile;
    real.service_s *= args.slower;
    let mut world = World::new(real, seed, right_size(load), arrivals.len());
    let mut policy = make(load.profile);
    for (second, &count) in arrivals.iter().enumerate() {
        let second = second as u32;
        world.step(second, count);
        let wanted = policy.wanted(second, &world);
        world.resize(second, wanted);
    }
    let score = world.finish(arrivals.len() as u32);
    if args.minutes {
        eprintln!("{} seed {seed}: {:?}", load.name, score.violated());
    }
    score.total()
}
