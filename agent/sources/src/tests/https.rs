//! Asking over HTTPS, with authorities, certificates and secrets from files.

use std::path::Path;
use std::sync::Mutex;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::*;

/// One authority, a server's certificate and a client's.
struct Keys {
    ca: String,
    client: (String, String),
    server: ServerConfig,
}

/// `strict` servers ask for a certificate of the same authority.
fn keys(strict: bool) -> Keys {
    keys_of("localhost", strict)
}

fn keys_of(server: &str, strict: bool) -> Keys {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let signed = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &issuer).unwrap(), key)
    };
    let (certificate, key) = signed(server);
    let (client, client_key) = signed("client");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let verified = if strict {
        let mut roots = RootCertStore::empty();
        roots.add(issuer.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        versions.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        versions.with_no_client_auth()
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Keys {
        ca: issuer.pem(),
        client: (client.pem(), client_key.serialize_pem()),
        server: verified
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap(),
    }
}

/// Answers everybody who comes through, and keeps what they asked.
async fn secure(config: ServerConfig) -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let heard = Arc::new(Mutex::new(String::new()));
    let kept = heard.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, kept) = (acceptor.clone(), kept.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut buffer = [0; 4_096];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    let asked = String::from_utf8_lossy(&buffer[..read]).into_owned();
                    // `/away/PORT` leads to the same question at another port.
                    let port = asked
                        .strip_prefix("GET /away/")
                        .and_then(|it| it.split(' ').next());
                    let answer = match port {
                        Some(port) => format!(
                            "HTTP/1.1 307 Elsewhere\r\nlocation: https://localhost:{port}/stats\r\n\
                             content-length: 0\r\n\r\n"
                        ),
                        None => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"jobs\":7}".into(),
                    };
                    *kept.lock().unwrap() = asked;
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, heard)
}

/// Puts the parameters where a reference named `queue` finds them.
fn put(directory: &Path, parameters: &[(&str, &str)]) {
    let folder = directory.join("default/queue");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, value) in parameters {
        std::fs::write(folder.join(name), format!("{value}\n")).unwrap();
    }
}

async fn ask(poller: &Poller, address: SocketAddr, more: &[(&str, &str)]) -> Result<i64, String> {
    let url = format!("https://localhost:{}/stats", address.port());
    let answer = poller.poll(&trigger(&url, more), ASKED).await;
    answer.map(|it| it.milli).map_err(|error| error.to_string())
}

const HOUR_MS: i64 = 3_600_000;
const NAMED: (&str, &str) = ("authenticationRef", "queue");

#[tokio::test]
async fn a_server_is_believed_by_its_authority_or_where_anyone_is() {
    let keys = keys(false);
    let (address, _) = secure(keys.server).await;
    let directory = tempfile::tempdir().unwrap();
    let poller = Poller::new(Some(directory.path().to_owned()));
    let error = ask(&poller, address, &[]).await.unwrap_err();
    assert!(
        error.contains("can't connect: invalid peer certificate"),
        "{error}"
    );
    assert_eq!(
        ask(&poller, address, &[("unsafeSsl", "true")]).await,
        Ok(7_000)
    );
    put(directory.path(), &[("ca", &keys.ca)]);
    assert_eq!(ask(&poller, address, &[NAMED]).await, Ok(7_000));
    put(directory.path(), &[("ca", "no certificate")]);
    let error = ask(&poller, address, &[NAMED]).await.unwrap_err();
    assert!(
        error.ends_with("the parameter `ca` holds no certificate in PEM form"),
        "{error}"
    );
}

#[tokio::test]
async fn who_asks_is_proven_by_certificate_and_token_which_are_read_when_asked() {
    let keys = keys(true);
    let (address, heard) = secure(keys.server).await;
    let directory = tempfile::tempdir().unwrap();
    let poller = Poller::new(Some(directory.path().to_owned()));
    let mode = ("authMode", "tls,bearer");
    let error = ask(&poller, address, &[NAMED, mode]).await.unwrap_err();
    assert!(
        error.contains("default/queue is no directory on this machine"),
        "{error}"
    );
    put(directory.path(), &[("ca", &keys.ca), ("token", "first")]);
    let error = ask(&poller, address, &[NAMED, mode]).await.unwrap_err();
    assert!(error.ends_with("has no parameter `cert`"), "{error}");
    assert!(
        ask(&poller, address, &[NAMED]).await.is_err(),
        "no certificate, no answer"
    );
    put(
        directory.path(),
        &[("cert", &keys.client.0), ("key", &keys.client.1)],
    );
    assert_eq!(ask(&poller, address, &[NAMED, mode]).await, Ok(7_000));
    assert!(
        heard
            .lock()
            .unwrap()
            .contains("authorization: Bearer first")
    );
    put(directory.path(), &[("token", "second")]);
    assert_eq!(ask(&poller, address, &[NAMED, mode]).await, Ok(7_000));
    assert!(
        heard
            .lock()
            .unwrap()
            .contains("authorization: Bearer second")
    );
}

