//! One real node: a network namespace, a mount namespace in which the folders that nodes
//! have to themselves are its own, and in both a containerd, a kubelet and a kube-proxy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::assets::{self, Assets};
use crate::component::{self, Component};
use crate::container::{self, Container};
use crate::control::{Configs, server};
use crate::error::{Error, Result, Trying};
use crate::network;
use crate::pki::{Authority, Subject};
use crate::run::{self, Run};
use crate::shell::{self, COMMAND_LIMIT};

pub const CNI_PLUGINS: &str = "/usr/lib/cni";
pub const KUBELET_PORT: u16 = 10_250;
const CONTAINERD: &str = "/run/containerd/containerd.sock";
/// containerd listens within a second on an idle machine.
const CONTAINERD_LIMIT: Duration = Duration::from_mins(1);
/// Folders on the host, and the node's own that lie over them. What a machine's restart
/// would empty is `volatile`.
const OWN: [(&str, &str); 8] = [
    ("/var/lib/kubelet", "kubelet"),
    ("/var/lib/cni", "volatile/cni-results"),
    ("/var/lib/starling", "starling"),
    ("/var/log/pods", "pod-logs"),
    ("/var/log/containers", "container-logs"),
    ("/run/containerd", "volatile/run-containerd"),
    ("/run/netns", "volatile/netns"),
    ("/etc/cni", "volatile/etc-cni"),
];

/// What a node is made from.
pub struct Parts<'a> {
    pub run: &'a Run,
    pub assets: &'a Assets,
    pub authority: &'a Authority,
    pub configs: &'a Configs,
}

pub struct Node {
    name: String,
    number: u8,
    dir: PathBuf,
    /// In the order in which they start; the first holds the mount namespace.
    components: Vec<Component>,
}

