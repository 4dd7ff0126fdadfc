//! Certificates that are replaced while agents run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use starling_consensus::accept::connections;
use starling_consensus::tls::{Callers, Connector};
use starling_consensus::{Credentials, Error, Log, Seeds, Tls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::client::TlsStream;
use tokio_stream::StreamExt as _;
use tonic::codegen::Service as _;

use crate::harness::{Agent, Authority, commit, eventually, form};

const NAME: [&str; 1] = ["peer.starling"];

fn certificate(tls: &Tls) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(tls.certificate.as_bytes()).unwrap()
}

async fn connect(
    connector: &Connector,
    address: SocketAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let uri = format!("http://{address}").parse().unwrap();
    connector.clone().call(uri).await.map(TokioIo::into_inner)
}

/// Sends everybody's bytes back; tells with which certificate each came.
async fn echo(
    credentials: Credentials,
    callers: mpsc::Sender<Option<CertificateDer<'static>>>,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let accepted = connections(listener, 64, credentials, Callers::Anyone);
        let mut accepted = Box::pin(accepted);
        while let Some(Ok(mut stream)) = accepted.next().await {
            let shown = stream.get_ref().1.peer_certificates();
            let shown = shown.map(|chain| chain[0].clone().into_owned());
            callers.send(shown).await.unwrap();
            tokio::spawn(async move {
                let mut bytes = [0; 64];
                while let Ok(n @ 1..) = stream.read(&mut bytes).await {
                    stream.write_all(&bytes[..n]).await.unwrap();
                }
            });
        }
    });
    address
}

async fn ping(stream: &mut TlsStream<TcpStream>, word: [u8; 8]) {
    stream.write_all(&word).await.unwrap();
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, word);
}

