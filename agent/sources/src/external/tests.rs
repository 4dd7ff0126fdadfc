//! Which settings are refused, what the server's numbers come to, and servers that answer
//! badly. What one of another language says is asked in `tests/tests/servers`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use starling_proto::externalscaler::external_scaler_server::{
    ExternalScaler, ExternalScalerServer,
};
use starling_proto::externalscaler::{GetMetricSpecResponse, GetMetricsResponse, IsActiveResponse};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::Empty;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::*;
use crate::settings::TIMEOUT_DEFAULT_MS;
use crate::trying::{metadata, secrets, told};

const AT: (&str, &str) = (ADDRESS, "scaler.shop:6000");

#[test]
fn settings_are_the_server_s_own_but_for_those_that_mean_something_here() {
    let refused = |pairs: &[(&str, &str)]| told(check(&metadata(pairs)));
    let with = |more: &[(&str, &str)]| refused(&[&[AT], more].concat());
    let long = "a".repeat(NAME_BYTES_MAX + 1);
    for sound in [
        &[][..],
        &[("threshold", "5"), ("anything at all", "")],
        &[("enableTLS", "true"), ("unsafeSsl", "false")],
        &[("authenticationRef", "scaler")],
    ] {
        assert_eq!(with(sound), "", "{sound:?}");
    }
    for (pairs, why) in [
        (&[("enableTLS", "1")][..], "enableTLS must be true or false"),
        (&[("unsafeSsl", "yes")], "unsafeSsl must be true or false"),
        (
            &[("caCert", "larkspur")],
            "caCert means nothing here; put the PEM text into what an `authenticationRef` names, \
             as the parameter `caCert`",
        ),
        (
            &[("tlsClientKey", "larkspur")],
            "as the parameter `tlsClientKey`",
        ),
        (&[("tlsCertFile", "/ca.pem")], "as the parameter `caCert`"),
        (
            &[("passwordFromEnv", "PASSWORD")],
            "passwordFromEnv can't be read from the target's variables",
        ),
        (&[("", "1")], "holds a setting without a name"),
        (&[(&long, "1")], "longer than 253 bytes: `aaa"),
        (&[("authenticationRef", "../up")], "`../up` is not a name"),
    ] {
        let said = with(pairs);
        assert!(said.contains(why), "{pairs:?}: {said}");
        assert!(!said.contains("larkspur"), "{said}");
    }
    for (address, why) in [
        ("scaler", "scalerAddress `scaler` is not an address; write"),
        ("dns:///scaler:1", "scalerAddress must be HOST:PORT alone"),
    ] {
        let said = refused(&[(ADDRESS, address)]);
        assert!(said.contains(why), "{said}");
    }
    assert!(refused(&[]).contains("`scalerAddress` is missing"));
}

