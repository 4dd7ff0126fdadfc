//! The room of the command line: what people and scripts ask, and how it is
//! answered.
//!
//! Comes in: a parsed [`Ask`]. Goes out: data on standard output, everything else
//! on standard error. Exit codes: 0 done, 1 failed, 2 used wrongly, 3 done in part,
//! 4 not found, 5 nobody answers, 6 denied. `status` that has answered ends with 0
//! where the cluster is healthy, 1 where it is degraded, 2 where nobody leads.
//!
//! Never reads an agent's files or its memory: it asks over the public API as
//! any other client would, or reads what the user names, policies and saved snapshots. Runs no agent and no
//! demo; the binary does.
//!
//! A new verb is a variant of [`Ask`]; what it asks stands in `read`, what is
//! shown of the answer, as a table and as JSON, in a file of `show`.

mod check;
pub mod client;
pub mod context;
mod delete;
pub mod exit;
mod handshake;
pub mod human;
pub mod import;
mod keys;
mod log_level;
pub mod output;
pub mod raft;
mod read;
mod remove;
mod scope;
mod show;
mod status;
mod top;
mod watch;

use clap::Subcommand;

pub use exit::Error;
pub use read::Consistency;

use scope::Scope;

/// What agents are asked, or files are checked for: everything that ends by itself.
#[derive(Debug, Subcommand)]
pub enum Ask {
    /// Show how the cluster is
    #[command(after_help = status::EXIT_CODES)]
    Status(status::Args),
    /// List the agents and their parts in the log
    Members {
        #[command(flatten)]
        read: read::Args,
    },
    /// Take an agent that is gone out of the cluster; what ran on it is placed anew
    Remove(remove::Args),
    /// Look after the log itself: who has a copy, who leads, snapshots
    #[command(subcommand)]
    Raft(raft::Raft),
    /// Show what machines or workloads use
    Top(top::Args),
    /// List policies, their sizes and their triggers, or delete one
    #[command(args_conflicts_with_subcommands = true)]
    Policies {
        #[command(subcommand)]
        what: Option<delete::OfPolicies>,
        #[command(flatten)]
        scope: Scope,
        #[command(flatten)]
        read: read::Args,
    },
    /// List what has a size and who sizes it, or delete what nobody sizes any more
    #[command(args_conflicts_with_subcommands = true)]
    Workloads {
        #[command(subcommand)]
        what: Option<delete::OfWorkloads>,
        #[command(flatten)]
        scope: Scope,
        #[command(flatten)]
        read: read::Args,
    },
    /// Say why a workload has its size
    Explain {
        /// NAME, or NAMESPACE/NAME
        policy: String,
        /// Explain the change of size at this index instead of the last one
        #[arg(
            long,
            value_name = "INDEX",
            default_value_t = 0,
            hide_default_value = true
        )]
        decision: u64,
        #[command(flatten)]
        scope: Scope,
        #[command(flatten)]
        read: read::Args,
    },
    /// List changes of size, newest first
    Decisions {
        /// Only this policy's: NAME, or NAMESPACE/NAME
        policy: Option<String>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
        #[command(flatten)]
        scope: Scope,
        #[command(flatten)]
        read: read::Args,
    },
    /// Follow the cluster or its decisions until Ctrl-C
    Watch {
        #[arg(value_enum, default_value_t)]
        what: watch::What,
        /// Only this policy's decisions
        #[arg(long)]
        policy: Option<String>,
        #[command(flatten)]
        scope: Scope,
        #[command(flatten)]
        output: output::Args,
        #[command(flatten)]
        client: client::Args,
    },
    /// Make a cluster's certificates and keys, or those of new nodes, and renew them
    Keys(keys::Args),
    /// Check policy files as an agent would
    Check(check::Args),
    /// Print the policies that do what HPAs and KEDA's ScaledObjects do
    Import(import::Args),
    /// Show what agents write into their logs, or have them write more for a while
    LogLevel(log_level::Args),
    /// Show this program's version
    Version {
        #[command(flatten)]
        output: output::Args,
    },
}

/// Asks, and prints the answer.
pub async fn ask(command: Ask) -> Result<(), Error> {
    match command {
        Ask::Status(args) => status::status(&args).await,
        Ask::Members { read } => read::members(&read).await,
        Ask::Remove(args) => remove::remove(&args).await,
        Ask::Raft(what) => raft::raft(&what).await,
        Ask::Top(args) => top::top(&args).await,
        Ask::Policies { what, scope, read } => match what {
            Some(what) => delete::policy(&what).await,
            None => read::policies(&scope, &read).await,
        },
        Ask::Workloads { what, scope, read } => match what {
            Some(what) => delete::workload(&what).await,
            None => read::workloads(&scope, &read).await,
        },
        Ask::Explain {
            policy,
            decision,
            scope,
            read,
        } => read::explain(scope.one(&policy)?, decision, &read).await,
        Ask::Decisions {
            policy,
            limit,
            scope,
            read,
        } => read::decisions(&scope, policy.as_deref(), limit as usize, &read).await,
        Ask::Watch {
            what,
            policy,
            scope,
            output,
            client,
        } => watch::watch(what, &scope, policy.as_deref(), output, &client).await,
        Ask::Keys(args) => keys::keys(args),
        Ask::LogLevel(args) => log_level::log_level(&args).await,
        Ask::Check(args) => check::check(&args),
        // What a cluster has is the binary's to list.
        Ask::Import(args) => import::import(&args, &[]),
        Ask::Version { output } => read::version(output),
    }
}
