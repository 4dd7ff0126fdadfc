//! `starling`.
use clap::Parser;
use std::path::PathBuf;
#[derive(Parser)]
enum Cli {
    Agent {
        #[arg(long)]
        config: PathBuf,
        #[arg(long)]
        until_stdin_closes: bool,
    },
    Demo(starling_agent::demo::Args),
    DemoWorker(starling_agent::demo::worker::Args),
}
fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    match Cli::parse() {
        Cli::Agent {
            config,
            until_stdin_closes,
        } => tokio::runtime::Runtime::new()?
            .block_on(starling_agent::run::main(&config, until_stdin_closes)),
        Cli::Demo(args) => starling_agent::demo::main(&args).map(|_| ()),
        Cli::DemoWorker(args) => starling_agent::demo::worker::main(&args).map(|_| ()),
    }
}
