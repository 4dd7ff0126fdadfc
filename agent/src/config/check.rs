//! What the settings must be, beyond their form: names, addresses, directories.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use starling_policy::{is_label, is_subdomain};

use super::{Config, Sources, kubernetes, span};

/// Bytes in a node's or a cluster's name.
const NAME_BYTES_MAX: usize = 63;
/// More seeds are refused; a handful is enough to find the rest.
const SEEDS_MAX: usize = 64;
/// More networks are refused; those that are asked are few.
const NETWORKS_MAX: usize = 256;
/// Bytes in a host's name.
const HOST_BYTES_MAX: usize = 253;

pub(super) type Violations = Vec<(String, String)>;

/// Fills in the node's name, makes paths absolute and says what is wrong.
pub(super) fn check(
    config: &mut Config,
    base: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Violations {
    let mut wrong = Violations::new();
    kubernetes::check(config, base, environment, &mut wrong);
    names(config, &mut wrong);
    if config.listen.health.is_empty() {
        config.listen.health = match config.kubernetes {
            Some(_) => "0.0.0.0:7403".into(),
            None => "127.0.0.1:7403".into(),
        };
    }
    addresses(config, &mut wrong);
    members(config, &mut wrong);
    if !config.bootstrap && config.seeds.is_empty() && config.kubernetes.is_none() {
        wrong.push((
            "seeds".into(),
            "is empty: name the peer addresses of other agents, or set `bootstrap: true` on \
             exactly one agent, which founds the cluster"
                .into(),
        ));
    }
    directories(config, base, &mut wrong);
    sources(&config.sources, &mut wrong);
    wrong
}

fn sources(sources: &Sources, wrong: &mut Violations) {
    let stated = sources.networks.as_deref().unwrap_or_default();
    if sources.networks.is_some() && stated.is_empty() {
        let why = "is empty: name the networks that may be asked, or leave it out";
        wrong.push(("sources.networks".into(), why.into()));
    }
    if stated.len() > NETWORKS_MAX {
        let count = stated.len();
        let why = format!("holds {count}; at most {NETWORKS_MAX} are allowed");
        wrong.push(("sources.networks".into(), why));
    }
    for (index, network) in stated.iter().enumerate() {
        if network.parse::<IpNet>().is_err() {
            let shown = network.escape_debug();
            wrong.push((
                format!("sources.networks[{index}]"),
                format!("`{shown}` is not a network: write one such as 10.0.0.0/8 or fd00::/8"),
            ));
        }
    }
}

fn names(config: &mut Config, wrong: &mut Violations) {
    if !is_label(&config.cluster) {
        wrong.push((
            "cluster".into(),
            format!(
                "`{}` is not a name: write 1 to {NAME_BYTES_MAX} of a-z, 0-9 and `-`, beginning \
                 and ending with a letter or digit",
                config.cluster.escape_debug()
            ),
        ));
    }
    // A pod's own host name is another one with each start.
    if config.node.is_none() && config.kubernetes.is_some() {
        return;
    }
    let given = config.node.is_some();
    let node = config.node.get_or_insert_with(|| {
        let host = rustix::system::uname();
        host.nodename().to_string_lossy().to_lowercase()
    });
    if !is_subdomain(node, NAME_BYTES_MAX) {
        let what = if given { "" } else { " (this host's name)" };
        wrong.push((
            "node".into(),
            format!(
                "`{}`{what} is not a name: write 1 to {NAME_BYTES_MAX} of a-z, 0-9, `-` and `.`, \
                 beginning and ending with a letter or digit",
                node.escape_debug()
            ),
        ));
    }
}

/// How the membership is kept, and what this agent says of itself for it.
fn members(config: &Config, wrong: &mut Violations) {
    if let Some(zone) = config.zone.as_ref().filter(|zone| !is_zone(zone)) {
        wrong.push((
            "zone".into(),
            format!(
                "`{}` is not a zone's name: write 1 to {NAME_BYTES_MAX} of a-z, A-Z, 0-9, `-`, `_` \
                 and `.`, beginning and ending with a letter or digit",
                zone.escape_debug()
            ),
        ));
    }
    if !matches!(config.voters_max, 1 | 3 | 5 | 7) {
        wrong.push((
            "votersMax".into(),
            format!("is {}; write 1, 3, 5 or 7", config.voters_max),
        ));
    }
    if let Err(why) = span::parse(&config.forget_after) {
        wrong.push((
            "forgetAfter".into(),
            format!("`{}` {why}", config.forget_after.escape_debug()),
        ));
    }
}

/// As the value of a label of Kubernetes.
fn is_zone(text: &str) -> bool {
    let outer = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.len() <= NAME_BYTES_MAX
        && text.bytes().all(inner)
        && outer(text.bytes().next())
        && outer(text.bytes().last())
}

fn addresses(config: &Config, wrong: &mut Violations) {
    let listen = [
        ("listen.peer", &config.listen.peer),
        ("listen.gossip", &config.listen.gossip),
        ("listen.api", &config.listen.api),
        ("listen.health", &config.listen.health),
    ];
    for (field, address) in listen {
        if split(address).is_none() {
            wrong.push((
                field.into(),
                format!(
                    "`{}` is not HOST:PORT, such as 0.0.0.0:7400",
                    address.escape_debug()
                ),
            ));
        }
    }
    if config.seeds.len() > SEEDS_MAX {
        wrong.push((
            "seeds".into(),
            format!(
                "holds {}; at most {SEEDS_MAX} are allowed",
                config.seeds.len()
            ),
        ));
    }
    for (index, seed) in config.seeds.iter().enumerate() {
        if split(seed).is_none_or(|(_, port)| port == 0) {
            wrong.push((
                format!("seeds[{index}]"),
                format!(
                    "`{}` is not the HOST:PORT of another agent's peer listener, such as \
                     10.0.0.2:7400",
                    seed.escape_debug()
                ),
            ));
        }
    }
    if let Some(host) = config.advertise.as_ref().filter(|host| !is_host(host)) {
        wrong.push((
            "advertise".into(),
            format!(
                "`{}` is not a host: write a name or an address, without a port",
                host.escape_debug()
            ),
        ));
    }
}

/// Host and port; an IPv6 address stands in brackets.
fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .filter(|host| host.parse::<std::net::Ipv6Addr>().is_ok())?,
        None => Some(host).filter(|host| !host.contains(':') && is_host(host))?,
    };
    let port = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((host, port.parse().ok()?))
}

