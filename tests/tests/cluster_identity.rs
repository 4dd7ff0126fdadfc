//! Real agents with nothing but a real API server: one founds, the others are
//! certified and join, and what is kept or lost has the consequences it should.
//!
//! Their pods are objects only (there is no kubelet): each has an address of this
//! machine's, a token that is bound to it, and the environment of a pod.

#![allow(clippy::unwrap_used)] // A helper that finds nothing has failed its test.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use starling_keys::{Node, Request};
use starling_kubernetes_rig::{Cluster, shell, turn};
use starling_tests::{Amiss, binary, faketime, unheard};
use tempfile::TempDir;

const SYSTEM: &str = "starling-system";
const BASE: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: starling-system}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: starling, namespace: starling-system}
";
const LIMIT: Duration = Duration::from_mins(2);
/// So long before a day ends three agents begin, which takes a busy machine a minute or two.
const BEFORE_S: u64 = 200;

/// Addresses of this machine that stand for pods'; they go when this is dropped.
struct Addresses {
    third: u8,
}

impl Addresses {
    /// Of the range for benchmarks, which nobody routes; each process and each
    /// test in it another part.
    fn claim() -> Addresses {
        static CLAIMED: AtomicU32 = AtomicU32::new(0);
        let one = std::process::id() * 4 + CLAIMED.fetch_add(1, Ordering::Relaxed);
        Addresses {
            third: (one % 250) as u8,
        }
    }

    fn of(&self, host: u8) -> String {
        let address = format!("198.18.{}.{host}", self.third);
        // There already from an earlier agent.
        let _ = ip(&["addr", "add", &format!("{address}/32"), "dev", "lo"]);
        address
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        for host in 1..=20 {
            let address = format!("198.18.{}.{host}/32", self.third);
            let _ = ip(&["addr", "del", &address, "dev", "lo"]);
        }
    }
}

fn ip(words: &[&str]) -> std::io::Result<std::process::Output> {
    Command::new("ip").args(words).output()
}

/// An agent and what stays of it when it doesn't run.
struct Agent {
    node: String,
    home: PathBuf,
    ip: String,
    /// Further lines of its settings.
    settings: String,
    /// Of itself and of what asks it.
    environment: Vec<(String, String)>,
    process: Option<Child>,
}

impl Agent {
    fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// What `starling status` says by the context that the agent left.
    fn status(&self) -> Result<Value, String> {
        let output = Command::new(binary())
            .args(["status", "-o", "json", "--context"])
            .arg(self.data().join("client/context.yaml"))
            .envs(self.environment.iter().cloned())
            .output()
            .map_err(|why| why.to_string())?;
        // A code above 0 may say that the cluster lacks something: it has answered then.
        if output.stdout.is_empty() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|why| why.to_string())
    }
}

impl Agent {
    /// Its numbers.
    fn page(&self) -> Option<String> {
        page(&self.ip)
    }

    /// Names of its gossip keys, the one that seals first.
    fn ring(&self) -> Option<Vec<String>> {
        let page = self.page()?;
        let keys = page.lines().filter_map(|line| {
            let rest = line.strip_prefix("starling_gossip_keys{key=\"")?;
            rest.split_once("\"} ")
        });
        let (seals, opens): (Vec<_>, Vec<_>) = keys.partition(|(_, seals)| *seals == "1");
        let names = seals.into_iter().chain(opens);
        Some(names.map(|(name, _)| name.to_owned()).collect())
    }
}

/// What an agent's health port shows of its numbers.
fn page(ip: &str) -> Option<String> {
    let mut stream = TcpStream::connect((ip, 7_403)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n")
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.contains(" 200 ").then_some(text)
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(25);
            eprintln!("{} said last:\n{}", self.node, lines[from..].join("\n"));
        }
    }
}

/// The API server, and agents that know it.
struct World {
    agents: Vec<Agent>,
    addresses: Addresses,
    home: TempDir,
    cluster: Cluster,
}

