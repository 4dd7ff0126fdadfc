//! The listeners' addresses: port 0 lets the system choose, and the choice is
//! kept in the data directory so that a restarted agent is found where it was.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::config::Listen;

/// Bound sockets and the addresses that others use for them.
#[derive(Debug)]
pub struct Sockets {
    pub peer: TcpListener,
    pub gossip: UdpSocket,
    pub api: TcpListener,
    pub addresses: Addresses,
}

/// `<data_dir>/addresses.json`: where this agent can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    pub peer: String,
    pub gossip: String,
    pub api: String,
    /// Where this machine reaches it; agents of other machines don't ask.
    #[serde(default)]
    pub health: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "can't listen on {address} for {what}; end what uses the port (`ss -ltnup` shows it) or \
         change listen.{what}"
    )]
    Bind {
        what: &'static str,
        address: String,
        source: io::Error,
    },
    #[error("can't write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Binds the probes' listener, which serves before the others are there.
pub fn bind_health(listen: &Listen, data_dir: &Path) -> Result<TcpListener, Error> {
    let former = former(data_dir);
    let former = former.as_ref().map(|former| former.health.as_str());
    bind_one("health", &listen.health, former, TcpListener::bind)
}

/// Binds the other three. `advertise` is the host that others use in place of the
/// one listened on; `health` is bound already.
pub fn bind(
    listen: &Listen,
    advertise: Option<&str>,
    data_dir: &Path,
    health: &TcpListener,
) -> Result<Sockets, Error> {
    let former = former(data_dir);
    let former = |pick: fn(&Addresses) -> &String| former.as_ref().map(|f| pick(f).as_str());
    let peer = bind_one("peer", &listen.peer, former(|f| &f.peer), TcpListener::bind)?;
    let gossip = bind_one(
        "gossip",
        &listen.gossip,
        former(|f| &f.gossip),
        UdpSocket::bind,
    )?;
    let api = bind_one("api", &listen.api, former(|f| &f.api), TcpListener::bind)?;
    let reached = |what, address: io::Result<SocketAddr>| {
        let address = address.map_err(|source| Error::Bind {
            what,
            address: String::new(),
            source,
        })?;
        Ok(match advertise {
            Some(host) if host.contains(':') => format!("[{host}]:{}", address.port()),
            Some(host) => format!("{host}:{}", address.port()),
            None => address.to_string(),
        })
    };
    let addresses = Addresses {
        peer: reached("peer", peer.local_addr())?,
        gossip: reached("gossip", gossip.local_addr())?,
        api: reached("api", api.local_addr())?,
        health: health
            .local_addr()
            .map_or_else(|_| listen.health.clone(), |address| address.to_string()),
    };
    Ok(Sockets {
        peer,
        gossip,
        api,
        addresses,
    })
}

/// Keeps the addresses for the next start. Only for the agent that holds the
/// data directory: another one's addresses must not replace them.
pub fn keep(addresses: &Addresses, data_dir: &Path) -> Result<(), Error> {
    let path = file(data_dir);
    write(&path, addresses).map_err(|source| Error::Write { path, source })
}

fn former(data_dir: &Path) -> Option<Addresses> {
    let bytes = fs::read(file(data_dir)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("addresses.json")
}

/// Whoever reads the file sees the former or the new one, never a part.
fn write(path: &Path, addresses: &Addresses) -> io::Result<()> {
    let part = path.with_extension("json.part");
    fs::write(&part, serde_json::to_vec_pretty(addresses)?)?;
    fs::rename(part, path)
}

/// Where the port is left to the system, the one of the last run is tried
/// first; if it is taken by now, any other does.
fn bind_one<S>(
    what: &'static str,
    listen: &str,
    former: Option<&str>,
    bind: fn(SocketAddr) -> io::Result<S>,
) -> Result<S, Error> {
    let error = |source| Error::Bind {
        what,
        address: listen.to_owned(),
        source,
    };
    let address = listen
        .to_socket_addrs()
        .map_err(error)?
        .next()
        .ok_or_else(|| error(io::Error::other("the name has no address")))?;
    if address.port() == 0
        && let Some(port) = former.and_then(|f| f.rsplit_once(':')?.1.parse().ok())
    {
        match bind(SocketAddr::new(address.ip(), port)) {
            Ok(socket) => return Ok(socket),
            Err(why) => warn!(what, port, %why, "the port of the last run is taken; moving"),
        }
    }
    bind(address).map_err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(port: u16) -> Listen {
        let address = format!("127.0.0.1:{port}");
        Listen {
            peer: address.clone(),
            gossip: address.clone(),
            api: address.clone(),
            health: address,
        }
    }

    fn bind_all(
        listen: &Listen,
        advertise: Option<&str>,
        data_dir: &Path,
    ) -> Result<(Sockets, TcpListener), Error> {
        let health = bind_health(listen, data_dir)?;
        Ok((bind(listen, advertise, data_dir, &health)?, health))
    }

    #[test]
    fn a_restarted_agent_keeps_the_ports_that_the_system_chose() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = bind_all(&listen(0), None, dir.path()).expect("binds");
        let addresses = first.0.addresses.clone();
        keep(&addresses, dir.path()).expect("kept");
        drop(first);
        let second = bind_all(&listen(0), None, dir.path()).expect("binds again");
        assert_eq!(second.0.addresses, addresses);
    }

    #[test]
    fn a_port_that_was_taken_meanwhile_is_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = bind_all(&listen(0), None, dir.path()).expect("binds");
        keep(&first.0.addresses, dir.path()).expect("kept");
        let second = bind_all(&listen(0), None, dir.path()).expect("binds others");
        assert_ne!(first.0.addresses.peer, second.0.addresses.peer);
    }

    #[test]
    fn a_stated_port_that_is_in_use_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("an address").port();
        let settings = Listen {
            health: "127.0.0.1:0".into(),
            ..listen(port)
        };
        let error = bind_all(&settings, None, dir.path()).expect_err("in use");
        let words = error.to_string();
        assert!(words.contains(&port.to_string()), "{words}");
        assert!(words.contains("listen.peer"), "{words}");
    }

    #[test]
    fn the_advertised_host_replaces_the_one_listened_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let (sockets, _) = bind_all(&listen(0), Some("10.0.0.7"), dir.path()).expect("binds");
        assert!(sockets.addresses.peer.starts_with("10.0.0.7:"));
    }
}
