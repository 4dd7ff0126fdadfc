//! `starling recover` and `starling raft snapshot restore`: makes a data directory from
//! which a lost cluster goes on.
//!
//! Comes in: an agent's settings, what it knows of its cluster, who answers, and the
//! cluster's name once more. Goes out: a log of a later generation, or, in a pod, a note
//! that its agent carries out; and what to do next. Refuses while a majority of the
//! voters could go on without it.

pub mod note;
mod pod;

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use starling_consensus::peers::Holder;
use starling_consensus::rebuild::{self, Known, Said};
use starling_consensus::{Credentials, Error};
use starling_engine::ledger::Member;
use starling_keys as keys;
use tokio::task::JoinSet;

use crate::config::Config;

/// What the command line says.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The agent's settings, YAML; on a bare machine that agent mustn't run
    #[arg(long, value_name = "FILE", default_value = "/etc/starling/agent.yaml")]
    config: PathBuf,
    /// The cluster's name, so that it isn't asked for
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Also where another agent's log holds more, or another one had begun to recover the
    /// cluster and is gone
    #[arg(long)]
    force: bool,
}

pub async fn main(args: &Args) -> anyhow::Result<()> {
    let config = Config::load(&args.config)?;
    match &config.kubernetes {
        Some(kubernetes) => pod::main(args, &config, kubernetes).await,
        None => offline(args, &config).await,
    }
}

async fn offline(args: &Args, config: &Config) -> anyhow::Result<()> {
    own(&config.data_dir)?;
    let dir = config.keys.as_deref();
    let dir = dir.context("`keys` names no directory")?;
    let own = keys::load(dir, config.node_name())?;
    let credentials = Credentials::new(&own.tls)?;
    let known = match rebuild::look(&config.data_dir, &config.cluster).await {
        Err(running @ Error::Locked { .. }) => {
            let words = "stop the agent first: what it holds can't be replaced under it";
            return Err(running).context(words);
        }
        looked => looked?,
    };
    let said = ask_others(&known, &credentials).await;
    refuse(&known, &said, args.force)?;
    confirm(args.cluster.as_deref(), &known, &said)?;
    let generation = known.generation + 1;
    let made = rebuild::recover(&config.data_dir, &config.cluster, generation).await?;
    println!(
        "{} is generation {} of cluster {} now, from command {}. Start this agent: it votes alone at \
         first. The others come over once they are started again; nothing changes its size until two \
         windows of measurements were seen.",
        config.data_dir.display(),
        made.generation,
        known.cluster,
        made.index
    );
    Ok(())
}

/// What is made by another user the agent couldn't open.
fn own(data_dir: &Path) -> anyhow::Result<()> {
    let Ok(found) = std::fs::metadata(data_dir) else {
        return Ok(());
    };
    let me = rustix::process::geteuid().as_raw();
    ensure!(
        found.uid() == me,
        "{} belongs to user {}, as whom the agent runs, and this is user {me}; run it as that one, \
         such as with `sudo -u '#{}'`",
        data_dir.display(),
        found.uid(),
        found.uid()
    );
    Ok(())
}

/// All at once; who doesn't answer is left out.
async fn ask_others(known: &Known, credentials: &Credentials) -> Vec<Said> {
    let mut asked = JoinSet::new();
    for holder in known.holders.iter().filter(|it| it.id.0 != known.id) {
        let (address, credentials) = (holder.address.clone(), credentials.clone());
        let id = holder.id.0;
        asked.spawn(async move {
            let said = rebuild::ask(&address, &credentials).await;
            // Another agent may have the address by now.
            said.filter(|said| said.id == id)
        });
    }
    let answers = asked.join_all().await;
    let ours = |said: &Said| said.cluster_id == known.cluster_id;
    answers.into_iter().flatten().filter(ours).collect()
}

fn refuse(known: &Known, said: &[Said], force: bool) -> anyhow::Result<()> {
    if let Some(later) = said.iter().find(|it| it.generation > known.generation) {
        bail!(
            "the cluster was rebuilt already: {} is in generation {}, and this agent comes over by \
             itself once it is started again",
            later.name,
            later.generation
        );
    }
    if let Some(led) = said.iter().find(|it| it.led) {
        bail!(
            "{} hears a leader that a majority answers: the cluster goes on, and this agent takes \
             part in it once it runs and reaches the others",
            led.name
        );
    }
    let voters: Vec<&Holder> = known.holders.iter().filter(|it| it.votes).collect();
    let answers = |it: &&&Holder| said.iter().any(|said| said.id == it.id.0);
    let me = |it: &&&Holder| it.id.0 == known.id;
    let there: Vec<&str> = voters
        .iter()
        .filter(|it| me(it) || answers(it))
        .map(|it| it.name.as_str())
        .collect();
    ensure!(
        there.len() <= voters.len() / 2,
        "{} of {} voters are there ({}), which is a majority: they elect a leader once all of them \
         run and reach each other, and nothing is lost",
        there.len(),
        voters.len(),
        there.join(", ")
    );
    let further = said.iter().filter(|it| it.last > known.last);
    if let Some(further) = further.max_by_key(|it| it.last)
        && !force
    {
        bail!(
            "the log of {} holds more than this agent's (up to entry {} of term {}, here {} of {}): \
             recover there, or lose that with --force",
            further.name,
            further.last.map_or(0, |(_, index)| index),
            further.last.map_or(0, |(term, _)| term),
            known.last.map_or(0, |(_, index)| index),
            known.last.map_or(0, |(term, _)| term)
        );
    }
    Ok(())
}

