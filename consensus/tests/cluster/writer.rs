//! One agent as a process of its own, that writes for as long as it lives.
//!
//! The process is this test program once more. It counts: each number is a command that
//! it proposes until it is acknowledged, and the last one is what the ledger has to hold
//! after whatever happens. Says, a line each: `found N`, `acknowledged N`, `leads TERM`
//! whenever it has come to act, `ended WHY`, `state …`. Hears `rest`, `go`, `state` and
//! `remove ID`. Beside that it may have more proposers, whose commands change nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use starling_consensus::{Config, Credentials, Founding, Log, Timing, Tls, Upkeep};
use starling_engine::ledger::{Command, Member};
use starling_engine::policy::{
    Goal, NAMESPACE, Name, PROCESS, Policy, Resource, Source, Target, Trigger,
};
use starling_engine::unit::NodeId;

use crate::harness::CLUSTER;

/// Of this process; see [`Home`].
pub const HOME: &str = "WRITER_HOME";
pub const NAME: &str = "WRITER_NAME";
pub const ADDRESS: &str = "WRITER_ADDRESS";
/// Of others, with commas between them. Without any it founds.
pub const SEEDS: &str = "WRITER_SEEDS";
/// As if the program had no fdatasync and no fsync.
pub const UNSYNCED: &str = "WRITER_UNSYNCED";

/// It stands for election without asking.
pub const UNASKED: &str = "WRITER_UNASKED";

/// So many more proposers, which nobody counts.
pub const PROPOSERS: &str = "WRITER_PROPOSERS";

/// A moment between two tries to be heard.
const PAUSE: Duration = Duration::from_millis(10);

/// It was told to write nothing for now.
static RESTING: AtomicBool = AtomicBool::new(false);

/// The folder that a writer lives in.
pub struct Home(pub PathBuf);

impl Home {
    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    /// What the agents that lived here told.
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    pub fn put(&self, tls: &Tls) {
        let Tls {
            ca,
            certificate,
            key,
        } = tls;
        for (name, text) in [("ca", ca), ("certificate", certificate), ("key", key)] {
            std::fs::write(self.0.join(name), text).unwrap();
        }
    }

    fn tls(&self) -> Tls {
        let text = |name| std::fs::read_to_string(self.0.join(name)).unwrap();
        Tls {
            ca: text("ca"),
            certificate: text("certificate"),
            key: text("key"),
        }
    }
}

/// What an agent's `state` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub id: u64,
    pub term: u64,
    /// Ledger index and digest.
    pub index: u64,
    pub digest: String,
    pub members: BTreeMap<u64, String>,
    pub voters: Vec<u64>,
    pub learners: Vec<u64>,
    /// The last number of each writer, by name.
    pub numbers: BTreeMap<String, u64>,
}

impl State {
    fn of(log: &Log) -> State {
        let seen = log.leadership().borrow().clone();
        let ids = |ids: &std::collections::BTreeSet<NodeId>| ids.iter().map(|id| id.0).collect();
        let ledger = log.ledger();
        let ledger = ledger.read().unwrap();
        let members = ledger.members.iter();
        State {
            id: log.id().0,
            term: seen.term,
            index: ledger.index,
            digest: format!("{:032x}", u128::from_be_bytes(ledger.digest())),
            members: members
                .map(|(id, admitted)| (id.0, admitted.member.name.clone()))
                .collect(),
            voters: ids(&seen.voters),
            learners: ids(&seen.learners),
            numbers: ledger
                .policies
                .iter()
                .map(|(name, put)| (name.name.clone(), put.policy.cooldown_ms))
                .collect(),
        }
    }

    fn said(&self) -> String {
        let list = |ids: &[u64]| {
            ids.iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(",")
        };
        let pairs = |pairs: Vec<String>| pairs.join(",");
        let members = self.members.iter().map(|(id, name)| format!("{id}={name}"));
        let numbers = self.numbers.iter().map(|(name, n)| format!("{n}={name}"));
        format!(
            "state {} {} {} {} [{}] [{}] [{}] [{}]",
            self.id,
            self.term,
            self.index,
            self.digest,
            list(&self.voters),
            list(&self.learners),
            pairs(members.collect()),
            pairs(numbers.collect()),
        )
    }

