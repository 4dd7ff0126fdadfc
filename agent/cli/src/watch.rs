//! `starling watch`: follows a stream, and goes on at another agent if one is lost.

mod cluster;
mod decisions;

use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Request, Response, Status, Streaming};

use super::client::{self, Client, Headed, Stub};
use super::context::Agent;
use super::exit::{self, Error, Kind};
use super::output;
use super::scope::Scope;

/// A pause before agents are asked again, once none of them answered.
const RETRY: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    #[default]
    Cluster,
    Decisions,
}

/// Runs until Ctrl-C, which is no failure, or until no agent has answered for
/// the client's timeout.
pub async fn watch(
    what: What,
    scope: &Scope,
    policy: Option<&str>,
    output: output::Args,
    args: &client::Args,
) -> Result<(), Error> {
    if what == What::Cluster && policy.is_some() {
        let why = "--policy goes with decisions: `starling watch decisions --policy NAME`";
        return Err(Error::new(Kind::Usage, why));
    }
    let all = scope.all_namespaces;
    let (namespace, policy) = scope.some(policy)?;
    let client = Client::new(args)?;
    let following = async {
        match what {
            What::Cluster => follow(&client, &mut cluster::Follower::new(namespace, output)).await,
            What::Decisions => {
                let mut follower = decisions::Follower::new(namespace, policy, all, output);
                follow(&client, &mut follower).await
            }
        }
    };
    tokio::select! {
        ended = following => ended,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(|why| {
            Error::new(Kind::Failure, format!("can't wait for Ctrl-C: {why}"))
        }),
    }
}

/// One kind of stream, and what becomes of its messages.
trait Follow {
    type Question;
    type Message: Headed;

    /// What to ask an agent, to go on where its last message stood if it can.
    fn question(&self, agent: &Agent) -> Self::Question;

    async fn open(
        stub: Stub,
        question: Request<Self::Question>,
    ) -> Result<Response<Streaming<Self::Message>>, Status>;

    /// Prints it and remembers where it stands.
    fn take(&mut self, agent: &Agent, message: Self::Message) -> Result<(), Error>;

    /// Where it stood is forgotten: the next question is for a snapshot.
    fn forget(&mut self);
}

async fn follow<F: Follow>(client: &Client, follower: &mut F) -> Result<(), Error> {
    let (mut agent, mut stream) = open(client, follower).await?;
    loop {
        let lost = match stream.message().await {
            Ok(Some(message)) => {
                client.check_cluster(&agent, &message)?;
                follower.take(&agent, message)?;
                continue;
            }
            Ok(None) => "it ended the stream".to_owned(),
            Err(status) => match status.code() {
                Code::OutOfRange => {
                    follower.forget();
                    status.message().to_owned()
                }
                Code::Unavailable
                | Code::Unknown
                | Code::Cancelled
                | Code::Internal
                | Code::ResourceExhausted => exit::words(&status),
                _ => return Err(Error::refused(&agent.name, &status)),
            },
        };
        eprintln!("Lost {}: {lost}", agent.name);
        (agent, stream) = reopen(client, follower).await?;
        eprintln!("Going on with {}.", agent.name);
    }
}

/// Tries until the client's timeout is over.
async fn reopen<F: Follow>(
    client: &Client,
    follower: &mut F,
) -> Result<(Agent, Streaming<F::Message>), Error> {
    let deadline = Instant::now() + client.timeout;
    loop {
        match open(client, follower).await {
            Err(error) if error.kind == Kind::Unreachable && Instant::now() < deadline => {
                tokio::time::sleep(RETRY).await;
            }
            opened => return opened,
        }
    }
}

async fn open<F: Follow>(
    client: &Client,
    follower: &mut F,
) -> Result<(Agent, Streaming<F::Message>), Error> {
    let opened = client
        .open(|agent| follower.question(agent), F::open)
        .await?;
    if let Some(opened) = opened {
        return Ok(opened);
    }
    // The one refusal that a fresh question mends.
    follower.forget();
    let opened = client
        .open(|agent| follower.question(agent), F::open)
        .await?;
    opened.ok_or_else(|| {
        Error::new(
            Kind::Failure,
            "the agent refuses to begin a stream with a snapshot",
        )
    })
}
