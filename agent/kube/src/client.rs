//! The connection to the Kubernetes API: one client for a whole agent.
//!
//! Comes in: where the API server is and who the agent is (from the pod, or from
//! a kubeconfig). Goes out: a [`Connection`] whose every call is counted and ends
//! by a deadline. Never retries by itself: who calls knows what a retry means.

pub mod calls;
pub mod failure;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tower::ServiceBuilder;
use tower::layer::layer_fn;

use calls::{Calls, Metered};
pub use failure::Failure;

/// A connection that isn't made by then counts as refused.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// An API server that hasn't begun to answer by then counts as away for that
/// call, watches included. A server that needs 2 s for each call stays usable.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// A whole answer about one object; later ones are dropped.
pub const READ_DEADLINE: Duration = Duration::from_secs(10);
/// A write that isn't answered by then is unknown: it may have been carried out.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// A list of many objects, page by page; a list that takes longer begins anew.
pub const LIST_DEADLINE: Duration = Duration::from_mins(1);

/// A quiet connection (a watch without news) is probed by the kernel after this
/// long, and given up after [`KEEPALIVE_PROBES`] unanswered probes: 25 s in all.
/// Without that a watch across a cut network would stay silent for five minutes.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(10);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;
/// Sent bytes that nobody acknowledged for this long end the connection.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);
/// Spare connections are closed after this long without use.
const IDLE_CONNECTION: Duration = Duration::from_mins(1);
/// Spare connections beyond this are closed at once.
const IDLE_CONNECTIONS_MAX: usize = 8;

/// Who asks, in the API server's audit log.
const USER_AGENT: &str = concat!("starling/", env!("CARGO_PKG_VERSION"));
/// The name under which the API server notes what Starling wrote.
pub const FIELD_MANAGER: &str = "starling";

/// Where the API server is and who asks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The service account of the pod that this runs in.
    InCluster,
    /// A kubeconfig; `None` takes `$KUBECONFIG` or `~/.kube/config`.
    Kubeconfig {
        file: Option<PathBuf>,
        context: Option<String>,
    },
}

impl Source {
    /// [`Source::InCluster`] inside a pod, else the user's kubeconfig.
    pub fn here() -> Source {
        if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
            Source::InCluster
        } else {
            Source::Kubeconfig {
                file: None,
                context: None,
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "this pod has no way to reach the API server; give it a service account token \
         (automountServiceAccountToken: true)"
    )]
    InCluster(#[source] kube::config::InClusterError),
    #[error("the kubeconfig can't be used; check it with `kubectl version`")]
    Kubeconfig(#[source] kube::config::KubeconfigError),
    #[error("the API server's certificates or the agent's credentials can't be used")]
    Credentials(#[source] kube::Error),
}

/// A client and what it has done so far. Cheap to clone; clones share both.
#[derive(Clone)]
pub struct Connection {
    pub client: kube::Client,
    pub calls: Arc<Calls>,
}

/// Prepares the connection. Nothing is sent yet: an API server that is away is
/// no error here.
pub async fn connect(source: &Source) -> Result<Connection, Error> {
    let config = match source {
        Source::InCluster => kube::Config::incluster().map_err(Error::InCluster)?,
        Source::Kubeconfig { file, context } => {
            let options = KubeConfigOptions {
                context: context.clone(),
                ..KubeConfigOptions::default()
            };
            let config = match file {
                Some(file) => {
                    let read = Kubeconfig::read_from(file).map_err(Error::Kubeconfig)?;
                    kube::Config::from_custom_kubeconfig(read, &options).await
                }
                None => kube::Config::from_kubeconfig(&options).await,
            };
            config.map_err(Error::Kubeconfig)?
        }
    };
    over(config)
}

/// The same over a configuration that is already read.
pub fn over(mut config: kube::Config) -> Result<Connection, Error> {
    config.headers.push((
        http::header::USER_AGENT,
        http::HeaderValue::from_static(USER_AGENT),
    ));
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_DEADLINE));
    connector.set_keepalive(Some(KEEPALIVE_AFTER));
    connector.set_keepalive_interval(Some(KEEPALIVE_EVERY));
    connector.set_keepalive_retries(Some(KEEPALIVE_PROBES));
    connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX));
    let connector = config
        .rustls_https_connector_with_connector(connector)
        .map_err(Error::Credentials)?;
    let http = Http::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE_CONNECTION)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .build(connector);

    let calls = Arc::new(Calls::default());
    let metered = Arc::clone(&calls);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(Error::Credentials)?)
        .layer(config.extra_headers_layer().map_err(Error::Credentials)?)
        .layer(layer_fn(move |inner| {
            Metered::new(inner, Arc::clone(&metered))
        }))
        .service(http);
    Ok(Connection {
        client: kube::Client::new(service, config.default_namespace),
        calls,
    })
}

/// Waits for one call, at most `within`, and says in few words how it failed.
pub async fn call<T>(
    within: Duration,
    answer: impl Future<Output = kube::Result<T>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(within, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Failure::of(&error)),
        Err(_) => Err(Failure::Late(within)),
    }
}