impl Node {
    /// Writes what a node needs; `boot` starts it.
    pub fn create(parts: &Parts, number: u8) -> Result<Node> {
        let name = format!("node{number}");
        let node = Node {
            dir: parts.run.dir().join(&name),
            name,
            number,
            components: Vec::new(),
        };
        let address = parts.run.address(number);
        parts.authority.kubeconfig(
            &Subject {
                group: Some("system:nodes"),
                addresses: &[address.into()],
                hosts: &[&node.name],
                ..Subject::new(&node.name, &format!("system:node:{}", node.name))
            },
            &server(parts.run),
        )?;
        run::make_dir(&node.dir)?;
        node.write("containerd.toml", &node.containerd())?;
        node.write("kubelet.json", &node.kubelet(parts).to_string())?;
        node.write("proxy.json", &node.proxy(parts).to_string())?;
        Ok(node)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn number(&self) -> u8 {
        self.number
    }

    pub fn is_running(&self) -> bool {
        !self.components.is_empty()
    }

    /// The cgroup, in every hierarchy, below which the node and its pods are.
    pub fn cgroup(&self, run: &Run) -> String {
        format!("{}-{}", run.id(), self.name)
    }

    /// Starts the node up to its containerd, as a machine that has just been switched on.
    pub fn boot(&mut self, parts: &Parts) -> Result<()> {
        if self.is_running() {
            return Ok(());
        }
        let volatile = self.dir.join("volatile");
        if volatile.exists() {
            fs::remove_dir_all(&volatile).trying(|| format!("empty {}", volatile.display()))?;
        }
        run::make_dir(&volatile.join("cni"))?;
        let plugins = self.network_plugins(parts.run).to_string();
        self.write("volatile/cni/10-rig.conflist", &plugins)?;
        self.create_cgroups(parts.run)?;
        network::join(parts.run, &self.name, self.number)?;
        self.hold_mounts(parts)?;
        let config = self.path("containerd.toml");
        self.start(
            parts,
            "containerd",
            vec!["containerd".into(), "-c".into(), config],
        )
    }

    /// Starts what makes it a node of the cluster, once containerd answers.
    pub fn serve(&mut self, parts: &Parts) -> Result<()> {
        self.await_containerd()?;
        if self.components.len() > 2 {
            return Ok(());
        }
        let kubelet = parts
            .assets
            .binary("kubelet")?
            .to_string_lossy()
            .into_owned();
        let words = vec![
            kubelet,
            format!("--config={}", self.path("kubelet.json")),
            format!(
                "--kubeconfig={}",
                parts.authority.path(&format!("{}.conf", self.name))
            ),
            format!("--hostname-override={}", self.name),
            format!("--node-ip={}", parts.run.address(self.number)),
            "--root-dir=/var/lib/kubelet".into(),
        ];
        self.start(parts, "kubelet", words)?;
        let proxy = parts
            .assets
            .binary("kube-proxy")?
            .to_string_lossy()
            .into_owned();
        let words = vec![proxy, format!("--config={}", self.path("proxy.json"))];
        self.start(parts, "kube-proxy", words)
    }

    /// Ends all at once, as a power cut does. What is on the node's disk stays.
    pub fn power_off(&mut self, run: &Run) -> Result<()> {
        if !self.is_running() {
            return Ok(());
        }
        component::kill_all(&self.cgroup(run))?;
        for mut component in self.components.drain(..) {
            component.kill()?;
        }
        for hierarchy in assets::hierarchies()? {
            // What stays would be looked for in vain by the kubelet that comes next.
            component::remove_cgroups(&hierarchy.join(self.cgroup(run)));
        }
        network::leave(run, &self.name, self.number)
    }

    /// Brings a docker archive into the node's containerd.
    pub fn load(&self, archive: &Path) -> Result<()> {
        let archive = archive.to_string_lossy();
        let words = [
            "ctr", "-a", CONTAINERD, "-n", "k8s.io", "images", "import", &archive,
        ];
        self.exec(&words).map(|_| ())
    }

    /// Runs a command in the node's namespaces and gives what it printed.
    pub fn exec(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new("nsenter");
        command.args(self.entering()?).args(words);
        shell::finish(&mut command, "", COMMAND_LIMIT)
    }

    /// The containers that run here, without the pods' own.
    pub fn containers(&self) -> Result<Vec<Container>> {
        container::list(&self.dir.join("volatile/containerd"))
    }

    fn entering(&self) -> Result<Vec<String>> {
        let pid = self.components.first().and_then(Component::pid);
        let pid = pid.ok_or_else(|| Error::Missing(format!("{} isn't running.", self.name)))?;
        Ok(vec![
            format!("--target={pid}"),
            "--mount".into(),
            "--net".into(),
            "--".into(),
        ])
    }

    fn start(&mut self, parts: &Parts, what: &str, command: Vec<String>) -> Result<()> {
        let mut words = vec!["nsenter".to_owned()];
        words.extend(self.entering()?);
        words.extend(command);
        self.component(parts.run, what, words)
    }

    fn component(&mut self, run: &Run, what: &str, words: Vec<String>) -> Result<()> {
        let name = format!("{}-{what}", self.name);
        let logs = run.dir().join("log");
        let cgroup = format!("{}/system", self.cgroup(run));
        let mut component = Component::new(&name, words, &cgroup, &logs);
        component.start()?;
        self.components.push(component);
        Ok(())
    }

    /// Starts the process that keeps the node's mount namespace, and waits for its mounts.
    fn hold_mounts(&mut self, parts: &Parts) -> Result<()> {
        let mut script = "set -e\nmount --make-rprivate /\n".to_owned();
        for (over, own) in OWN {
            let own = self.path(own);
            script.extend(["mkdir -p ", over, " ", &own, "\n"]);
            script.extend(["mount --bind ", &own, " ", over, "\n"]);
        }
        // What kubelet and containerd mount there has to reach the containers, and back.
        script += "mount --make-rshared /var/lib/kubelet\nmount --make-shared /run/netns\n";
        let ready = self.path("volatile/mounted");
        script.extend(["touch ", &ready, "\nexec sleep infinity\n"]);
        let space = network::namespace(parts.run, &self.name);
        let words = [
            "nsenter",
            &format!("--net=/run/netns/{space}"),
            // `ip netns exec` would mount another /sys, without the cgroups.
            "unshare",
            "--mount",
            "--propagation=unchanged",
            "sh",
            "-c",
            &script,
        ];
        self.component(parts.run, "mounts", words.map(Into::into).to_vec())?;
        let holder = self.components.last_mut();
        let Some(holder) = holder else { return Ok(()) };
        shell::until("the node's folders are mounted", COMMAND_LIMIT, || {
            let ended = holder.check();
            match (Path::new(&ready).exists(), ended) {
                (true, _) => Ok(Ok(())),
                (false, Err(ended)) => Ok(Err(ended)),
                (false, Ok(())) => Err("the script still runs".into()),
            }
        })?
    }

    pub fn await_containerd(&mut self) -> Result<()> {
        let socket = self.dir.join("volatile/run-containerd/containerd.sock");
        let Some(containerd) = self.components.get_mut(1) else {
            return Err(Error::Missing(format!("{} isn't running.", self.name)));
        };
        shell::until("containerd answers", CONTAINERD_LIMIT, || {
            let ended = containerd.check();
            match (std::os::unix::net::UnixStream::connect(&socket), ended) {
                (Ok(_), _) => Ok(Ok(())),
                (Err(_), Err(ended)) => Ok(Err(ended)),
                (Err(refused), Ok(())) => Err(refused.to_string()),
            }
        })?
    }

    fn create_cgroups(&self, run: &Run) -> Result<()> {
        for hierarchy in assets::hierarchies()? {
            let own = hierarchy.join(self.cgroup(run));
            run::make_dir(&own)?;
            // A cpuset takes no process before it has these.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let from = hierarchy.join(file);
                if from.exists() {
                    let value =
                        fs::read_to_string(&from).trying(|| format!("read {}", from.display()))?;
                    run::write(&own.join(file), value)?;
                }
            }
        }
        Ok(())
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        run::write(&self.dir.join(name), text)
    }

