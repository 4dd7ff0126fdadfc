//! The room of a cluster's identities: certificates for TLS and keys for sealed
//! datagrams.
//!
//! Comes in: who shall have one, or a directory that `starling keys` made. Goes
//! out: files that never replace others, or checked PEM texts and keys.
//!
//! Never talks to anyone, never shows a key in a log or a message, and never
//! decides whom to believe: that is for whoever is called.
//!
//! Another kind of certificate is a `certificate::Role`; another secret gets a
//! file of its own beside `ring`. What is read from disk goes through `file`,
//! which minds who else may read it.

mod certificate;
mod error;
pub mod file;
mod renew;
mod ring;
mod rotate;
pub mod watch;

use std::fmt;
use std::path::{Path, PathBuf};

use starling_consensus::Tls;

pub use certificate::{
    Authority, Expired, Leaf, Paths, Role, Unsigned, day, due, unsigned, validity,
};
pub use error::Error;
pub use renew::{Renewed, renew};
pub use ring::{KEYS_MAX, Key};
pub use rotate::{Rotated, Step, rotate};

/// Every agent's certificate has this name; TLS clients verify servers by it.
pub const PEER: &str = "peer.starling";
/// The name in users' certificates.
pub const CLIENT: &str = "client.starling";
/// The longest cluster or node name, as for a DNS label.
pub const NAME_BYTES_MAX: usize = 63;
/// How long a new certificate authority is valid.
pub const AUTHORITY_DAYS: u64 = 3_650;
/// How long nodes' and users' certificates are valid at most, if their authority is.
pub const LEAF_DAYS: u64 = 730;
/// Each ends up to so many days earlier, by chance: with three nodes, two end on the same
/// day in one of 30 clusters.
pub const LEAF_SPREAD_DAYS: u64 = 90;

const CA: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
const RING: &str = "gossip.keys";
const NODE: &str = "node.pem";
const NODE_KEY: &str = "node.key";
const USER: &str = "client.pem";
const USER_KEY: &str = "client.key";
/// The directory of users among those of nodes.
const USERS: &str = "client";

/// What `starling keys` is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    pub cluster: String,
    pub nodes: Vec<Node>,
}

/// A node and the further host names and addresses that its certificate holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub hosts: Vec<String>,
}

/// `NAME` or `NAME=HOST,HOST`.
impl std::str::FromStr for Node {
    type Err = Error;

    fn from_str(text: &str) -> Result<Node, Error> {
        let (name, hosts) = text.split_once('=').unwrap_or((text, ""));
        let node = Node {
            name: name.to_owned(),
            hosts: hosts
                .split(',')
                .filter(|host| !host.is_empty())
                .map(str::to_owned)
                .collect(),
        };
        check_name("node", &node.name)?;
        Ok(node)
    }
}

/// What an agent needs to be one of its cluster.
#[derive(Debug, Clone)]
pub struct Keys {
    pub tls: Tls,
    /// At most [`KEYS_MAX`]; the first one seals, all of them open.
    pub gossip: Vec<Key>,
}

/// What [`generate`] did; its `Display` is meant for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub directory: PathBuf,
    pub made: Vec<PathBuf>,
    /// Was there before, and is as it was.
    pub kept: Vec<PathBuf>,
    /// Days (`YYYY-MM-DD`): on which the authority ends, and on which new certificates do at
    /// the earliest.
    pub authority_until: String,
    pub leafs_until: String,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for path in &self.made {
            writeln!(f, "made {}", path.display())?;
        }
        for path in &self.kept {
            writeln!(f, "kept {} as it was", path.display())?;
        }
        writeln!(
            f,
            "The authority is valid until {}, new certificates until {} at least.",
            self.authority_until, self.leafs_until
        )?;
        write!(
            f,
            "Copy each node's directory to its machine, and keep {} away from all of them.",
            self.directory.join(CA_KEY).display()
        )
    }
}

/// Makes `out`/{`ca.pem`, `ca.key`, `gossip.keys`}, a directory for each node with
/// {`ca.pem`, `node.pem`, `node.key`, `gossip.keys`}, and `client` with {`ca.pem`,
/// `client.pem`, `client.key`}.
///
/// What is there already stays as it is: a second run adds nodes to the same
/// cluster. A directory for a node appears whole or not at all.
pub fn generate(out: &Path, request: &Request) -> Result<Made, Error> {
    check(request)?;
    file::make_directory(out)?;
    let mut made = Vec::new();
    let mut kept = Vec::new();
    let existing = [CA, CA_KEY, RING]
        .iter()
        .any(|name| out.join(name).exists());
    let (authority, ring) = if existing {
        reopen(out, Some(&request.cluster))?
    } else {
        found(out, &request.cluster)?
    };
    let list = if existing { &mut kept } else { &mut made };
    list.extend([CA, CA_KEY, RING].map(|name| out.join(name)));

    for node in &request.nodes {
        let directory = out.join(&node.name);
        if directory.exists() {
            kept.push(directory);
            continue;
        }
        let leaf = authority.issue(Role::Node(node))?;
        let files = [
            (CA, authority.certificate.as_str()),
            (NODE, &leaf.certificate),
            (NODE_KEY, &leaf.key),
            (RING, &ring),
        ];
        file::write_directory(&directory, &files)?;
        made.push(directory);
    }
    let directory = out.join(USERS);
    if directory.exists() {
        kept.push(directory);
    } else {
        let leaf = authority.issue(Role::Client)?;
        let files = [
            (CA, authority.certificate.as_str()),
            (USER, &leaf.certificate),
            (USER_KEY, &leaf.key),
        ];
        file::write_directory(&directory, &files)?;
        made.push(directory);
    }
    Ok(Made {
        directory: out.to_owned(),
        made,
        kept,
        authority_until: authority.until(),
        leafs_until: authority.leafs_until(),
    })
}

