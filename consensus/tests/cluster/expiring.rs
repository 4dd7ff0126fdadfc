//! Certificates that end while agents run, and versions of TLS that are too old.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use starling_consensus::accept::connections;
use starling_consensus::tls::{Callers, Connector, now_s};
use starling_consensus::{Credentials, Log, Tls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::StreamExt as _;
use tonic::codegen::Service as _;

use crate::harness::{Agent, Authority, commit, eventually, form};

const NAME: [&str; 1] = ["peer.starling"];
/// Long enough for a handshake on a busy machine.
const SHORT: Duration = Duration::from_secs(8);

/// Sends everybody's bytes back.
async fn echo(credentials: Credentials) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let accepted = connections(listener, 64, credentials, Callers::Anyone);
        let mut accepted = Box::pin(accepted);
        while let Some(Ok(mut stream)) = accepted.next().await {
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

async fn connect(connector: &Connector, address: SocketAddr) -> TlsStream<TcpStream> {
    let uri = format!("http://{address}").parse().unwrap();
    let stream = connector.clone().call(uri).await.unwrap();
    stream.into_inner()
}

async fn ping(stream: &mut TlsStream<TcpStream>) -> bool {
    let mut answer = [0; 4];
    stream.write_all(b"ping").await.is_ok() && stream.read_exact(&mut answer).await.is_ok()
}

/// That a connection works, and ends once `credentials` have, and not before.
async fn ends_with(credentials: &Credentials, mut stream: TlsStream<TcpStream>) {
    // A first word may still have come with the handshake, and who says nothing after that is
    // cut off all the same.
    assert!(ping(&mut stream).await && ping(&mut stream).await);
    let until_s = credentials.validities().certificate.until_s;
    let mut byte = [0];
    let ended = tokio::time::timeout(Duration::from_mins(1), stream.read(&mut byte)).await;
    assert!(!matches!(ended, Ok(Ok(1..)) | Err(_)), "{ended:?}");
    assert!(now_s() > until_s, "it ended before its certificate");
}

#[tokio::test]
async fn a_connection_ends_with_its_callers_certificate_and_a_renewed_one_opens_another() {
    let authority = Authority::new();
    let address = echo(Credentials::new(&authority.sign(&NAME)).unwrap()).await;
    let caller = Credentials::new(&authority.sign_for(&NAME, SHORT)).unwrap();
    ends_with(&caller, connect(&caller.connector(), address).await).await;
    let uri = format!("http://{address}").parse().unwrap();
    if let Ok(stream) = caller.connector().call(uri).await {
        // TLS 1.3: the refusal comes after the caller's last word.
        assert!(
            !ping(&mut stream.into_inner()).await,
            "an expired certificate was taken"
        );
    }
    caller.replace(&authority.sign(&NAME)).unwrap();
    let mut stream = connect(&caller.connector(), address).await;
    assert!(ping(&mut stream).await);
}

#[tokio::test]
async fn a_connection_ends_with_its_servers_certificate_whoever_calls() {
    let authority = Authority::new();
    let server = Credentials::new(&authority.sign_for(&NAME, SHORT)).unwrap();
    let address = echo(server.clone()).await;
    let caller = Credentials::new(&authority.sign(&NAME)).unwrap();
    ends_with(&server, connect(&caller.connector(), address).await).await;
}

fn leads(logs: &[Log]) -> bool {
    logs.iter().any(|log| log.backing().led)
}

#[tokio::test]
async fn a_cluster_whose_certificates_have_ended_stands_still_until_they_are_renewed() {
    const LIFE: Duration = Duration::from_secs(40);
    let authority = Authority::new();
    let mut agents = Agent::some(&authority, 3);
    let begun = Instant::now();
    let certify = |agent: &Agent, life: Duration| {
        let names = ["peer.starling", agent.config.member.name.as_str()];
        let tls = authority.sign_for(&names, life);
        agent.config.credentials.replace(&tls).unwrap();
    };
    for agent in &agents {
        certify(agent, LIFE);
    }
    let logs = form(&mut agents).await;
    commit(&logs[1], "x").await;
    assert!(
        begun.elapsed() < LIFE,
        "this machine is too slow for this test"
    );
    eventually("nobody leads once they have ended", || async {
        (begun.elapsed() >= LIFE && !leads(&logs)).then_some(())
    })
    .await;
    for agent in &agents {
        certify(agent, Duration::from_hours(1));
    }
    commit(&logs[2], "y").await;
}

fn client(tls: &Tls, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let pem = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    roots.add(pem(&tls.ca)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from_pem_slice(tls.key.as_bytes()).unwrap();
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![pem(&tls.certificate)], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

#[tokio::test]
async fn nobody_takes_up_a_session_again_without_showing_a_certificate_that_is_good() {
    let authority = Authority::new();
    let address = echo(Credentials::new(&authority.sign(&NAME)).unwrap()).await;
    let tls = authority.sign_for(&NAME, SHORT);
    // One that would, unlike agents.
    let config = client(&tls, &TLS13);
    let shake = async || {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("peer.starling").unwrap();
        TlsConnector::from(config.clone())
            .connect(name, stream)
            .await
    };
    let begun = Instant::now();
    let mut stream = shake().await.unwrap();
    assert!(ping(&mut stream).await);
    eventually("its certificate has ended", || async {
        (begun.elapsed() > SHORT + Duration::from_secs(1)).then_some(())
    })
    .await;
    if let Ok(mut stream) = shake().await {
        assert!(!ping(&mut stream).await, "a former session was enough");
    }
}

#[tokio::test]
async fn nothing_older_than_tls_1_3_is_spoken_with_a_caller() {
    let authority = Authority::new();
    let address = echo(Credentials::new(&authority.sign(&NAME)).unwrap()).await;
    let tls = authority.sign(&NAME);
    let name = || ServerName::try_from("peer.starling").unwrap();
    let shake = async |version| {
        let stream = TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(client(&tls, version));
        connector.connect(name(), stream).await
    };
    let why = shake(&TLS12).await.unwrap_err().to_string();
    assert!(why.contains("ProtocolVersion"), "{why}");
    let mut new = shake(&TLS13).await.unwrap();
    assert!(ping(&mut new).await);
}

#[tokio::test]
async fn a_server_that_speaks_nothing_newer_than_tls_1_2_is_not_spoken_with() {
    let authority = Authority::new();
    let tls = authority.sign(&NAME);
    let pem = CertificateDer::from_pem_slice(tls.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(tls.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pem], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        acceptor.accept(stream).await.map(drop)
    });
    let own = Credentials::new(&authority.sign(&NAME)).unwrap();
    let uri = format!("http://{address}").parse().unwrap();
    own.connector().call(uri).await.map(drop).unwrap_err();
    serving.await.unwrap().unwrap_err();
}
