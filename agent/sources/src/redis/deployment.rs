//! How a Redis is deployed: as one server, as a master that sentinels know, or as a cluster.
//!
//! Comes in: a trigger's metadata, and the parameters of its authentication. Goes out: who
//! is asked first, and in whose name.

use super::server::{Account, Server};
use crate::Reason;
use crate::secrets::{AUTHENTICATION, Secrets};
use crate::settings::{Metadata, Wrong, flag, shown, text};
use crate::stream::Address;
use crate::tls::{self, Trust};

/// A Redis has 16 by default, and more where it is told so.
const DATABASE_MAX: i64 = 1_000_000;
/// Of the members of a cluster, and of the sentinels, that a trigger may name.
const ADDRESSES_MAX: usize = 32;
/// Names that aren't secret, and may stand in the metadata too.
const NAMES: [&str; 3] = ["username", "sentinelUsername", MASTER];
const MASTER: &str = "sentinelMaster";
/// Of such a name.
const NAME_BYTES_MAX: usize = 253;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Single,
    Sentinel,
    Cluster,
}

/// By which settings addresses are said.
struct Said {
    address: &'static str,
    host: &'static str,
    port: &'static str,
}

/// Where the number is.
#[derive(Debug)]
pub(super) enum Deployment {
    Single(Server),
    /// On the master of this name.
    Sentinel {
        sentinels: Vec<Server>,
        master: String,
        account: Account,
    },
    /// On one of its nodes, of which these are some.
    Cluster(Vec<Server>),
}

impl Form {
    pub(super) fn keys(self) -> &'static [&'static str] {
        match self {
            Form::Single => &[
                "address",
                "host",
                "port",
                "username",
                "databaseIndex",
                "enableTLS",
                "unsafeSsl",
            ],
            Form::Sentinel => &[
                "addresses",
                "hosts",
                "ports",
                MASTER,
                "sentinelUsername",
                "username",
                "databaseIndex",
                "enableTLS",
                "unsafeSsl",
            ],
            Form::Cluster => &[
                "addresses",
                "hosts",
                "ports",
                "username",
                "enableTLS",
                "unsafeSsl",
            ],
        }
    }

    fn said(self) -> Said {
        match self {
            Form::Single => Said {
                address: "address",
                host: "host",
                port: "port",
            },
            Form::Sentinel | Form::Cluster => Said {
                address: "addresses",
                host: "hosts",
                port: "ports",
            },
        }
    }

    fn parts(self, text: &str) -> Vec<&str> {
        match self {
            Form::Single => vec![text],
            Form::Sentinel | Form::Cluster => text.split(',').map(str::trim).collect(),
        }
    }

    fn whole(self, text: &str) -> Result<Vec<Address>, String> {
        let addresses = self.parts(text);
        few(&addresses)?;
        addresses.into_iter().map(Address::parse).collect()
    }

    /// As with KEDA the first host has the first port, and so on.
    fn pairs(self, hosts: &str, ports: &str) -> Result<Vec<Address>, String> {
        let (hosts, ports) = (self.parts(hosts), self.parts(ports));
        few(&hosts)?;
        if hosts.len() != ports.len() {
            let (hosts, ports) = (hosts.len(), ports.len());
            return Err(format!(
                "each host needs its port: {hosts} and {ports} are said"
            ));
        }
        let both = hosts.into_iter().zip(ports);
        both.map(|(host, port)| Address::of(host, port)).collect()
    }

    pub(super) fn check(self, metadata: &Metadata) -> Wrong {
        let mut wrong = Wrong::new();
        let mut fails = |key: &str, why: String| wrong.push((key.to_owned(), why));
        let Said {
            address,
            host,
            port,
        } = self.said();
        let has = |key: &str| metadata.contains_key(key);
        let refers = has(AUTHENTICATION);
        if has(address) && (has(host) || has(port)) {
            fails(address, format!("says what `{host}` and `{port}` say too"));
        } else if let Some(written) = metadata.get(address) {
            if let Err(why) = self.whole(written) {
                fails(address, why);
            }
        } else if has(host) && has(port) {
            if let Err(why) = self.pairs(text(metadata, host), text(metadata, port)) {
                fails(host, why);
            }
        } else if !refers && (has(host) || has(port)) {
            fails("", format!("`{host}` and `{port}` go together"));
        } else if !refers {
            let why = "is missing: HOST:PORT here, or as a parameter of an `authenticationRef`";
            fails("", format!("`{address}` {why}"));
        }
        if self == Form::Sentinel && text(metadata, MASTER).is_empty() && !refers {
            let why = "is missing: by what name the sentinels know the master";
            fails("", format!("`{MASTER}` {why}"));
        }
        for name in NAMES {
            let written = text(metadata, name);
            if written.len() > NAME_BYTES_MAX || written.contains(char::is_control) {
                let why = format!("is no name of at most {NAME_BYTES_MAX} bytes");
                fails(name, why);
            }
        }
        if let Err(why) = database(metadata) {
            fails("databaseIndex", why);
        }
        for key in ["enableTLS", "unsafeSsl"] {
            if let Err(why) = flag(metadata, key) {
                fails(key, why);
            }
        }
        wrong
    }

    /// As with KEDA what the authentication says counts before what the trigger does, and an
    /// address before a host and a port.
    fn addresses(self, metadata: &Metadata, secrets: &Secrets) -> Result<Vec<Address>, Reason> {
        let Said {
            address,
            host,
            port,
        } = self.said();
        if let Some(written) = secrets.get(address) {
            return self.whole(written).map_err(|_| unusable(address));
        }
        if let Some(written) = metadata.get(address) {
            return self.whole(written).map_err(Reason::Misconfigured);
        }
        let (Some(hosts), Some(ports)) = (
            either(metadata, secrets, host),
            either(metadata, secrets, port),
        ) else {
            let why = "and neither has its authentication";
            return Err(Reason::Secret(format!(
                "the trigger has no `{address}`, {why}"
            )));
        };
        // What a host from the authentication holds isn't shown.
        let hidden = [host, port]
            .into_iter()
            .find(|it| secrets.get(it).is_some());
        self.pairs(hosts, ports).map_err(|why| match hidden {
            Some(parameter) => unusable(parameter),
            None => Reason::Misconfigured(why),
        })
    }
}

