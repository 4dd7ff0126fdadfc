//! A cluster to play with: `up` keeps one until Ctrl-C and prints the KUBECONFIG to export,
//! `down` clears away what a killed run left.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::{Parser, Subcommand};
use starling_kubernetes_rig::{Cluster, Settings, image};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(about = "A whole Kubernetes cluster on this machine, as root, without Docker")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start a cluster and keep it until Ctrl-C.
    Up {
        #[arg(long, default_value_t = 5)]
        nodes: u8,
        /// A docker archive that all nodes get; may be given several times.
        #[arg(long, value_name = "TAR")]
        image: Vec<PathBuf>,
        /// A `starling` binary whose image all nodes get, as localhost/starling:dev.
        #[arg(long, value_name = "PATH")]
        starling: Option<PathBuf>,
    },
    /// Clear away what killed runs left; clusters that run stay.
    Down,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match act(Arguments::parse().verb).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn act(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Up {
            nodes,
            image,
            starling,
        } => up(nodes, image, starling).await,
        Verb::Down => {
            let swept = starling_kubernetes_rig::sweep()?;
            match swept.as_slice() {
                [] => println!("Nothing is left of killed runs."),
                swept => println!("Cleared away {}.", swept.join(", ")),
            }
            Ok(())
        }
    }
}

async fn up(nodes: u8, mut images: Vec<PathBuf>, starling: Option<PathBuf>) -> anyhow::Result<()> {
    starling_kubernetes_rig::check()?;
    let began = Instant::now();
    images.push(image::load()?);
    images.push(image::busybox()?);
    if let Some(binary) = starling {
        images.push(image::image(&binary)?);
    }
    // From here on both end the cluster in order, also while it is being started.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let start = tokio::task::spawn_blocking(move || {
        Cluster::start_with(Settings {
            nodes,
            images,
            ..Settings::default()
        })
    });
    let cluster = start.await.context("starting the cluster")??;
    let kubectl = cluster.binary("kubectl")?;
    let folder = kubectl.parent().unwrap_or(&kubectl).display();
    eprintln!(
        "{nodes} nodes are ready after {:.1} s. Logs are in {}.\n\
         Use it from another terminal; Ctrl-C here ends it:\n",
        began.elapsed().as_secs_f32(),
        cluster.logs().display()
    );
    println!("export KUBECONFIG={}", cluster.kubeconfig().display());
    println!("export PATH={folder}:$PATH");
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    eprintln!("Ending {}.", cluster.id());
    cluster.end()?;
    Ok(())
}
