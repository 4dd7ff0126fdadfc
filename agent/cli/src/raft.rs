//! `starling raft`: the log itself, for operators. Verbs and columns are those of
//! Consul's `operator raft` and `snapshot`.
//!
//! Comes in: a verb. Goes out: who has a copy of the log and how far it is, who leads
//! now, or what is in a snapshot.

pub mod snapshot;

use serde::Serialize;
use starling_proto::v1;

use super::client::{self, Client, Stub};
use super::exit::Error;
use super::output::{self, Show, Style, left, right, table};
use super::read::Consistency;
use super::remove;
use super::show::Header;

#[derive(Debug, clap::Subcommand)]
pub enum Raft {
    /// List who has a copy of the log, and how far it is
    #[command(alias = "list-peers")]
    Peers {
        /// Ask any agent, also without a leader; only a leader knows how far the others are
        #[arg(long)]
        stale: bool,
        #[command(flatten)]
        output: output::Args,
        #[command(flatten)]
        client: client::Args,
    },
    /// Have another voter lead
    #[command(alias = "transfer-leader")]
    Transfer {
        /// Its name or id; without it whichever has most of the log
        node: Option<String>,
        #[command(flatten)]
        output: output::Args,
        #[command(flatten)]
        client: client::Args,
    },
    /// The same as `starling remove`
    #[command(alias = "remove-peer")]
    Remove(remove::Args),
    /// Save all that the cluster knows to a file, restore it, or look into such a file
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
}

pub async fn raft(what: &Raft) -> Result<(), Error> {
    match what {
        Raft::Peers {
            stale,
            output,
            client,
        } => peers(*stale, *output, client).await,
        Raft::Transfer {
            node,
            output,
            client,
        } => transfer(node.as_deref(), *output, client).await,
        Raft::Remove(args) => remove::remove(args).await,
        Raft::Snapshot(what) => snapshot::snapshot(what).await,
    }
}

#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "it is the JSON's name")]
struct Peers {
    header: Header,
    last_log_index: Option<u64>,
    peers: Vec<Peer>,
}

#[derive(Debug, Clone, Serialize)]
struct Peer {
    node: String,
    id: u64,
    address: String,
    state: &'static str,
    voter: bool,
    log_index: Option<u64>,
    /// Entries that the leader has and this one, as far as is known, hasn't yet.
    trails: Option<u64>,
}

async fn peers(stale: bool, output: output::Args, client: &client::Args) -> Result<(), Error> {
    let consistency = if stale {
        Consistency::Stale
    } else {
        Consistency::Leader
    };
    let question = v1::ListRaftPeersRequest {
        consistency: consistency.into(),
    };
    let call = |mut stub: Stub, asked| async move { stub.list_raft_peers(asked).await };
    let reply = Client::new(client)?.ask(question, call).await?;
    let last = reply.last_log_index;
    let peer = |peer: v1::RaftPeer| Peer {
        state: match peer.role() {
            v1::Role::Leader => "leader",
            v1::Role::Voter => "follower",
            _ => "learner",
        },
        voter: matches!(peer.role(), v1::Role::Leader | v1::Role::Voter),
        trails: last
            .zip(peer.log_index)
            .map(|(last, index)| last.saturating_sub(index)),
        node: peer.name,
        id: peer.id,
        address: peer.address,
        log_index: peer.log_index,
    };
    let shown = Peers {
        header: reply.header.into(),
        last_log_index: last,
        peers: reply.peers.into_iter().map(peer).collect(),
    };
    output::print(&shown, output)
}

impl Show for Peers {
    fn text(&self, style: Style) -> String {
        let columns = [
            left("NODE"),
            right("ID"),
            left("ADDRESS"),
            left("STATE"),
            left("VOTER"),
            right("LOG INDEX"),
            right("TRAILS LEADER BY"),
        ];
        let number = |number: Option<u64>| number.map(|it| it.to_string()).unwrap_or_default();
        let rows = self.peers.iter().cloned().map(|peer| {
            [
                peer.node,
                peer.id.to_string(),
                peer.address,
                peer.state.into(),
                peer.voter.to_string(),
                number(peer.log_index),
                number(peer.trails),
            ]
        });
        table(columns, rows, style)
    }

    fn note(&self) -> Option<String> {
        self.header.caution()
    }
}

#[derive(Debug, Serialize)]
struct Transferred {
    previous_leader: String,
    leader: String,
    leader_id: u64,
}

async fn transfer(
    node: Option<&str>,
    output: output::Args,
    client: &client::Args,
) -> Result<(), Error> {
    let question = v1::TransferLeadRequest {
        node: node.unwrap_or_default().to_owned(),
    };
    let call = |mut stub: Stub, asked| async move { stub.transfer_lead(asked).await };
    let reply = Client::new(client)?.ask(question, call).await?;
    let shown = Transferred {
        previous_leader: reply.previous_leader_name,
        leader: reply.leader_name,
        leader_id: reply.leader_id,
    };
    output::print(&shown, output)
}

impl Show for Transferred {
    fn text(&self, _: Style) -> String {
        format!(
            "{} (id {}) leads now, in place of {}\n",
            self.leader, self.leader_id, self.previous_leader
        )
    }
}
