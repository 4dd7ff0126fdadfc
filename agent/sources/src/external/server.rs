//! Which server is asked, how it proves who it is, and the connections to it.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{HeaderValue, USER_AGENT};
use hyper::rt::Executor;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use starling_proto::externalscaler::external_scaler_client::ExternalScalerClient;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use crate::Reason;
use crate::http::{BODY_BYTES_MAX, root_cause};
use crate::kept::Kept;
use crate::secrets::Secrets;
use crate::settings::{Metadata, Wrong, flag, shown, text};
use crate::stream::{self, Address, Meter};
use crate::tls::{Parameters, Trust};

pub(crate) const ADDRESS: &str = "scalerAddress";
const PARAMETERS: Parameters = Parameters {
    ca: "caCert",
    cert: "tlsClientCert",
    key: "tlsClientKey",
};
/// KEDA's for the authority's certificate, until 2.16.
const FORMER_CA: &str = "tlsCertFile";
/// Those that are open.
pub(crate) type Connections = Kept<Server, Open>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Server {
    pub address: Address,
    /// Where it is asked over TLS.
    trust: Option<Trust>,
}

pub(super) fn check(metadata: &Metadata) -> Wrong {
    let mut wrong = Wrong::new();
    let mut fails = |key: &str, why: String| wrong.push((key.to_owned(), why));
    match metadata.get(ADDRESS) {
        None => fails("", format!("`{ADDRESS}` is missing: HOST:PORT")),
        Some(address) => {
            if let Err(why) = Address::parse(address) {
                fails(ADDRESS, why);
            }
        }
    }
    for key in ["enableTLS", "unsafeSsl"] {
        if let Err(why) = flag(metadata, key) {
            fails(key, why);
        }
    }
    // KEDA reads none of them here, and asks in the clear.
    let Parameters { ca, cert, key } = PARAMETERS;
    for (written, parameter) in [(ca, ca), (cert, cert), (key, key), (FORMER_CA, ca)] {
        if metadata.contains_key(written) {
            let why = format!(
                "means nothing here; put the PEM text into what an `authenticationRef` names, as \
                 the parameter `{parameter}`"
            );
            fails(written, why);
        }
    }
    wrong
}

impl Server {
    /// As with KEDA over TLS too where there are certificates for it.
    pub(super) fn of(metadata: &Metadata, secrets: &Secrets) -> Result<Server, Reason> {
        let address = Address::parse(text(metadata, ADDRESS)).map_err(Reason::Misconfigured)?;
        let flag = |key: &str| flag(metadata, key).map_err(Reason::Misconfigured);
        let trust = Trust::by(PARAMETERS, secrets, flag("unsafeSsl")?);
        let given = [&trust.ca, &trust.cert, &trust.key];
        let secure = flag("enableTLS")? || given.iter().any(|it| it.is_some());
        Ok(Server {
            address,
            trust: secure.then_some(trust),
        })
    }

    #[cfg(test)]
    pub(super) fn is_secure(&self) -> bool {
        self.trust.is_some()
    }

    pub(super) async fn connect(&self) -> Result<Open, Reason> {
        let (trust, protocol) = (self.trust.as_ref(), Some("h2"));
        let (stream, meter) = stream::connect_for(&self.address, trust, protocol).await?;
        let scheme = if trust.is_some() { "https" } else { "http" };
        let origin = format!("{scheme}://{}", self.address);
        let origin = origin.parse();
        let origin: Uri = origin.map_err(|_| Reason::Misconfigured("is no address".to_owned()))?;
        let tasks = Tasks::default();
        let begin = tasks.executor();
        let connected = http2::handshake(begin.clone(), TokioIo::new(stream)).await;
        let (requests, connection) = connected.map_err(|error| lost(&error))?;
        begin.execute(async move {
            // Whoever asks hears of it.
            let _ = connection.await;
        });
        Ok(Open {
            calls: Calls(requests),
            origin,
            meter,
            _tasks: tasks,
        })
    }
}

#[derive(Clone)]
pub(crate) struct Open {
    calls: Calls,
    origin: Uri,
    pub(super) meter: Meter,
    _tasks: Tasks,
}

impl Open {
    pub(super) fn client(&self) -> ExternalScalerClient<Calls> {
        ExternalScalerClient::with_origin(self.calls.clone(), self.origin.clone())
            .max_decoding_message_size(BODY_BYTES_MAX)
    }
}

/// Calls over one connection. The library's own channel would connect again by itself, and
/// give up in words that don't tell a lost connection from an answer.
#[derive(Clone)]
pub(super) struct Calls(SendRequest<Body>);

impl Service<Request<Body>> for Calls {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

    /// A connection that is lost says so when it is asked.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        const AGENT: &str = concat!("starling/", env!("CARGO_PKG_VERSION"));
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        Box::pin(self.0.send_request(request))
    }
}

/// All that a connection does beside its questions, and it itself. It ends with the last one
/// who has this, also where the server takes nothing any more.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    /// Has no part in them: they hold it themselves.
    fn executor(&self) -> Begin {
        Begin(Arc::downgrade(&self.0))
    }
}

#[derive(Clone)]
struct Begin(Weak<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Begin {
    fn execute(&self, task: F) {
        // Nobody has the connection any more.
        let Some(tasks) = self.0.upgrade() else {
            return;
        };
        let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

/// In the server's own words, where it has answered.
pub(super) fn reason(call: &str, status: &Status) -> Reason {
    // The library's, without a code of its own.
    const TOO_LONG: &str = "decoded message length too large";
    if let Some(cause) = status.source() {
        return lost(cause);
    }
    let said = shown(status.message());
    match status.code() {
        Code::OutOfRange if status.message().contains(TOO_LONG) => Reason::TooLong,
        Code::Unimplemented => Reason::Refused(format!(
            "it has no {call} of externalscaler.ExternalScaler: {said}"
        )),
        code => Reason::Refused(format!("{call} failed as {code:?}: {said}")),
    }
}

fn lost(error: &(dyn std::error::Error + 'static)) -> Reason {
    Reason::Connection(shown(&root_cause(error)))
}
