//! `starling`: the agent, the demo, and the commands that ask agents.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use starling_agent::config::Adopt;
use starling_agent::{debug, prepare, recover, run};
use starling_cli::Ask;
use starling_cli::raft::Raft;
use starling_cli::raft::snapshot::Snapshot;
use starling_health::logs::Format;

/// The agent's loop has the main thread, and its log has threads of its own. What
/// is left, gossip and the API, is little; a thread for each core would only wake
/// the others in vain.
const WORKER_THREADS: usize = 1;
/// What waits for a disk when an agent ends is waited for so long.
const END_WITHIN: Duration = Duration::from_secs(2);

/// An autoscaler without a central part.
#[derive(Debug, Parser)]
#[command(name = "starling", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, at the start")]
enum Command {
    /// Run an agent on this machine
    Agent {
        /// Its settings, YAML
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Where the host is mounted, in a container (default: `HOST_ROOT`); its /proc and /sys
        /// are looked for below it unless `HOST_PROC` and `HOST_SYS` say otherwise
        #[arg(long, value_name = "DIR")]
        host_root: Option<PathBuf>,
        /// End, with all workers, when standard input does
        #[arg(long, hide = true)]
        until_stdin_closes: bool,
        /// text, for people, or json, one object a line
        #[arg(long, env = "STARLING_LOG_FORMAT", value_name = "FORMAT")]
        log_format: Option<Format>,
        /// A level (error, warn, info, debug, trace), or several, such as info,openraft=warn
        #[arg(long, env = "STARLING_LOG", value_name = "FILTER")]
        log_level: Option<String>,
        /// Decide for another program's objects as they are: keda
        #[arg(long, value_name = "PROGRAM")]
        adopt: Vec<Adopt>,
    },
    /// Give an agent's data directory to the user that it runs as
    Prepare(prepare::Args),
    /// Go on from this agent's log after most voters were lost for good
    Recover(recover::Args),
    /// Take from this machine what helps to look into a fault elsewhere
    #[command(subcommand)]
    Debug(debug::Debug),
    /// Show three agents, a bursty load and the death of the leader on this machine
    Demo(starling_demo::Args),
    /// One replica of the demo's workload
    #[command(hide = true)]
    DemoWorker(starling_demo::worker::Args),
    #[command(flatten)]
    Ask(Ask),
}

fn main() -> ExitCode {
    // Before anything can use TLS. It fails only where one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let done = match Cli::parse().command {
        Command::Agent {
            config,
            host_root,
            until_stdin_closes,
            log_format,
            log_level,
            adopt,
        } => {
            let args = run::Args {
                config,
                host_root,
                until_stdin_closes,
                log_format,
                log_level,
                adopt,
            };
            block_on(run::main(&args)).map(|()| ExitCode::SUCCESS)
        }
        Command::Prepare(args) => prepare::main(&args)
            .map(|()| ExitCode::SUCCESS)
            .map_err(Into::into),
        Command::Recover(args) => block_on(recover::main(&args)).map(|()| ExitCode::SUCCESS),
        Command::Ask(Ask::Raft(Raft::Snapshot(Snapshot::Restore(args)))) => {
            block_on(recover::restore(&args.config, &args.file)).map(|()| ExitCode::SUCCESS)
        }
        Command::Debug(what) => debug::main(&what)
            .map(|()| ExitCode::SUCCESS)
            .map_err(Into::into),
        Command::Demo(args) => starling_demo::main(&args),
        Command::DemoWorker(args) => starling_demo::worker::main(&args),
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
    let done = async {
        match command {
            Ask::Import(args) => import(&args).await,
            command => starling_cli::ask(command).await,
        }
    };
    Ok(match runtime.block_on(done) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.message.is_empty() {
                eprintln!("starling: {error}");
            }
            error.kind.into()
        }
    })
}

/// The command line knows no cluster, and the room that does knows no command line.
async fn import(args: &starling_cli::import::Args) -> Result<(), starling_cli::Error> {
    use starling_cli::exit::Kind;
    use starling_kube::client::{Failure, Source, connect};
    fn failed(kind: Kind, why: &(dyn std::error::Error + 'static)) -> starling_cli::Error {
        let why = starling_cli::exit::words(why);
        starling_cli::Error::new(kind, format!("can't list what the cluster has: {why}"))
    }
    let Some(namespace) = args.cluster() else {
        return starling_cli::import::import(args, &[]);
    };
    let connection = connect(&Source::here()).await;
    let connection = connection.map_err(|why| failed(Kind::Usage, &why))?;
    let listed = starling_kube::scalers::list(&connection.client, &namespace).await;
    let listed = listed.map_err(|why| {
        let kind = match why {
            Failure::Forbidden(_) | Failure::Unauthorized(_) => Kind::Denied,
            Failure::Unreachable(_) | Failure::Late(_) | Failure::Busy { .. } => Kind::Unreachable,
            _ => Kind::Failure,
        };
        failed(kind, &why)
    })?;
    starling_cli::import::import(args, &listed)
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build();
    let runtime = runtime.context("can't start the program's own runtime")?;
    let done = runtime.block_on(work);
    // A disk that hangs must not keep the process from ending.
    runtime.shutdown_timeout(END_WITHIN);
    done
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
