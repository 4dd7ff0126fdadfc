//! `starling`: the agent, the demo, and the commands that ask agents.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use starling_agent::cli::{self, Ask, Cli, Command};
use starling_agent::{demo, run};
use tracing_subscriber::EnvFilter;

/// The agent's loop has the main thread, and its log has threads of its own. What
/// is left, gossip and the API, is little; a thread for each core would only wake
/// the others in vain.
const WORKER_THREADS: usize = 1;

fn main() -> ExitCode {
    // Before anything can use TLS. It fails only where one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let done = match Cli::parse().command {
        Command::Agent {
            config,
            until_stdin_closes,
        } => {
            log();
            block_on(run::main(&config, until_stdin_closes)).map(|()| ExitCode::SUCCESS)
        }
        Command::Demo(args) => demo::main(&args),
        Command::DemoWorker(args) => demo::worker::main(&args),
        Command::Ask(command) => ask(command),
    };
    done.unwrap_or_else(|error| {
        eprintln!("starling: {error:#}");
        ExitCode::FAILURE
    })
}

fn ask(command: Ask) -> anyhow::Result<ExitCode> {
    // One question needs one thread.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.context("can't start the program's own runtime")?;
    Ok(match runtime.block_on(cli::ask(command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.message.is_empty() {
                eprintln!("starling: {error}");
            }
            error.kind.into()
        }
    })
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build();
    runtime
        .context("can't start the program's own runtime")?
        .block_on(work)
}

/// To standard error; `STARLING_LOG` says how much, as `tracing-subscriber` reads it.
fn log() {
    // The log's own layer tells each of its steps, which is too much.
    let filter = EnvFilter::try_from_env("STARLING_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,openraft=warn"));
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(!plain && std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
