//! Notices at once that the leader's process has ended.
//!
//! Each voter holds a call to the leader open that only ends. When it does, and
//! the leader's address refuses to be dialled again, no process is there: the
//! voter stands for election without waiting for a timeout. A leader that is cut
//! off or hangs refuses nobody, and is found by its silence.
//!
//! openraft lets a voter refuse all candidates for a lease after its leader's
//! last word, so all survivors stand: who has voted for itself may still vote
//! for one with a higher id and no less of the log.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use starling_proto::raft::AttendRequest;
use tokio::net::TcpStream;

use crate::core::{Core, Membership};
use crate::net::client::Lane;
use crate::net::identity::envelope;
use crate::types::ServerMetrics;

/// A call that ends while its leader is there is made again after this.
const PAUSE: Duration = Duration::from_millis(200);
const OPEN_DEADLINE: Duration = Duration::from_secs(1);
/// On one network a refusal comes within a millisecond.
const DIAL_DEADLINE: Duration = Duration::from_millis(200);
const DIALS_MAX: usize = 5;
const DIAL_PAUSE: Duration = Duration::from_millis(10);

/// Runs as long as the agent does.
pub async fn run(core: Arc<Core>) {
    let Some(membership) = core.member.get() else {
        return;
    };
    // Told only when it changes, where the others are told at each heartbeat.
    let mut metrics = membership.raft.server_metrics();
    loop {
        let seen = match metrics.wait_for(|seen| attended(seen).is_some()).await {
            Ok(seen) => attended(&seen),
            Err(_) => return,
        };
        let Some((leader, address)) = seen else {
            continue;
        };
        let address = core.peers.book.find(leader, &address);
        let ended = tokio::select! {
            () = hold(&core, membership, leader, &address) => true,
            changed = metrics.wait_for(|seen| seen.current_leader != Some(leader)) => {
                if changed.is_err() {
                    return;
                }
                false
            }
        };
        if ended && refuses(&address).await {
            tracing::info!(leader, "the leader's process has ended");
            core.standing.lost();
        }
        if ended {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The leader and its address, where this agent votes and doesn't lead itself.
fn attended(metrics: &ServerMetrics) -> Option<(u64, String)> {
    let known = metrics.membership_config.membership();
    let leader = metrics
        .current_leader
        .filter(|leader| *leader != metrics.id)?;
    known.voter_ids().find(|voter| *voter == metrics.id)?;
    Some((leader, known.get_node(&leader)?.address.clone()))
}

/// Returns when the call ends, or can't be made.
async fn hold(core: &Core, membership: &Membership, leader: u64, address: &str) {
    let Ok(mut client) = core.peers.client(address, Lane::Raft) else {
        return;
    };
    let request = AttendRequest {
        envelope: Some(envelope(&membership.own, leader)),
    };
    let opened = tokio::time::timeout(OPEN_DEADLINE, client.attend(request)).await;
    if let Ok(Ok(call)) = opened {
        // Nothing ever comes.
        drop(call.into_inner().message().await);
    }
}

/// Whether nobody listens there any more. Silence is no refusal.
async fn refuses(address: &str) -> bool {
    for _ in 0..DIALS_MAX {
        match tokio::time::timeout(DIAL_DEADLINE, TcpStream::connect(address)).await {
            Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionRefused => return true,
            // A process that ends closes its sockets one after the other.
            Ok(Ok(_)) => tokio::time::sleep(DIAL_PAUSE).await,
            _ => return false,
        }
    }
    false
}
