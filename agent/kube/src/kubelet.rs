//! Asks the kubelet of this agent's own node for its summary of what pods use.
//!
//! Comes in: where the kubelet is. Goes out: each answer's bytes up to a bound, or in
//! words why there is none. A kubelet that hangs ends its own question after a
//! deadline and delays nothing else. Never looks into an answer, and asks no other
//! node's kubelet: the pod's own token opens it, by the right `nodes/stats`.

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Collected, LengthLimitError, Limited};
use kube::client::Body;
use tokio::time::{MissedTickBehavior, interval};

use crate::client::{self, Connection, Failure};

/// A summary of 110 pods with 2 containers each has 600 KB; a longer one is an error.
pub const SUMMARY_BYTES_MAX: usize = 16 << 20;
/// A kubelet that hasn't answered whole by then is asked again later.
pub const SUMMARY_DEADLINE: Duration = Duration::from_secs(4);
/// Where every kubelet listens.
const PORT: u16 = 10_250;
const PATH: &str = "/stats/summary";
/// Of what a kubelet says beside an error, at most this is shown.
const SHOWN_CHARS_MAX: usize = 256;

/// Prepares a connection to the kubelet at `node`, the node's own address. It is
/// believed where the cluster's authority has signed its certificate, or anyhow where
/// `insecure` is set.
pub fn connect(node: IpAddr, insecure: bool) -> Result<Connection, client::Error> {
    let mut config = kube::Config::incluster().map_err(client::Error::InCluster)?;
    config.cluster_url = url(node);
    config.accept_invalid_certs = insecure;
    client::over(config)
}

fn url(node: IpAddr) -> http::Uri {
    // An address is no name that could be wrong.
    let host = std::net::SocketAddr::new(node, PORT);
    http::Uri::builder()
        .scheme("https")
        .authority(host.to_string())
        .path_and_query("/")
        .build()
        .unwrap_or_default()
}

/// Asks again and again, and tells each answer, until it is dropped.
pub async fn follow(
    connection: &Connection,
    every: Duration,
    mut tell: impl FnMut(Result<Vec<u8>, String>),
) {
    let mut turns = interval(every);
    // A late answer isn't followed by several questions at once.
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        tell(ask(connection).await);
    }
}

/// Asks once.
pub async fn ask(connection: &Connection) -> Result<Vec<u8>, String> {
    within(SUMMARY_DEADLINE, answer(connection)).await
}

async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let late = |_| Err(format!("no answer within {} s", limit.as_secs()));
    let answered = tokio::time::timeout(limit, answer).await;
    answered.unwrap_or_else(late)
}

async fn answer(connection: &Connection) -> Result<Vec<u8>, String> {
    let request = Request::get(PATH).body(Body::empty());
    let request = request.map_err(|e| e.to_string())?;
    let response = connection.client.send(request).await;
    let response = response.map_err(|e| unreachable(&Failure::of(&e)))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), SUMMARY_BYTES_MAX);
    let body = body.collect().await.map(Collected::to_bytes);
    let body = body.map_err(|why| match why.downcast_ref::<LengthLimitError>() {
        Some(_) => format!("its summary has more than {SUMMARY_BYTES_MAX} bytes"),
        None => format!("its answer broke off: {why}"),
    })?;
    if status.is_success() {
        return Ok(body.to_vec());
    }
    let said = String::from_utf8_lossy(&body);
    let said: String = said.trim().chars().take(SHOWN_CHARS_MAX).collect();
    Err(refused(status, &said))
}

fn refused(status: StatusCode, said: &str) -> String {
    let hint = match status {
        StatusCode::UNAUTHORIZED => {
            "; it must take service accounts' tokens (authentication.webhook of its configuration)"
        }
        StatusCode::FORBIDDEN => "; the agents need the right to get nodes/stats",
        _ => "",
    };
    format!("it answers {status}: {said}{hint}")
}

fn unreachable(failure: &Failure) -> String {
    let why = match failure {
        Failure::Unreachable(why) => why.clone(),
        other => other.to_string(),
    };
    let hint = if why.contains("certificate") {
        "; where its certificate isn't signed by the cluster's authority, sign it \
         (serverTLSBootstrap of the kubelet's configuration) or set \
         kubernetes.kubeletInsecureTls"
    } else {
        ""
    };
    format!("{why}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelet_is_at_its_nodes_address_of_either_family() {
        let at = |node: &str| url(node.parse().expect("an address")).to_string();
        assert_eq!(at("10.0.0.7"), "https://10.0.0.7:10250/");
        assert_eq!(at("fd00::7"), "https://[fd00::7]:10250/");
    }

    #[test]
    fn words_say_what_to_do() {
        let forbidden = refused(StatusCode::FORBIDDEN, "Forbidden (user=x)");
        assert_eq!(
            forbidden,
            "it answers 403 Forbidden: Forbidden (user=x); the agents need the right to get \
             nodes/stats"
        );
        let unknown = Failure::Unreachable("invalid peer certificate: UnknownIssuer".into());
        assert!(unreachable(&unknown).ends_with("kubernetes.kubeletInsecureTls"));
        let away = Failure::Unreachable("connection refused".into());
        assert_eq!(unreachable(&away), "connection refused");
    }
}
