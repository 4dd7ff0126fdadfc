//! Asking each pod behind a Service: real servers, each at an address of its own.

use std::net::{IpAddr, Ipv4Addr};

use super::*;

const SERVICE: [(&str, &str); 1] = [("aggregateFromKubeServiceEndpoints", "true")];

/// Servers on one port of several loopback addresses, as pods are; each gives its answer.
async fn pods(bodies: &[(u16, &str)]) -> (u16, Vec<IpAddr>) {
    // A port that is free at the first address is taken by nobody else at the others.
    for _ in 0..100 {
        let first = TcpListener::bind("127.1.0.1:0").await.unwrap();
        let port = first.local_addr().unwrap().port();
        let mut listeners = vec![first];
        for last in 2..=bodies.len() as u8 {
            listeners.extend(TcpListener::bind((Ipv4Addr::new(127, 1, 0, last), port)).await);
        }
        if listeners.len() != bodies.len() {
            continue;
        }
        let ips = listeners.iter().map(|it| it.local_addr().unwrap().ip());
        let ips = ips.collect();
        for (listener, (status, body)) in listeners.into_iter().zip(bodies) {
            let status = StatusCode::from_u16(*status).unwrap();
            let body = (*body).to_owned();
            let router = Router::new().fallback(move |headers: axum::http::HeaderMap| {
                let host = headers["host"].to_str().unwrap().to_owned();
                assert!(host.starts_with("queue.shop:"), "{host}");
                std::future::ready((status, body.clone()))
            });
            tokio::spawn(async move { axum::serve(listener, router).await });
        }
        return (port, ips);
    }
    panic!("no port is free at all addresses");
}

async fn ask(port: u16, ips: &[IpAddr], more: &[(&str, &str)]) -> Result<i64, String> {
    let more: Vec<_> = SERVICE.iter().chain(more).copied().collect();
    let trigger = trigger(&format!("http://queue.shop:{port}/stats"), &more);
    let asked = Asked {
        endpoints: Some(ips),
        ..ASKED
    };
    let answer = Poller::default()
        .poll(&trigger, asked)
        .await
        .map(|it| it.milli);
    answer.map_err(|error| error.to_string())
}

#[tokio::test]
async fn the_pods_behind_a_service_are_asked_and_their_numbers_become_one() {
    let bodies = [
        (200, r#"{"jobs": 1}"#),
        (200, r#"{"jobs": 2.5}"#),
        (200, r#"{"jobs": 4}"#),
    ];
    let (port, ips) = pods(&bodies).await;
    assert_eq!(ask(port, &ips, &[]).await, Ok(2_500));
    for (kind, milli) in [("sum", 7_500), ("max", 4_000), ("min", 1_000)] {
        let answer = ask(port, &ips, &[("aggregationType", kind)]).await;
        assert_eq!(answer, Ok(milli), "{kind}");
    }
}

#[tokio::test]
async fn a_pod_that_gives_no_number_makes_the_whole_answer_fail() {
    for (status, body, why) in [
        (500, "{}", "answered HTTP 500"),
        (200, "{}", "the answer has no `jobs`"),
    ] {
        let (port, ips) = pods(&[(200, r#"{"jobs": 1}"#), (status, body)]).await;
        let error = ask(port, &ips, &[]).await.unwrap_err();
        let told = format!("the pod at 127.1.0.2 gave no number: {why}");
        assert!(error.ends_with(&told), "{error}");
    }
    // Nobody listens there.
    let (port, mut ips) = pods(&[(200, r#"{"jobs": 1}"#)]).await;
    ips.push(IpAddr::from([127, 1, 0, 9]));
    let error = ask(port, &ips, &[]).await.unwrap_err();
    assert!(
        error.contains("127.1.0.9 gave no number: can't connect"),
        "{error}"
    );
}

#[tokio::test]
async fn a_pod_s_redirect_to_its_service_leads_to_that_pod_and_to_no_other() {
    let listener = TcpListener::bind("127.1.0.1:0").await.unwrap();
    let (port, ip) = match listener.local_addr().unwrap() {
        SocketAddr::V4(address) => (address.port(), IpAddr::from(*address.ip())),
        SocketAddr::V6(_) => unreachable!("it was bound to another"),
    };
    // By the name that it was asked by, as servers do that write absolute addresses.
    let absolute = move |headers: axum::http::HeaderMap| async move {
        let host = headers["host"].to_str().unwrap().to_owned();
        assert!(host.starts_with("queue.shop:"), "{host}");
        Redirect::permanent(&format!("http://{host}/stats/"))
    };
    let router = Router::new()
        .route("/stats", get(absolute))
        .route("/stats/", get(|| async { r#"{"jobs": 3}"# }))
        .route(
            "/away",
            get(|| async { Redirect::to("http://elsewhere.shop/") }),
        );
    tokio::spawn(async move { axum::serve(listener, router).await });
    assert_eq!(ask(port, &[ip], &[]).await, Ok(3_000));

    let away: Vec<_> = SERVICE.to_vec();
    let trigger = trigger(&format!("http://queue.shop:{port}/away"), &away);
    let asked = Asked {
        endpoints: Some(&[ip]),
        ..ASKED
    };
    let error = Poller::default().poll(&trigger, asked).await.unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("redirected to http://elsewhere.shop/, another host"),
        "{error}"
    );
}

#[tokio::test]
async fn no_pod_and_too_many_are_errors_too() {
    let error = ask(1, &[], &[]).await.unwrap_err();
    assert!(error.ends_with("no pod behind it is ready"), "{error}");
    let many = vec![IpAddr::from([127, 0, 0, 1]); ENDPOINTS_MAX + 1];
    let error = ask(1, &many, &[]).await.unwrap_err();
    assert!(
        error.contains("more than 100 pods are behind it"),
        "{error}"
    );
    let trigger = trigger("http://queue.shop/", &SERVICE);
    let error = Poller::default().poll(&trigger, ASKED).await.unwrap_err();
    assert!(error.to_string().contains("has no Kubernetes"), "{error}");
}
