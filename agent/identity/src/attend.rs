//! What keeps an agent's identity while it runs.
//!
//! Comes in: a certificate in use and the ledger. Goes out: a renewed one at two
//! thirds of its life, or the reason why not, while the former one stays in use.
//! Also lets go of what only the start needs, and makes the leader keep the
//! cluster object.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use starling_consensus::tls::Validity;
use starling_consensus::{Credentials, Log};
use starling_engine::ledger;
use starling_kept::again;
use starling_keys::{Keys, validity};
use starling_kube::cluster::Cluster;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::ask::{ask_any, certify_self, shuffle};
use crate::store::{Papers, Store};
use crate::{Error, Established, Settings, object};

/// What is wrong, in words, by subject.
pub type Troubles = BTreeMap<String, String>;

/// The wall clock is looked at this often: a machine may sleep, or its clock be set.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// A renewal that fails is tried again within this time.
const PAUSE_MAX: Duration = Duration::from_mins(5);
/// Of a certificate's life, renewals spread over this part, so that agents that
/// started together don't renew together.
const JITTER: f64 = 0.05;
/// Renewals are no closer than this, however short a certificate's life: an
/// authority that is about to end gives short ones.
const APART: Duration = Duration::from_mins(1);
/// How often it is looked whether the ledger knows this agent by now.
const SETTLING: Duration = Duration::from_millis(500);
/// So long a start is waited for the ledger's members, who can be asked.
const REPLAYING: Duration = Duration::from_secs(5);

/// Everything that is needed to keep an identity.
pub struct Attendant {
    settings: Arc<Settings>,
    cluster: Cluster,
    store: Store,
    credentials: Credentials,
    /// Certificates of one's own are renewed by who made them.
    renews: bool,
    log: Log,
    troubles: watch::Sender<Troubles>,
}

