//! Whether the API server is there.
//!
//! Comes in: when it last answered whatever call. Goes out: a note at each change.
//! While nothing else is asked, one small question every few seconds; no target is
//! asked for that. Never takes one failed call for an outage.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use http::Request;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::note::Note;
use crate::client::{self, Connection};

/// Without an answer for this long the platform counts as away.
pub const AWAY_AFTER: Duration = Duration::from_secs(10);
/// A question is asked once nothing was answered for this long,
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// and this often after a call that failed.
const PROBE_FAILING: Duration = Duration::from_secs(1);
/// Longer than a slow server needs for a new connection; a lost question is asked
/// again then.
const PROBE_DEADLINE: Duration = Duration::from_secs(8);
/// How often the age of the last answer is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Ready means that the server's own storage answers, too.
const QUESTION: &str = "/readyz";

type Probe = Pin<Box<dyn Future<Output = ()> + Send>>;

pub async fn watch(connection: Connection, notes: mpsc::Sender<Note>) {
    let calls = &connection.calls;
    let begun = Instant::now();
    let mut told = None;
    let mut probe: Option<Probe> = None;
    let mut asked_at: Option<Instant> = None;
    loop {
        let age = calls.since_answer();
        let reachable = match age {
            Some(age) if age < AWAY_AFTER => Some(true),
            None if begun.elapsed() < AWAY_AFTER => None,
            _ => Some(false),
        };
        if let Some(reachable) = reachable
            && told != Some(reachable)
        {
            if reachable {
                info!("the API server answers");
            } else {
                warn!(
                    "the API server hasn't answered for {} s",
                    AWAY_AFTER.as_secs()
                );
            }
            told = Some(reachable);
            if notes.send(Note::Platform(reachable)).await.is_err() {
                return;
            }
        }
        let failing = calls.failing() || reachable != Some(true);
        let pause = if failing { PROBE_FAILING } else { PROBE_EVERY };
        let quiet = age.is_none_or(|age| age >= pause);
        let due = asked_at.is_none_or(|at| at.elapsed() >= pause);
        if probe.is_none() && due && (quiet || failing) {
            asked_at = Some(Instant::now());
            probe = Some(ask(connection.client.clone()));
        }
        tokio::select! {
            () = async { if let Some(probe) = &mut probe { probe.await } }, if probe.is_some() => {
                probe = None;
            }
            () = calls.next_answer() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

fn ask(client: kube::Client) -> Probe {
    Box::pin(async move {
        if let Ok(request) = Request::get(QUESTION).body(Vec::new()) {
            // What came of it is counted where all calls are.
            let _ = client::call(PROBE_DEADLINE, client.request_text(request)).await;
        }
    })
}