impl World {
    fn new() -> World {
        let cluster = Cluster::start(0).unwrap();
        cluster.apply(BASE).unwrap();
        World {
            agents: Vec::new(),
            addresses: Addresses::claim(),
            home: TempDir::new().unwrap(),
            cluster,
        }
    }

    /// A node with an agent's pod on it; the agent isn't started yet.
    fn add(&mut self, number: u8) {
        let node = format!("node-{number}");
        let home = self.home.path().join(&node);
        fs::create_dir_all(&home).unwrap();
        let object = format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {node}}}\n");
        self.cluster.apply(&object).unwrap();
        self.agents.push(Agent {
            ip: self.addresses.of(number),
            node,
            home,
            settings: String::new(),
            environment: Vec::new(),
            process: None,
        });
    }

    /// Starts the agent in a new pod, as a kubelet would.
    fn start(&mut self, index: usize) {
        let agent = &mut self.agents[index];
        let node = &agent.node;
        let pod = format!("agent-{node}");
        let delete = ["delete", "pod", &pod, "-n", SYSTEM, "--ignore-not-found"];
        let force = ["--force", "--grace-period=0"];
        self.cluster
            .kubectl([&delete[..], &force].concat())
            .unwrap();
        let object = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}, namespace: {SYSTEM}}}\nspec:\n  \
             nodeName: {node}\n  serviceAccountName: starling\n  containers: [{{name: c, image: \
             none}}]\n"
        );
        self.cluster.apply(&object).unwrap();
        let audience = "--audience=starling/starling";
        let bound = ["--bound-object-kind=Pod", "--bound-object-name", &pod];
        let words = ["create", "token", "starling", "-n", SYSTEM, audience];
        let token = self.cluster.kubectl([&words[..], &bound].concat()).unwrap();
        fs::write(agent.home.join("token"), token.trim()).unwrap();
        self.start_again(index);
        self.publish();
    }

    /// Starts the agent in the pod that it had: its container was restarted.
    fn start_again(&mut self, index: usize) {
        let kubeconfig = self.cluster.kubeconfig().to_owned();
        let agent = &mut self.agents[index];
        let ip = &agent.ip;
        let config = format!(
            "cluster: starling\ndataDir: data\nlisten: {{peer: '{ip}:7400', gossip: '{ip}:7401', \
             api: '{ip}:7402', health: '{ip}:7403'}}\nkubernetes: {{token: token, policies: \
             false}}\n{}",
            agent.settings
        );
        fs::write(agent.home.join("agent.yaml"), config).unwrap();
        let log = File::options()
            .create(true)
            .append(true)
            .open(agent.home.join("log"))
            .unwrap();
        let process = Command::new(binary())
            .args(["agent", "--config"])
            .arg(agent.home.join("agent.yaml"))
            .env("KUBECONFIG", kubeconfig)
            .env("NODE_NAME", &agent.node)
            .env("POD_IP", ip)
            .env("POD_NAMESPACE", SYSTEM)
            .envs(agent.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        agent.process = Some(process);
    }

    /// The Service's addresses, which its controller makes of running pods.
    fn publish(&self) {
        let running = self.agents.iter().filter(|agent| agent.process.is_some());
        let endpoints: Vec<String> = running
            .map(|agent| format!("- {{addresses: ['{}']}}\n", agent.ip))
            .collect();
        let slice = format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: \
             starling-peers-1, namespace: {SYSTEM}, labels: {{kubernetes.io/service-name: \
             starling-peers}}}}\naddressType: IPv4\nports: [{{name: peer, port: 7400}}]\n\
             endpoints:\n{}",
            endpoints.concat()
        );
        self.cluster.apply(&slice).unwrap();
    }

    /// Waits until these agents know of so many voters and a leader; gives the
    /// members' ids by name.
    fn formed(&self, agents: &[usize], voters: usize) -> BTreeMap<String, u64> {
        let mut members = BTreeMap::new();
        shell::until("the agents have formed a cluster", LIMIT, || {
            for index in agents {
                let status = self.agents[*index].status()?;
                let seen = status["voters"].as_array().map(Vec::len);
                let leader = &status["leader"];
                if seen != Some(voters) || leader.is_null() {
                    return Err(status.to_string());
                }
            }
            members = self.members(agents[0])?;
            Ok::<_, String>(())
        })
        .unwrap();
        members
    }

    fn members(&self, index: usize) -> Result<BTreeMap<String, u64>, String> {
        let output = Command::new(binary())
            .args(["members", "-o", "json", "--context"])
            .arg(self.agents[index].data().join("client/context.yaml"))
            .envs(self.agents[index].environment.iter().cloned())
            .output()
            .map_err(|why| why.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let list: Value = serde_json::from_str(&text).map_err(|_| text.clone())?;
        let members = list["members"].as_array().ok_or(text)?;
        let member = |member: &Value| {
            let name = member["name"].as_str()?.to_owned();
            let id = &member["id"];
            let id = id.as_u64().or_else(|| id.as_str()?.parse().ok())?;
            Some((name, id))
        };
        Ok(members.iter().filter_map(member).collect())
    }

    fn object(&self) -> Value {
        self.cluster
            .get(["configmap", "starling-cluster", "-n", SYSTEM])
            .unwrap()["data"]
            .clone()
    }

    /// Waits until the agent's log holds these words.
    fn says(&self, index: usize, words: &str) {
        shell::until(words, LIMIT, || {
            let log = self.agents[index].log();
            if log.contains(words) {
                Ok(())
            } else {
                Err(log)
            }
        })
        .unwrap();
    }
}