fn few(addresses: &[&str]) -> Result<(), String> {
    let count = addresses.len();
    if count > ADDRESSES_MAX {
        return Err(format!(
            "names {count} servers; {ADDRESSES_MAX} at most are asked where the others are"
        ));
    }
    Ok(())
}

/// It may hold more than an address, and is not shown.
fn unusable(parameter: &str) -> Reason {
    Reason::Secret(format!(
        "the parameter `{parameter}` of the trigger's authentication makes no HOST:PORT"
    ))
}

fn either<'a>(metadata: &'a Metadata, secrets: &'a Secrets, key: &str) -> Option<&'a str> {
    let said = Some(text(metadata, key)).filter(|it| !it.is_empty());
    secrets.get(key).or(said)
}

fn database(metadata: &Metadata) -> Result<i64, String> {
    let Some(written) = metadata.get("databaseIndex") else {
        return Ok(0);
    };
    let number = written.parse().ok();
    let number = number.filter(|number| (0..=DATABASE_MAX).contains(number));
    number.ok_or_else(|| format!("must be 0 to {DATABASE_MAX}, is `{}`", shown(written)))
}

/// Whom a connection over TLS trusts, where it is to be one.
fn trust(metadata: &Metadata, secrets: &Secrets) -> Result<Option<Trust>, Reason> {
    let asked = flag(metadata, "enableTLS").map_err(Reason::Misconfigured)?;
    let secure = tls::is_wanted(secrets, asked, "`enableTLS`")?;
    let anyone = flag(metadata, "unsafeSsl").map_err(Reason::Misconfigured)?;
    Ok(secure.then(|| Trust::of(secrets, anyone)))
}

impl Deployment {
    pub(super) fn of(
        form: Form,
        metadata: &Metadata,
        secrets: &Secrets,
    ) -> Result<Deployment, Reason> {
        let addresses = form.addresses(metadata, secrets)?;
        let own = |key: &str| either(metadata, secrets, key).map(str::to_owned);
        let account = Account {
            database: database(metadata).map_err(Reason::Misconfigured)?,
            user: own("username"),
            password: secrets.get("password").map(str::to_owned),
            parameter: "password",
            trust: trust(metadata, secrets)?,
            in_cluster: form == Form::Cluster,
        };
        let all = |account: &Account| {
            let servers = addresses.iter().cloned();
            let servers = servers.map(|address| Server {
                address,
                account: account.clone(),
            });
            servers.collect::<Vec<_>>()
        };
        Ok(match form {
            Form::Single => {
                let first = all(&account).into_iter().next();
                Deployment::Single(first.ok_or_else(|| unusable("address"))?)
            }
            Form::Cluster => Deployment::Cluster(all(&account)),
            Form::Sentinel => Deployment::Sentinel {
                master: own(MASTER).ok_or_else(|| {
                    let why = "the trigger has no `sentinelMaster`, and neither has its \
                               authentication";
                    Reason::Secret(why.to_owned())
                })?,
                sentinels: all(&Account {
                    database: 0,
                    user: own("sentinelUsername"),
                    password: secrets.get("sentinelPassword").map(str::to_owned),
                    parameter: "sentinelPassword",
                    ..account.clone()
                }),
                account,
            },
        })
    }
}
