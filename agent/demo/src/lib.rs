//! `starling demo`: three real agents on this machine scale real workers under
//! a bursty load, and their leader dies half-way.
//!
//! Comes in: how long and which load. Goes out: a live view, and at the end five
//! lines or one JSON object of what was seen. An observer from outside: it counts
//! jobs in its own queue and workers in the process table, and asks the agents
//! over their public API.
//!
//! Never decides a size, never reaches into an agent, and leaves no process and
//! no file, however it ends.
//!
//! What happens when is in `play`, what is counted and judged in `summary`, what
//! is shown meanwhile in `view`, one worker in [`worker`]. Anything that starts or
//! watches agents belongs into the rig (`starling-rig`), for the tests need it too.

mod context;
mod play;
mod summary;
mod view;
pub mod worker;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use starling_rig::cluster::{AGENTS_MAX, leftovers, process::Table};
use starling_rig::stop::Stop;

use self::play::{Play, Settings};
use self::summary::report::Report;
use self::view::screen::Screen;

/// Shorter demos have no time for the workers to get back to one.
const DURATION_MIN: Duration = Duration::from_secs(20);
const DURATION_MAX: Duration = Duration::from_hours(1);
/// What a shell reports of a program that SIGINT ended.
const INTERRUPTED: u8 = 130;

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// How long the load lasts: 45s, 2m; from 20s to 60m.
    #[arg(long, default_value = "90s", value_parser = duration)]
    duration: Duration,
    /// How the summary is written; `json` moves everything else to standard error.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// How many agents.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=AGENTS_MAX as i64))]
    agents: u8,
    /// Which load: the same seed brings the same arrivals.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    #[default]
    Text,
    Json,
}

/// Runs the demo to its end. Builds its own runtime, so it mustn't be called
/// from within one. The exit code is 1 if something went wrong with the jobs,
/// the workers or the ledgers, and 130 after Ctrl-C.
pub fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(run(args))
}

async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut stop = Stop::listen().context("signals can't be listened for")?;
    let mut screen = match args.output {
        Output::Text => Screen::stdout(),
        Output::Json => Screen::stderr(),
    };
    clean_up_former(&mut screen)?;
    let mut play = Play::new(Settings {
        binary: std::env::current_exe().context("this program's own file can't be found")?,
        agents: args.agents.into(),
        duration: args.duration,
        seed: args.seed,
    })
    .await?;

    let played = tokio::select! {
        played = course(&mut play, &mut screen) => Some(played),
        () = stop.asked(1) => None,
    };
    screen.finish()?;
    play.count();
    play.seen.interrupted = played.is_none();
    if played.is_none() {
        screen.say("Stopping; Ctrl-C again kills everything at once.")?;
    }
    tokio::select! {
        () = play.cluster.stop_all() => (),
        () = stop.asked(2) => (),
    }
    let report = play.seen.report();
    drop(play);
    match played {
        Some(Err(error)) => Err(error),
        Some(Ok(())) => {
            print(&report, args.output)?;
            Ok(verdict(&report))
        }
        None => {
            print(&report, args.output)?;
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

async fn course(play: &mut Play, screen: &mut Screen) -> anyhow::Result<()> {
    let names = play.cluster.names();
    let dir = play.cluster.dir().display().to_string();
    screen.say(&format!("Starting {} agents in {dir}", names.len()))?;
    let started = std::time::Instant::now();
    let observer = play.start().await?;
    let took = started.elapsed().as_secs_f64();
    screen.say(&format!(
        "They are one cluster and run the first worker after {took:.1} s."
    ))?;
    // Without it the demo goes on; only other shells can't ask it.
    let shown = context::Shown::write(&play.cluster);
    screen.say(&match &shown {
        Ok(_) if starling_cli::context::hides_demo() => {
            "Ask them in another shell: starling status --demo, starling explain --demo worker\n"
                .into()
        }
        Ok(_) => "Ask them in another shell: starling status, starling explain worker\n".into(),
        Err(why) => format!("Other shells can't ask them: {why}\n"),
    })?;
    play.run(&observer, screen).await
}

fn clean_up_former(screen: &mut Screen) -> anyhow::Result<()> {
    let mut table = Table::new()?;
    for swept in leftovers::sweep(&std::env::temp_dir(), &mut table) {
        screen.say(&format!(
            "A former demo was killed: removed {} and {} of its processes.",
            swept.dir.display(),
            swept.processes
        ))?;
    }
    Ok(())
}

fn print(report: &Report, output: Output) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match output {
        Output::Text => writeln!(stdout, "\n{}", report.text())?,
        Output::Json => writeln!(stdout, "{}", serde_json::to_string(report)?)?,
    }
    Ok(())
}

fn verdict(report: &Report) -> ExitCode {
    let failures = report.failures();
    for failure in &failures {
        eprintln!("error: {failure}");
    }
    if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// `90s`, `2m` or plain seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, seconds) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let duration = (number.parse::<u64>().ok())
        .and_then(|number| number.checked_mul(seconds))
        .map(Duration::from_secs)
        .ok_or("write a whole number of seconds or minutes, such as 45s or 2m")?;
    if (DURATION_MIN..=DURATION_MAX).contains(&duration) {
        Ok(duration)
    } else {
        Err("must be from 20s (the workers need time to get back to one) to 60m".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_seconds_or_minutes_within_bounds() {
        assert_eq!(duration("45s"), Ok(Duration::from_secs(45)));
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        for wrong in [
            "19s",
            "61m",
            "",
            "s",
            "1.5m",
            "-30s",
            "18446744073709551615m",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
