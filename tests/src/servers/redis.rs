//! Redis that asks for a password, in the clear and over TLS: one alone, a master with a
//! replica and the sentinels that watch it, and a cluster.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use starling_kubernetes_rig::shell;

use super::{Processes, free_ports};
use crate::servers::DEADLINE;

const PROGRAM: &str = "/usr/bin/redis-server";
pub const PASSWORD: &str = "marigold";
/// Of sentinels.
pub const SENTINEL_PASSWORD: &str = "foxglove";
/// By what name sentinels know the master.
pub const MASTER: &str = "queue";
/// What each node of a cluster has of its 16,384 slots.
const SLOTS: [(u16, u16); 3] = [(0, 5_460), (5_461, 10_922), (10_923, 16_383)];

pub struct Redis {
    pub processes: Processes,
    folder: TempDir,
    /// In the clear, over TLS, and of a cluster's nodes among each other.
    ports: [u16; 3],
    is_sentinel: bool,
}

impl Redis {
    /// Once it answers. Keeps what it is told over a stop. `tls` is a certificate and its
    /// key, as PEM texts.
    pub fn start(tls: Option<(&str, &str)>) -> Option<Redis> {
        Redis::begin(false, tls, |_| String::new())
    }

    /// With more settings, which may depend on its ports.
    fn begin(
        is_sentinel: bool,
        tls: Option<(&str, &str)>,
        settings: impl Fn(&[u16; 3]) -> String,
    ) -> Option<Redis> {
        let mut server = Redis {
            processes: Processes::default(),
            folder: tempfile::tempdir().unwrap(),
            ports: free_ports(),
            is_sentinel,
        };
        let folder = server.folder.path();
        let [open, secure, _] = server.ports;
        let password = server.password();
        let usual = format!(
            "bind 127.0.0.1\nport {open}\nrequirepass {password}\ndir {}\n",
            folder.display()
        );
        let kept = if is_sentinel {
            String::new()
        } else {
            format!("masterauth {PASSWORD}\nappendonly yes\nappendfsync no\nsave \"\"\n")
        };
        let secure = tls.map(|(certificate, key)| {
            let (cert, keys) = (folder.join("tls.crt"), folder.join("tls.key"));
            fs::write(&cert, certificate).unwrap();
            fs::write(&keys, key).unwrap();
            format!(
                "tls-port {secure}\ntls-cert-file {}\ntls-key-file {}\ntls-auth-clients no\n\
                 tls-ca-cert-file {}\n",
                cert.display(),
                keys.display(),
                cert.display()
            )
        });
        let secure = secure.unwrap_or_default();
        let text = [usual, kept, secure, settings(&server.ports)].concat();
        fs::write(folder.join("redis.conf"), text).unwrap();
        server.resume().then_some(server)
    }

    /// Starts it again where it was stopped, with all that it had.
    pub fn resume(&mut self) -> bool {
        let mut command = Command::new(PROGRAM);
        command.arg(self.folder.path().join("redis.conf"));
        if self.is_sentinel {
            command.arg("--sentinel");
        }
        let runs = self.processes.start(&mut command, "redis-server");
        if runs {
            let answers = || self.attempt(&["PING"]);
            shell::until("Redis answers", DEADLINE, answers).unwrap();
        }
        runs
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// The name that the certificate is for, and the port.
    pub fn secure_address(&self) -> String {
        format!("localhost:{}", self.ports[1])
    }

    /// What it answers to a command.
    pub fn tell(&self, words: &[&str]) -> String {
        self.attempt(words).unwrap()
    }

    /// Tells it the same until what it answers holds a text.
    pub fn tell_until(&self, words: &[&str], text: &str) {
        let said = || {
            let answer = self.attempt(words)?;
            if answer.contains(text) {
                Ok(())
            } else {
                Err(answer)
            }
        };
        shell::until(&format!("{words:?} says {text}"), DEADLINE, said).unwrap();
    }

    fn attempt(&self, words: &[&str]) -> Result<String, String> {
        let port = self.ports[0].to_string();
        let mut command = Command::new("redis-cli");
        command.args(["-e", "-h", "127.0.0.1", "-p", &port, "--no-auth-warning"]);
        command.args(["-a", self.password()]).args(words);
        shell::finish(&mut command, "", DEADLINE).map_err(|error| error.to_string())
    }

    fn password(&self) -> &'static str {
        if self.is_sentinel {
            SENTINEL_PASSWORD
        } else {
            PASSWORD
        }
    }
}

