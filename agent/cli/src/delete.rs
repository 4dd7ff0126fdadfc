//! `starling policies delete` and `starling workloads delete`: what users take away.
//!
//! Comes in: a name. Goes out: what was there, and what becomes of its replicas. Asks
//! nothing back: who deletes a policy names it, and its workload goes on.

use serde::Serialize;
use starling_proto::v1;

use super::client::{self, Client, Stub};
use super::exit::Error;
use super::output::{self, Show, Style};
use super::scope::{Scope, called};
use super::show::policies::Policy;
use super::show::workloads::Workload;

/// What the command line says.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// NAME, or NAMESPACE/NAME
    name: String,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    output: output::Args,
    #[command(flatten)]
    client: client::Args,
}

#[derive(Debug, clap::Subcommand)]
pub enum OfPolicies {
    /// Remove a policy from the cluster, whichever file put it there; its workload keeps its
    /// size
    Delete(Args),
}

#[derive(Debug, clap::Subcommand)]
pub enum OfWorkloads {
    /// Forget a workload that no policy sizes; what runs of it is stopped
    Delete {
        /// Of what kind it is
        #[arg(long, default_value = "Process")]
        kind: String,
        #[command(flatten)]
        args: Args,
    },
}

#[derive(Debug, Serialize)]
struct DeletedPolicy {
    policy: Policy,
    /// Who asked for it.
    sources: Vec<String>,
}

#[derive(Debug, Serialize)]
struct DeletedWorkload {
    workload: Workload,
}

pub async fn policy(what: &OfPolicies) -> Result<(), Error> {
    let OfPolicies::Delete(args) = what;
    let (namespace, name) = args.scope.one(&args.name)?;
    let question = v1::DeletePolicyRequest { namespace, name };
    let call = |mut stub: Stub, asked| async move { stub.delete_policy(asked).await };
    let reply = Client::new(&args.client)?.ask(question, call).await?;
    let deleted = DeletedPolicy {
        policy: reply.policy.unwrap_or_default().into(),
        sources: reply.sources,
    };
    output::print(&deleted, args.output)
}

pub async fn workload(what: &OfWorkloads) -> Result<(), Error> {
    let OfWorkloads::Delete { kind, args } = what;
    let (namespace, name) = args.scope.one(&args.name)?;
    let question = v1::DeleteWorkloadRequest {
        group: String::new(),
        kind: kind.clone(),
        namespace,
        name,
    };
    let call = |mut stub: Stub, asked| async move { stub.delete_workload(asked).await };
    let reply = Client::new(&args.client)?.ask(question, call).await?;
    let workload = reply.workload.unwrap_or_default().into();
    output::print(&DeletedWorkload { workload }, args.output)
}

impl Show for DeletedPolicy {
    fn text(&self, _: Style) -> String {
        let policy = &self.policy;
        let name = called(&policy.namespace, &policy.name);
        let becomes = if policy.dry_run {
            "it was a dry run".to_owned()
        } else {
            format!("{} keeps its size of {}", policy.target, policy.size)
        };
        let removed = format!("policy {name} is removed; {becomes}\n");
        let files = self.sources.iter().map(|source| {
            format!("{source} still says it; that counts no more until it says something else\n")
        });
        std::iter::once(removed).chain(files).collect()
    }
}

impl Show for DeletedWorkload {
    fn text(&self, _: Style) -> String {
        let Workload {
            target,
            size,
            running,
            ..
        } = &self.workload;
        format!(
            "{target} is forgotten with its size of {size}; its {running} running replicas end\n"
        )
    }
}
