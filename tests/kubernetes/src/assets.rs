//! Where Kubernetes' binaries are, and whether this machine can run a cluster at all. What
//! is missing is said with what to do about it; nothing is installed or built here.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result, Trying};

/// As in `build`.
pub const VERSION: &str = "v1.36.3";
/// Set to 1 where the cluster tests must run: what is missing then fails them.
pub const REQUIRED: &str = "STARLING_REQUIRE_CLUSTER";
const BUILD: &str = "tests/kubernetes/build";
const BINARIES: [&str; 7] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubectl",
    "kubelet",
];
const PROGRAMS: [(&str, &str); 8] = [
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("buildah", "buildah"),
    ("busybox", "busybox-static"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
];
const CGROUPS: &str = "/sys/fs/cgroup";
/// Controllers that a kubelet and runc can't do without.
const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// Kubernetes' binaries on this machine.
#[derive(Debug, Clone)]
pub struct Assets {
    folders: Vec<PathBuf>,
}

impl Assets {
    /// Finds them in `KUBEBUILDER_ASSETS` and in the cache that `build` fills.
    pub fn find() -> Result<Assets> {
        let cache = cache()?
            .join("kubernetes")
            .join(format!("{VERSION}-{}", key()?));
        let mut folders: Vec<PathBuf> = env::var_os("KUBEBUILDER_ASSETS")
            .map(PathBuf::from)
            .into_iter()
            .collect();
        folders.push(cache);
        let assets = Assets { folders };
        for name in BINARIES {
            assets.binary(name)?;
        }
        Ok(assets)
    }

    /// The path of one binary, such as `kubectl` or `helm`.
    pub fn binary(&self, name: &str) -> Result<PathBuf> {
        let mut paths = self.folders.iter().map(|folder| folder.join(name));
        paths.find(|path| path.is_file()).ok_or_else(|| {
            Error::Missing(format!(
                "{name} is neither in KUBEBUILDER_ASSETS nor where {BUILD} puts it: run \
                 `{BUILD}` from the repository's root, once (ten minutes on two cores)."
            ))
        })
    }
}

/// Where things that outlive a run are kept.
pub fn cache() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    base.or_else(home)
        .map(|base| base.join("starling"))
        .ok_or_else(|| Error::Missing("neither XDG_CACHE_HOME nor HOME is set.".into()))
}

/// What the binaries were built from, as `build` computes it.
fn key() -> Result<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut hash = Sha256::new();
    for name in [
        "binaries/go.mod",
        "binaries/go.sum",
        "helm/go.mod",
        "helm/go.sum",
    ] {
        let path = here.join(name);
        hash.update(fs::read(&path).trying(|| format!("read {}", path.display()))?);
    }
    Ok(hex(&hash.finalize())[..12].to_owned())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

/// Checks that a cluster can be started here; the error says what is missing.
pub fn check() -> Result<Assets> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::Missing(
            "a cluster needs root, for namespaces, mounts and cgroups: run this as root.".into(),
        ));
    }
    for controller in CONTROLLERS {
        if !Path::new(CGROUPS)
            .join(controller)
            .join("cgroup.procs")
            .exists()
        {
            return Err(Error::Missing(format!(
                "cgroup v1's controller {controller} isn't mounted at {CGROUPS}/{controller}, and \
                 the rig knows no other layout: mount it (`mount -t cgroup -o {controller} cgroup \
                 {CGROUPS}/{controller}`), or use a machine that has it."
            )));
        }
    }
    for (program, package) in PROGRAMS {
        if !on_path(program) {
            return Err(Error::Missing(format!(
                "{program} isn't installed: run `{BUILD}`, which installs Debian's {package}, or \
                 install it yourself."
            )));
        }
    }
    if !Path::new(crate::node::CNI_PLUGINS).join("ptp").exists() {
        return Err(Error::Missing(format!(
            "{} lacks the CNI plugins: run `{BUILD}`, which installs Debian's \
             containernetworking-plugins.",
            crate::node::CNI_PLUGINS
        )));
    }
    Assets::find()
}

/// Whether a test of the cluster is to be left out, which it then says on stderr. Where
/// `STARLING_REQUIRE_CLUSTER` is 1 nothing is left out, and what is missing fails the test.
pub(crate) fn left_out() -> bool {
    if required() {
        if let Err(why) = check() {
            panic!("{REQUIRED} is 1, and {why}");
        }
        return false;
    }
    let why = match check() {
        Ok(_) => format!("set {REQUIRED}=1 to run it."),
        Err(why) => format!("{why} Then set {REQUIRED}=1 to run it."),
    };
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a test of the cluster");
    // Written past the test's own capture: what is left out has to be seen.
    let _ = writeln!(std::io::stderr(), "left out: {name}: {why}");
    true
}

fn required() -> bool {
    env::var(REQUIRED).is_ok_and(|value| value == "1")
}

fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// The cgroup v1 hierarchies of this machine.
pub(crate) fn hierarchies() -> Result<Vec<PathBuf>> {
    let mounts = "/proc/self/mounts";
    let text = fs::read_to_string(mounts).trying(|| format!("read {mounts}"))?;
    let fields = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    Ok(fields
        .filter(|fields| fields.get(2) == Some(&"cgroup"))
        .filter_map(|fields| fields.get(1).map(PathBuf::from))
        .collect())
}
