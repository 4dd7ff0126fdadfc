//! Which addresses may be asked at all.
//!
//! Comes in: a host's name or address. Goes out: the addresses that it has and that may be
//! asked, or why none may. Whoever writes a policy says what an agent asks, from the
//! agent's place in the network: the secrets of its machine are kept from him.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{LazyLock, OnceLock};
use std::task::{Context, Poll};
use std::vec;

use hyper_util::client::legacy::connect::dns::Name;
use ipnet::IpNet;
use tower::Service;

use crate::Reason;

/// Where clouds tell a machine who it is and give it their keys, and what is on its own
/// link; never a place for metrics. Of the clouds that use another address than a link-local
/// one: AWS, GCP, Oracle, Scaleway, Linode and Alibaba by IPv6; Alibaba, Azure and Oracle.
const REFUSED: [&str; 11] = [
    "169.254.0.0/16",
    "fe80::/10",
    "fd00:ec2::/32",
    "fd20:ce::254/128",
    "fd00:c1::a9fe:a9fe/128",
    "fd00:42::42/128",
    "fd00:a9fe:a9fe::1/128",
    "fd00:100::100:200/128",
    "100.100.100.200/32",
    "168.63.129.16/32",
    "192.0.0.192/32",
];

/// Each of [`REFUSED`] is one.
static REFUSED_NETWORKS: LazyLock<Vec<IpNet>> =
    LazyLock::new(|| REFUSED.iter().filter_map(|it| it.parse().ok()).collect());

/// What the machine's settings say, for the whole process; nothing where they say nothing.
static STATED: OnceLock<Networks> = OnceLock::new();

/// The only networks in which questions are asked.
#[derive(Debug, Clone, Default)]
struct Networks(Option<Vec<IpNet>>);

/// Has all questions of this process asked in these networks alone, from now on; `None`
/// means in all but link-local ones and those in which clouds keep their metadata. Only the
/// first call counts.
pub fn limit(networks: Option<Vec<IpNet>>) {
    let _ = STATED.set(Networks(networks));
}

impl Networks {
    /// Why an address isn't asked; `None` where it may be.
    fn refusal(&self, address: IpAddr) -> Option<String> {
        // `::ffff:169.254.169.254` is no other place.
        let address = address.to_canonical();
        let within = |networks: &[IpNet]| networks.iter().any(|it| it.contains(&address));
        match &self.0 {
            Some(stated) if within(stated) => None,
            Some(_) => Some(format!(
                "{address} isn't asked: it is in none of the networks of `sources.networks` in \
                 the agent's settings"
            )),
            None if within(&REFUSED_NETWORKS) => Some(format!(
                "{address} isn't asked: it is an address of this machine's link or of its \
                 cloud's metadata; where metrics are to be had there, name its network in \
                 `sources.networks` of the agents' settings, with all others that are asked"
            )),
            None => None,
        }
    }

    /// Those that may be asked, or why not the first of them.
    fn allowed(&self, found: impl Iterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, String> {
        let (mut allowed, mut refused) = (Vec::new(), None);
        for address in found {
            match self.refusal(address.ip()) {
                None => allowed.push(address),
                Some(why) => refused = refused.or(Some(why)),
            }
        }
        match refused {
            Some(why) if allowed.is_empty() => Err(why),
            _ => Ok(allowed),
        }
    }
}

fn networks() -> &'static Networks {
    static UNSTATED: Networks = Networks(None);
    STATED.get().unwrap_or(&UNSTATED)
}

/// The addresses of a host that may be asked.
pub(crate) async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host((host, port)).await?;
    networks().allowed(found).map_err(io::Error::other)
}

/// Refuses a URL whose host is an address that isn't asked; a name is looked at when it is
/// resolved.
pub(crate) fn check(host: &str) -> Result<(), Reason> {
    let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let address = bare.unwrap_or(host).parse().ok();
    match address.and_then(|address| networks().refusal(address)) {
        Some(why) => Err(Reason::Connection(why)),
        None => Ok(()),
    }
}

/// Resolves names for HTTP.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Resolver;

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(async move {
            let allowed = addresses(name.as_str(), 0).await?;
            Ok(allowed.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(networks: &Networks, address: &str) -> Option<String> {
        networks.refusal(address.parse().unwrap())
    }

    #[test]
    fn link_local_and_metadata_addresses_are_refused_where_nothing_is_stated() {
        let all = Networks::default();
        assert_eq!(REFUSED_NETWORKS.len(), REFUSED.len());
        for address in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "fd00:42::42",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
        ] {
            let why = refusal(&all, address).unwrap();
            assert!(why.contains("isn't asked"), "{why}");
        }
        for address in ["127.0.0.1", "10.0.0.1", "::1", "fd00::1", "192.0.2.1"] {
            assert_eq!(refusal(&all, address), None, "{address}");
        }
    }

    #[test]
    fn where_networks_are_stated_they_alone_are_asked_whatever_they_are() {
        let stated = ["10.0.0.0/8", "169.254.20.10/32", "fd00::/8"];
        let stated = stated.map(|it| it.parse().unwrap()).to_vec();
        let stated = Networks(Some(stated));
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "169.254.20.10", "fd00::7"] {
            assert_eq!(refusal(&stated, address), None, "{address}");
        }
        for address in ["11.0.0.1", "169.254.169.254", "127.0.0.1", "fe80::1"] {
            let why = refusal(&stated, address).unwrap();
            assert!(why.contains("`sources.networks`"), "{why}");
        }
        assert!(refusal(&Networks(Some(Vec::new())), "10.0.0.1").is_some());
    }

    #[test]
    fn of_several_addresses_those_are_asked_that_may_be() {
        let found = ["169.254.1.1:80", "10.0.0.1:80"].map(|it| it.parse().unwrap());
        let all = Networks::default();
        assert_eq!(all.allowed(found.into_iter()), Ok(vec![found[1]]));
        let none = all.allowed(found[..1].iter().copied());
        assert!(none.unwrap_err().starts_with("169.254.1.1 isn't asked"));
        assert_eq!(all.allowed(std::iter::empty()), Ok(Vec::new()));
    }
}
