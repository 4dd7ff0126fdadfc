//! Thousands of connections that never say who they are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use starling_proto::raft::IdentifyRequest;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::harness::{Agent, Authority, acting, commit, eventually, form};
use crate::process::{Writer, wait_until};
use crate::refusing::client;

/// As many as took an agent's failover from one second to four.
const CROWD: usize = 2_500;
/// Less than a handshake may take: whoever waited behind the crowd would need more.
const SOON: Duration = Duration::from_secs(4);

/// What a process may have open where nobody says otherwise, on most machines. The crowd
/// that takes them comes from so many addresses.
const FILES: u32 = 1_024;
const SOURCES: usize = 50;

/// Each of them connects again whenever it is cut off.
struct Crowd {
    _all: JoinSet<()>,
}

/// A crowd needs the machine for itself: one at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// What waits behind a crowd is late each time; what the machine delays is not.
const TRIES: usize = 3;

impl Crowd {
    async fn gather(address: &str) -> Crowd {
        Crowd::gather_from(address, 1).await
    }

    /// From so many addresses, none of which is a member's.
    async fn gather_from(address: &str, sources: usize) -> Crowd {
        let files = getrlimit(Resource::Nofile);
        let current = files.maximum;
        setrlimit(Resource::Nofile, Rlimit { current, ..files }).unwrap();
        let here = Arc::new(AtomicUsize::new(0));
        let mut all = JoinSet::new();
        for one in 0..CROWD {
            let (address, here) = (address.parse().unwrap(), here.clone());
            let source = match sources {
                1 => [127, 0, 0, 1],
                _ => [127, 254, 254, (one % sources) as u8 + 1],
            };
            all.spawn(async move {
                let mut counted = false;
                loop {
                    if let Ok(mut stream) = connect(source, address).await {
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

async fn connect(source: [u8; 4], to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.connect(to).await
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_that_never_say_who_they_are_keep_no_agent_out() {
    let _alone = ALONE.lock().await;
    let authority = Authority::new();
    let mut agents = Agent::some(&authority, 1);
    let _logs = form(&mut agents).await;
    let address = agents[0].config.member.peer_address.clone();
    let _crowd = Crowd::gather(&address).await;
    let mut in_time = 0;
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
        in_time += usize::from(answer.is_ok());
    }
    assert!(in_time >= 5 - (TRIES - 1), "only {in_time} of 5 in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_agent_leads_soon_though_every_port_is_crowded() {
    let _alone = ALONE.lock().await;
    let mut agents = Agent::some(&Authority::new(), 3);
    let mut logs = form(&mut agents).await;
    commit(&logs[0], "before").await;
    let mut crowds = Vec::new();
    for agent in &agents {
        crowds.push(Crowd::gather(&agent.config.member.peer_address).await);
    }
    let mut soonest = Duration::MAX;
    for _ in 0..TRIES {
        let leader = acting(&logs.iter().collect::<Vec<_>>()).await;
        let begin = Instant::now();
        drop(logs.remove(leader));
        let left: Vec<_> = logs.iter().collect();
        acting(&left).await;
        commit(left[0], "after").await;
        soonest = soonest.min(begin.elapsed());
        println!("committed after {} ms", begin.elapsed().as_millis());
        // The former one gets through the crowds too.
        let back = agents[leader].start().await;
        let caught_up = eventually("it has caught up", || async { back.barrier().await.ok() });
        caught_up.await;
        logs.insert(leader, back);
        if soonest < SOON {
            return;
        }
    }
    panic!("only after {soonest:?}");
}

/// The descriptors run out before the crowd does, and what the crowd takes is missing to
/// the agents: 11.8 s passed here once.
#[tokio::test(flavor = "multi_thread")]
async fn another_agent_leads_soon_though_the_crowds_would_take_all_descriptors() {
    let _alone = ALONE.lock().await;
    let mut writers = Writer::some(&Authority::new(), 3);
    for writer in &mut writers {
        writer.files_max = Some(FILES);
        writer.start();
        writer.await_found();
    }
    let mut crowds = Vec::new();
    for writer in &writers {
        crowds.push(Crowd::gather_from(&writer.address, SOURCES).await);
    }
    let writing = |writers: &[Writer]| {
        let then: Vec<u64> = writers.iter().map(Writer::acknowledged).collect();
        wait_until("all go on writing", || {
            let mut living = writers
                .iter()
                .zip(&then)
                .filter(|(writer, _)| writer.runs());
            living.all(|(writer, then)| writer.acknowledged() > *then)
        });
    };
    tokio::task::block_in_place(|| {
        let mut soonest = Duration::MAX;
        for _ in 0..TRIES {
            writing(&writers);
            let begin = Instant::now();
            let leader = (0..3).max_by_key(|n| writers[*n].leads()).unwrap();
            writers[leader].kill();
            writing(&writers);
            soonest = soonest.min(begin.elapsed());
            println!("all write again after {} ms", begin.elapsed().as_millis());
            // The former one gets through the crowds too.
            writers[leader].start();
            writers[leader].await_found();
            writing(&writers);
            if soonest < SOON {
                return;
            }
        }
        panic!("only after {soonest:?}");
    });
}
