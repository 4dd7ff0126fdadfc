//! `starling demo-worker`: one replica of the demo's workload.
//!
//! Takes jobs from the demo's queue, burns real CPU for each, and says when it
//! is done. SIGTERM: its job goes back to the queue and it ends at once. It also
//! ends when the queue has been gone for a while, so it never outlives the demo.
//! Knows nothing of agents or policies.

mod client;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest as _, Sha256};
use tokio::signal::unix::{SignalKind, signal};

use self::client::Client;
use super::queue::{Job, LEASE};

/// CPU time that a job costs. Twelve workers with nothing but jobs on their
/// hands use 12 × 6 / 100 = 0.72 of a core.
pub const CPU: Duration = Duration::from_millis(6);
/// How long a job keeps its worker; the rest of it is waiting, as if for a disk
/// or another service.
pub const SERVICE: Duration = Duration::from_millis(100);
/// Without an answer from the queue for this long the worker ends.
const QUEUE_GONE_AFTER: Duration = Duration::from_secs(5);
const RETRY_AFTER: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The queue's address, `http://HOST:PORT`.
    #[arg(long)]
    queue: String,
    /// The demo's directory. Nothing is read there: in the process table it
    /// shows whose worker this is.
    #[arg(long = "of")]
    _of: PathBuf,
}

/// Runs until SIGTERM, SIGINT or until the queue is gone. Builds its own
/// runtime, one thread small, so it mustn't be called from within one.
pub fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(work(&args.queue))
}

async fn work(queue: &str) -> anyhow::Result<ExitCode> {
    let client = Client::new(queue)?;
    let mut terminate = signal(SignalKind::terminate()).context("can't listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't listen for SIGINT")?;
    let mut held = None;
    tokio::select! {
        result = take_jobs(&client, &mut held) => result.map(|()| ExitCode::SUCCESS),
        _ = terminate.recv() => stop(&client, held).await,
        _ = interrupt.recv() => stop(&client, held).await,
    }
}

/// If the queue doesn't hear it, the lease runs out and comes to the same.
async fn stop(client: &Client, held: Option<Job>) -> anyhow::Result<ExitCode> {
    if let Some(job) = held {
        let _ = client.give_back(job).await;
    }
    Ok(ExitCode::SUCCESS)
}

/// Goes on until the queue is gone; `held` is the job in hand.
async fn take_jobs(client: &Client, held: &mut Option<Job>) -> anyhow::Result<()> {
    let mut answered = Instant::now();
    loop {
        match client.lease().await {
            Ok(job) => {
                answered = Instant::now();
                *held = job;
            }
            Err(error) if answered.elapsed() > QUEUE_GONE_AFTER => {
                return Err(error).context("the queue doesn't answer any more");
            }
            Err(_) => tokio::time::sleep(RETRY_AFTER).await,
        }
        if let Some(job) = *held {
            do_job(client, job).await;
            // Unheard, the job is done once more by another worker.
            let _ = client.finish(job).await;
            *held = None;
        }
    }
}

/// Does the work, renewing the lease on a machine so busy that it takes long.
async fn do_job(client: &Client, job: Job) {
    let work = async {
        let end = tokio::time::Instant::now() + SERVICE;
        burn(CPU).await;
        tokio::time::sleep_until(end).await;
    };
    tokio::pin!(work);
    loop {
        match tokio::time::timeout(LEASE / 4, &mut work).await {
            Ok(()) => return,
            Err(_) => drop(client.renew(job).await),
        }
    }
}

/// Hashes until this thread has used `budget` of CPU time, however long the
/// machine takes to give it; between two hashes it looks up for signals.
async fn burn(budget: Duration) {
    const BLOCK_BYTES: usize = 64 * 1_024;
    let end = cpu_time() + budget;
    let mut block = vec![0; BLOCK_BYTES];
    while cpu_time() < end {
        let digest = Sha256::digest(&block);
        block[..digest.len()].copy_from_slice(&digest);
        tokio::task::yield_now().await;
    }
}

fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_burns_the_cpu_time_that_it_says() {
        let before = cpu_time();
        burn(Duration::from_millis(20)).await;
        let used = cpu_time().saturating_sub(before);
        assert!(used >= Duration::from_millis(20), "{used:?}");
    }
}
