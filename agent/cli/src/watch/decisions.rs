//! `starling watch decisions`: a line for each change of size.

use serde::Serialize;
use starling_proto::v1;
use starling_proto::v1::watch_decisions_response::Event;
use tonic::{Request, Response, Status, Streaming};

use super::Follow;
use crate::client::Stub;
use crate::context::Agent;
use crate::exit::Error;
use crate::human;
use crate::output::{self, Show, Style};
use crate::show::decisions::Decision;

pub struct Follower {
    namespace: String,
    policy: String,
    all_namespaces: bool,
    output: output::Args,
    revision: String,
    /// The newest decision that was printed.
    printed: u64,
    headed: bool,
}

impl Follower {
    pub fn new(
        namespace: String,
        policy: String,
        all_namespaces: bool,
        output: output::Args,
    ) -> Follower {
        Follower {
            namespace,
            policy,
            all_namespaces,
            output,
            revision: String::new(),
            printed: 0,
            headed: false,
        }
    }
}

impl Follow for Follower {
    type Question = v1::WatchDecisionsRequest;
    type Message = v1::WatchDecisionsResponse;

    /// The revision holds at every agent.
    fn question(&self, _: &Agent) -> v1::WatchDecisionsRequest {
        v1::WatchDecisionsRequest {
            namespace: self.namespace.clone(),
            policy: self.policy.clone(),
            resume_revision: self.revision.clone(),
        }
    }

    async fn open(
        mut stub: Stub,
        question: Request<v1::WatchDecisionsRequest>,
    ) -> Result<Response<Streaming<v1::WatchDecisionsResponse>>, Status> {
        stub.watch_decisions(question).await
    }

    fn take(&mut self, _: &Agent, message: v1::WatchDecisionsResponse) -> Result<(), Error> {
        self.revision = message.revision;
        let decisions = match message.event {
            Some(Event::Snapshot(update) | Event::Update(update)) => update.decisions,
            Some(Event::Heartbeat(_)) | None => Vec::new(),
        };
        for decision in decisions {
            // A new snapshot repeats what an earlier one held.
            if decision.index <= self.printed {
                continue;
            }
            self.printed = decision.index;
            let line = Line {
                decision: decision.into(),
                first: !self.headed,
                all_namespaces: self.all_namespaces,
            };
            self.headed = true;
            output::print_next(&line, self.output)?;
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.revision.clear();
    }
}

#[derive(Debug, Serialize)]
struct Line {
    #[serde(flatten)]
    decision: Decision,
    #[serde(skip)]
    first: bool,
    #[serde(skip)]
    all_namespaces: bool,
}

impl Show for Line {
    fn text(&self, style: Style) -> String {
        let of = &self.decision;
        let change = format!("{} -> {}", of.previous_size, of.size);
        let namespace = self.all_namespaces.then_some(of.namespace.as_str());
        let line = row(&of.time, namespace, &of.policy, &change, &of.reason);
        if self.first && style.headers {
            let namespace = self.all_namespaces.then_some("NAMESPACE");
            row("TIME", namespace, "POLICY", "CHANGE", "REASON") + &line
        } else {
            line
        }
    }
}

/// Columns of fixed width: the rows that are still to come aren't known.
fn row(time: &str, namespace: Option<&str>, policy: &str, change: &str, reason: &str) -> String {
    let (policy, reason) = (human::clean(policy), human::clean(reason));
    let namespace = namespace.map(human::clean);
    let namespace = namespace.map_or_else(String::new, |it| format!("{it:<16}  "));
    let row = format!("{time:<26}{namespace}{policy:<20}  {change:<12}  {reason}");
    format!("{}\n", row.trim_end())
}
