//! Where `host:port` is. Literal addresses are used at once; names are looked up
//! beside the gossip task, which never waits for one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::NODES_MAX;

/// The longest `host:port`: a DNS name of 253 bytes, a colon and 5 digits.
pub const BYTES_MAX: usize = 259;
/// What was looked up is looked up again after this long, and used meanwhile.
const FRESH: Duration = Duration::from_secs(30);
/// A name that wasn't found is tried again after this long.
const RETRY: Duration = Duration::from_secs(2);
/// Look-ups at a time. Further ones wait for the next datagram to the same name.
const LOOKUPS_MAX: usize = 16;

/// What is known of names; at most [`NODES_MAX`], the oldest is forgotten.
#[derive(Debug)]
pub struct Addresses {
    /// The socket's family.
    ipv4: bool,
    names: BTreeMap<String, Found>,
    lookups: JoinSet<(String, Option<SocketAddr>)>,
}

#[derive(Debug)]
struct Found {
    at: Option<SocketAddr>,
    asked: Instant,
    asking: bool,
}

/// Whether this is a host and a port, as far as that can be seen from the text.
pub fn is_sound(address: &str) -> bool {
    if let Ok(address) = address.parse::<SocketAddr>() {
        return address.port() != 0 && !address.ip().is_unspecified();
    }
    let part = address.rsplit_once(':');
    address.len() <= BYTES_MAX
        && part.is_some_and(|(host, port)| {
            !host.is_empty()
                && !host.contains(|c: char| c == ':' || c.is_whitespace())
                && port.parse::<u16>().is_ok_and(|port| port != 0)
        })
}

impl Addresses {
    pub fn new(ipv4: bool) -> Addresses {
        Addresses {
            ipv4,
            names: BTreeMap::new(),
            lookups: JoinSet::new(),
        }
    }

    /// `None` while it isn't known; asking for it starts finding out.
    pub fn find(&mut self, address: &str, now: Instant) -> Option<SocketAddr> {
        if let Ok(literal) = address.parse() {
            return reachable(self.ipv4, literal);
        }
        let known = self.names.get(address).is_some_and(|found| {
            let fresh = if found.at.is_some() { FRESH } else { RETRY };
            found.asking || now.saturating_duration_since(found.asked) < fresh
        });
        if !known && is_sound(address) && self.lookups.len() < LOOKUPS_MAX {
            self.look_up(address, now);
        }
        self.names.get(address).and_then(|found| found.at)
    }

    /// Waits for a look-up to end; forever while there is none.
    pub async fn progress(&mut self) {
        match self.lookups.join_next().await {
            Some(Ok((address, at))) => {
                if let Some(found) = self.names.get_mut(&address) {
                    found.asking = false;
                    found.at = at.or(found.at);
                }
            }
            // A look-up that panicked leaves its name marked as being asked for;
            // forgetting what is marked lets it be asked for again.
            Some(Err(_)) => self.names.retain(|_, found| !found.asking),
            None => std::future::pending().await,
        }
    }

    fn look_up(&mut self, address: &str, now: Instant) {
        if self.names.len() >= NODES_MAX && !self.names.contains_key(address) {
            let oldest = self.names.iter().min_by_key(|(_, found)| found.asked);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.names.remove(&oldest);
            }
        }
        let at = self.names.get(address).and_then(|found| found.at);
        let found = Found {
            at,
            asked: now,
            asking: true,
        };
        self.names.insert(address.to_owned(), found);
        let (address, ipv4) = (address.to_owned(), self.ipv4);
        self.lookups.spawn(async move {
            let found = tokio::net::lookup_host(&address).await;
            let at = found
                .ok()
                .and_then(|mut all| all.find_map(|at| reachable(ipv4, at)));
            (address, at)
        });
    }
}

/// How a socket of one family sends to an address: one for IPv6 reaches IPv4 by
/// mapped addresses, one for IPv4 can't reach IPv6.
fn reachable(ipv4: bool, address: SocketAddr) -> Option<SocketAddr> {
    match address {
        SocketAddr::V4(old) if !ipv4 => Some(SocketAddr::new(
            old.ip().to_ipv6_mapped().into(),
            old.port(),
        )),
        SocketAddr::V6(_) if ipv4 => None,
        _ => Some(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for sound in [
            "192.0.2.1:7401",
            "[2001:db8::1]:7401",
            "a.example.org:1",
            "localhost:7401",
        ] {
            assert!(is_sound(sound), "{sound}");
        }
        let long = format!("{}:1", "x".repeat(BYTES_MAX));
        let unsound = [
            "",
            "host",
            "host:",
            ":7401",
            "host:0",
            "host:x",
            "host:65536",
            "a b:1",
        ];
        for unsound in unsound
            .into_iter()
            .chain(["0.0.0.0:7401", "[::]:1", "::1:80", &long])
        {
            assert!(!is_sound(unsound), "{unsound}");
        }
    }

    #[tokio::test]
    async fn a_name_is_found_after_it_was_asked_for() {
        let mut addresses = Addresses::new(true);
        let now = Instant::now();
        assert_eq!(addresses.find("localhost:7401", now), None);
        assert_eq!(addresses.find("localhost:7401", now), None, "asked twice");
        assert_eq!(addresses.lookups.len(), 1);
        addresses.progress().await;
        let expected = "127.0.0.1:7401".parse().ok();
        assert_eq!(addresses.find("localhost:7401", now), expected);
        assert!(addresses.lookups.is_empty(), "asked again while fresh");
        assert_eq!(addresses.find("localhost:7401", now + FRESH), expected);
        assert_eq!(addresses.lookups.len(), 1);
    }

    #[test]
    fn an_address_is_given_as_the_socket_can_send_to_it() {
        let (now, old, new) = (Instant::now(), "192.0.2.1:7401", "[2001:db8::1]:7401");
        let find = |ipv4, address| Addresses::new(ipv4).find(address, now);
        assert_eq!(find(true, old), old.parse().ok());
        assert_eq!(find(false, new), new.parse().ok());
        assert_eq!(find(false, old), "[::ffff:192.0.2.1]:7401".parse().ok());
        assert_eq!(find(true, new), None);
    }
}
