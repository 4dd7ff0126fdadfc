//! The keys of gossip where agents give them to each other: new ones each day, without
//! anybody agreeing on anything.
//!
//! Comes in: the authority's key, which the ledger has, and the log's time. Goes out: a
//! ring that opens what is sealed on the day before, on this one and on the next, by an
//! HMAC of the day under the authority's key. So nothing secret travels or is in the log
//! that wasn't there before, an agent that was away for any time makes the present ring by
//! itself, and whoever gets hold of a ring has it for three days. The key that the cluster
//! was founded with seals until all agents can make the others.

use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Duration;

use ring::hmac;
use starling_consensus::Log;
use starling_engine::ledger::Authority;
use starling_engine::unit::Ms;
use starling_keys::{Key, put_ring, ring_lines, ring_of, ring_text};
use tokio::sync::watch;

use crate::Error;

/// Much later than the day begins, and nobody would notice: both days' keys open.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const DAY_MS: u64 = 86_400_000;
/// Keys of so many days before are known for what they are, and not taken for the one that
/// the cluster was founded with.
const PAST_DAYS: u64 = 8;
/// The line of a ring that is sealed with the day's key, before the first such day.
const SINCE: &str = "# A key for each day, made of the authority's, since day ";

/// What the care for the ring takes.
#[derive(Clone)]
pub struct Rotation {
    /// Where the keys are that are in use.
    pub dir: PathBuf,
    /// The key is of this cluster alone.
    pub cluster_id: String,
    pub log: Log,
    /// All agents that are alive can make a day's keys.
    pub ready: watch::Receiver<bool>,
    /// The ring that gossip uses.
    pub ring: watch::Sender<Vec<Key>>,
}

