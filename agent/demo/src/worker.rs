//! `starling demo-worker`: one replica of the demo's workload.
//!
//! Takes jobs from the demo's queue, burns real CPU for each, and says when it
//! is done. SIGTERM: its job goes back to the queue and it ends at once. It also
//! ends when the queue has been gone for a while, so it never outlives the demo.
//! Knows nothing of agents or policies.

mod client;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest as _, Sha256};
use starling_rig::queue::{Job, LEASE};
use tokio::signal::unix::{SignalKind, signal};

use self::client::Client;

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
    use starling_rig::queue::http::Server;
    use starling_rig::queue::{Finish, Stats};

    use super::*;

    /// Generous: the machine may be busy.
    const DEADLINE: Duration = Duration::from_mins(1);

    async fn until(server: &Server, reached: impl Fn(&Stats) -> bool) -> Stats {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let stats = server.stats();
            if reached(&stats) {
                return stats;
            }
            assert!(Instant::now() < deadline, "{stats:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn worker(server: &Server) -> tokio::task::JoinHandle<()> {
        let client = Client::new(&server.url()).unwrap();
        tokio::spawn(async move {
            let _ = take_jobs(&client, &mut None).await;
        })
    }

    #[tokio::test]
    async fn no_job_is_lost_when_workers_die_with_one_in_their_hands() {
        let server = Server::start().await.unwrap();
        assert_eq!(server.offer(12), 12);
        for _ in 0..3 {
            let dying = worker(&server);
            until(&server, |stats| stats.leased > 0).await;
            dying.abort();
            let _ = dying.await;
        }
        let survivor = worker(&server);
        let stats = until(&server, |stats| stats.done == 12).await;
        assert_eq!((stats.lost, stats.waiting, stats.leased), (0, 0, 0));
        assert!(
            stats.expired > 0,
            "no worker died with a job in its hands: {stats:?}"
        );
        survivor.abort();
    }

    #[tokio::test]
    async fn a_worker_that_is_told_to_end_gives_its_job_back_at_once() {
        let server = Server::start().await.unwrap();
        server.offer(1);
        let client = Client::new(&server.url()).unwrap();
        let mut held = None;
        tokio::select! {
            _ = take_jobs(&client, &mut held) => unreachable!("it goes on until the queue is gone"),
            _ = until(&server, |stats| stats.leased == 1) => (),
        }
        // The answer with the job may still be on its way; then the lease runs out.
        if held.is_some() {
            stop(&client, held).await.unwrap();
            assert_eq!(server.stats().given_back, 1);
        }
        until(&server, |stats| stats.waiting == 1).await;
    }

    #[tokio::test]
    async fn a_waiting_call_gets_the_next_job_and_an_empty_queue_answers_in_time() {
        let server = Server::start().await.unwrap();
        let client = Client::new(&server.url()).unwrap();
        assert_eq!(client.lease().await.unwrap(), None);
        let (job, ()) = tokio::join!(client.lease(), async {
            server.offer(1);
        });
        let job = job.unwrap().unwrap();
        assert_eq!(client.finish(job).await.unwrap(), Finish::Counted);
        assert_eq!(client.finish(job).await.unwrap(), Finish::Duplicate);
        assert!(!client.renew(job).await.unwrap());
        let never = Job { job: 9, lease: 9 };
        assert_eq!(client.finish(never).await.unwrap(), Finish::Unknown);
    }

    #[tokio::test]
    async fn a_worker_ends_when_the_queue_is_gone() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = work(&format!("http://{address}")).await.unwrap_err();
        assert_eq!(error.to_string(), "the queue doesn't answer any more");
    }

    #[test]
    fn a_queue_that_is_no_http_url_is_refused() {
        for wrong in ["", "127.0.0.1:80", "https://127.0.0.1:80", "http://"] {
            assert!(Client::new(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_job_burns_the_cpu_time_that_it_says() {
        let before = cpu_time();
        burn(Duration::from_millis(20)).await;
        let used = cpu_time().saturating_sub(before);
        assert!(used >= Duration::from_millis(20), "{used:?}");
    }
}