#[test]
fn certificates_of_ones_own_serve_in_place_of_the_agents_and_are_reread_when_they_change() {
    let Some(_turn) = turn::beside() else { return };
    let mut world = World::new();
    let keys = world.home.path().join("keys");
    let issue = || {
        let nodes = ["node-1", "node-2", "node-3"].map(|name| name.parse::<Node>().unwrap());
        let request = Request {
            cluster: "starling".into(),
            nodes: nodes.into(),
        };
        starling_keys::generate(&keys, &request).unwrap();
    };
    issue();
    for number in 1..=3 {
        world.add(number);
    }
    for index in 0..3 {
        let agent = &mut world.agents[index];
        agent.settings = format!("keys: {}\n", keys.join(&agent.node).display());
        world.start(index);
    }
    let members = world.formed(&[0, 1, 2], 3);
    let object = world.object();
    let ca = fs::read_to_string(keys.join("ca.pem")).unwrap();
    assert_eq!(object["ca.crt"], ca);
    assert!(!world.agents[0].data().join("identity/current").exists());

    // As cert-manager would: new certificates of the same authority.
    for name in ["node-1", "node-2", "node-3"] {
        let dir = keys.join(name);
        fs::remove_dir_all(keys.join("client")).unwrap();
        fs::rename(&dir, keys.join(format!("former-{name}"))).unwrap();
        issue();
    }
    for index in 0..3 {
        world.says(
            index,
            "the certificate was replaced; new connections use it",
        );
    }
    // An agent that comes back connects anew to all others.
    world.agents[1].kill();
    world.start_again(1);
    assert_eq!(world.formed(&[0, 1, 2], 3), members);
}

/// All files and directories below, this one included.
fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    found.push(dir.to_owned());
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => walk(&entry.path(), found),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
}

