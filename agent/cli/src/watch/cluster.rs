//! `starling watch cluster`: a line a second, with what changed in words.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use starling_engine::unit::Ms;
use starling_proto::v1::watch_cluster_response::Event;
use starling_proto::{v1, view};
use tonic::{Request, Response, Status, Streaming};

use super::Follow;
use crate::client::Stub;
use crate::context::Agent;
use crate::exit::Error;
use crate::human;
use crate::output::{self, Show, Style};
use crate::scope::called;
use crate::show::Header;
use crate::show::cluster::{Cluster, Member};
use crate::show::policies::Policy;
use crate::show::top::Node;

pub struct Follower {
    namespace: String,
    output: output::Args,
    /// The last message's agent and revision.
    at: Option<(String, String)>,
    known: Known,
    lines: usize,
}

/// What the messages so far add up to, as far as the line shows it.
#[derive(Default)]
struct Known {
    status: v1::ClusterStatus,
    /// By id: name and whether it is alive.
    members: BTreeMap<u64, (String, bool)>,
    /// By namespace and name: size and running.
    policies: BTreeMap<String, (u32, u32)>,
}

/// A message as a program reads it.
#[derive(Debug, Serialize)]
struct Line {
    event: &'static str,
    revision: String,
    header: Header,
    status: Option<Cluster>,
    members: Vec<Member>,
    removed_members: Vec<u64>,
    nodes: Vec<Node>,
    removed_nodes: Vec<u64>,
    policies: Vec<Policy>,
    removed_policies: Vec<String>,
    #[serde(skip)]
    text: String,
    #[serde(skip)]
    first: bool,
}

impl Show for Line {
    fn text(&self, style: Style) -> String {
        if !self.first || !style.headers {
            return self.text.clone();
        }
        let headings = row(
            "TIME",
            "LEADER",
            "TERM",
            "ALIVE",
            "WORKERS",
            "WHAT HAPPENED",
        );
        format!("{headings}{}", self.text)
    }
}

impl Follower {
    pub fn new(namespace: String, output: output::Args) -> Follower {
        Follower {
            namespace,
            output,
            at: None,
            known: Known::default(),
            lines: 0,
        }
    }
}

impl Follow for Follower {
    type Question = v1::WatchClusterRequest;
    type Message = v1::WatchClusterResponse;

    fn question(&self, agent: &Agent) -> v1::WatchClusterRequest {
        let at = self.at.as_ref().filter(|(name, _)| *name == agent.name);
        v1::WatchClusterRequest {
            namespace: self.namespace.clone(),
            resume_revision: at.map(|(_, revision)| revision.clone()).unwrap_or_default(),
        }
    }

    async fn open(
        mut stub: Stub,
        question: Request<v1::WatchClusterRequest>,
    ) -> Result<Response<Streaming<v1::WatchClusterResponse>>, Status> {
        stub.watch_cluster(question).await
    }

    fn take(&mut self, agent: &Agent, message: v1::WatchClusterResponse) -> Result<(), Error> {
        let v1::WatchClusterResponse {
            header,
            revision,
            event,
        } = message;
        self.at = Some((agent.name.clone(), revision.clone()));
        let at = header
            .as_ref()
            .and_then(|header| header.answer_time.as_ref());
        let at = at.map(view::ms).unwrap_or_default();
        let (event, update) = match event {
            Some(Event::Snapshot(update)) => ("snapshot", update),
            Some(Event::Update(update)) => ("update", update),
            Some(Event::Heartbeat(_)) | None => ("heartbeat", v1::ClusterUpdate::default()),
        };
        let happened = if event == "snapshot" {
            self.known = Known::default();
            self.known.take(&update);
            String::new()
        } else {
            self.known.take(&update)
        };
        let line = Line {
            event,
            revision,
            header: header.into(),
            status: update.status.map(Cluster::from),
            members: update.members.into_iter().map(Member::from).collect(),
            removed_members: update.removed_member_ids,
            nodes: update.nodes.into_iter().map(Node::from).collect(),
            removed_nodes: update.removed_node_ids,
            policies: update.policies.into_iter().map(Policy::from).collect(),
            removed_policies: (update.removed_policies.iter())
                .map(|it| called(&it.namespace, &it.name))
                .collect(),
            text: self.known.line(at, &happened),
            first: self.lines == 0,
        };
        self.lines += 1;
        output::print_next(&line, self.output)
    }

    fn forget(&mut self) {
        self.at = None;
    }
}

