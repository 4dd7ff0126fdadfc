//! Thousands of connections that never say who they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use starling_proto::raft::IdentifyRequest;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::{Agent, Authority, acting, commit, eventually, form};
use crate::refusing::client;

/// As many as took an agent's failover from one second to four.
const CROWD: usize = 2_500;
/// Less than a handshake may take: whoever waited behind the crowd would need more.
const SOON: Duration = Duration::from_secs(4);

/// Each of them connects again whenever it is cut off.
struct Crowd {
    _all: JoinSet<()>,
}

impl Crowd {
    async fn gather(address: &str) -> Crowd {
        let files = getrlimit(Resource::Nofile);
        let current = files.maximum;
        setrlimit(Resource::Nofile, Rlimit { current, ..files }).unwrap();
        let here = Arc::new(AtomicUsize::new(0));
        let mut all = JoinSet::new();
        for _ in 0..CROWD {
            let (address, here) = (address.to_owned(), here.clone());
            all.spawn(async move {
                let mut counted = false;
                loop {
                    if let Ok(mut stream) = TcpStream::connect(&address).await {
                        if !std::mem::replace(&mut counted, true) {
                            here.fetch_add(1, Ordering::Relaxed);
                        }
                        let _ = stream.read(&mut [0]).await;
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            });
        }
        eventually("the crowd is there", || async {
            (here.load(Ordering::Relaxed) == CROWD).then_some(())
        })
        .await;
        Crowd { _all: all }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_that_never_say_who_they_are_keep_no_agent_out() {
    let authority = Authority::new();
    let mut agents = Agent::some(&authority, 1);
    let _logs = form(&mut agents).await;
    let address = agents[0].config.member.peer_address.clone();
    let _crowd = Crowd::gather(&address).await;
    for n in 0..5 {
        let tls = authority.sign(&["peer.starling", "caller"]);
        let begin = Instant::now();
        // A handshake from the crowd's own address may be cut off for it; agents, too,
        // try again then.
        let identified = eventually("an answer", async || {
            let request = IdentifyRequest::default();
            client(&address, &tls).identify(request).await.ok()
        });
        let answer = tokio::time::timeout(SOON, identified).await;
        println!("answer {n} after {} ms", begin.elapsed().as_millis());
        answer.expect("in time");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_agent_leads_soon_though_every_port_is_crowded() {
    let mut agents = Agent::some(&Authority::new(), 3);
    let mut logs = form(&mut agents).await;
    commit(&logs[0], "before").await;
    let mut crowds = Vec::new();
    for agent in &agents {
        crowds.push(Crowd::gather(&agent.config.member.peer_address).await);
    }
    let leader = acting(&logs.iter().collect::<Vec<_>>()).await;
    let begin = Instant::now();
    drop(logs.remove(leader));
    let left: Vec<_> = logs.iter().collect();
    acting(&left).await;
    commit(left[0], "after").await;
    println!("committed after {} ms", begin.elapsed().as_millis());
    // The former one gets through the crowds too.
    let back = agents[leader].start().await;
    let caught_up = eventually("it has caught up", || async { back.barrier().await.ok() });
    caught_up.await;
}