#[test]
fn agents_found_one_cluster_come_back_and_never_found_another() {
    let Some(_turn) = turn::beside() else { return };
    let mut world = World::new();
    for number in 1..=3 {
        world.add(number);
    }
    // All at once: exactly one founds.
    for index in 0..3 {
        world.start(index);
    }
    let members = world.formed(&[0, 1, 2], 3);
    assert_eq!(members.len(), 3, "{members:?}");
    let founded = (0..3).filter(|index| {
        let log = world.agents[*index].log();
        log.contains("this agent founds the cluster")
    });
    assert_eq!(founded.count(), 1);
    let object = world.object();
    secrets_stay_inside(&world, &object);

    // Another address, the same member.
    world.agents[1].kill();
    world.agents[1].ip = world.addresses.of(12);
    world.start(1);
    assert_eq!(world.formed(&[0, 1, 2], 3), members);

    // With the API server away a restarted agent goes on by what it has.
    world.cluster.kill_api_server().unwrap();
    world.agents[2].kill();
    world.start_again(2);
    world.says(2, "going on with what the data directory remembers");
    assert_eq!(world.formed(&[0, 1, 2], 3), members);
    world.cluster.resume_api_server().unwrap();

    // A deleted object is made again, the same one.
    let delete = ["delete", "configmap", "starling-cluster", "-n", SYSTEM];
    world.cluster.kubectl(delete).unwrap();
    let mut again = Value::Null;
    shell::until("the leader makes the object again", LIMIT, || {
        let get = ["configmap", "starling-cluster", "-n", SYSTEM];
        again = world.cluster.get(get).map_err(|why| why.to_string())?["data"].clone();
        Ok::<_, String>(())
    })
    .unwrap();
    assert_eq!(again["id"], object["id"]);
    assert_eq!(again["ca.crt"], object["ca.crt"]);

    // A disk that was lost is a new member of the same name.
    world.agents[2].kill();
    fs::remove_dir_all(world.agents[2].data()).unwrap();
    world.start(2);
    shell::until("the agent has another id", LIMIT, || {
        let now = world.members(0)?;
        if now.len() == 3 && now.get("node-3") > members.get("node-3") {
            return Ok(());
        }
        Err(format!("{now:?}"))
    })
    .unwrap();

    // An object of another cluster is none that an old directory follows.
    let patch = [
        "patch",
        "configmap",
        "starling-cluster",
        "-n",
        SYSTEM,
        "--type=merge",
        "-p",
    ];
    let other = [r#"{"data":{"id":"other"}}"#];
    world
        .cluster
        .kubectl([&patch[..], &other].concat())
        .unwrap();
    world.agents[0].kill();
    world.start_again(0);
    let process = world.agents[0].process.as_mut().unwrap();
    let ended = process.wait().unwrap();
    assert!(!ended.success());
    world.says(
        0,
        "To let this node join that one as new, empty the directory",
    );
}

/// The authority's key is on no disk but in the log and the founder's own files,
/// those are for their owner alone, and it is in no log and no answer.
fn secrets_stay_inside(world: &World, object: &Value) {
    assert!(!object.to_string().contains("PRIVATE KEY"));
    for agent in &world.agents {
        shell::until("what was founded is in the ledger", LIMIT, || {
            let left = agent.data().join("identity/founding.json").exists();
            if left {
                return Err("founding.json is there".to_owned());
            }
            Ok(())
        })
        .unwrap();
        assert!(!agent.log().contains("PRIVATE KEY"));
        let status = agent.status().unwrap().to_string();
        assert!(!status.contains("PRIVATE KEY"), "{status}");
        let mut all = Vec::new();
        walk(&agent.data().join("identity"), &mut all);
        walk(&agent.data().join("client"), &mut all);
        all.extend([agent.data(), agent.data().join("raft")]);
        for path in all {
            // What was being replaced is gone under its first name.
            let found = match fs::metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                found => found.unwrap(),
            };
            let mode = found.permissions().mode();
            assert_eq!(mode & 0o077, 0, "{} has {mode:o}", path.display());
        }
    }
}

const DAY_S: u64 = 86_400;

/// Seconds from now to the end of the day (UTC).
fn to_midnight_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    DAY_S - since.as_secs() % DAY_S
}

