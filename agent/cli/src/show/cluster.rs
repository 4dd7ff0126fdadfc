//! `starling status` and `starling members`.

use std::fmt::Write as _;

use serde::Serialize;
use starling_proto::{v1, view};

use super::{Header, notes, some, time};
use crate::human;
use crate::output::{Show, Style, left, right, table};

#[derive(Debug, Serialize)]
pub struct Status {
    pub header: Header,
    #[serde(flatten)]
    pub cluster: Cluster,
}

/// The cluster's status, as `status` and `watch` print it.
#[derive(Debug, Serialize)]
pub struct Cluster {
    #[serde(rename = "cluster")]
    pub name: String,
    pub generation: u64,
    pub term: u64,
    pub leader_id: Option<u64>,
    pub leader: Option<String>,
    pub state: &'static str,
    /// Why it isn't `healthy`.
    pub state_reasons: Vec<String>,
    /// Names of voters, and of other members, that don't answer.
    pub missing_voters: Vec<String>,
    pub missing_members: Vec<String>,
    pub voters: Vec<u64>,
    pub learners: Vec<u64>,
    pub last_log_index: u64,
    pub committed_index: u64,
    pub applied_index: u64,
    pub applied_time: Option<String>,
    pub digests: &'static str,
    pub checkpoints: Vec<Checkpoint>,
    pub warnings: Vec<Warning>,
    pub halted: Option<String>,
    /// The cluster was rebuilt, and nothing changes for so long yet.
    pub safe_mode_left_ms: Option<u64>,
    pub safe_mode_until: Option<String>,
    pub members: u32,
    pub members_alive: u32,
    pub policies: u32,
    pub replicas_granted: u64,
    pub replicas_running: u64,
    pub decisions_remembered: u32,
    /// Absent where the agent's version doesn't say.
    pub ledger_version: Option<u32>,
    pub agents: Vec<Agent>,
}

/// What a member last said of itself; nothing where it hasn't yet.
#[derive(Debug, Serialize)]
pub struct Agent {
    pub node_id: u64,
    pub node: String,
    pub release: Option<String>,
    pub ledger_version: Option<u32>,
    pub certificate_until: Option<String>,
    pub certificate_due: bool,
}