#[test]
fn certificates_are_named_as_keda_names_them_and_never_asked_past() {
    let of = |pairs: &[(&str, &str)], given: &[(&'static str, &str)]| {
        Server::of(&metadata(&[&[AT], pairs].concat()), &secrets(given)).unwrap()
    };
    assert!(!of(&[], &[]).is_secure());
    // It alone secures nothing.
    assert!(!of(&[("unsafeSsl", "true")], &[]).is_secure());
    assert!(of(&[("enableTLS", "true")], &[]).is_secure());
    for parameter in ["caCert", "tlsClientCert", "tlsClientKey"] {
        let server = of(&[], &[(parameter, "larkspur")]);
        assert!(server.is_secure(), "{parameter}");
        assert!(!format!("{server:?}").contains("larkspur"));
    }
}

fn spec(target: i64, float: f64) -> MetricSpec {
    MetricSpec {
        metric_name: "jobs".to_owned(),
        target_size: target,
        target_size_float: float,
    }
}

fn values(given: &[(i64, f64)]) -> Vec<MetricValue> {
    let given = given.iter();
    let value = |(whole, float): &(i64, f64)| MetricValue {
        metric_name: "any".to_owned(),
        metric_value: *whole,
        metric_value_float: *float,
    };
    given.map(value).collect()
}

#[test]
fn a_value_is_so_many_times_its_target_and_never_rounded_to_too_few() {
    for (target, given, milli) in [
        ((10, 0.0), &[(25, 0.0)][..], 2_500),
        ((10, 0.0), &[(0, 0.0)], 0),
        ((3, 0.0), &[(10, 0.0)], 3_334),
        // The float counts.
        ((10, 0.5), &[(25, 2.0)], 4_000),
        ((10, 0.0), &[(1, 0.000_1)], 1),
        // None of f64's last digits makes one replica more.
        ((0, 0.1), &[(0, 0.7)], 7_000),
        ((0, 0.3), &[(0, 0.9)], 3_000),
        ((0, 0.1), &[(0, 1.1)], 11_000),
        // As an HPA adds up several values of one metric.
        ((10, 0.0), &[(25, 0.0), (0, 2.5), (10, 0.0)], 3_750),
    ] {
        let found = share(&spec(target.0, target.1), &values(given));
        assert_eq!(found, Ok(milli), "{target:?} {given:?}");
    }
    for (target, given, why) in [
        (
            (0, 0.0),
            &[(1, 0.0)][..],
            "not a target above 0: that of `jobs` is 0",
        ),
        ((-5, 0.0), &[(1, 0.0)], "`target of jobs` is negative: -5"),
        ((5, -0.5), &[(1, 0.0)], "`target of jobs` is negative: -0.5"),
        (
            (5, f64::NAN),
            &[(1, 0.0)],
            "`target of jobs` is NaN, not a number",
        ),
        ((5, 0.0), &[], "the answer has no `value of jobs`"),
        ((5, 0.0), &[(-1, 0.0)], "`value of jobs` is negative: -1"),
        (
            (5, 0.0),
            &[(9, 0.0), (9, -0.1)],
            "`value of jobs` is negative: -0.1",
        ),
        ((5, 0.0), &[(1, f64::NAN)], "`value of jobs` is NaN"),
        ((5, 0.0), &[(1, f64::INFINITY)], "`value of jobs` is inf"),
        ((1, 0.0), &[(i64::MAX, 0.0)], "`value of jobs` is too large"),
        ((0, 1e-300), &[(0, 1e300)], "`value of jobs` is inf"),
    ] {
        let why_not = share(&spec(target.0, target.1), &values(given)).unwrap_err();
        let said = why_not.to_string();
        assert!(said.contains(why), "{target:?} {given:?}: {said}");
    }
}

/// So the size is that of the exact value, where it isn't multiplied afterwards.
#[test]
fn a_value_that_is_rounded_up_before_asks_for_as_many_replicas() {
    for target in 1..=60 {
        for value in 0..=400 {
            let milli = share(&spec(target, 0.0), &values(&[(value, 0.0)])).unwrap();
            let (replicas, exact) = ((milli + 999) / 1_000, (value + target - 1) / target);
            assert_eq!(replicas, exact, "{value} / {target}");
        }
    }
}

/// Answers as it is told to, and keeps whom it was last asked about.
#[derive(Default)]
struct Scripted {
    active: bool,
    /// Targets and values by name.
    metrics: Vec<(&'static str, i64, i64)>,
    asked: std::sync::Mutex<BTreeMap<String, ScaledObjectRef>>,
    /// From where.
    peers: std::sync::Mutex<BTreeSet<SocketAddr>>,
    fails: BTreeMap<&'static str, Status>,
    /// Of each value's name.
    padding: usize,
}

impl Scripted {
    fn hear(&self, call: &'static str, object: ScaledObjectRef) -> Result<(), Status> {
        self.asked.lock().unwrap().insert(call.to_owned(), object);
        self.fails.get(call).cloned().map_or(Ok(()), Err)
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ExternalScaler for Scripted {
    type StreamIsActiveStream = Empty<Result<IsActiveResponse, Status>>;
    type StreamMetricSpecStream = Empty<Result<GetMetricSpecResponse, Status>>;

    async fn is_active(&self, asked: Request<ScaledObjectRef>) -> Answer<IsActiveResponse> {
        self.peers.lock().unwrap().extend(asked.remote_addr());
        self.hear("IsActive", asked.into_inner())?;
        let result = self.active;
        Ok(Response::new(IsActiveResponse { result }))
    }

    async fn get_metric_spec(
        &self,
        asked: Request<ScaledObjectRef>,
    ) -> Answer<GetMetricSpecResponse> {
        self.hear("GetMetricSpec", asked.into_inner())?;
        let specs = self.metrics.iter().map(|(name, target, _)| MetricSpec {
            metric_name: (*name).to_owned(),
            ..spec(*target, 0.0)
        });
        let metric_specs = specs.collect();
        Ok(Response::new(GetMetricSpecResponse { metric_specs }))
    }

    async fn get_metrics(&self, asked: Request<GetMetricsRequest>) -> Answer<GetMetricsResponse> {
        let asked = asked.into_inner();
        self.hear("GetMetrics", asked.scaled_object_ref.unwrap_or_default())?;
        let mut metrics = self.metrics.iter();
        let found = metrics.find(|(name, _, _)| *name == asked.metric_name);
        let (_, _, value) = found.ok_or_else(|| Status::not_found("no such metric"))?;
        let metric_values = vec![MetricValue {
            metric_name: "x".repeat(self.padding),
            metric_value: *value,
            metric_value_float: 0.0,
        }];
        Ok(Response::new(GetMetricsResponse { metric_values }))
    }

    async fn stream_is_active(
        &self,
        _: Request<ScaledObjectRef>,
    ) -> Answer<Self::StreamIsActiveStream> {
        Err(Status::unavailable("nobody listens"))
    }

    async fn stream_metric_spec(
        &self,
        _: Request<ScaledObjectRef>,
    ) -> Answer<Self::StreamMetricSpecStream> {
        Err(Status::unavailable("nobody listens"))
    }
}

async fn serve(server: Scripted) -> (String, Arc<Scripted>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = Arc::new(server);
    let service = ExternalScalerServer::from_arc(server.clone());
    let router = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    (address, server)
}

async fn asked(address: &str, composed: bool) -> Result<(i64, i64), String> {
    asked_over(&Connections::default(), address, composed).await
}

async fn asked_over(
    connections: &Connections,
    address: &str,
    composed: bool,
) -> Result<(i64, i64), String> {
    let metadata = metadata(&[(ADDRESS, address), ("queue", "mails")]);
    let asked = Asked {
        namespace: "shop",
        name: "web",
        composed,
        wall_ms: 0,
        secrets: None,
        endpoints: None,
    };
    let answer = ask(connections, &metadata, &Secrets::default(), asked).await;
    answer
        .map(|it| (it.milli, it.activity_milli))
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn the_metric_that_asks_for_most_counts_and_a_formula_takes_the_value_of_one() {
    let many = Scripted {
        active: true,
        metrics: vec![("a", 10, 25), ("b", 2, 9), ("c", 1_000, 26)],
        ..Scripted::default()
    };
    let (address, server) = serve(many).await;
    assert_eq!(asked(&address, false).await, Ok((4_500, 1_000)));
    let why = asked(&address, true).await.unwrap_err();
    assert!(
        why.contains("it has 3 metrics, and a formula takes one"),
        "{why}"
    );
    // All calls are about the same.
    let settings = metadata(&[(ADDRESS, &address), ("queue", "mails")]);
    let object = ScaledObjectRef {
        name: "web".to_owned(),
        namespace: "shop".to_owned(),
        scaler_metadata: settings.into_iter().collect(),
    };
    let calls = ["GetMetricSpec", "GetMetrics", "IsActive"];
    let all = calls.map(|call| (call.to_owned(), object.clone()));
    assert_eq!(*server.asked.lock().unwrap(), BTreeMap::from(all));

    let one = Scripted {
        metrics: vec![("a", 0, 25)],
        ..Scripted::default()
    };
    let (address, _) = serve(one).await;
    // A formula has a target of its own.
    assert_eq!(asked(&address, true).await, Ok((25_000, 0)));
    let why = asked(&address, false).await.unwrap_err();
    assert!(why.contains("not a target above 0"), "{why}");
}

#[tokio::test]
async fn one_connection_serves_all_questions_to_a_server() {
    let (address, server) = serve(Scripted {
        metrics: vec![("a", 1, 1)],
        ..Scripted::default()
    })
    .await;
    let connections = Connections::default();
    for _ in 0..3 {
        let answer = asked_over(&connections, &address, false).await;
        assert_eq!(answer, Ok((1_000, 0)));
    }
    assert_eq!(server.peers.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_a_server_does_not_say_is_no_number() {
    let sound = || Scripted {
        metrics: vec![("a", 1, 1)],
        ..Scripted::default()
    };
    let failing = |call, status| Scripted {
        fails: BTreeMap::from([(call, status)]),
        ..sound()
    };
    for (server, why) in [
        (Scripted::default(), "the answer has no `metricSpecs`"),
        (
            Scripted {
                metrics: vec![("a", 1, 1); METRICS_MAX + 1],
                ..Scripted::default()
            },
            "the answer couldn't be looked through: it has 17 metrics, and at most 16 are asked for",
        ),
        (
            Scripted {
                padding: 2 << 20,
                ..sound()
            },
            "the answer is longer than 1024 KiB",
        ),
        (
            failing("IsActive", Status::unauthenticated("who are you\n?")),
            "refused: IsActive failed as Unauthenticated: who are you\\n?",
        ),
        (
            failing("GetMetricSpec", Status::unavailable("not now")),
            "refused: GetMetricSpec failed as Unavailable: not now",
        ),
        (
            failing("GetMetrics", Status::deadline_exceeded("too slow")),
            "refused: GetMetrics failed as DeadlineExceeded: too slow",
        ),
        (
            failing("GetMetrics", Status::unimplemented("later")),
            "refused: it has no GetMetrics of externalscaler.ExternalScaler: later",
        ),
    ] {
        let (address, _) = serve(server).await;
        let said = asked(&address, false).await.unwrap_err();
        assert_eq!(said, format!("{address}: {why}"));
    }
}

/// A server that does so with each connection.
async fn raw<F>(does: impl Fn(TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(does(stream));
        }
    });
    address
}

#[tokio::test]
async fn a_server_of_another_protocol_or_without_an_end_is_no_server() {
    let web = raw(async |mut stream| {
        let mut asked = [0; 64];
        let _ = stream.read(&mut asked).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let said = asked(&web, false).await.unwrap_err();
    assert!(said.contains("can't connect: "), "{said}");

    // Frames that HTTP/2 allows at any time.
    let endless = raw(async |mut stream| {
        const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        const UNKNOWN: [u8; 9] = [0, 0x40, 0, 0xfa, 0, 0, 0, 0, 0];
        let frame = [&UNKNOWN[..], &[0; 0x4000]].concat();
        let mut sent = stream.write_all(&SETTINGS).await.map(|()| 0);
        while let Ok(bytes) = sent {
            assert!(bytes < 64 << 20, "somebody reads on");
            sent = stream.write_all(&frame).await.map(|()| bytes + frame.len());
        }
    })
    .await;
    let said = asked(&endless, false).await.unwrap_err();
    assert!(
        said.contains("the answer is longer than 1024 KiB"),
        "{said}"
    );
}

#[tokio::test]
async fn nothing_stays_of_a_question_that_nobody_answered() {
    let (ended, mut ends) = tokio::sync::mpsc::channel(8);
    let silent = raw(move |mut stream| {
        let ended = ended.clone();
        async move {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            let _ = ended.send(()).await;
        }
    })
    .await;
    let said = asked(&silent, false).await.unwrap_err();
    let late = format!("no answer within {TIMEOUT_DEFAULT_MS} ms");
    assert!(said.contains(&late), "{said}");
    ends.recv().await.unwrap();
}
