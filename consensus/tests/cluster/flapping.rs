//! An agent that can be reached at times only.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::harness::{Agent, Authority, commit, form};

/// So long it can be reached, and then so long it can't.
const TURN: Duration = Duration::from_millis(350);

/// Passes connections on to `back` while it is open, and ends them all when it closes.
async fn gate(front: TcpListener, back: SocketAddr, open: watch::Receiver<bool>) {
    let mut passed = JoinSet::new();
    while let Ok((mut stream, _)) = front.accept().await {
        if !*open.borrow() {
            continue;
        }
        let mut open = open.clone();
        passed.spawn(async move {
            let Ok(mut onward) = TcpStream::connect(back).await else {
                return;
            };
            tokio::select! {
                _ = copy_bidirectional(&mut stream, &mut onward) => {}
                _ = open.wait_for(|open| !open) => {}
            }
        });
    }
}

async fn flap(open: watch::Sender<bool>) {
    loop {
        for is_open in [false, true] {
            open.send_replace(is_open);
            sleep(TURN).await;
        }
    }
}

/// A copy of it, which asks again and again, meets it unreachable many times.
#[tokio::test]
async fn an_agent_that_is_held_up_for_a_moment_keeps_its_place() {
    let authority = Authority::new();
    let mut agents = Agent::some(&authority, 3);
    let (front, back) = agents[1].put_behind();
    let (open, is_open) = watch::channel(true);
    let mut tasks = JoinSet::new();
    tasks.spawn(gate(front, back, is_open));

    let logs = form(&mut agents).await;
    let ids: Vec<_> = logs.iter().map(starling_consensus::Log::id).collect();
    tasks.spawn(flap(open));
    let mut copy = Agent::some(&authority, 3).remove(1);
    let seeds = [0, 2].map(|n: usize| agents[n].config.member.peer_address.clone());
    copy.config.seeds = seeds.to_vec().into();
    let waiting = timeout(Duration::from_secs(8), copy.try_start()).await;
    assert!(waiting.is_err(), "it has taken the living one's place");
    commit(&logs[2], "on").await;
    let ledger = logs[2].ledger();
    let members: Vec<_> = ledger.read().unwrap().members.keys().copied().collect();
    assert_eq!(members, ids);
}
