//! A source for a policy's `metrics-api` trigger that wants another size each
//! time it is asked, so that decisions keep coming.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Answers of `{"waiting": n}`, in turn. Any two that follow each other, or one
/// another's neighbour, want different sizes: whether the killed leader still
/// acted on its last answer or not, the next leader's first one needs a decision.
const ANSWERS: [u64; 3] = [1, 8, 16];

/// Being served; dropping it stops that.
#[derive(Debug)]
pub struct Gauge {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Gauge {
    pub async fn start() -> std::io::Result<Gauge> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let asked = Arc::new(AtomicU64::new(0));
        let router = Router::new().route("/", get(answer)).with_state(asked);
        let task = tokio::spawn(async move {
            // Ends with the task; a listener on loopback doesn't fail.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Gauge { address, task })
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(asked): State<Arc<AtomicU64>>) -> Json<Value> {
    let turn = asked.fetch_add(1, Ordering::Relaxed) as usize;
    Json(json!({ "waiting": ANSWERS[turn % ANSWERS.len()] }))
}
