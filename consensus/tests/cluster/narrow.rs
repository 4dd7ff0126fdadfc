//! An agent behind a line that carries little.

use std::net::SocketAddr;
use std::time::Duration;

use starling_engine::ledger::Command;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::harness::{Agent, Authority, commit, digest, eventually};

/// What passes in a [`TICK`]: 2 MiB in a second.
const PORTION: usize = 64 << 10;
const TICK: Duration = Duration::from_millis(32);
/// Of which each takes four heartbeats by itself.
const COMMANDS: usize = 6;
const BYTES: usize = 900 << 10;
/// While the last of them are under way.
const SMALL: usize = 100;

/// Passes connections on to `back`, and what comes by them slowly.
async fn line(front: TcpListener, back: SocketAddr) {
    let mut passed = JoinSet::new();
    while let Ok((stream, _)) = front.accept().await {
        passed.spawn(async move {
            let onward = TcpStream::connect(back).await?;
            let (mut theirs, mut ours) = stream.into_split();
            let (mut answers, mut to) = onward.into_split();
            let slowly = async {
                let mut portion = vec![0; PORTION];
                loop {
                    let bytes = theirs.read(&mut portion).await?;
                    if bytes == 0 {
                        return Ok(());
                    }
                    to.write_all(&portion[..bytes]).await?;
                    sleep(TICK * bytes as u32 / PORTION as u32).await;
                }
            };
            tokio::select! {
                ended = slowly => ended,
                ended = copy(&mut answers, &mut ours) => ended.map(drop),
            }
        });
    }
}

/// Openraft gives a call up that isn't answered until the next heartbeat.
#[tokio::test]
async fn what_takes_longer_than_a_heartbeat_to_send_arrives_all_the_same() {
    let authority = Authority::new();
    let mut agents = Agent::some(&authority, 2);
    let founder = agents[0].start().await;
    for n in 0..COMMANDS {
        // Nothing that is put, and yet an entry.
        let long = Command::RemovePolicy {
            name: "nothing".into(),
            source: Some(format!("{n}{}", "x".repeat(BYTES))),
        };
        eventually("it is committed", || async {
            founder.propose(long.clone()).await.ok()
        })
        .await;
    }
    let (front, back) = agents[1].put_behind();
    let mut tasks = JoinSet::new();
    tasks.spawn(line(front, back));

    let joined = agents[1].start().await;
    for n in 0..SMALL {
        commit(&founder, &format!("small-{n}")).await;
        sleep(TICK).await;
    }
    eventually("both hold the same", || async {
        (digest(&founder) == digest(&joined)).then_some(())
    })
    .await;
}
