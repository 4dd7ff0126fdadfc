//! `starling remove`: takes a member out of the cluster.
//!
//! Comes in: its name. Goes out: who it was, and what becomes of what it ran. Asks
//! nothing back: an agent that answers is removed by `--force` alone.

use serde::Serialize;
use starling_proto::v1;

use super::client::{self, Client, Stub};
use super::exit::Error;
use super::output::{self, Show, Style};
use super::show::cluster::Member;

/// What the command line says.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// The agent's name, or its id
    node: String,
    /// Also where it answers; then it ends what it runs
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    output: output::Args,
    #[command(flatten)]
    client: client::Args,
}

#[derive(Debug, Serialize)]
struct Removed {
    member: Member,
}

pub async fn remove(args: &Args) -> Result<(), Error> {
    let question = v1::RemoveMemberRequest {
        node: args.node.clone(),
        force: args.force,
    };
    let call = |mut stub: Stub, asked| async move { stub.remove_member(asked).await };
    let reply = Client::new(&args.client)?.ask(question, call).await?;
    let member = reply.member.unwrap_or_default().into();
    output::print(&Removed { member }, args.output)
}

impl Show for Removed {
    fn text(&self, _: Style) -> String {
        let Member {
            name,
            id,
            role,
            alive,
            ..
        } = &self.member;
        let mut text =
            format!("{name} (id {id}) is no member any more; what ran on it is placed anew\n");
        if *role == "voter" {
            text += "its vote goes to another agent, if one can take it\n";
        }
        if *alive {
            text += "it was alive: it ends what it runs, and joins as a new member when it is \
                     started again\n";
        }
        text
    }
}
