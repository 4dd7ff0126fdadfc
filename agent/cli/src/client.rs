//! Asks the agents of a context, one after the other, until one answers.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use starling_proto::v1::starling_service_client::StarlingServiceClient;
use tokio::time::{Instant, timeout_at};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Response, Status};

use super::context::{self, Agent, Context};
use super::exit::{self, Error, Kind};
use super::handshake::{self, Credentials};
use super::human;
use starling_keys::PEER;
use starling_proto::REPLY_BYTES_MAX;
use starling_proto::v1;

pub type Stub = StarlingServiceClient<Channel>;

/// One agent may take this long to accept a connection; then the next is asked.
const CONNECT: Duration = Duration::from_secs(2);
/// A quiet connection is checked this often, so that a stream notices that its
/// agent's machine is gone.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Where no other limit is given; as the command line's default has it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the command line says about whom to ask.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Context file: whom to ask, and as whom
    #[arg(long, value_name = "FILE")]
    pub context: Option<PathBuf>,
    /// Ask the running demo, whatever other context there is
    #[arg(long, conflicts_with = "context")]
    pub demo: bool,
    /// Ask this agent of the context
    #[arg(long, value_name = "NAME", conflicts_with = "server")]
    pub agent: Option<String>,
    /// Ask the agent at this address, with the context's identity
    #[arg(long, value_name = "HOST:PORT")]
    pub server: Option<String>,
    /// Give up after this long
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = human::duration)]
    pub timeout: Duration,
}

impl Args {
    /// As by this context's file alone.
    pub fn at(context: PathBuf) -> Args {
        Args {
            context: Some(context),
            demo: false,
            agent: None,
            server: None,
            timeout: TIMEOUT,
        }
    }
}

/// Agents that can be asked.
pub struct Client {
    agents: Vec<Agent>,
    tls: ClientTlsConfig,
    credentials: Credentials,
    /// What the context calls it.
    cluster: String,
    source: PathBuf,
    pub timeout: Duration,
    /// Whom to ask first, as a place in `agents`: who answered last.
    first: AtomicUsize,
}

impl From<context::Error> for Error {
    fn from(error: context::Error) -> Error {
        let kind = match &error {
            context::Error::None { .. } | context::Error::NoDemo { .. } => Kind::Unreachable,
            context::Error::Content { .. } => Kind::Usage,
            context::Error::Unsafe { .. } => Kind::Denied,
            context::Error::Read { .. } | context::Error::Write { .. } => Kind::Failure,
        };
        let why = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        Error::new(kind, why)
    }
}