/// A master, its replica, and three sentinels, of which two may put the replica in the
/// master's place.
pub struct Watched {
    pub master: Redis,
    pub replica: Redis,
    pub sentinels: [Redis; 3],
}

impl Watched {
    /// Once the sentinels know each other and both servers.
    pub fn start() -> Option<Watched> {
        let master = Redis::start(None)?;
        let port = master.ports[0];
        let follows = format!("replicaof 127.0.0.1 {port}\n");
        let replica = Redis::begin(false, None, |_| follows.clone())?;
        replica.tell_until(&["ROLE"], "connected");
        let watches = format!(
            "sentinel monitor {MASTER} 127.0.0.1 {port} 2\nsentinel auth-pass {MASTER} \
             {PASSWORD}\nsentinel down-after-milliseconds {MASTER} 3000\nsentinel \
             failover-timeout {MASTER} 5000\nsentinel sentinel-pass {SENTINEL_PASSWORD}\n"
        );
        let sentinel = || Redis::begin(true, None, |_| watches.clone());
        let sentinels = [sentinel()?, sentinel()?, sentinel()?];
        for sentinel in &sentinels {
            let known = ["SENTINEL", "MASTER", MASTER];
            sentinel.tell_until(&known, "num-slaves\n1\n");
            sentinel.tell_until(&known, "num-other-sentinels\n2\n");
        }
        Some(Watched {
            master,
            replica,
            sentinels,
        })
    }

    /// Of all sentinels, in their order.
    pub fn addresses(&self) -> String {
        let all: Vec<String> = self.sentinels.iter().map(Redis::address).collect();
        all.join(",")
    }
}

/// Three masters without replicas.
pub struct RedisCluster {
    pub nodes: [Redis; 3],
}

impl RedisCluster {
    /// Once each of them knows who has which slots.
    pub fn start(tls: Option<(&str, &str)>) -> Option<RedisCluster> {
        let node = || {
            Redis::begin(false, tls, |[_, _, bus]| {
                let secure = if tls.is_some() { "yes" } else { "no" };
                format!(
                    "cluster-enabled yes\ncluster-port {bus}\ncluster-node-timeout 8000\n\
                     tls-cluster {secure}\n"
                )
            })
        };
        let nodes = [node()?, node()?, node()?];
        for (index, (node, (first, last))) in nodes.iter().zip(SLOTS).enumerate() {
            let (first, last) = (first.to_string(), last.to_string());
            node.tell(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            let epoch = (index + 1).to_string();
            node.tell(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
        }
        let usual = usize::from(tls.is_some());
        for other in &nodes[1..] {
            let (port, bus) = (other.ports[usual].to_string(), other.ports[2].to_string());
            nodes[0].tell(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        let cluster = RedisCluster { nodes };
        cluster.settle();
        Some(cluster)
    }

    /// Until every node finds that all slots have somebody.
    pub fn settle(&self) {
        for node in &self.nodes {
            node.tell_until(&["CLUSTER", "INFO"], "cluster_state:ok");
            node.tell_until(&["CLUSTER", "INFO"], "cluster_known_nodes:3");
        }
    }

    /// Of all nodes, in the order of their slots.
    pub fn addresses(&self) -> String {
        let all: Vec<String> = self.nodes.iter().map(Redis::address).collect();
        all.join(",")
    }

    /// Makes a slot ready to leave one node for another; what isn't there any more is asked
    /// for there.
    pub fn begin_move(&self, slot: &str, from: usize, to: usize) {
        let [from, to] = [from, to].map(|index| &self.nodes[index]);
        let [giver, taker] = [from, to].map(|node| node.tell(&["CLUSTER", "MYID"]));
        let (giver, taker) = (giver.trim(), taker.trim());
        to.tell(&["CLUSTER", "SETSLOT", slot, "IMPORTING", giver]);
        from.tell(&["CLUSTER", "SETSLOT", slot, "MIGRATING", taker]);
    }

    pub fn move_key(&self, key: &str, from: usize, to: usize) {
        let port = self.nodes[to].ports[0].to_string();
        let words = [
            "MIGRATE",
            "127.0.0.1",
            &port,
            key,
            "0",
            "10000",
            "AUTH",
            PASSWORD,
        ];
        self.nodes[from].tell(&words);
    }

    /// From here on the slot is the other node's.
    pub fn end_move(&self, slot: &str, to: usize) {
        let taker = self.nodes[to].tell(&["CLUSTER", "MYID"]);
        for index in [to, 0, 1, 2] {
            self.nodes[index].tell(&["CLUSTER", "SETSLOT", slot, "NODE", taker.trim()]);
        }
    }
}