#[tokio::test]
async fn open_connections_outlive_renewals_and_new_ones_show_the_newest_certificates() {
    let authority = Authority::new();
    let (sender, mut callers) = mpsc::channel(64);
    let own = [(); 2].map(|()| Credentials::new(&authority.sign(&NAME)).unwrap());
    let mut addresses = Vec::new();
    for credentials in &own {
        addresses.push(echo(credentials.clone(), sender.clone()).await);
    }
    // Each asks the other one, all the time.
    let stop = Arc::new(AtomicBool::new(false));
    let pings = Arc::new(AtomicU64::new(0));
    let mut load = Vec::new();
    for n in 0..8 {
        let mut stream = connect(&own[n % 2].connector(), addresses[1 - n % 2])
            .await
            .unwrap();
        callers.recv().await.unwrap().unwrap();
        let (stop, pings) = (stop.clone(), pings.clone());
        load.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let count = pings.fetch_add(1, Ordering::Relaxed);
                ping(&mut stream, count.to_be_bytes()).await;
            }
        }));
    }
    for _ in 0..20 {
        let renewed = [(); 2].map(|()| authority.sign(&NAME));
        for (credentials, tls) in own.iter().zip(&renewed) {
            credentials.replace(tls).unwrap();
        }
        for n in 0..2 {
            let mut stream = connect(&own[n].connector(), addresses[1 - n])
                .await
                .unwrap();
            let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
            assert_eq!(shown, certificate(&renewed[1 - n]));
            let caller = callers.recv().await.unwrap();
            assert_eq!(caller, Some(certificate(&renewed[n])));
            ping(&mut stream, *b"new one!").await;
        }
        let before = pings.load(Ordering::Relaxed);
        eventually("the open connections go on", || async {
            (pings.load(Ordering::Relaxed) > before + 16).then_some(())
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in load {
        client.await.unwrap();
    }
}

#[tokio::test]
async fn who_shows_nothing_is_seen_to_show_nothing_and_believes_its_authority_alone() {
    let authority = Authority::new();
    let (sender, mut callers) = mpsc::channel(1);
    let credentials = Credentials::new(&authority.sign(&NAME)).unwrap();
    let address = echo(credentials, sender).await;
    let anonymous = Connector::anonymous(&authority.certificate).unwrap();
    let mut stream = connect(&anonymous, address).await.unwrap();
    assert_eq!(callers.recv().await, Some(None));
    ping(&mut stream, *b"nameless").await;
    let other = Connector::anonymous(&Authority::new().certificate).unwrap();
    connect(&other, address).await.unwrap_err();
    // A server that isn't an agent isn't believed either.
    let (sender, _callers) = mpsc::channel(1);
    let user = Credentials::new(&authority.sign(&["client.starling"])).unwrap();
    let address = echo(user, sender).await;
    connect(&anonymous, address).await.unwrap_err();
}

#[tokio::test]
async fn one_connection_too_many_is_turned_away_until_another_one_ends() {
    const PLACES: usize = 4;
    let authority = Authority::new();
    let credentials = Credentials::new(&authority.sign(&NAME)).unwrap();
    let connector = credentials.connector();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = connections(listener, PLACES, credentials, Callers::Certified);
    let mut accepted = Box::pin(accepted);
    let mut open = Vec::new();
    for _ in 0..PLACES {
        let caller = connect(&connector, address).await.unwrap();
        open.push((caller, accepted.next().await.unwrap().unwrap()));
    }
    // It is turned away after its handshake: to the caller the connection ends.
    let mut turned_away = connect(&connector, address).await.unwrap();
    let mut byte = [0];
    let ended = turned_away.read(&mut byte).await;
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");

    open.pop();
    let again = connect(&connector, address).await.unwrap();
    open.push((again, accepted.next().await.unwrap().unwrap()));
}

#[test]
fn keys_that_are_none_are_refused_and_change_nothing() {
    let authority = Authority::new();
    let good = authority.sign(&NAME);
    let credentials = Credentials::new(&good).unwrap();
    let before = credentials.server(Callers::Certified);
    let nonsense = || String::from("nonsense");
    for bad in [
        Tls {
            key: nonsense(),
            ..good.clone()
        },
        Tls {
            certificate: nonsense(),
            ..good.clone()
        },
        Tls {
            ca: nonsense(),
            ..good.clone()
        },
        Tls {
            key: authority.sign(&NAME).key,
            ..good
        },
    ] {
        assert!(matches!(credentials.replace(&bad), Err(Error::Tls(_))));
    }
    assert!(Arc::ptr_eq(
        &before,
        &credentials.server(Callers::Certified)
    ));
}

fn voters(log: &Log) -> usize {
    log.leadership().borrow().voters.len()
}

#[tokio::test]
async fn a_cluster_moves_to_another_authority_without_a_restart() {
    let (old, new) = (Authority::new(), Authority::new());
    let mut agents = Agent::some(&old, 3);
    let mut newcomer = agents.pop().unwrap();
    let logs = form(&mut agents).await;
    let both = format!("{}{}", old.certificate, new.certificate);
    let certify = |authority: &Authority, ca: &str, name: &str| Tls {
        ca: ca.to_owned(),
        ..authority.sign(&["peer.starling", name])
    };
    for (authority, ca) in [(&old, &both), (&new, &both), (&new, &new.certificate)] {
        for agent in &agents {
            let tls = certify(authority, ca, &agent.config.member.name);
            agent.config.credentials.replace(&tls).unwrap();
        }
        commit(&logs[1], "x").await;
    }
    // It knows the new authority alone, and its certificate is of that one.
    let tls = certify(&new, &new.certificate, &newcomer.config.member.name);
    newcomer.config.credentials.replace(&tls).unwrap();
    let joined = newcomer.start().await;
    eventually("all three vote, over connections made anew", || async {
        (voters(&joined) == 3).then_some(())
    })
    .await;
    commit(&joined, "y").await;
}

#[tokio::test]
async fn an_agent_that_waits_to_join_asks_the_seeds_that_it_hears_of_meanwhile() {
    let mut agents = Agent::some(&Authority::new(), 2);
    let mut second = agents.pop().unwrap();
    let (seeds, heard) = watch::channel(Vec::new());
    second.config.seeds = Seeds::from(heard);
    let _logs = form(&mut agents).await;
    let joining = tokio::spawn(async move { second.try_start().await.map(|log| log.id()) });
    seeds
        .send(vec!["127.0.0.1:1".into()])
        .expect("somebody listens");
    let right = agents[0].config.member.peer_address.clone();
    seeds.send(vec![right]).expect("somebody listens");
    assert!(joining.await.unwrap().is_ok());
}
