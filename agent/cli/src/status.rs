//! `starling status`: how the cluster is, for people and for scripts.
//!
//! Comes in: the context's agents. Goes out: one agent's answer, and an exit code that
//! says whether the cluster is healthy. Where the first agent sees no leader the others
//! are asked too: it may be the one that is cut off. Never changes anything.

use std::time::Duration;

use starling_proto::REPLY_BYTES_MAX;
use starling_proto::v1::starling_service_client::StarlingServiceClient;
use starling_proto::v1::{self, ClusterState};
use tokio::time::Instant;

use super::client::{Client, Stub};
use super::exit::{Error, Kind};
use super::show::cluster::Status;
use super::{human, output, read};

/// For `starling status --help`.
pub const EXIT_CODES: &str = "\
Exit codes: 0 the cluster is healthy; 1 degraded: somebody leads, and something else is \
missing; 2 nobody leads, with or without a majority of the voters. Without an answer, as for \
every other command: 1 failed, 2 used wrongly, 5 nobody answers, 6 denied.";

/// How often a cluster that isn't healthy yet is asked again.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// What the command line says about `status`.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Wait until the cluster is healthy, for so long at most
    #[arg(long, value_name = "DURATION", value_parser = human::duration)]
    wait: Option<Duration>,
    #[command(flatten)]
    read: read::Args,
}

pub async fn status(args: &Args) -> Result<(), Error> {
    let client = Client::new(&args.read.client)?;
    let until = args.wait.map(|wait| Instant::now() + wait);
    let reply = loop {
        let reply = ask(&client, args).await;
        let enough = match &reply {
            Ok(reply) => verdict(state(reply)).is_none(),
            // Agents that are starting don't answer yet.
            Err(error) => error.kind != Kind::Unreachable,
        };
        let late = until.is_none_or(|until| Instant::now() + ASK_EVERY > until);
        if enough || late {
            break reply?;
        }
        tokio::time::sleep(ASK_EVERY).await;
    };
    let verdict = verdict(state(&reply));
    output::print(&Status::from(reply), args.read.output)?;
    // What there is to say is printed.
    verdict.map_or(Ok(()), |kind| Err(Error::new(kind, "")))
}

/// The first answer, or that of another agent that sees a leader where the first one doesn't.
async fn ask(client: &Client, args: &Args) -> Result<v1::GetClusterStatusResponse, Error> {
    let question = v1::GetClusterStatusRequest {
        consistency: args.read.consistency.into(),
    };
    let call = |mut stub: Stub, asked| async move { stub.get_cluster_status(asked).await };
    let first = client.ask(question, call).await?;
    if verdict(state(&first)) != Some(Kind::Leaderless) {
        return Ok(first);
    }
    let others = client
        .each(async |channel| {
            let mut stub =
                StarlingServiceClient::new(channel).max_decoding_message_size(REPLY_BYTES_MAX);
            let answer = stub.get_cluster_status(question).await?;
            Ok(answer.into_inner())
        })
        .await;
    let answers = others.into_iter().filter_map(|(_, answer)| answer.ok());
    let better = answers
        .filter(|reply| verdict(state(reply)) != Some(Kind::Leaderless))
        .find(|reply| client.is_of_cluster(reply));
    let Some(better) = better else {
        return Ok(first);
    };
    let name = |reply: &v1::GetClusterStatusResponse| {
        let header = reply.header.as_ref();
        human::clean(header.map_or("", |header| header.node_name.as_str()))
    };
    eprintln!(
        "Note: {} sees no leader, and may be cut off from the others; this is what {} says.",
        name(&first),
        name(&better)
    );
    Ok(better)
}

fn state(reply: &v1::GetClusterStatusResponse) -> ClusterState {
    let status = reply.status.as_ref();
    status.map_or(ClusterState::Unspecified, v1::ClusterStatus::state)
}

/// How the command ends where it isn't with 0. An agent of an earlier version doesn't
/// say how its cluster is; that is no failure.
fn verdict(state: ClusterState) -> Option<Kind> {
    match state {
        ClusterState::Unspecified | ClusterState::Healthy => None,
        ClusterState::Degraded => Some(Kind::Degraded),
        ClusterState::NoLeader | ClusterState::NoQuorum => Some(Kind::Leaderless),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn healthy_is_0_degraded_1_and_without_a_leader_2() {
        let code = |state| verdict(state).map_or(0, Kind::code);
        assert_eq!(code(ClusterState::Healthy), 0);
        assert_eq!(code(ClusterState::Degraded), 1);
        assert_eq!(code(ClusterState::NoLeader), 2);
        assert_eq!(code(ClusterState::NoQuorum), 2);
    }
}