impl Attendant {
    /// Starts what runs beside the agent; `own_keys` says that certificates come
    /// from elsewhere. It ends with the runtime.
    pub fn start(
        settings: Settings,
        established: Established,
        own_keys: bool,
        log: Log,
    ) -> watch::Receiver<Troubles> {
        let (troubles, seen) = watch::channel(Troubles::new());
        let attendant = Arc::new(Attendant {
            settings: Arc::new(settings),
            cluster: established.cluster,
            store: established.store,
            credentials: established.credentials,
            renews: !own_keys,
            log,
            troubles,
        });
        let (settles, discovery) = (attendant.clone(), established.discovery);
        tokio::spawn(async move {
            again("the end of what only a start needs", move || {
                settle(settles.clone())
            })
            .await;
            drop(discovery);
        });
        let keeps = attendant.clone();
        tokio::spawn(again("the care for the cluster object", move || {
            object::keep(keeps.clone())
        }));
        if attendant.renews {
            tokio::spawn(again("the renewal of the certificate", move || {
                renew(attendant.clone())
            }));
        }
        seen
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Says what is wrong with `subject`, once, or that nothing is.
    pub(crate) fn trouble(&self, subject: &str, words: Option<String>) {
        self.troubles.send_if_modified(|now| match words {
            Some(words) if now.get(subject) == Some(&words) => false,
            Some(words) => {
                now.insert(subject.to_owned(), words);
                true
            }
            None => now.remove(subject).is_some(),
        });
    }

    fn authority(&self) -> Option<ledger::Authority> {
        let ledger = self.log.ledger();
        let ledger = ledger.read().unwrap_or_else(PoisonError::into_inner);
        ledger.authority.clone()
    }

    /// APIs of all members, this agent's too: it may be the only one.
    fn addresses(&self) -> Vec<String> {
        let ledger = self.log.ledger();
        let ledger = ledger.read().unwrap_or_else(PoisonError::into_inner);
        let members = ledger.members.values();
        let mut addresses: Vec<String> = members.map(|m| m.member.api_address.clone()).collect();
        drop(ledger);
        shuffle(&mut addresses);
        addresses
    }
}

/// Ends the founding once the ledger has what was founded, and returns once it has this
/// agent at its address too.
async fn settle(attendant: Arc<Attendant>) {
    let own = &attendant.settings.pods.own;
    let settled = || {
        let ledger = attendant.log.ledger();
        let ledger = ledger.read().unwrap_or_else(PoisonError::into_inner);
        let me = ledger.members.get(&attendant.log.id());
        !ledger.cluster.is_empty() && me.is_some_and(|me| host(&me.member.peer_address) == own)
    };
    while !settled() {
        tokio::time::sleep(SETTLING).await;
    }
    if let Err(error) = attendant.store.end_founding() {
        // Tried again at the next start; until then it does no harm.
        tracing::warn!(%error, "what the cluster was founded with stays on disk");
    }
}

/// Without the port and the brackets of an IPv6 address.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

async fn renew(attendant: Arc<Attendant>) {
    let early = rand::random::<f64>() * JITTER;
    let mut pause = PAUSE_FIRST;
    let begun = Instant::now();
    while attendant.addresses().is_empty() && begun.elapsed() < REPLAYING {
        tokio::time::sleep(SETTLING).await;
    }
    loop {
        let left = match current(&attendant.store) {
            Ok(valid) => due_in(valid, early, now_s()),
            // Unreadable: a new one mends it.
            Err(_) => Duration::ZERO,
        };
        if !left.is_zero() {
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
            continue;
        }
        match attempt(&attendant).await {
            Ok(valid) => {
                pause = PAUSE_FIRST;
                attendant.trouble("certificate", None);
                let hours = valid.until_s.saturating_sub(now_s()) / 3_600;
                tracing::info!(hours, "the certificate was renewed");
                tokio::time::sleep(APART).await;
                continue;
            }
            Err(why) => {
                let words = failed(&attendant.store, &why);
                attendant.trouble("certificate", Some(words));
            }
        }
        tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * rand::random::<f64>())).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Asks the others; where nobody certifies and time runs out, an agent that holds
/// the authority certifies itself.
async fn attempt(attendant: &Arc<Attendant>) -> Result<Validity, Error> {
    let (settings, store) = (&attendant.settings, &attendant.store);
    let urgent = current(store).map_or(true, |valid| is_urgent(valid, now_s()));
    let asked = ask_any(settings, &attendant.cluster, &attendant.addresses()).await;
    let papers = match (asked, urgent) {
        (Ok(papers), _) => papers,
        (Err(why), false) => return Err(why),
        (Err(why), true) => {
            let papers = certify_own(attendant)?;
            tracing::warn!("no other agent certified this one ({why}); it did so itself");
            papers
        }
    };
    // It waits for the disk.
    let puts = attendant.clone();
    let put = tokio::task::spawn_blocking(move || puts.store.put(&papers)).await;
    let keys = put.map_err(|why| Error::BrokeOff(why.to_string()))??;
    attendant.credentials.replace(&keys.tls)?;
    Ok(validity(&keys.tls.certificate)?)
}

fn certify_own(attendant: &Attendant) -> Result<Papers, Error> {
    let authority = attendant.authority().ok_or(Error::NoAuthority)?;
    let gossip = starling_keys::ring_text(&attendant.store.current())?;
    certify_self(&attendant.settings, &authority, &gossip)
}

fn current(store: &Store) -> Result<Validity, Error> {
    let keys: Option<Keys> = store.keys(starling_keys::Expired::Allowed)?;
    let keys = keys.ok_or(Error::NoAuthority)?;
    Ok(validity(&keys.tls.certificate)?)
}

fn failed(store: &Store, why: &Error) -> String {
    let source = std::error::Error::source(why).map(|source| format!(" ({source})"));
    let source = source.unwrap_or_default();
    let left_s = current(store).map_or(0, |valid| valid.until_s.saturating_sub(now_s()));
    match left_s {
        0 => format!(
            "the certificate has expired and can't be renewed: {why}{source}; others don't accept \
             new connections from here"
        ),
        left_s => format!(
            "the certificate can't be renewed: {why}{source}; the present one is good for {} h more",
            left_s / 3_600
        ),
    }
}

/// Two thirds of its life, less up to [`JITTER`] of it.
fn due_in(valid: Validity, early: f64, now_s: u64) -> Duration {
    let life_s = valid.until_s.saturating_sub(valid.from_s);
    let due_s = valid.from_s + (life_s as f64 * (2.0 / 3.0 - early)).round() as u64;
    Duration::from_secs(due_s.saturating_sub(now_s))
}

/// Less than a sixth of its life is left.
fn is_urgent(valid: Validity, now_s: u64) -> bool {
    let life_s = valid.until_s.saturating_sub(valid.from_s);
    valid.until_s.saturating_sub(now_s) < life_s / 6
}

fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life_or_a_little_before() {
        let valid = Validity {
            from_s: 1_000,
            until_s: 1_000 + 3_000,
        };
        let due = |early, now_s| due_in(valid, early, now_s).as_secs();
        assert_eq!(due(0.0, 1_000), 2_000);
        assert_eq!(due(JITTER, 1_000), 1_850);
        assert_eq!(due(0.0, 3_000), 0);
        assert_eq!(due(0.0, 9_000), 0);
        assert!(!is_urgent(valid, 3_400));
        assert!(is_urgent(valid, 3_501) && is_urgent(valid, 9_000));
    }

    #[test]
    fn a_host_is_an_address_without_its_port() {
        assert_eq!(host("10.0.0.1:7400"), "10.0.0.1");
        assert_eq!(host("[fd00::1]:7400"), "fd00::1");
    }
}
