//! `starling`: the agent, the demo, and the commands that ask agents.

use std::process::ExitCode;

use clap::Parser as _;
use starling_agent::cli::{self, Cli, Command};

fn main() -> ExitCode {
    // Before anything can use TLS. It fails only where one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let done = match Cli::parse().command {
        Command::Agent { config } => {
            let _ = config;
            return ExitCode::FAILURE;
        }
        Command::Ask(ask) => tokio::runtime::Runtime::new()
            .map_err(|why| cli::Error::new(cli::exit::Kind::Failure, why.to_string()))
            .and_then(|runtime| runtime.block_on(cli::ask(ask))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.message.is_empty() {
                eprintln!("starling: {error}");
            }
            error.kind.into()
        }
    }
}
