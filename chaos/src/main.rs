//! `starling-chaos`: measures failover, reaction, rest and asking on this machine.
//!
//! Each repetition is told on standard error; percentiles, or with `-o json`
//! one object with every time, go to standard output.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;
use starling_chaos::failover::{self, End};
use starling_chaos::{asking, endure, load_step, rest};
use starling_rig::cluster::{AGENTS_MAX, leftovers, process::Table};
use starling_rig::stop::Stop;

/// What a shell reports of a program that SIGINT ended.
const INTERRUPTED: u8 = 130;
/// A measurement of more repetitions would take hours.
const REPETITIONS: std::ops::RangeInclusive<i64> = 1..=1_000;
/// A day, which is longer than anybody watches.
const MINUTES: std::ops::RangeInclusive<i64> = 1..=1_440;
const POLICIES: std::ops::RangeInclusive<i64> = 1..=1_000;
const LOOKS: std::ops::RangeInclusive<i64> = 1..=1_000;
/// A clock tick of CPU time is 1 % of one second, so shorter looks say nothing.
const SECONDS: std::ops::RangeInclusive<i64> = 5..=3_600;
/// As many as the rig starts.
const AGENTS: std::ops::RangeInclusive<i64> = 1..=AGENTS_MAX as i64;
/// A cluster keeps no more policies.
const TRIGGERS: std::ops::RangeInclusive<i64> = 1..=10_000;
const INTERVAL: std::ops::RangeInclusive<i64> = 1..=60;
/// The time of every question is kept: 10,000 triggers each second are 6 million.
const ASKING_SECONDS: std::ops::RangeInclusive<i64> = 5..=600;

#[derive(Debug, Parser)]
#[command(
    name = "starling-chaos",
    version,
    about = "Measure real agents under faults and load"
)]
struct Cli {
    /// The `starling` binary. Default: the one beside this program
    #[arg(long, global = true, value_name = "FILE")]
    binary: Option<PathBuf>,
    #[arg(short, long, global = true, value_enum, default_value_t)]
    output: Output,
    #[command(subcommand)]
    measurement: Measurement,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Measurement {
    /// Kill the leader again and again: how long until the next committed decision?
    Failover {
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(REPETITIONS))]
        kills: u16,
        /// Tell it to end (SIGTERM), as a rolling restart does, in place of killing it
        #[arg(long)]
        orderly: bool,
    },
    /// Let the load step up again and again: how long until the first worker more?
    LoadStep {
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(REPETITIONS))]
        steps: u16,
    },
    /// Leave a cluster alone: what CPU and memory does each agent use?
    Rest {
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(SECONDS))]
        seconds: u16,
    },
    /// Ask many triggers, some at servers that hang: how old do readings get, at what cost?
    Asking {
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(AGENTS))]
        agents: u16,
        #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u16).range(TRIGGERS))]
        triggers: u16,
        /// The share of the triggers that ask a server which never answers, 0 to 1
        #[arg(long, default_value_t = 0.1, value_parser = share, value_name = "SHARE")]
        hanging: f64,
        /// Each trigger's `pollingInterval`, in seconds
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(INTERVAL))]
        interval: u16,
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(ASKING_SECONDS))]
        seconds: u16,
    },
    /// Keep many policies busy for long: do memory, directory and restart level off?
    Endure {
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(MINUTES))]
        minutes: u16,
        #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u16).range(POLICIES))]
        policies: u16,
        /// How often to look at it, and to kill an agent
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(LOOKS))]
        looks: u16,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    // Before anything can use TLS. It fails only where one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let runtime = tokio::runtime::Runtime::new().context("can't start the runtime")?;
    runtime.block_on(async {
        let mut stop = Stop::listen().context("signals can't be listened for")?;
        // Dropping the measurement kills what it has started.
        tokio::select! {
            measured = measure(&cli) => measured.map(|()| ExitCode::SUCCESS),
            () = stop.asked(1) => Ok(ExitCode::from(INTERRUPTED)),
        }
    })
}

async fn measure(cli: &Cli) -> anyhow::Result<()> {
    let binary = binary(cli.binary.clone())?;
    leftovers::sweep(&std::env::temp_dir(), &mut Table::new()?);
    let told = |line: &str| eprintln!("{line}");
    match cli.measurement {
        Measurement::Failover { kills, orderly } => {
            let (end, what) = if orderly {
                (End::Told, "SIGTERM")
            } else {
                (End::Killed, "SIGKILL")
            };
            let result = failover::run(&binary, kills.into(), end, told).await?;
            let text = format!(
                "{what} to next committed decision: {}\n{what} to the new leader's entry:  {}\n\
                 restart to caught up:               {}",
                result.failover, result.able, result.caught_up
            );
            print(cli.output, &result, &text)
        }
        Measurement::LoadStep { steps } => {
            let result = load_step::run(&binary, steps.into(), told).await?;
            let text = format!(
                "load step to the first worker more: {}",
                result.first_worker
            );
            print(cli.output, &result, &text)
        }
        Measurement::Rest { seconds } => {
            let result = rest::run(&binary, seconds.into(), told).await?;
            print(cli.output, &result, &result.to_string())
        }
        Measurement::Asking {
            agents,
            triggers,
            hanging,
            interval,
            seconds,
        } => {
            let load = asking::Load {
                agents: agents.into(),
                triggers: triggers.into(),
                hanging,
                interval_s: interval.into(),
            };
            let result = asking::run(&binary, load, seconds.into(), told).await?;
            print(cli.output, &result, &result.to_string())
        }
        Measurement::Endure {
            minutes,
            policies,
            looks,
        } => {
            let (minutes, looks) = (minutes.into(), looks.into());
            let result = endure::run(&binary, policies.into(), minutes, looks, told).await?;
            print(cli.output, &result, &result.to_string())
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok();
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| String::from("is not a number from 0 to 1"))
}

fn binary(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let binary = match given {
        Some(binary) => binary,
        None => std::env::current_exe()?.with_file_name("starling"),
    };
    ensure!(
        binary.is_file(),
        "{} isn't there: build it with `cargo build --release -p starling-agent`, or name another \
         with --binary",
        binary.display()
    );
    // The agents' workers start it too, from elsewhere.
    binary
        .canonicalize()
        .with_context(|| format!("{} can't be used", binary.display()))
}

fn print(output: Output, result: &impl Serialize, text: &str) -> anyhow::Result<()> {
    match output {
        Output::Text => println!("{text}"),
        Output::Json => println!("{}", serde_json::to_string(result)?),
    }
    Ok(())
}