fn is_host(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok()
        || is_subdomain(&host.to_ascii_lowercase(), HOST_BYTES_MAX)
}

fn directories(config: &mut Config, base: &Path, wrong: &mut Violations) {
    config.data_dir = base.join(&config.data_dir);
    config.keys = config.keys.take().map(|path| base.join(path));
    config.policies = config.policies.take().map(|path| base.join(path));
    config.authentications = config.authentications.take().map(|path| base.join(path));
    if let Err(why) = writable(&config.data_dir) {
        wrong.push(("dataDir".into(), why));
    }
    let unlisted = |path: &PathBuf| fs::read_dir(path).err().map(|error| (path.clone(), error));
    if let Some((path, error)) = config.keys.as_ref().and_then(unlisted) {
        wrong.push((
            "keys".into(),
            format!(
                "{} can't be read ({error}); make it with `starling keys`, and see that this \
                 user may read it",
                path.display()
            ),
        ));
    }
    if config.keys.is_none() && config.kubernetes.is_none() {
        let why = "is missing: name the directory of this agent that `starling keys` made";
        wrong.push(("keys".into(), why.into()));
    }
    for (field, named) in [
        ("policies", &config.policies),
        ("authentications", &config.authentications),
    ] {
        if let Some((path, error)) = named.as_ref().and_then(unlisted) {
            wrong.push((
                field.into(),
                format!(
                    "{} is not a directory that can be read ({error}); make it, even if it stays \
                     empty",
                    path.display()
                ),
            ));
        }
    }
}

/// Makes the directory where it doesn't exist, for this user only, and tries to
/// write to it.
fn writable(path: &Path) -> Result<(), String> {
    let failed = |verb: &str, error: std::io::Error| {
        format!(
            "{} can't be {verb} ({error}); choose a directory that this user may write to",
            path.display()
        )
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| failed("made", error))?;
    tempfile::tempfile_in(path).map_err(|error| failed("written to", error))?;
    Ok(())
}