    /// What [`said`](Self::said) says, without its first word.
    pub fn heard(said: &str) -> Option<State> {
        let mut words = said.split(' ');
        let (id, term) = (words.next()?, words.next()?);
        let (index, digest) = (words.next()?, words.next()?);
        let mut list = || {
            let word = words.next()?.strip_prefix('[')?.strip_suffix(']')?;
            Some(
                word.split(',')
                    .filter(|item| !item.is_empty())
                    .collect::<Vec<_>>(),
            )
        };
        let ids = |list: Vec<&str>| list.iter().map(|id| id.parse().ok()).collect::<Option<_>>();
        let pair = |item: &str| {
            let (number, name) = item.split_once('=')?;
            Some((number.parse().ok()?, name.to_owned()))
        };
        let pairs = |list: Vec<&str>| {
            list.into_iter()
                .map(pair)
                .collect::<Option<Vec<(u64, _)>>>()
        };
        Some(State {
            id: id.parse().ok()?,
            term: term.parse().ok()?,
            index: index.parse().ok()?,
            digest: digest.to_owned(),
            voters: ids(list()?)?,
            learners: ids(list()?)?,
            members: pairs(list()?)?.into_iter().collect(),
            numbers: pairs(list()?)?
                .into_iter()
                .map(|(n, name)| (name, n))
                .collect(),
        })
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Who started this may be gone; it ends this process too then.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn number(name: &str, number: u64) -> Command {
    let trigger = Trigger {
        name: "cpu".into(),
        source: Source::Resource(Resource::Cpu),
        goal: Goal::AverageValue { milli: 500 },
        activation_milli: 0,
        window_ms: None,
    };
    Command::PutPolicy {
        policy: Policy {
            name: name.into(),
            target: Target {
                group: String::new(),
                kind: PROCESS.into(),
                namespace: NAMESPACE.into(),
                name: name.into(),
            },
            replicas_min: 1,
            cooldown_ms: number,
            triggers: vec![trigger],
            ..Policy::default()
        },
        source: name.into(),
    }
}

fn last_number(log: &Log, name: &str) -> u64 {
    let ledger = log.ledger();
    let ledger = ledger.read().unwrap();
    let put = ledger.policies.get(&Name::from(name));
    put.map_or(0, |put| put.policy.cooldown_ms)
}

/// From now on the kernel answers each call for a sync with "done", and does nothing.
fn do_without_syncs() {
    let calls: &[i64] = if cfg!(target_arch = "x86_64") {
        &[74, 75]
    } else {
        &[82, 83]
    };
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    let done = SeccompAction::Errno(0);
    let machine = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, done, machine).unwrap();
    // Threads that are begun later inherit it.
    apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

fn config(home: &Home) -> Config {
    let said = |name| std::env::var(name).unwrap();
    let seeds: Vec<String> = said(SEEDS)
        .split(',')
        .filter(|s| !s.is_empty())
        .map(Into::into)
        .collect();
    let _ = rustls::crypto::ring::default_provider().install_default();
    Config {
        data_dir: home.data(),
        member: Member {
            name: said(NAME),
            peer_address: said(ADDRESS),
            gossip_address: "127.0.0.1:1".into(),
            api_address: "127.0.0.1:2".into(),
            zone: String::new(),
        },
        cluster: CLUSTER.into(),
        cluster_id: None,
        bootstrap: seeds.is_empty(),
        seeds: seeds.into(),
        founding: Founding::default(),
        authority: None,
        timing: Timing {
            pre_vote: std::env::var_os(UNASKED).is_none(),
            ..Timing::default()
        },
        upkeep: Upkeep::default(),
        ledger_version: starling_engine::ledger::version::HIGHEST,
        credentials: Credentials::new(&home.tls()).unwrap(),
    }
}

#[test]
#[ignore = "other tests run it, as a process"]
fn writer() {
    live();
}

/// Where this process is a writer's, it is one until its end.
pub fn live() {
    let Some(home) = std::env::var_os(HOME) else {
        return;
    };
    if std::env::var_os(UNSYNCED).is_some() {
        do_without_syncs();
    }
    // The test runner's own words may stand on this line.
    say("");
    let home = Home(home.into());
    let log = File::options()
        .create(true)
        .append(true)
        .open(home.log())
        .unwrap();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(log)
        .init();
    let config = config(&home);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(write(config));
}

/// Until somebody leads who takes it; a member that is no more is refused.
async fn remove(log: Log, node: NodeId) {
    while log.propose(Command::Remove { node }).await.is_err() {
        tokio::time::sleep(PAUSE).await;
    }
}

async fn rested() {
    while RESTING.load(Ordering::Acquire) {
        tokio::time::sleep(PAUSE).await;
    }
}

/// One after the other, for as long as the process lives.
async fn propose(log: Log) {
    loop {
        rested().await;
        let nothing = Command::RemovePolicy {
            name: "nothing".into(),
            source: None,
        };
        if log.propose(nothing).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn write(config: Config) {
    let name = config.member.name.clone();
    let listener = std::net::TcpListener::bind(&config.member.peer_address).unwrap();
    let log = Log::start(config, listener).await.unwrap();
    let asked = log.clone();
    let runtime = tokio::runtime::Handle::current();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            match line.as_deref() {
                Ok("rest") => RESTING.store(true, Ordering::Release),
                Ok("go") => RESTING.store(false, Ordering::Release),
                Ok("state") => say(&State::of(&asked).said()),
                Ok(line) => match line.strip_prefix("remove ").map(str::parse) {
                    Some(Ok(id)) => _ = runtime.spawn(remove(asked.clone(), NodeId(id))),
                    _ => break,
                },
                Err(_) => break,
            }
        }
        // Who started this is gone.
        std::process::exit(1);
    });
    let failed = log.failed();
    let ended = async |mut failed: tokio::sync::watch::Receiver<Option<String>>| {
        let why = failed.wait_for(Option::is_some).await.unwrap().clone();
        say(&format!("ended {}", why.unwrap()));
    };
    let count = async {
        while log.barrier().await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        let mut last = last_number(&log, &name);
        say(&format!("found {last}"));
        let proposers = std::env::var(PROPOSERS).map_or(0, |n| n.parse().unwrap());
        for _ in 0..proposers {
            tokio::spawn(propose(log.clone()));
        }
        loop {
            last += 1;
            rested().await;
            loop {
                match log.propose(number(&name, last)).await {
                    Ok(outcome) => {
                        assert!(outcome.refused.is_empty(), "{:?}", outcome.refused);
                        break;
                    }
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            }
            say(&format!("acknowledged {last}"));
        }
    };
    let leading = async {
        let mut seen = log.leadership();
        let mut acts = false;
        while seen.changed().await.is_ok() {
            let (term, acting) = {
                let seen = seen.borrow_and_update();
                (seen.term, seen.acting)
            };
            if acting && !acts {
                say(&format!("leads {term}"));
            }
            acts = acting;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = count => {}
        () = leading => {}
        () = ended(failed) => {}
    }
}
