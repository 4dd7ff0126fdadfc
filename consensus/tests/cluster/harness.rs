//! A throw-away authority and agents on loopback.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use starling_consensus::{Config, Credentials, Error, Founding, Log, Timing, Tls, Upkeep};
use starling_engine::ledger::{Command, Member, Outcome};
use tempfile::TempDir;

pub const CLUSTER: &str = "test";

/// Generous: the machine may be busy with other things.
const PATIENCE: Duration = Duration::from_mins(1);

pub struct Authority {
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Authority {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // Another test of this process may have been faster.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Authority {
            certificate,
            issuer,
        }
    }

    pub fn sign(&self, names: &[&str]) -> Tls {
        self.sign_for(names, Duration::from_hours(24))
    }

    /// A certificate that is good for so long from now on.
    pub fn sign_for(&self, names: &[&str], life: Duration) -> Tls {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + life;
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Tls {
            ca: self.certificate.clone(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// Listens at an address that hardly anybody else on this machine has, so that nobody takes an
/// agent's port while the agent is off, and it can listen there again when it starts. A process
/// has 256 such addresses and then begins anew, and processes whose ids are some 32,000 apart
/// have the same ones. Of those that share an address, each gets a port that is free, and hardly
/// ever that of an agent that is off.
pub fn listen() -> TcpListener {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    // Network 127 belongs to each machine alone.
    let ip = [
        127,
        1 + (process >> 7) as u8 % 250,
        (process << 1) as u8 | ((next >> 7) as u8 & 1),
        next as u8 | 128,
    ];
    TcpListener::bind((Ipv4Addr::from(ip), 0)).unwrap()
}

/// What stays of an agent when it isn't running.
pub struct Agent {
    pub config: Config,
    pub dir: TempDir,
    listener: Option<TcpListener>,
}

impl Agent {
    /// The first of `agents` founds the cluster, the others know it as a seed.
    pub fn some(authority: &Authority, count: usize) -> Vec<Agent> {
        let mut agents: Vec<Agent> = Vec::new();
        for n in 0..count {
            let listener = listen();
            let name = format!("agent-{n}");
            let dir = TempDir::new().unwrap();
            let config = Config {
                data_dir: dir.path().join("data"),
                member: Member {
                    name: name.clone(),
                    peer_address: listener.local_addr().unwrap().to_string(),
                    gossip_address: "127.0.0.1:1".into(),
                    api_address: "127.0.0.1:2".into(),
                    zone: String::new(),
                },
                cluster: CLUSTER.into(),
                seeds: agents
                    .iter()
                    .map(|a| a.config.member.peer_address.clone())
                    .collect::<Vec<_>>()
                    .into(),
                bootstrap: n == 0,
                founding: Founding::default(),
                cluster_id: None,
                authority: None,
                timing: Timing::default(),
                upkeep: Upkeep::default(),
                // A higher one is raised by a command of its own, at any moment.
                ledger_version: starling_engine::ledger::version::FIRST,
                credentials: Credentials::new(&authority.sign(&["peer.starling", &name])).unwrap(),
            };
            agents.push(Agent {
                config,
                dir,
                listener: Some(listener),
            });
        }
        agents
    }

    pub async fn start(&mut self) -> Log {
        self.try_start().await.unwrap()
    }

    pub async fn try_start(&mut self) -> Result<Log, Error> {
        let listener = match self.listener.take() {
            Some(listener) => listener,
            None => self.bind().await,
        };
        Log::start(self.config.clone(), listener).await
    }

    /// The address that it had before; its former runtime may still be closing it.
    async fn bind(&self) -> TcpListener {
        eventually("the former listener is closed", || async {
            TcpListener::bind(&self.config.member.peer_address).ok()
        })
        .await
    }

    /// As if it were another machine's: the next start listens elsewhere.
    pub fn move_away(&mut self) {
        let listener = listen();
        self.config.member.peer_address = listener.local_addr().unwrap().to_string();
        self.listener = Some(listener);
    }

    /// From now on others reach it by what listens here, which has to pass on what comes to
    /// where it is.
    pub fn put_behind(&mut self) -> (tokio::net::TcpListener, SocketAddr) {
        let back = self.config.member.peer_address.parse().unwrap();
        let front = listen();
        front.set_nonblocking(true).unwrap();
        self.config.member.peer_address = front.local_addr().unwrap().to_string();
        (tokio::net::TcpListener::from_std(front).unwrap(), back)
    }

    pub fn data(&self, path: &str) -> PathBuf {
        self.config.data_dir.join(path)
    }
}

/// Polls until `look` finds something.
pub async fn eventually<T, F, Fut>(what: &str, mut look: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let begin = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Starts all, and waits until they vote.
pub async fn form(agents: &mut [Agent]) -> Vec<Log> {
    let mut logs = Vec::new();
    for agent in agents.iter_mut() {
        logs.push(agent.start().await);
    }
    let voters = match logs.len() {
        1 | 2 => 1,
        3..=6 => 3,
        _ => 5,
    };
    for log in &logs {
        eventually("all agents see enough voters, and each other", || async {
            let seen = log.leadership().borrow().clone();
            let known = log.ledger().read().unwrap().members.len();
            let all = seen.voters.len() == voters && known >= logs.len();
            (all && seen.leader.is_some()).then_some(())
        })
        .await;
    }
    logs
}

/// A command that changes nothing but index, time and digest.
pub fn command(name: &str) -> Command {
    Command::RemovePolicy {
        name: name.into(),
        source: None,
    }
}

/// Proposes until it is in the log; a repeated one does no harm here.
pub async fn commit(log: &Log, name: &str) -> Outcome {
    eventually("a command is committed", || async {
        log.propose(command(name)).await.ok()
    })
    .await
}

/// Asks until the outcome is known: on a busy disk a call may need more time than it has.
pub async fn completed<T, F>(ask: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, Error>>,
{
    eventually("the outcome is known", || async {
        match ask().await {
            Err(Error::Unknown(_)) => None,
            outcome => Some(outcome.unwrap()),
        }
    })
    .await
}

pub fn digest(log: &Log) -> (u64, [u8; 16]) {
    let ledger = log.ledger();
    let ledger = ledger.read().unwrap();
    (ledger.index, ledger.digest())
}

/// Waits until all have applied the same, and it is the same.
pub async fn agree(logs: &[&Log]) -> u64 {
    eventually("all agents have the same ledger", || async {
        let first = digest(logs[0]);
        logs.iter()
            .all(|log| digest(log) == first)
            .then_some(first.0)
    })
    .await
}

/// The agent that may act, as soon as there is exactly one.
pub async fn acting(logs: &[&Log]) -> usize {
    eventually("one agent acts", || async {
        let all: Vec<usize> = (0..logs.len()).filter(|n| logs[*n].acting()).collect();
        assert!(all.len() < 2, "two agents act at once");
        all.first().copied()
    })
    .await
}
