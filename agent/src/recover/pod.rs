//! `starling recover` in an agent's pod, through `kubectl exec`.
//!
//! Comes in: what the agent beside it knows, who answers, and the cluster object. Goes
//! out: that object with a raised generation, by compare and swap, so that of two that
//! recover at once one does; then a note that the agent carries out. Never touches the
//! log itself while the agent runs.

use anyhow::{Context as _, bail, ensure};
use starling_cli::client::{self, Client};
use starling_consensus::peers::Holder;
use starling_consensus::rebuild::{self, Known};
use starling_consensus::{Credentials, Error};
use starling_engine::unit::NodeId;
use starling_identity::Store;
use starling_keys::{self as keys, Expired, Keys};
use starling_kube::cluster::{Cluster, Raised};
use starling_proto::v1;

use super::{Args, ask_others, confirm, note, own, refuse};
use crate::config::{Config, Kubernetes};
use crate::run::identity::settings;

pub async fn main(args: &Args, config: &Config, kubernetes: &Kubernetes) -> anyhow::Result<()> {
    own(&config.data_dir)?;
    let credentials = Credentials::new(&papers(config)?.tls)?;
    let known = match rebuild::look(&config.data_dir, &config.cluster).await {
        // It runs, so it can be asked.
        Err(Error::Locked { .. }) => ask(config, &credentials).await?,
        looked => looked?,
    };
    let said = ask_others(&known, &credentials).await;
    refuse(&known, &said, args.force)?;
    let object = settings(config, kubernetes).await?.object;
    let found = object.get().await?;
    if let Some(found) = &found {
        ensure!(
            found.id == known.cluster_id,
            "the ConfigMap {object} names another cluster of this name (id {}) than this agent's log \
             ({}); nothing was changed",
            found.id,
            known.cluster_id
        );
    }
    let me = config.node_name();
    let before = found.as_ref().filter(|it| it.generation > known.generation);
    let begun = before.filter(|it| it.recovered_by == me);
    if let (Some(before), None, false) = (before, begun, args.force) {
        bail!(
            "the ConfigMap {object} says that node {} goes on with the cluster in generation {}, and \
             its agent doesn't answer yet: this one comes over by itself once it does. Where that \
             node is gone for good too, add --force",
            before.recovered_by,
            before.generation
        );
    }
    confirm(args.cluster.as_deref(), &known, &said)?;
    let generation = if let Some(begun) = begun {
        begun.generation
    } else {
        let latest = before.map_or(known.generation, |it| it.generation);
        let authority = papers(config)?.tls.ca;
        let wanted = Cluster {
            generation: latest + 1,
            recovered_by: me.to_owned(),
            ..found.clone().unwrap_or_else(|| Cluster {
                id: known.cluster_id.clone(),
                name: known.cluster.clone(),
                generation: 0,
                founder: me.to_owned(),
                authority,
                recovered_by: String::new(),
            })
        };
        match object.raise(found.as_ref(), &wanted).await? {
            Raised::Done => wanted.generation,
            Raised::Other(now) => bail!(
                "node {} was first: the ConfigMap {object} says that the cluster goes on there in \
                 generation {}. This agent comes over by itself",
                now.recovered_by,
                now.generation
            ),
        }
    };
    println!(
        "The ConfigMap {object} says generation {generation}, from node {me}. The agent here ends now, \
         is started again by the kubelet, and goes on with the cluster from its log; the others come \
         over by themselves. Nothing changes its size until two windows of measurements were seen."
    );
    // Last: the container may end with it.
    note::write(&config.data_dir, generation)
}

/// What this agent shows to the others. One that has expired is better than none: who
/// rebuilds a cluster renews it afterwards.
fn papers(config: &Config) -> anyhow::Result<Keys> {
    if let Some(dir) = &config.keys {
        return Ok(keys::load(dir, config.node_name())?);
    }
    let store = Store::open(&config.data_dir, config.node_name())?;
    let kept = store.keys(Expired::Allowed)?;
    kept.context("this agent was never certified, so it belongs to no cluster")
}

/// Asks the agent that runs here, over its API and as its peers do.
async fn ask(config: &Config, credentials: &Credentials) -> anyhow::Result<Known> {
    let context = config.data_dir.join("client").join("context.yaml");
    let here = client::Args {
        agent: Some(config.node_name().to_owned()),
        ..client::Args::at(context)
    };
    let client = Client::new(&here)?;
    let asked = v1::ListRaftPeersRequest {
        consistency: v1::Consistency::Stale.into(),
    };
    let shown = client
        .ask(asked, |mut stub, asked| async move {
            stub.list_raft_peers(asked).await
        })
        .await;
    let shown = shown.context("the agent here runs and doesn't say who has the log")?;
    let holder = |peer: v1::RaftPeer| Holder {
        id: NodeId(peer.id),
        votes: matches!(peer.role(), v1::Role::Leader | v1::Role::Voter),
        name: peer.name,
        address: peer.address,
        leads: false,
        index: None,
    };
    let holders: Vec<Holder> = shown.peers.into_iter().map(holder).collect();
    let here = holders.iter().find(|it| it.name == config.node_name());
    let here = here.context("the agent here has no part in the log; recover from another one")?;
    let said = rebuild::ask(&here.address, credentials).await;
    let said = said.filter(|said| said.id == here.id.0);
    let said = said.with_context(|| {
        format!(
            "the agent here doesn't answer at {}, where the others know it; wait until it does",
            here.address
        )
    })?;
    Ok(Known {
        cluster: config.cluster.clone(),
        cluster_id: said.cluster_id,
        generation: said.generation,
        id: said.id,
        last: said.last,
        holders,
    })
}
