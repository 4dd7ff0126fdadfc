//! The commands that ask one question and print the answer.

use serde::Serialize;
use starling_proto::v1;
use tonic::{Request, Response, Status};

use super::client::{self, Client, Headed, Stub};
use super::exit::{Error, Kind};
use super::output::{self, Show, Style};
use super::scope::Scope;
use super::show::Header;
use super::show::cluster::{Member, Members};
use super::show::decisions::{Decision, Decisions};
use super::show::explain::Explanation;
use super::show::granted::Granted;
use super::show::policies::{Policies, Policy};
use super::show::workloads::Workload;

/// Items on a page. A reply stays within its limit whatever their size.
pub(super) const PAGE: i32 = 500;
/// A longer list is refused rather than kept in memory.
const ITEMS_MAX: usize = 200_000;

/// What the command line says about a question.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    #[command(flatten)]
    pub output: output::Args,
    /// How fresh the answer must be
    #[arg(long, value_enum, default_value_t, value_name = "LEVEL")]
    pub consistency: Consistency,
    #[command(flatten)]
    pub client: client::Args,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Consistency {
    /// What the asked agent knows
    #[default]
    Stale,
    /// What the leader knows
    Leader,
    /// All that was acknowledged before the question
    Linearizable,
}

impl From<Consistency> for i32 {
    fn from(consistency: Consistency) -> i32 {
        match consistency {
            Consistency::Stale => v1::Consistency::Stale,
            Consistency::Leader => v1::Consistency::Leader,
            Consistency::Linearizable => v1::Consistency::Linearizable,
        }
        .into()
    }
}

pub async fn members(args: &Args) -> Result<(), Error> {
    let (header, members) = list(
        &Client::new(&args.client)?,
        args.consistency,
        usize::MAX,
        |consistency, page_token| v1::ListMembersRequest {
            consistency,
            page_size: PAGE,
            page_token,
        },
        |mut stub, asked| async move { stub.list_members(asked).await },
        |reply| (reply.header, reply.members, reply.next_page_token),
    )
    .await?;
    let members = members.into_iter().map(Member::from).collect();
    output::print(&Members { header, members }, args.output)
}

pub async fn policies(scope: &Scope, args: &Args) -> Result<(), Error> {
    let (header, policies) = list(
        &Client::new(&args.client)?,
        args.consistency,
        usize::MAX,
        |consistency, page_token| v1::ListPoliciesRequest {
            consistency,
            page_size: PAGE,
            page_token,
            namespace: scope.listed(),
        },
        |mut stub, asked| async move { stub.list_policies(asked).await },
        |reply| (reply.header, reply.policies, reply.next_page_token),
    )
    .await?;
    let policies = policies.into_iter().map(Policy::from).collect();
    let shown = Policies {
        header,
        policies,
        all_namespaces: scope.all_namespaces,
    };
    output::print(&shown, args.output)
}

pub async fn workloads(scope: &Scope, args: &Args) -> Result<(), Error> {
    let (header, workloads) = list(
        &Client::new(&args.client)?,
        args.consistency,
        usize::MAX,
        |consistency, page_token| v1::ListWorkloadsRequest {
            consistency,
            page_size: PAGE,
            page_token,
            namespace: scope.listed(),
        },
        |mut stub, asked| async move { stub.list_workloads(asked).await },
        |reply| (reply.header, reply.workloads, reply.next_page_token),
    )
    .await?;
    let shown = Granted {
        header,
        workloads: workloads.into_iter().map(Workload::from).collect(),
        all_namespaces: scope.all_namespaces,
    };
    output::print(&shown, args.output)
}

pub async fn explain(
    (namespace, name): (String, String),
    decision_index: u64,
    args: &Args,
) -> Result<(), Error> {
    let consistency = args.consistency.into();
    let question = v1::ExplainPolicyRequest {
        namespace,
        name,
        consistency,
        decision_index,
    };
    let call = |mut stub: Stub, asked| async move { stub.explain_policy(asked).await };
    let reply = Client::new(&args.client)?.ask(question, call).await?;
    output::print(&Explanation::from(reply), args.output)
}

pub async fn decisions(
    scope: &Scope,
    policy: Option<&str>,
    limit: usize,
    args: &Args,
) -> Result<(), Error> {
    let (namespace, policy) = scope.some(policy)?;
    let (header, mut decisions) = list(
        &Client::new(&args.client)?,
        args.consistency,
        limit,
        |consistency, page_token| v1::ListDecisionsRequest {
            consistency,
            page_size: PAGE.min(limit as i32),
            page_token,
            policy: policy.clone(),
            namespace: namespace.clone(),
        },
        |mut stub, asked| async move { stub.list_decisions(asked).await },
        |reply| (reply.header, reply.decisions, reply.next_page_token),
    )
    .await?;
    decisions.truncate(limit);
    let decisions = decisions.into_iter().map(Decision::from).collect();
    let shown = Decisions {
        header,
        decisions,
        all_namespaces: scope.all_namespaces,
    };
    output::print(&shown, args.output)
}

/// All pages of a list, up to `enough` items, and the last page's header.
pub(super) async fn list<Q, R, T, F>(
    client: &Client,
    consistency: Consistency,
    enough: usize,
    question: impl Fn(i32, String) -> Q,
    call: impl Fn(Stub, Request<Q>) -> F,
    open: impl Fn(R) -> (Option<v1::ReplyHeader>, Vec<T>, String),
) -> Result<(Header, Vec<T>), Error>
where
    Q: Clone,
    R: Headed,
    F: Future<Output = Result<Response<R>, Status>>,
{
    let mut items = Vec::new();
    let mut token = String::new();
    loop {
        let reply = client
            .ask(question(consistency.into(), token), &call)
            .await?;
        let (header, page, next) = open(reply);
        items.extend(page);
        if next.is_empty() || items.len() >= enough {
            return Ok((header.into(), items));
        }
        if items.len() > ITEMS_MAX {
            return Err(Error::new(
                Kind::Failure,
                format!("the list has more than {ITEMS_MAX} items; use the gRPC API for it"),
            ));
        }
        token = next;
    }
}

#[derive(Debug, Serialize)]
struct Version {
    version: &'static str,
    api: &'static str,
}

impl Show for Version {
    fn text(&self, _: Style) -> String {
        format!("starling {} (API {})\n", self.version, self.api)
    }
}

pub fn version(output: output::Args) -> Result<(), Error> {
    output::print(
        &Version {
            version: env!("CARGO_PKG_VERSION"),
            api: "starling.v1",
        },
        output,
    )
}