impl Known {
    /// Adds a message and says what it changed.
    fn take(&mut self, update: &v1::ClusterUpdate) -> String {
        let mut happened = Vec::new();
        if let Some(status) = &update.status {
            happened.extend(self.take_status(status));
        }
        for member in &update.members {
            let now = (member.name.clone(), member.alive);
            happened.extend(match self.members.insert(member.id, now) {
                None => Some(format!("{} joined", member.name)),
                Some((_, true)) if !member.alive => Some(format!("{} doesn't answer", member.name)),
                Some((_, false)) if member.alive => Some(format!("{} is back", member.name)),
                Some(_) => None,
            });
        }
        for id in &update.removed_member_ids {
            happened.extend(
                self.members
                    .remove(id)
                    .map(|(name, _)| format!("{name} left")),
            );
        }
        for policy in &update.policies {
            let now = (policy.size, policy.running);
            let name = called(&policy.namespace, &policy.name);
            happened.extend(match self.policies.insert(name.clone(), now) {
                None => Some(format!("policy {name} is in force")),
                Some((size, _)) if size != policy.size => {
                    Some(format!("{name} {size} -> {}", policy.size))
                }
                Some(_) => None,
            });
        }
        for gone in &update.removed_policies {
            let name = called(&gone.namespace, &gone.name);
            self.policies.remove(&name);
            happened.push(format!("policy {name} was removed"));
        }
        happened.join(", ")
    }

    fn take_status(&mut self, status: &v1::ClusterStatus) -> Vec<String> {
        let mut happened = Vec::new();
        let before = std::mem::replace(&mut self.status, status.clone());
        if before.leader_id != status.leader_id {
            happened.push(match status.leader_id {
                Some(_) => format!("{} leads", status.leader_name),
                None => "no leader".into(),
            });
        }
        let new = status
            .warnings
            .iter()
            .filter(|warning| !before.warnings.contains(warning));
        happened.extend(new.map(|w| format!("warning: {}: {}", w.subject, w.text)));
        if before.halted_reason != status.halted_reason && !status.halted_reason.is_empty() {
            happened.push(format!("halted: {}", status.halted_reason));
        }
        happened
    }

    fn line(&self, at: Ms, happened: &str) -> String {
        let alive = self.members.values().filter(|(_, alive)| *alive).count();
        let (granted, running) = self
            .policies
            .values()
            .fold((0, 0), |(size, running), policy| {
                (size + u64::from(policy.0), running + u64::from(policy.1))
            });
        let leader = match self.status.leader_name.as_str() {
            "" => "-".into(),
            name => human::clean(name),
        };
        row(
            &human::clock(at),
            &leader,
            &self.status.term.to_string(),
            &format!("{alive}/{}", self.members.len()),
            &format!("{running}/{granted}"),
            &human::clean(happened),
        )
    }
}

/// Columns of fixed width: the rows that are still to come aren't known.
fn row(time: &str, leader: &str, term: &str, alive: &str, workers: &str, what: &str) -> String {
    let mut row = String::new();
    // Writing to a string can't fail.
    let _ = write!(
        row,
        "{time:<10}{leader:<16}{term:>4}  {alive:>6}  {workers:>8}  {what}"
    );
    row.truncate(row.trim_end().len());
    row.push('\n');
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(leader: &str, alive: bool, size: u32) -> v1::ClusterUpdate {
        v1::ClusterUpdate {
            status: Some(v1::ClusterStatus {
                term: 3,
                leader_id: Some(leader.len() as u64),
                leader_name: leader.into(),
                ..Default::default()
            }),
            members: vec![v1::Member {
                id: 1,
                name: "a".into(),
                alive,
                ..Default::default()
            }],
            policies: vec![v1::Policy {
                name: "checkout".into(),
                size,
                running: 2,
                ..Default::default()
            }],
            ..v1::ClusterUpdate::default()
        }
    }

    #[test]
    fn a_line_says_what_changed_in_words() {
        let mut known = Known::default();
        known.take(&update("a", true, 2));
        assert_eq!(known.take(&update("a", true, 2)), "");
        let happened = known.take(&update("bb", false, 5));
        insta::assert_snapshot!(
            known.line(Ms(1_795_369_561_234), &happened),
            @"17:46:01  bb                 3     0/1       2/5  bb leads, a doesn't answer, checkout 2 -> 5"
        );
        let gone = v1::ClusterUpdate {
            removed_member_ids: vec![1],
            removed_policies: vec![v1::PolicyName {
                namespace: "default".into(),
                name: "checkout".into(),
            }],
            ..v1::ClusterUpdate::default()
        };
        assert_eq!(known.take(&gone), "a left, policy checkout was removed");
    }
}