/// Looks, until it is told to stop, that each of these holds all of them for alive and
/// has heard them lately. Gives how often it looked, and what was amiss for too long.
fn watch(ips: &[String], stop: &AtomicBool) -> (u64, Vec<String>) {
    /// Nodes tell what they measured once a second; a busy machine takes longer.
    const HEARD_WITHIN: Duration = Duration::from_secs(5);
    let (mut looks, mut amiss) = (0, Amiss::default());
    while !stop.load(Ordering::Relaxed) {
        for ip in ips {
            let page = page(ip);
            looks += u64::from(page.is_some());
            amiss.look(ip, page.as_deref(), ips.len(), HEARD_WITHIN);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    (looks, amiss.lasting)
}

impl World {
    /// From its next start on the agent's clock is ahead by so much.
    fn ahead(&mut self, index: usize, library: &Path, seconds: u64) {
        let set = |name: &str, value: String| (name.to_owned(), value);
        self.agents[index].environment = vec![
            set("LD_PRELOAD", library.display().to_string()),
            set("FAKETIME", format!("+{seconds}")),
            set("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            set("NO_FAKE_STAT", "1".into()),
        ];
    }

    /// Waits until all these agents have the same ring, which is as it should be.
    fn ring(&self, what: &str, agents: &[usize], is: impl Fn(&[String]) -> bool) -> Vec<String> {
        let mut ring = Vec::new();
        // Until a day has ended, and a while.
        let limit = Duration::from_secs(BEFORE_S) + LIMIT;
        shell::until(what, limit, || {
            let rings: Vec<_> = agents.iter().map(|n| self.agents[*n].ring()).collect();
            match rings.first() {
                Some(Some(first)) if rings.iter().all(|it| it == &rings[0]) && is(first) => {
                    ring.clone_from(first);
                    Ok(())
                }
                _ => Err(format!("{rings:?}")),
            }
        })
        .unwrap();
        ring
    }

    /// Waits until each of these holds all of them for alive, and has heard them since this
    /// was called.
    fn all_alive(&self, agents: &[usize]) {
        let began = Instant::now();
        shell::until("all hear all", LIMIT, || {
            for index in agents {
                let within = began.elapsed().min(Duration::from_secs(3));
                let page = self.agents[*index].page().ok_or("no answer")?;
                if let Some(why) = unheard(&page, agents.len(), within) {
                    return Err(why);
                }
            }
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn gossips_keys_change_at_midnight_nobody_is_missed_and_who_was_away_for_days_has_todays() {
    let Some(_turn) = turn::alone() else { return };
    let Some(library) = faketime() else { return };
    let mut world = World::new();
    let first_day_s = (to_midnight_s() + DAY_S - BEFORE_S) % DAY_S;
    for index in 0..3 {
        world.add(index as u8 + 1);
        world.ahead(index, &library, first_day_s);
        world.start(index);
    }
    world.formed(&[0, 1, 2], 3);
    let all = [0, 1, 2];
    world.all_alive(&all);
    let stop = Arc::new(AtomicBool::new(false));
    let ips: Vec<String> = world.agents.iter().map(|agent| agent.ip.clone()).collect();
    let until = stop.clone();
    let watching = std::thread::spawn(move || watch(&ips, &until));

    // The day's key, those of the days beside it, and the one that it was founded with.
    let today = world.ring("the day's key seals", &all, |ring| {
        let data = world.agents[0].data().join("identity/current/gossip.keys");
        let text = fs::read_to_string(data).unwrap_or_default();
        ring.len() == 4 && text.contains("since day")
    });
    let tomorrow = world.ring("the next day's key seals", &all, |ring| ring[0] != today[0]);
    assert!(today.contains(&tomorrow[0]), "it opened before");
    assert!(tomorrow.contains(&today[0]), "the former one opens still");
    world.all_alive(&all);
    stop.store(true, Ordering::Relaxed);
    let (looks, wrong) = watching.join().unwrap();
    assert!(looks > 100, "it looked {looks} times");
    assert_eq!(wrong, Vec::<String>::new());

    // Three days begin without the third agent, in steps that certificates outlive.
    world.agents[2].kill();
    for hours in [20, 40, 60] {
        for index in 0..2 {
            world.agents[index].kill();
            world.ahead(index, &library, first_day_s + hours * 3_600);
            world.start_again(index);
        }
        world.formed(&[0, 1], 3);
        world.all_alive(&[0, 1]);
    }
    let later = world.ring("none of the former keys is left", &[0, 1], |ring| {
        ring.iter().all(|key| !today.contains(key))
    });
    world.ahead(2, &library, first_day_s + 60 * 3_600);
    world.start(2);
    world.all_alive(&all);
    assert_eq!(world.agents[2].ring(), Some(later));
}