/// Keeps the ring on disk and in use as it should be today, until the runtime ends.
pub async fn rotate(rotation: Rotation) {
    let mut failing = false;
    loop {
        match look(&rotation).await {
            Ok(()) => failing = false,
            // Once, and again after it went well: a ring is good for a day more.
            Err(why) if !failing => {
                failing = true;
                tracing::warn!(%why, "the ring of gossip's keys can't be kept; it is tried again");
            }
            Err(_) => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(rotation: &Rotation) -> Result<(), Error> {
    let authority = {
        let ledger = rotation.log.ledger();
        let ledger = ledger.read().unwrap_or_else(PoisonError::into_inner);
        ledger.authority.clone()
    };
    // Not replayed yet: what is on disk will do.
    let Some(authority) = authority else {
        return Ok(());
    };
    let today = Today {
        cluster_id: rotation.cluster_id.clone(),
        day: day(rotation.log.clock().now()),
        ready: *rotation.ready.borrow(),
    };
    let dir = rotation.dir.clone();
    // It waits for the disk.
    let kept = tokio::task::spawn_blocking(move || -> Result<Vec<Key>, Error> {
        let before = ring_text(&dir)?;
        let now = next(&before, &authority, &today)?;
        if now != before {
            put_ring(&dir, &now)?;
        }
        Ok(ring_of(&now)?)
    });
    let keys = (kept.await).map_err(|why| Error::BrokeOff(why.to_string()))??;
    rotation.ring.send_if_modified(|used| {
        let changed = *used != keys;
        *used = keys;
        changed
    });
    Ok(())
}

/// Days since the epoch.
fn day(now: Ms) -> u64 {
    now.0 / DAY_MS
}

struct Today {
    cluster_id: String,
    day: u64,
    ready: bool,
}

/// The ring's text as it should be today.
fn next(before: &str, authority: &Authority, today: &Today) -> Result<String, Error> {
    let Today {
        cluster_id,
        day,
        ready,
    } = today;
    let of = |day: u64| of_day(authority, cluster_id, day);
    let days = [*day, day.saturating_sub(1), day.saturating_add(1)].map(of);
    let known = ring_of(before)?;
    let since = since(before);
    // First all must be able to open it.
    let opens = known.contains(&days[0]);
    let since = since.or((*ready && opens).then_some(*day));
    let made: Vec<Key> = (day.saturating_sub(PAST_DAYS)..=day.saturating_add(1))
        .map(of)
        .collect();
    let founding = known.into_iter().find(|key| !made.contains(key));
    // Who was sealed with it lately may be on the way.
    let founding = founding.filter(|_| since.is_none_or(|since| *day <= since.saturating_add(1)));
    let keys: Vec<Key> = match since {
        Some(_) => days.into_iter().chain(founding).collect(),
        None => founding.into_iter().chain(days).collect(),
    };
    let mut comments: String = (before.lines())
        .filter(|line| line.starts_with('#') && !line.starts_with(SINCE))
        .flat_map(|line| [line, "\n"])
        .collect();
    if let Some(since) = since {
        comments.extend([SINCE, &since.to_string(), "\n"]);
    }
    Ok(ring_lines(&comments, &keys))
}

/// The first day whose key sealed; `None` where the founding one still does.
fn since(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(SINCE));
    line.and_then(|day| day.trim().parse().ok())
}

fn of_day(authority: &Authority, cluster_id: &str, day: u64) -> Key {
    let key = hmac::Key::new(hmac::HMAC_SHA256, authority.key.as_bytes());
    let mut of = hmac::Context::with_key(&key);
    of.update(b"starling gossip key of a day");
    // Lengths first, so that no two inputs read the same.
    of.update(&(cluster_id.len() as u64).to_be_bytes());
    of.update(cluster_id.as_bytes());
    of.update(&day.to_be_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(of.sign().as_ref());
    Key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> Authority {
        Authority {
            certificate: "public".into(),
            key: "secret".into(),
        }
    }

    fn today(day: u64, ready: bool) -> Today {
        Today {
            cluster_id: "0123".into(),
            day,
            ready,
        }
    }

    fn founded() -> String {
        starling_keys::new_ring("home").unwrap()
    }

    fn turn(text: &str, day: u64, ready: bool) -> String {
        next(text, &authority(), &today(day, ready)).unwrap()
    }

    fn keys(text: &str) -> Vec<Key> {
        ring_of(text).unwrap()
    }

    fn made(day: u64) -> Key {
        of_day(&authority(), "0123", day)
    }

    #[test]
    fn a_days_key_opens_at_all_agents_before_it_seals_at_any() {
        let first = founded();
        let founding = keys(&first)[0].clone();
        let opens = turn(&first, 100, true);
        let days = [made(100), made(99), made(101)];
        assert_eq!(keys(&opens)[0], founding);
        assert_eq!(keys(&opens)[1..], days);
        // Not while an agent is alive that can't make them.
        assert_eq!(turn(&opens, 100, false), opens);
        let seals = turn(&opens, 100, true);
        assert_eq!(keys(&seals)[..3], days);
        assert_eq!(keys(&seals)[3], founding);
        assert_eq!(turn(&seals, 100, false), seals, "there is no way back");
    }

    #[test]
    fn two_agents_open_what_the_other_seals_though_their_days_are_one_apart() {
        let seals = |day| {
            let text = turn(&turn(&founded(), 100, true), 100, true);
            keys(&turn(&text, day, true))
        };
        for (one, other) in [(103, 104), (104, 103)] {
            assert!(seals(one).contains(&seals(other)[0]));
        }
        assert!(!seals(103).contains(&seals(105)[0]));
    }

    #[test]
    fn the_founding_key_goes_after_a_day_and_an_agent_that_was_away_makes_the_present_ones() {
        let sealed = turn(&turn(&founded(), 100, true), 100, true);
        let next_day = turn(&sealed, 101, true);
        assert_eq!(keys(&next_day).len(), 4);
        let days = |day| vec![made(day), made(day - 1), made(day + 1)];
        assert_eq!(keys(&turn(&next_day, 102, true)), days(102));
        for text in [&sealed, &next_day] {
            assert_eq!(keys(&turn(text, 700, false)), days(700));
        }
        // One that sealed with the founding key goes on with it until it has heard the others.
        let opens = turn(&founded(), 100, false);
        let (before, after) = (keys(&opens), keys(&turn(&opens, 105, false)));
        assert_eq!(after[0], before[0]);
        assert_eq!(after[1..], days(105));
    }

    #[test]
    fn a_days_key_is_the_authoritys_the_clusters_and_the_days_own() {
        let other = Authority {
            key: "another".into(),
            ..authority()
        };
        let keys = [
            made(100),
            made(101),
            of_day(&other, "0123", 100),
            of_day(&authority(), "0124", 100),
        ];
        for (n, key) in keys.iter().enumerate() {
            assert!(!keys[..n].contains(key));
        }
        assert_eq!(made(100), made(100));
    }
}