    fn network_plugins(&self, run: &Run) -> Value {
        json!({
            "cniVersion": "0.4.0",
            "name": "rig",
            "plugins": [
                // Pods keep their addresses towards everybody: all can be routed to.
                {"type": "ptp", "ipMasq": false, "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": run.pods(self.number)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": self.path("volatile/ipam"),
                }},
                {"type": "portmap", "capabilities": {"portMappings": true}},
            ],
        })
    }

    fn containerd(&self) -> String {
        let dir = self.dir.display();
        format!(
            r#"version = 2
root = "{dir}/containerd"
state = "{dir}/volatile/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "{CONTAINERD}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_PLUGINS}"
conf_dir = "{dir}/volatile/cni"
[plugins."io.containerd.internal.v1.opt"]
path = "{dir}/opt"
"#,
            crate::image::PAUSE
        )
    }

    fn kubelet(&self, parts: &Parts) -> Value {
        let file = |name: String| parts.authority.path(&name);
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": parts.run.address(self.number),
            "port": KUBELET_PORT,
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": file("ca.crt".into())},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": file(format!("{}.crt", self.name)),
            "tlsPrivateKeyFile": file(format!("{}.key", self.name)),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}", self.cgroup(parts.run)),
            "failCgroupV1": false,
            "failSwapOn": false,
            "containerRuntimeEndpoint": format!("unix://{CONTAINERD}"),
            "clusterDomain": "cluster.local",
            "volumePluginDir": "/var/lib/kubelet/volume-plugins",
            // The machine is shared; its disk isn't the node's to judge.
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
                "nodefs.inodesFree": "1%",
            },
            "imageGCHighThresholdPercent": 100,
            "makeIPTablesUtilChains": false,
            // Looks at itself so often; it writes only what has changed.
            "nodeStatusUpdateFrequency": "2s",
        })
    }

    fn proxy(&self, parts: &Parts) -> Value {
        let address = parts.run.address(self.number);
        json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": parts.configs.proxy},
            "mode": "iptables",
            "hostnameOverride": self.name,
            "bindAddress": address,
            "healthzBindAddress": format!("{address}:10256"),
            "metricsBindAddress": "127.0.0.1:10249",
            "clusterCIDR": parts.run.all_pods(),
            "conntrack": {"maxPerCore": 0},
        })
    }
}