impl From<v1::AgentStatus> for Agent {
    fn from(agent: v1::AgentStatus) -> Agent {
        Agent {
            node_id: agent.node_id,
            node: agent.node_name,
            release: some(agent.release),
            ledger_version: agent.ledger_version,
            certificate_until: time(agent.certificate_end_time.as_ref()),
            certificate_due: agent.certificate_due,
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Checkpoint {
    pub node_id: u64,
    pub node: String,
    pub index: u64,
    pub digest: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    pub subject: String,
    pub text: String,
}

impl From<v1::Warning> for Warning {
    fn from(warning: v1::Warning) -> Warning {
        Warning {
            subject: warning.subject,
            text: warning.text,
        }
    }
}

impl From<v1::GetClusterStatusResponse> for Status {
    fn from(reply: v1::GetClusterStatusResponse) -> Status {
        Status {
            header: reply.header.into(),
            cluster: reply.status.unwrap_or_default().into(),
        }
    }
}

impl From<v1::ClusterStatus> for Cluster {
    fn from(status: v1::ClusterStatus) -> Cluster {
        Cluster {
            state: match status.state() {
                v1::ClusterState::Unspecified => "unknown",
                v1::ClusterState::Healthy => "healthy",
                v1::ClusterState::Degraded => "degraded",
                v1::ClusterState::NoLeader => "no_leader",
                v1::ClusterState::NoQuorum => "no_quorum",
            },
            digests: match status.digest_state() {
                v1::DigestState::Unspecified => "unknown",
                v1::DigestState::Equal => "equal",
                v1::DigestState::Different => "different",
            },
            applied_time: time(status.applied_time.as_ref()),
            name: status.cluster,
            generation: status.generation,
            term: status.term,
            leader_id: status.leader_id,
            leader: some(status.leader_name),
            state_reasons: status.state_reasons,
            missing_voters: status.missing_voters,
            missing_members: status.missing_members,
            voters: status.voter_ids,
            learners: status.learner_ids,
            last_log_index: status.last_log_index,
            committed_index: status.committed_index,
            applied_index: status.applied_index,
            checkpoints: status
                .checkpoints
                .into_iter()
                .map(|c| Checkpoint {
                    node_id: c.node_id,
                    node: c.node_name,
                    index: c.index,
                    digest: c.digest,
                })
                .collect(),
            warnings: status.warnings.into_iter().map(Warning::from).collect(),
            halted: some(status.halted_reason),
            safe_mode_left_ms: status.safe_mode_left.as_ref().map(view::duration_ms),
            safe_mode_until: time(status.safe_mode_until.as_ref()),
            members: status.members,
            members_alive: status.members_alive,
            policies: status.policies,
            replicas_granted: status.replicas_granted,
            replicas_running: status.replicas_running,
            decisions_remembered: status.decisions_remembered,
            ledger_version: (status.ledger_version > 0).then_some(status.ledger_version),
            agents: status.agents.into_iter().map(Agent::from).collect(),
        }
    }
}

impl Cluster {
    /// `version 1, `, and who could do more: it rises once everybody can.
    fn version(&self) -> String {
        let Some(version) = self.ledger_version else {
            return String::new();
        };
        let can = |agent: &&Agent| agent.ledger_version.is_some_and(|it| it > version);
        let (more, others): (Vec<_>, Vec<_>) = self.agents.iter().partition(can);
        let Some(next) = more.iter().filter_map(|agent| agent.ledger_version).min() else {
            return format!("version {version}, ");
        };
        format!(
            "version {version} ({next} once all support it: {}), ",
            match others.len() {
                0 => "all do".to_owned(),
                _ => format!("not yet {}", names(&others)),
            }
        )
    }

    /// Which certificate ends first.
    fn certificates(&self) -> Option<String> {
        let told = self.agents.iter();
        let told = told.filter_map(|agent| Some((agent.certificate_until.as_deref()?, agent)));
        let (until, agent) = told.min_by_key(|(until, _)| *until)?;
        let day = until.split('T').next().unwrap_or(until);
        let due = if agent.certificate_due { ", due" } else { "" };
        Some(format!(
            "the first certificate ends on {day} ({}{due})",
            agent.node
        ))
    }

    /// `degraded: voter b doesn't answer`.
    fn state(&self) -> String {
        let state = self.state.replace('_', " ");
        match self.state_reasons.as_slice() {
            [] => state,
            reasons => format!("{state}: {}", reasons.join("; ")),
        }
    }
}

/// More names are only counted.
const NAMES_MAX: usize = 10;

fn names(of: &[&Agent]) -> String {
    let mut names: Vec<&str> = (of.iter().take(NAMES_MAX))
        .map(|agent| agent.node.as_str())
        .collect();
    let more = format!("{} more", of.len().saturating_sub(NAMES_MAX));
    if of.len() > NAMES_MAX {
        names.push(&more);
    }
    names.join(", ")
}

fn safe_mode(left_ms: u64, until: Option<&str>) -> String {
    let left = human::age(left_ms);
    let until = match until {
        Some(until) => format!("until {until}, another {left}"),
        None => format!("for {left} from the moment on at which an agent leads"),
    };
    format!("the cluster was rebuilt; nothing grows, shrinks or moves {until}")
}

impl Show for Status {
    fn text(&self, style: Style) -> String {
        let of = &self.cluster;
        let leader = of.leader.as_deref().unwrap_or("none known");
        let alone = if of.leader.is_some() && self.header.led == Some(false) {
            ", which no majority answers"
        } else {
            ""
        };
        let mut rows = vec![
            (
                "Cluster",
                format!("{} (generation {})", of.name, of.generation),
            ),
            ("State", of.state()),
            ("Leader", format!("{leader}{alone} (term {})", of.term)),
            (
                "Members",
                format!(
                    "{} of {} alive, {} voting, {} learning",
                    of.members_alive,
                    of.members,
                    of.voters.len(),
                    of.learners.len()
                ),
            ),
            (
                "Log",
                format!(
                    "{} of {} entries committed",
                    of.committed_index, of.last_log_index
                ),
            ),
            (
                "Ledger",
                format!(
                    "{}at command {}; {}",
                    of.version(),
                    of.applied_index,
                    match of.digests {
                        "equal" => "equal at all who told their digest",
                        "different" => "DIFFERENT among nodes",
                        _ => "not compared yet",
                    }
                ),
            ),
            ("Policies", of.policies.to_string()),
            (
                "Replicas",
                format!(
                    "{} running of {} granted",
                    of.replicas_running, of.replicas_granted
                ),
            ),
            (
                "Answered by",
                format!(
                    "{}{}, data {} old{}",
                    self.header.node,
                    if self.header.leading {
                        " (the leader)"
                    } else {
                        ""
                    },
                    human::age(self.header.data_age_ms),
                    match self.header.led_age_ms {
                        _ if self.header.led != Some(false) => String::new(),
                        Some(age_ms) => format!(", last heard a leader {} ago", human::age(age_ms)),
                        None => ", has heard no leader since its start".into(),
                    }
                ),
            ),
        ];
        if let Some(certificates) = of.certificates() {
            rows.push(("Identity", certificates));
        }
        if let Some(left_ms) = of.safe_mode_left_ms {
            rows.push((
                "Safe mode",
                safe_mode(left_ms, of.safe_mode_until.as_deref()),
            ));
        }
        if let Some(halted) = &of.halted {
            rows.push(("Halted", halted.clone()));
        }
        let mut text = String::new();
        for (name, value) in rows {
            // Writing to a string can't fail.
            let _ = writeln!(text, "{:<13}{}", format!("{name}:"), human::clean(&value));
        }
        if style.wide {
            text.push('\n');
            let columns = [
                left("NODE"),
                left("RELEASE"),
                right("LEDGER VERSION"),
                left("CERTIFICATE UNTIL"),
            ];
            let rows = of.agents.iter().map(|agent| {
                let version = agent.ledger_version.map(|version| version.to_string());
                [
                    agent.node.clone(),
                    agent.release.clone().unwrap_or_default(),
                    version.unwrap_or_default(),
                    agent.certificate_until.clone().unwrap_or_default(),
                ]
            });
            text += &table(columns, rows, style);
            text.push('\n');
            let columns = [left("NODE"), right("INDEX"), left("LEDGER DIGEST")];
            let rows = of.checkpoints.iter();
            let rows = rows.map(|c| [c.node.clone(), c.index.to_string(), c.digest.clone()]);
            text += &table(columns, rows, style);
        }
        if !of.warnings.is_empty() {
            text.push_str("\nWarnings:\n");
            for warning in &of.warnings {
                let (subject, words) =
                    (human::clean(&warning.subject), human::clean(&warning.text));
                let _ = writeln!(text, "  {subject}: {words}");
            }
        }
        text
    }

    fn note(&self) -> Option<String> {
        // That nobody leads stands in the answer itself.
        let header = Header {
            led: None,
            ..self.header.clone()
        };
        header.caution()
    }
}

#[derive(Debug, Serialize)]
pub struct Members {
    pub header: Header,
    pub members: Vec<Member>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    pub id: u64,
    pub name: String,
    pub role: &'static str,
    pub alive: bool,
    pub applied_index: Option<u64>,
    pub heard_age_ms: Option<u64>,
    pub zone: Option<String>,
    pub away_time: Option<String>,
    pub api_address: String,
    pub peer_address: String,
    pub gossip_address: String,
}

impl From<v1::Member> for Member {
    fn from(member: v1::Member) -> Member {
        Member {
            role: match member.role() {
                v1::Role::Unspecified => "unknown",
                v1::Role::Leader => "leader",
                v1::Role::Voter => "voter",
                v1::Role::Learner => "learner",
                v1::Role::Member => "member",
            },
            id: member.id,
            name: member.name,
            alive: member.alive,
            applied_index: member.applied_index,
            heard_age_ms: member.heard_age.as_ref().map(view::duration_ms),
            zone: some(member.zone),
            away_time: time(member.away_time.as_ref()),
            api_address: member.api_address,
            peer_address: member.peer_address,
            gossip_address: member.gossip_address,
        }
    }
}

impl Show for Members {
    fn text(&self, style: Style) -> String {
        let columns = [
            left("NAME"),
            left("ROLE"),
            left("ALIVE"),
            right("APPLIED"),
            right("HEARD"),
            left("API"),
            left("ZONE").only_wide(),
            left("AWAY SINCE").only_wide(),
            left("PEER").only_wide(),
            left("GOSSIP").only_wide(),
            right("ID").only_wide(),
        ];
        let rows = self.members.iter().cloned().map(|member| {
            [
                member.name,
                member.role.into(),
                if member.alive { "yes" } else { "no" }.into(),
                member
                    .applied_index
                    .map(|index| index.to_string())
                    .unwrap_or_default(),
                member.heard_age_ms.map(human::age).unwrap_or_default(),
                member.api_address,
                member.zone.unwrap_or_default(),
                member.away_time.unwrap_or_default(),
                member.peer_address,
                member.gossip_address,
                member.id.to_string(),
            ]
        });
        table(columns, rows, style)
    }

    fn note(&self) -> Option<String> {
        notes(
            self.header.caution(),
            self.members.is_empty().then_some("No members yet."),
        )
    }
}