/// Whoever recovers the wrong cluster loses what the right one decides meanwhile.
fn confirm(given: Option<&str>, known: &Known, said: &[Said]) -> anyhow::Result<()> {
    let given = given.map(str::to_owned);
    let given = given.map_or_else(|| read_name(known, said), Ok)?;
    ensure!(
        given == known.cluster,
        "this data directory is of cluster {}, not of {given:?}; nothing was changed",
        known.cluster
    );
    Ok(())
}

/// From the terminal.
fn read_name(known: &Known, said: &[Said]) -> anyhow::Result<String> {
    ensure!(
        std::io::stdin().is_terminal(),
        "name the cluster with --cluster: nobody is there to be asked"
    );
    let voters: Vec<&Holder> = known.holders.iter().filter(|it| it.votes).collect();
    let silent: Vec<&str> = voters
        .iter()
        .filter(|it| it.id.0 != known.id && said.iter().all(|said| said.id != it.id.0))
        .map(|it| it.name.as_str())
        .collect();
    eprint!(
        "{} of {} voters don't answer: {}. What they decided last may be lost, and if they run on \
         elsewhere, two clusters act. To go on from this agent's log, write the cluster's name: ",
        silent.len(),
        voters.len(),
        silent.join(", ")
    );
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// What a restored agent says of itself until it starts; then it corrects the ports.
fn member(config: &Config) -> Member {
    let host = config.advertise.as_deref().unwrap_or("127.0.0.1");
    let at = |listen: &str| {
        let port = listen.rsplit_once(':').map_or("0", |(_, port)| port);
        format!("{host}:{port}")
    };
    Member {
        name: config.node_name().to_owned(),
        peer_address: at(&config.listen.peer),
        gossip_address: at(&config.listen.gossip),
        api_address: at(&config.listen.api),
        zone: config.zone.clone().unwrap_or_default(),
    }
}

/// `file` holds a saved snapshot.
pub async fn restore(config: &Path, file: &Path) -> anyhow::Result<()> {
    let config = Config::load(config)?;
    ensure!(
        config.kubernetes.is_none(),
        "agents in pods aren't restored from a snapshot: their certificates' authority isn't in it, \
         and the cluster object names the former cluster; `starling recover` goes on from any \
         agent's log"
    );
    own(&config.data_dir)?;
    let sealed = starling_cli::raft::snapshot::read(file);
    let sealed = sealed.with_context(|| format!("can't read {}", file.display()))?;
    let made = rebuild::restore(&config.data_dir, &member(&config), &config.cluster, &sealed).await;
    let made = made.with_context(|| format!("{} can't be restored", file.display()))?;
    println!(
        "{} is generation {} of cluster {} now, from command {}. Start this agent; empty the data \
         directories of all others before they are started, and they join it.",
        config.data_dir.display(),
        made.generation,
        config.cluster,
        made.index
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use starling_engine::unit::NodeId;

    use super::*;

    fn known() -> Known {
        let holder = |id: u64, votes| Holder {
            id: NodeId(id),
            name: format!("agent-{id}"),
            address: String::new(),
            leads: false,
            votes,
            index: None,
        };
        Known {
            cluster: "prod".into(),
            cluster_id: "7".into(),
            generation: 1,
            id: 3,
            last: Some((2, 40)),
            holders: vec![
                holder(1, true),
                holder(3, true),
                holder(4, true),
                holder(5, false),
            ],
        }
    }

    fn said(id: u64) -> Said {
        Said {
            name: format!("agent-{id}"),
            id,
            cluster_id: "7".into(),
            generation: 1,
            led: false,
            last: Some((2, 40)),
        }
    }

    fn refused(known: &Known, said: &[Said], force: bool) -> Option<String> {
        let refused = refuse(known, said, force).err();
        refused.map(|why| why.to_string())
    }

    #[test]
    fn a_majority_that_answers_or_hears_a_leader_or_was_rebuilt_is_left_alone() {
        let known = known();
        let alone = [said(5)];
        assert_eq!(refused(&known, &alone, false), None);
        for force in [false, true] {
            let both = refused(&known, &[said(1), said(5)], force).unwrap_or_default();
            assert!(both.contains("2 of 3 voters"), "{both}");
            assert!(both.contains("agent-1, agent-3"), "{both}");
            let led = Said {
                led: true,
                ..said(5)
            };
            let led = refused(&known, &[led], force).unwrap_or_default();
            assert!(led.starts_with("agent-5 hears a leader"), "{led}");
            let later = Said {
                generation: 2,
                ..said(5)
            };
            let later = refused(&known, &[later], force).unwrap_or_default();
            assert!(later.contains("agent-5 is in generation 2"), "{later}");
        }
        // Whoever doesn't vote counts as little as it does where it asks itself.
        let learner = Known { id: 5, ..known };
        assert_eq!(refused(&learner, &[said(3)], false), None);
        assert!(refused(&learner, &[said(1), said(3)], false).is_some());
    }

    #[test]
    fn a_log_that_holds_more_elsewhere_is_named_and_lost_only_by_force() {
        for last in [Some((2, 41)), Some((3, 1))] {
            let further = [Said { last, ..said(5) }];
            let words = refused(&known(), &further, false).unwrap_or_default();
            assert!(
                words.starts_with("the log of agent-5 holds more"),
                "{words}"
            );
            assert_eq!(refused(&known(), &further, true), None);
        }
    }

    #[test]
    fn the_clusters_name_is_held_against_what_is_given() {
        let known = known();
        assert!(confirm(Some("prod"), &known, &[]).is_ok());
        let other = confirm(Some("test"), &known, &[]).unwrap_err().to_string();
        assert!(other.contains("is of cluster prod"), "{other}");
    }
}
