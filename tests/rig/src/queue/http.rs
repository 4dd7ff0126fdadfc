//! Serves the queue over HTTP/1.1 on a loopback port that the system chose.
//!
//! Workers call `POST /lease`, `/renew`, `/finish` and `/give-back`; the policy's
//! `metrics-api` trigger asks `GET /stats`. Knows no rule of the queue.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::{Finish, Job, Queue, Stats};

/// How long a worker's call for a job is held when there is none; then it gets
/// an empty answer and asks again.
pub const WAIT: Duration = Duration::from_secs(1);
/// A call names a job and a lease; longer bodies are refused.
const BODY_BYTES_MAX: usize = 1_024;

/// A queue that is being served. Dropping it stops the server.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Notify,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    pub async fn start() -> std::io::Result<Server> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let router = Router::new()
            .route("/stats", get(stats))
            .route("/lease", post(lease))
            .route("/renew", post(renew))
            .route("/finish", post(finish))
            .route("/give-back", post(give_back))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(shared.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!("the demo's queue stopped: {error}");
            }
        });
        Ok(Server {
            shared,
            address,
            task,
        })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What a `metrics-api` trigger asks.
    pub fn stats_url(&self) -> String {
        format!("{}/stats", self.url())
    }

    /// As [`Queue::offer`]; wakes the workers that wait.
    pub fn offer(&self, jobs: usize) -> usize {
        let taken = self.shared.queue().offer(jobs);
        for _ in 0..taken {
            self.shared.arrived.notify_one();
        }
        taken
    }

    pub fn stats(&self) -> Stats {
        self.shared.queue().stats(Instant::now())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn stats(State(shared): State<Arc<Shared>>) -> Json<Stats> {
    Json(shared.queue().stats(Instant::now()))
}

/// Waits for a job, looking again when one arrives and now and then for one
/// whose lease has run out.
async fn lease(State(shared): State<Arc<Shared>>) -> Result<Json<Job>, StatusCode> {
    const LOOK_AGAIN: Duration = Duration::from_millis(100);
    let until = Instant::now() + WAIT;
    loop {
        let now = Instant::now();
        if let Some(job) = shared.queue().lease(now) {
            return Ok(Json(job));
        }
        if now >= until {
            return Err(StatusCode::NO_CONTENT);
        }
        // Late or early makes no difference: the queue is looked at again.
        let _ = tokio::time::timeout(LOOK_AGAIN, shared.arrived.notified()).await;
    }
}

async fn renew(State(shared): State<Arc<Shared>>, Json(job): Json<Job>) -> StatusCode {
    kept(shared.queue().renew(job, Instant::now()))
}

async fn give_back(State(shared): State<Arc<Shared>>, Json(job): Json<Job>) -> StatusCode {
    let back = shared.queue().give_back(job);
    shared.arrived.notify_one();
    kept(back)
}

async fn finish(
    State(shared): State<Arc<Shared>>,
    Json(job): Json<Job>,
) -> (StatusCode, Json<Finish>) {
    let finish = shared.queue().finish(job);
    let status = match finish {
        Finish::Unknown => StatusCode::NOT_FOUND,
        Finish::Counted | Finish::Duplicate => StatusCode::OK,
    };
    (status, Json(finish))
}

fn kept(still: bool) -> StatusCode {
    if still {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::CONFLICT
    }
}