impl Client {
    /// Finds the context and reads its keys; connects to nobody yet.
    pub fn new(args: &Args) -> Result<Client, Error> {
        let (source, context) = if args.demo {
            Context::find_demo()?
        } else {
            Context::find(args.context.as_deref())?
        };
        let agents = chosen(&context, args)?;
        for agent in &agents {
            check_address(&agent.address)?;
        }
        let credentials = Credentials {
            ca: read(&context.ca)?,
            certificate: read(&context.certificate)?,
            key: read(&context.key)?,
        };
        if let Some(words) = ending(&context.certificate, &credentials.certificate) {
            eprintln!("{words}");
        }
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&credentials.ca))
            .identity(Identity::from_pem(
                &credentials.certificate,
                &credentials.key,
            ))
            .domain_name(PEER)
            .timeout(CONNECT);
        Ok(Client {
            agents,
            tls,
            credentials,
            cluster: context.cluster,
            source,
            timeout: args.timeout,
            first: AtomicUsize::new(0),
        })
    }

    /// The first answer. An agent that can't be reached, or can't answer now, is
    /// passed over; a refusal is final.
    pub async fn ask<Q, R, F>(
        &self,
        question: Q,
        call: impl Fn(Stub, Request<Q>) -> F,
    ) -> Result<R, Error>
    where
        Q: Clone,
        R: Headed,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let deadline = Instant::now() + self.timeout;
        self.first(deadline, async |agent, stub| {
            let mut request = Request::new(question.clone());
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
            let answer = call(stub, request).await;
            let answer = answer.map_err(|status| Error::refused(&agent.name, &status))?;
            let reply = answer.into_inner();
            self.check_cluster(agent, &reply)?;
            Ok(reply)
        })
        .await
    }

    /// Whether the agent that answered is of the context's cluster: the same
    /// authority may have signed for another one.
    pub fn check_cluster(&self, agent: &Agent, reply: &impl Headed) -> Result<(), Error> {
        if self.is_of_cluster(reply) {
            return Ok(());
        }
        let told = reply.header().map_or("", |header| header.cluster.as_str());
        Err(Error::new(
            Kind::Usage,
            format!(
                "{} ({}) is of cluster {told:?}, but {} is for cluster {:?}; correct `cluster` or \
                 the addresses there, or name another context with --context",
                agent.name,
                agent.address,
                self.source.display(),
                self.cluster,
            ),
        ))
    }

    /// Whether a reply is of the context's cluster, as far as it says.
    pub fn is_of_cluster(&self, reply: &impl Headed) -> bool {
        let told = reply.header().map_or("", |header| header.cluster.as_str());
        told.is_empty() || told == self.cluster
    }

    /// Opens a stream at the first agent that has one to give, without a deadline
    /// for its end. `None`: that agent has forgotten what the question went on from.
    pub async fn open<Q, R, F>(
        &self,
        question: impl Fn(&Agent) -> Q,
        call: impl Fn(Stub, Request<Q>) -> F,
    ) -> Result<Option<(Agent, R)>, Error>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let deadline = Instant::now() + self.timeout;
        self.first(deadline, async |agent, stub| {
            match call(stub, Request::new(question(agent))).await {
                Ok(stream) => Ok(Some((agent.clone(), stream.into_inner()))),
                Err(status) => match status.code() {
                    Code::OutOfRange => Ok(None),
                    // Another agent may have room.
                    Code::ResourceExhausted => {
                        let why = format!("{}: {}", agent.name, status.message());
                        Err(Error::new(Kind::Unreachable, why))
                    }
                    _ => Err(Error::refused(&agent.name, &status)),
                },
            }
        })
        .await
    }

    async fn first<R>(
        &self,
        deadline: Instant,
        ask: impl AsyncFn(&Agent, Stub) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let mut failed = Vec::new();
        let mut quorum_lost = false;
        let first = self.first.load(Ordering::Relaxed);
        for turn in 0..self.agents.len() {
            let place = (first + turn) % self.agents.len();
            let agent = &self.agents[place];
            let answer = async { ask(agent, self.connect(agent).await?).await };
            match timeout_at(deadline, answer).await {
                Ok(Err(error)) if error.quorum_lost => {
                    quorum_lost = true;
                    failed.push(error.message);
                }
                Ok(Err(error)) if matches!(error.kind, Kind::Unreachable | Kind::Failure) => {
                    if let Some(refusal) = self.refusal(agent).await {
                        return Err(refusal);
                    }
                    if error.kind == Kind::Failure {
                        return Err(error);
                    }
                    failed.push(error.message);
                }
                Ok(answer) => {
                    self.first.store(place, Ordering::Relaxed);
                    return answer;
                }
                Err(_) => {
                    // One that hangs isn't waited for again, if there is another.
                    self.first.store(place + 1, Ordering::Relaxed);
                    failed.push(format!("{}: no answer in time", agent.name));
                    break;
                }
            }
        }
        if quorum_lost {
            return Err(no_quorum(&failed));
        }
        Err(self.unreachable(&failed))
    }

    /// Whether an agent that gave no answer refuses these certificates. It may
    /// have cut the connection before its refusal was read.
    async fn refusal(&self, agent: &Agent) -> Option<Error> {
        let (address, credentials) = (agent.address.clone(), self.credentials.clone());
        let shake = move || handshake::shake(&address, &credentials);
        let error = tokio::task::spawn_blocking(shake).await.ok()?.err()?;
        exit::denied(&error).then(|| {
            let words = format!("{}: {error}; {}", agent.name, exit::WRONG_KEYS);
            Error::new(Kind::Denied, words)
        })
    }

    /// Asks each agent of the context, or the one that was named.
    pub async fn each<R>(
        &self,
        ask: impl AsyncFn(Channel) -> Result<R, Status>,
    ) -> Vec<(String, Result<R, Error>)> {
        let mut answers = Vec::new();
        for agent in &self.agents {
            let answer = async {
                let channel = self.channel(agent).await?;
                let answer = ask(channel).await;
                answer.map_err(|status| Error::refused(&agent.name, &status))
            };
            let answer = timeout_at(Instant::now() + self.timeout, answer).await;
            let answer = answer.unwrap_or_else(|_| {
                let words = format!("{}: no answer in time", agent.name);
                Err(Error::new(Kind::Unreachable, words))
            });
            answers.push((agent.name.clone(), answer));
        }
        answers
    }

    async fn connect(&self, agent: &Agent) -> Result<Stub, Error> {
        let channel = self.channel(agent).await?;
        Ok(StarlingServiceClient::new(channel).max_decoding_message_size(REPLY_BYTES_MAX))
    }

    async fn channel(&self, agent: &Agent) -> Result<Channel, Error> {
        let usage = |why: &tonic::transport::Error| {
            Error::new(
                Kind::Usage,
                format!(
                    "{}: {:?} or the keys of {} are unusable ({}); an address is HOST:PORT",
                    agent.name,
                    agent.address,
                    self.source.display(),
                    exit::words(why),
                ),
            )
        };
        let endpoint = Endpoint::from_shared(format!("https://{}", agent.address))
            .map_err(|why| usage(&why))?
            .tls_config(self.tls.clone())
            .map_err(|why| usage(&why))?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE);
        endpoint.connect().await.map_err(|why| {
            let words = exit::words(&why);
            let (kind, hint) = if exit::denied(&why) {
                (Kind::Denied, format!("; {}", exit::WRONG_KEYS))
            } else if words.starts_with(NO_TLS) {
                (Kind::Unreachable, format!("; {WRONG_PORT}"))
            } else {
                (Kind::Unreachable, String::new())
            };
            Error::new(
                kind,
                format!("{} ({}): {words}{hint}", agent.name, agent.address),
            )
        })
    }

    fn unreachable(&self, failed: &[String]) -> Error {
        let demo = context::demo_path();
        let hint = if self.source == demo {
            " A demo that was killed leaves its context behind."
        } else if demo.exists() {
            " The demo that runs here is asked with --demo."
        } else {
            ""
        };
        Error::new(
            Kind::Unreachable,
            format!(
                "no agent of {} answers; are they running?{hint}\n  {}",
                self.source.display(),
                failed.join("\n  ")
            ),
        )
    }
}