#[tokio::test]
async fn a_certificate_is_shown_to_no_host_that_a_redirect_names() {
    let keys = keys(true);
    let (first, _) = secure(keys.server.clone()).await;
    let (second, heard) = secure(keys.server).await;
    let directory = tempfile::tempdir().unwrap();
    let poller = Poller::new(Some(directory.path().to_owned()));
    let (cert, key) = (("cert", &*keys.client.0), ("key", &*keys.client.1));
    put(directory.path(), &[("ca", &keys.ca), cert, key]);
    let url = format!("https://localhost:{}/away/{}", first.port(), second.port());
    let trigger = trigger(&url, &[NAMED, ("authMode", "tls")]);
    let error = poller.poll(&trigger, ASKED).await.unwrap_err().to_string();
    assert!(
        error.contains("is redirected to https://localhost:")
            && error.ends_with(
                "/stats, another host than was meant; write that address, where it is one to ask"
            ),
        "{error}"
    );
    assert_eq!(*heard.lock().unwrap(), "");
}

#[tokio::test]
async fn a_pod_behind_a_service_has_the_service_s_certificate() {
    let keys = keys_of("queue.shop", false);
    let (address, heard) = secure(keys.server).await;
    let directory = tempfile::tempdir().unwrap();
    let poller = Poller::new(Some(directory.path().to_owned()));
    put(directory.path(), &[("ca", &keys.ca)]);
    let ips = [address.ip()];
    let ask = async |service: &str| {
        let url = format!("https://{service}:{}/stats", address.port());
        let aggregate = ("aggregateFromKubeServiceEndpoints", "true");
        let asked = Asked {
            endpoints: Some(&ips),
            ..ASKED
        };
        let answer = poller
            .poll(&trigger(&url, &[NAMED, aggregate]), asked)
            .await;
        answer.map(|it| it.milli).map_err(|error| error.to_string())
    };
    assert_eq!(ask("queue.shop").await, Ok(7_000));
    assert!(heard.lock().unwrap().contains("host: queue.shop:"));
    let error = ask("other.shop").await.unwrap_err();
    assert!(error.contains("invalid peer certificate"), "{error}");
}

#[tokio::test]
async fn a_policy_reaches_its_own_namespace_s_secrets_alone() {
    let directory = tempfile::tempdir().unwrap();
    put(directory.path(), &[("token", "t")]);
    let poller = Poller::new(Some(directory.path().to_owned()));
    let asked = trigger("http://127.0.0.1:1/", &[NAMED, ("authMode", "bearer")]);
    for (namespace, reached) in [("default", true), ("shop", false), ("..", false)] {
        let asked_by = Asked { namespace, ..ASKED };
        let error = poller.poll(&asked, asked_by).await.unwrap_err();
        assert_eq!(
            matches!(error.reason, Reason::Connection(_)),
            reached,
            "{namespace}: {error}"
        );
    }
    let without = Poller::default().poll(&asked, ASKED).await.unwrap_err();
    assert_eq!(
        without.to_string(),
        "trigger queue: authenticationRef queue can't be read: this agent has no `authentications` \
         directory"
    );
}

#[tokio::test]
async fn a_calendar_needs_nobody_to_answer() {
    let mut calendar = trigger("http://h/", &[]);
    let metadata = [
        ("timezone", "Etc/UTC"),
        ("start", "0 8 * * *"),
        ("end", "0 9 * * *"),
        ("desiredReplicas", "3"),
    ];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
    calendar.source = Source::External {
        kind: CRON.to_owned(),
        metadata: metadata.into(),
    };
    for (hour, milli) in [(7, 0), (8, 3_000), (9, 0)] {
        let asked = Asked {
            wall_ms: hour * HOUR_MS,
            ..ASKED
        };
        let value = Poller::default().poll(&calendar, asked).await;
        assert_eq!(value.map(|it| it.milli), Ok(milli), "{hour}");
    }
}
