//! `starling log-level`: how much agents write into their logs.
//!
//! Comes in: a filter and for how long, or nothing. Goes out: what is in force at
//! each agent of the context. One that doesn't answer doesn't keep the others
//! from being asked.

use std::time::Duration;

use serde::Serialize;
use starling_proto::v1::agent_service_client::AgentServiceClient;
use starling_proto::v1::{GetLogFilterRequest, LogFilter, SetLogFilterRequest};
use tonic::Status;
use tonic::transport::Channel;

use crate::client::{self, Client};
use crate::exit::Error;
use crate::human;
use crate::output::{self, Show, Style, left, table};

/// What the command line says.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A level (error, warn, info, debug, trace), or several, such as info,openraft=warn
    filter: Option<String>,
    /// How long; then the filter of the agent's start holds again
    #[arg(long = "for", value_name = "DURATION", default_value = "15m", value_parser = human::duration)]
    lasting: Duration,
    /// Go back to the filter of the agent's start at once
    #[arg(long, conflicts_with = "filter")]
    reset: bool,
    #[command(flatten)]
    output: output::Args,
    #[command(flatten)]
    client: client::Args,
}

#[derive(Debug, Serialize)]
struct Filters {
    agents: Vec<Row>,
}

#[derive(Debug, Clone, Serialize)]
struct Row {
    agent: String,
    filter: String,
    start_filter: String,
    remaining_seconds: Option<u64>,
}

pub async fn log_level(args: &Args) -> Result<(), Error> {
    let wanted = match (&args.filter, args.reset) {
        (Some(filter), _) => Some(filter.clone()),
        (None, true) => Some(String::new()),
        (None, false) => None,
    };
    let ask = async |channel| one(channel, wanted.clone(), args.lasting).await;
    let answers = Client::new(&args.client)?.each(ask).await;
    let (mut agents, mut failed) = (Vec::new(), None);
    for (agent, answer) in answers {
        match answer {
            Ok(filter) => agents.push(shown(agent, filter)),
            Err(why) if failed.is_none() => failed = Some(why),
            // The last one is said by whoever prints the error.
            Err(why) => {
                let first = failed.replace(why);
                eprintln!(
                    "starling: {}",
                    first.map_or_else(String::new, |it| it.message)
                );
            }
        }
    }
    if !agents.is_empty() {
        output::print(&Filters { agents }, args.output)?;
    }
    failed.map_or(Ok(()), Err)
}

async fn one(
    channel: Channel,
    wanted: Option<String>,
    lasting: Duration,
) -> Result<LogFilter, Status> {
    let mut client = AgentServiceClient::new(channel);
    let answer = match wanted {
        None => {
            client
                .get_log_filter(GetLogFilterRequest {})
                .await?
                .into_inner()
                .log_filter
        }
        Some(filter) => {
            let request = SetLogFilterRequest {
                filter,
                ttl: lasting.try_into().ok(),
            };
            client
                .set_log_filter(request)
                .await?
                .into_inner()
                .log_filter
        }
    };
    Ok(answer.unwrap_or_default())
}

/// The agent's own name, or the one that the context gives it.
fn shown(agent: String, answer: LogFilter) -> Row {
    let remaining = answer
        .remaining
        .and_then(|left| Duration::try_from(left).ok());
    Row {
        agent: if answer.node_name.is_empty() {
            agent
        } else {
            answer.node_name
        },
        filter: answer.filter,
        start_filter: answer.start_filter,
        remaining_seconds: remaining.map(|left| left.as_secs()),
    }
}

impl Show for Filters {
    fn text(&self, style: Style) -> String {
        let columns = [left("AGENT"), left("FILTER"), left("FOR"), left("THEN")];
        let rows = self
            .agents
            .iter()
            .cloned()
            .map(|filter| match filter.remaining_seconds {
                Some(seconds) => [
                    filter.agent,
                    filter.filter,
                    human::age(seconds * 1_000),
                    filter.start_filter,
                ],
                None => [filter.agent, filter.filter, "good".into(), "-".into()],
            });
        table(columns, rows, style)
    }
}