/// How rustls begins to say that whoever answers doesn't speak TLS.
const NO_TLS: &str = "received corrupt message";
/// What to do where something else than the API answers.
pub const WRONG_PORT: &str = "that isn't an agent's API port, which is 7402 unless its \
     configuration says otherwise (7400 is for other agents, 7403 for health)";

/// Agents answer, but can't say what was asked.
fn no_quorum(failed: &[String]) -> Error {
    Error::new(
        Kind::Unreachable,
        format!(
            "there is no quorum, so nobody can say more than what single agents know; \
             --consistency stale shows that, and `starling members` who doesn't answer\n  {}",
            failed.join("\n  ")
        ),
    )
}

/// Replies, each of which says who answered.
pub trait Headed {
    fn header(&self) -> Option<&v1::ReplyHeader>;
}

macro_rules! headed {
    ($($reply:ident)*) => {
        $(impl Headed for v1::$reply {
            fn header(&self) -> Option<&v1::ReplyHeader> {
                self.header.as_ref()
            }
        })*
    };
}

headed!(
    GetClusterStatusResponse ListMembersResponse ListNodesResponse ListPoliciesResponse
    GetPolicyResponse ExplainPolicyResponse ListWorkloadsResponse GetWorkloadResponse
    ListReplicasResponse ListDecisionsResponse DeletePolicyResponse DeleteWorkloadResponse
    RemoveMemberResponse ListRaftPeersResponse TransferLeadResponse SaveSnapshotResponse
    WatchClusterResponse WatchDecisionsResponse
);

/// What to say of a user's certificate that ends soon. One that has ended is refused by
/// whoever is asked.
fn ending(path: &Path, certificate: &str) -> Option<String> {
    let day = starling_keys::due(certificate)?;
    Some(format!(
        "Note: the certificate {} is good until {day}; `starling keys renew --node client`, where \
         the cluster's keys are kept, makes a new one.",
        path.display()
    ))
}

/// An address needs a port: nothing says which one is meant.
fn check_address(address: &str) -> Result<(), Error> {
    let (host, port) = match address.rsplit_once(':') {
        // The colons of an address of version 6 are between brackets.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
        _ => (address, ""),
    };
    if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Ok(());
    }
    let why = if port.is_empty() {
        let host = if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        format!(
            "has no port; the API's is 7402 unless an agent's configuration says otherwise: {host}:7402"
        )
    } else {
        "is no HOST:PORT, such as 192.0.2.1:7402".to_owned()
    };
    Err(Error::new(
        Kind::Usage,
        format!("address {address:?} {why}"),
    ))
}

fn chosen(context: &Context, args: &Args) -> Result<Vec<Agent>, Error> {
    if let Some(address) = &args.server {
        return Ok(vec![Agent {
            name: address.clone(),
            address: address.clone(),
        }]);
    }
    let Some(name) = &args.agent else {
        return Ok(context.agents.clone());
    };
    let found: Vec<Agent> = context
        .agents
        .iter()
        .filter(|a| a.name == *name)
        .cloned()
        .collect();
    if found.is_empty() {
        let known: Vec<&str> = context
            .agents
            .iter()
            .map(|agent| agent.name.as_str())
            .collect();
        return Err(Error::new(
            Kind::NotFound,
            format!(
                "the context names no agent {name:?}; it names {}",
                known.join(", ")
            ),
        ));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|why| {
        let kind = match why.kind() {
            std::io::ErrorKind::PermissionDenied => Kind::Denied,
            _ => Kind::Failure,
        };
        Error::new(
            kind,
            format!(
                "can't read {}: {why}; the context names it, and `starling keys` makes such files",
                path.display()
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_port_is_refused_with_the_one_that_is_usual() {
        for good in ["a:7402", "192.0.2.1:1", "[2001:db8::1]:7402"] {
            assert!(check_address(good).is_ok(), "{good}");
        }
        let said = |address: &str| check_address(address).unwrap_err().message;
        insta::assert_snapshot!(
            said("192.0.2.1"),
            @r#"address "192.0.2.1" has no port; the API's is 7402 unless an agent's configuration says otherwise: 192.0.2.1:7402"#
        );
        insta::assert_snapshot!(
            said("2001:db8::1"),
            @r#"address "2001:db8::1" has no port; the API's is 7402 unless an agent's configuration says otherwise: [2001:db8::1]:7402"#
        );
        insta::assert_snapshot!(
            said("a:http"),
            @r#"address "a:http" is no HOST:PORT, such as 192.0.2.1:7402"#
        );
    }
}
