//! `starling top`: what machines, workloads and pods use, once or each second.
//!
//! Comes in: what to show, which rows and in which order. Goes out: one table, or with
//! `--watch` one a second until Ctrl-C, drawn over the former one on a terminal. Goes
//! on at another agent if one is lost. Never shows old data as new.

mod screen;

use std::cell::RefCell;
use std::time::Duration;

use serde::Serialize;
use starling_proto::v1;
use tokio::time::{Instant, MissedTickBehavior};

use super::client::Client;
use super::exit::{Error, Kind};
use super::output::{self, Show, Style};
use super::read::{self, Consistency, PAGE, list};
use super::scope::Scope;
use super::show::Header;
use super::show::arrange::{Wish, arrange};
use super::show::pods::{Pod, Pods, Silent};
use super::show::top::{Node, Nodes};
use super::show::workloads::{Workload, Workloads};
use screen::Screen;

/// How often `--watch` asks; agents measure as often.
const EVERY: Duration = Duration::from_secs(1);
/// With `--watch` a single question may take this part of the client's timeout, so that
/// another agent can be asked where one hangs.
const PART: u32 = 3;
/// Pods on a page: as many as an agent gives, so that it asks several others at once.
const PODS_PAGE: i32 = 1_000;

#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    what: What,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    wish: Wish,
    /// Show it anew each second until Ctrl-C
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    read: read::Args,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    Nodes,
    Workloads,
    Pods,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Answer {
    Nodes(Nodes),
    Workloads(Workloads),
    Pods(Pods),
}

impl Answer {
    fn header(&self) -> &Header {
        match self {
            Answer::Nodes(it) => &it.header,
            Answer::Workloads(it) => &it.header,
            Answer::Pods(it) => &it.header,
        }
    }
}

impl Show for Answer {
    fn text(&self, style: Style) -> String {
        match self {
            Answer::Nodes(it) => it.text(style),
            Answer::Workloads(it) => it.text(style),
            Answer::Pods(it) => it.text(style),
        }
    }

    fn note(&self) -> Option<String> {
        match self {
            Answer::Nodes(it) => it.note(),
            Answer::Workloads(it) => it.note(),
            Answer::Pods(it) => it.note(),
        }
    }
}

/// Asks once, or until Ctrl-C, which is no failure, or until no agent has answered for
/// the client's timeout.
pub async fn top(args: &Args) -> Result<(), Error> {
    let client = Client::new(&args.read.client)?;
    if !args.watch {
        let answer = ask(args, &client).await?;
        return output::print(&answer, args.read.output);
    }
    tokio::select! {
        ended = watch(args, client) => ended,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(|why| {
            Error::new(Kind::Failure, format!("can't wait for Ctrl-C: {why}"))
        }),
    }
}

async fn watch(args: &Args, mut client: Client) -> Result<(), Error> {
    let patience = client.timeout;
    client.timeout /= PART;
    let mut screen = Screen::new(args.read.output);
    let mut turn = tokio::time::interval(EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answered = Instant::now();
    loop {
        turn.tick().await;
        match ask(args, &client).await {
            Ok(answer) => {
                answered = Instant::now();
                screen.answered(answer)?;
            }
            Err(why) if why.kind == Kind::Unreachable && answered.elapsed() < patience => {
                screen.lost(answered.elapsed(), &why)?;
            }
            Err(why) => return Err(why),
        }
    }
}

async fn ask(args: &Args, client: &Client) -> Result<Answer, Error> {
    match args.what {
        What::Nodes => nodes(args, client).await.map(Answer::Nodes),
        What::Workloads => workloads(args, client).await.map(Answer::Workloads),
        What::Pods => pods(args, client).await.map(Answer::Pods),
    }
}

async fn nodes(args: &Args, client: &Client) -> Result<Nodes, Error> {
    let (header, nodes) = list(
        client,
        args.read.consistency,
        usize::MAX,
        |consistency, page_token| v1::ListNodesRequest {
            consistency,
            page_size: PAGE,
            page_token,
        },
        |mut stub, asked| async move { stub.list_nodes(asked).await },
        |reply| (reply.header, reply.nodes, reply.next_page_token),
    )
    .await?;
    let mut nodes: Vec<Node> = nodes.into_iter().map(Node::from).collect();
    Ok(Nodes {
        header,
        arranged: arrange(&mut nodes, &args.wish),
        nodes,
    })
}

async fn workloads(args: &Args, client: &Client) -> Result<Workloads, Error> {
    let (header, workloads) = list(
        client,
        args.read.consistency,
        usize::MAX,
        |consistency, page_token| v1::ListWorkloadsRequest {
            consistency,
            page_size: PAGE,
            page_token,
            namespace: args.scope.listed(),
        },
        |mut stub, asked| async move { stub.list_workloads(asked).await },
        |reply| (reply.header, reply.workloads, reply.next_page_token),
    )
    .await?;
    let mut workloads: Vec<Workload> = workloads.into_iter().map(Workload::from).collect();
    Ok(Workloads {
        header,
        arranged: arrange(&mut workloads, &args.wish),
        workloads,
        all_namespaces: args.scope.all_namespaces,
    })
}

async fn pods(args: &Args, client: &Client) -> Result<Pods, Error> {
    if args.read.consistency != Consistency::Stale {
        let why = "--consistency says nothing of pods: whichever agent is asked, it asks each \
                   node's own; leave it out";
        return Err(Error::new(Kind::Usage, why));
    }
    let silent = RefCell::new(Vec::new());
    let (header, pods) = list(
        client,
        args.read.consistency,
        usize::MAX,
        |_, page_token| v1::ListReplicasRequest {
            page_size: PODS_PAGE,
            page_token,
            namespace: args.scope.listed(),
        },
        |mut stub, asked| async move { stub.list_replicas(asked).await },
        |reply| {
            silent.borrow_mut().extend(reply.silent_nodes);
            (reply.header, reply.replicas, reply.next_page_token)
        },
    )
    .await?;
    let mut pods: Vec<Pod> = pods.into_iter().map(Pod::from).collect();
    pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Ok(Pods {
        header,
        arranged: arrange(&mut pods, &args.wish),
        pods,
        silent_nodes: silent.into_inner().into_iter().map(Silent::from).collect(),
        all_namespaces: args.scope.all_namespaces,
    })
}