/// Reads the directory of the node called `name` and checks that its parts
/// belong together. The files may also be called as in a Secret of cert-manager's:
/// `ca.crt`, `tls.crt`, `tls.key`.
pub fn load(dir: &Path, name: &str) -> Result<Keys, Error> {
    load_with(dir, name, Expired::Refused)
}

/// The same, where it may be all right that the certificate has expired.
pub fn load_with(dir: &Path, name: &str, expired: Expired) -> Result<Keys, Error> {
    let gossip = dir.join(RING);
    let tls = load_tls(dir, "node", &[PEER, name], expired)?;
    Ok(Keys {
        tls,
        gossip: ring::parse(&gossip, &file::read_secret(&gossip)?)?,
    })
}

/// Reads a user's directory and checks that its parts belong together.
pub fn load_client(dir: &Path) -> Result<Tls, Error> {
    load_tls(dir, "client", &[CLIENT], Expired::Refused)
}

/// The text of a node's key ring.
pub fn ring_text(dir: &Path) -> Result<String, Error> {
    file::read_secret(&dir.join(RING))
}

/// The keys in such a text.
pub fn ring_of(text: &str) -> Result<Vec<Key>, Error> {
    ring::parse(Path::new(RING), text)
}

/// The text of a ring with these keys, and the comments of another one.
pub fn ring_lines(comments: &str, keys: &[Key]) -> String {
    ring::text(comments, keys)
}

/// Puts a ring in place of the node's former one.
pub fn put_ring(dir: &Path, text: &str) -> Result<(), Error> {
    file::replace(&dir.join(RING), text)
}

/// The text of a new key ring.
pub fn new_ring(cluster: &str) -> Result<String, Error> {
    ring::generate(cluster)
}

/// Where the parts of the identity in `dir` are; `stem` is `node` or `client`.
pub fn paths(dir: &Path, stem: &str) -> Paths {
    let secret = dir.join("tls.crt");
    if secret.exists() {
        return Paths {
            ca: dir.join("ca.crt"),
            certificate: secret,
            key: dir.join("tls.key"),
        };
    }
    Paths {
        ca: dir.join(CA),
        certificate: dir.join(format!("{stem}.pem")),
        key: dir.join(format!("{stem}.key")),
    }
}

fn load_tls(dir: &Path, stem: &str, names: &[&str], expired: Expired) -> Result<Tls, Error> {
    let paths = paths(dir, stem);
    let tls = Tls {
        ca: file::read(&paths.ca)?,
        certificate: file::read(&paths.certificate)?,
        key: file::read_secret(&paths.key)?,
    };
    certificate::check(&paths, &tls, names, expired)?;
    Ok(tls)
}

/// A new authority and key ring in an empty place.
fn found(out: &Path, cluster: &str) -> Result<(Authority, String), Error> {
    let authority = Authority::found(cluster)?;
    let ring = ring::generate(cluster)?;
    file::write_new(&out.join(CA_KEY), &authority.key_pem())?;
    file::write_new(&out.join(RING), &ring)?;
    file::write_new(&out.join(CA), &authority.certificate)?;
    Ok((authority, ring))
}

/// The authority and key ring that are there, if they are there in full.
fn reopen(out: &Path, cluster: Option<&str>) -> Result<(Authority, String), Error> {
    let paths = [CA, CA_KEY, RING].map(|name| out.join(name));
    if let (Some(missing), Some(beside)) = (
        paths.iter().find(|path| !path.exists()),
        paths.iter().find(|path| path.exists()),
    ) {
        return Err(Error::Incomplete {
            path: missing.clone(),
            beside: beside.clone(),
        });
    }
    let [ca, ca_key, ring_path] = paths;
    let certificate = file::read(&ca)?;
    let key = file::read_secret(&ca_key)?;
    let authority = Authority::open(&ca, certificate, &ca_key, &key, cluster)?;
    let ring = file::read_secret(&ring_path)?;
    ring::parse(&ring_path, &ring)?;
    Ok((authority, ring))
}

fn check(request: &Request) -> Result<(), Error> {
    check_name("cluster", &request.cluster)?;
    for (index, node) in request.nodes.iter().enumerate() {
        check_name("node", &node.name)?;
        if node.name == USERS {
            return Err(Error::name("node", "client", "is the directory of users"));
        }
        if request.nodes[..index].iter().any(|n| n.name == node.name) {
            return Err(Error::name("node", &node.name, "is there twice"));
        }
        for host in &node.hosts {
            if host.parse::<std::net::IpAddr>().is_err() {
                check_host(host)?;
            }
        }
    }
    Ok(())
}

/// Whether a node may be called so, and can be given a certificate.
pub fn check_node(name: &str) -> Result<(), Error> {
    check_name("node", name)
}

/// Names become DNS names in certificates and names of directories.
fn check_name(what: &'static str, name: &str) -> Result<(), Error> {
    if name.len() > NAME_BYTES_MAX {
        return Err(Error::name(what, name, "is longer than 63 characters"));
    }
    check_dns(what, name)
}

fn check_host(host: &str) -> Result<(), Error> {
    if host.len() > 253 {
        return Err(Error::name("host", host, "is longer than 253 characters"));
    }
    check_dns("host", host)
}

fn check_dns(what: &'static str, name: &str) -> Result<(), Error> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if !name.split('.').all(label) {
        let why = "must be letters, digits and '-', in parts joined by '.'";
        return Err(Error::name(what, name, why));
    }
    // Otherwise a node could be given a user's identity, or the other way round.
    if name.to_ascii_lowercase().ends_with(".starling") {
        return Err(Error::name(
            what,
            name,
            "ends in .starling, which is reserved",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
