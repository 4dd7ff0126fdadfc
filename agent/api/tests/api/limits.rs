//! Who is refused, and the bounds on what is asked.

use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use starling_api::{CONNECTIONS_MAX, REQUEST_BYTES_MAX, STREAMS_MAX};
use starling_consensus::Tls;
use starling_proto::v1;
use tonic::Code;
use tonic::transport::Channel;

use crate::harness::{Home, client, eventually, next};

fn status_request() -> v1::GetClusterStatusRequest {
    v1::GetClusterStatusRequest::default()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_users_and_agents_of_this_cluster_are_answered() {
    let home = Home::new();
    let agent = home.leader().await;
    // Another cluster's user: the connection itself fails, at the latest when used.
    let stranger = Tls {
        ca: home.user().ca,
        ..Home::new().user()
    };
    if let Ok(mut client) = client(&agent.address, &stranger).await {
        client
            .get_cluster_status(status_request())
            .await
            .unwrap_err();
    }
    // Signed by this cluster's authority, but for something else.
    let read = |name: &str| std::fs::read_to_string(home.keys("").join(name)).unwrap();
    let key = KeyPair::from_pem(&read("ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), key).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["other.starling".into()]).unwrap();
    let other = Tls {
        ca: home.user().ca,
        certificate: params.signed_by(&key, &issuer).unwrap().pem(),
        key: key.serialize_pem(),
    };
    let mut client_of_other = client(&agent.address, &other).await.unwrap();
    let status = client_of_other
        .get_cluster_status(status_request())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(
        status.message().contains("client.starling"),
        "{}",
        status.message()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_beyond_a_limit_is_refused_and_the_next_one_answered() {
    let home = Home::new();
    let agent = home.leader().await;
    let mut client = client(&agent.address, &home.user()).await.unwrap();
    let name = "x".repeat(REQUEST_BYTES_MAX);
    let asked = v1::GetPolicyRequest {
        name,
        ..Default::default()
    };
    let status = client.get_policy(asked).await.unwrap_err();
    assert!(
        matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted),
        "{status:?}"
    );
    let asked = v1::GetClusterStatusRequest { consistency: 99 };
    let status = client.get_cluster_status(asked).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let asked = v1::ListNodesRequest {
        page_token: "nonsense".into(),
        ..Default::default()
    };
    let status = client.list_nodes(asked).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(client.get_cluster_status(status_request()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_beyond_the_limit_are_refused_until_one_ends() {
    let home = Home::new();
    let agent = home.leader().await;
    let user = home.user();
    let mut streams = Vec::new();
    // On two connections: one alone has a limit of its own.
    let mut clients = [
        client(&agent.address, &user).await.unwrap(),
        client(&agent.address, &user).await.unwrap(),
    ];
    for n in 0..STREAMS_MAX {
        let asked = v1::WatchDecisionsRequest::default();
        let mut stream = clients[n % 2]
            .watch_decisions(asked)
            .await
            .unwrap()
            .into_inner();
        next(&mut stream).await.unwrap();
        streams.push(stream);
    }
    let asked = v1::WatchClusterRequest::default();
    let status = clients[0].watch_cluster(asked.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(
        clients[0]
            .get_cluster_status(status_request())
            .await
            .is_ok()
    );
    streams.pop();
    let client = clients[0].clone();
    eventually("a stream's place is free again", || {
        let (mut client, asked) = (client.clone(), asked.clone());
        async move { client.watch_cluster(asked).await.ok() }
    })
    .await;
}

/// Less than a handshake may take: whoever waited behind others would need more.
const SOON: std::time::Duration = std::time::Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_connections_that_say_nothing_keep_no_user_out() {
    let home = Home::new();
    let agent = home.leader().await;
    // A user who had to wait until the silent ones end would be late each time; one whom a busy
    // machine delays isn't.
    for _ in 0..3 {
        let mut idle = Vec::new();
        for _ in 0..2_000 {
            let silent = tokio::net::TcpStream::connect(&agent.address);
            idle.push(silent.await.unwrap());
        }
        let asked = async {
            let mut client = client(&agent.address, &home.user()).await.unwrap();
            client.get_cluster_status(status_request()).await.unwrap();
        };
        if tokio::time::timeout(SOON, asked).await.is_ok() {
            return;
        }
        eprintln!("tried again: a user was not answered within {SOON:?}");
    }
    panic!("never in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_that_prove_themselves_and_say_nothing_leave_places_and_are_cut_off() {
    use rustls::pki_types::ServerName;
    use rustls::pki_types::pem::PemObject as _;
    let home = Home::new();
    let agent = home.leader().await;
    let user = home.user();
    let mut roots = rustls::RootCertStore::empty();
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    roots.add(certificate(&user.ca)).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(user.key.as_bytes()).unwrap();
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate(&user.certificate)], key)
        .unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let member = starling_keys::load(&home.keys("b"), "b").unwrap().tls;
    // An agent for which no place was kept would be late each time; one that a busy machine
    // delays isn't.
    for _ in 0..3 {
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            let stream = tokio::net::TcpStream::connect(&agent.address)
                .await
                .unwrap();
            let name = ServerName::try_from("peer.starling").unwrap();
            // Those beyond the bound may be turned away in the middle of it, or wait.
            let proved = connector.connect(name, stream);
            idle.push(tokio::time::timeout(SOON, proved).await);
        }
        // An agent's certificate finds the places that are kept.
        let asked = async {
            let mut client = client(&agent.address, &member).await.unwrap();
            client.get_cluster_status(status_request()).await
        };
        if let Ok(answer) = tokio::time::timeout(SOON, asked).await {
            assert!(!matches!(answer, Err(status) if status.code() == Code::Unavailable));
            // Another user's turn comes once the silent ones are cut off.
            eventually("a user is answered", || async {
                let mut client = client(&agent.address, &home.user()).await.ok()?;
                client.get_cluster_status(status_request()).await.ok()
            })
            .await;
            return;
        }
        eprintln!("tried again: an agent was not answered within {SOON:?}");
    }
    panic!("never in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_are_served() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1alpha as alpha;

    let home = Home::new();
    let agent = home.leader().await;
    let channel: Channel = {
        use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
        let user = home.user();
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&user.ca))
            .identity(Identity::from_pem(&user.certificate, &user.key))
            .domain_name("peer.starling");
        let endpoint = Endpoint::from_shared(format!("https://{}", agent.address)).unwrap();
        endpoint.tls_config(tls).unwrap().connect().await.unwrap()
    };
    let asked = HealthCheckRequest {
        service: "starling.v1.StarlingService".into(),
    };
    let health = HealthClient::new(channel.clone())
        .check(asked)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(health.status(), ServingStatus::Serving);

    let asked = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(
            "starling.v1.StarlingService.ExplainPolicy".into(),
        )),
    };
    let mut answers = ServerReflectionClient::new(channel.clone())
        .server_reflection_info(tokio_stream::once(asked))
        .await
        .unwrap()
        .into_inner();
    let answer = next(&mut answers).await.unwrap().message_response;
    assert!(
        matches!(answer, Some(MessageResponse::FileDescriptorResponse(_))),
        "{answer:?}"
    );

    let asked = alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            alpha::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
    };
    let mut answers = alpha::server_reflection_client::ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::once(asked))
        .await
        .unwrap()
        .into_inner();
    let answer = next(&mut answers).await.unwrap().message_response;
    assert!(
        matches!(
            answer,
            Some(alpha::server_reflection_response::MessageResponse::ListServicesResponse(_))
        ),
        "{answer:?}"
    );
}
