//! KEDA's trigger `kafka`: how far a consumer group lags behind the ends of the partitions
//! that it reads (keda.md 4).
//!
//! Comes in: the trigger's metadata, and the parameters of its authentication. Goes out: the
//! group's lag, capped as KEDA caps it. One of the servers that the trigger names says who
//! leads the partitions and who coordinates the group; those are asked. What isn't known of
//! one partition makes the whole unknown.

mod brokers;
mod connection;
mod group;
mod lag;
mod login;
mod messages;
mod scram;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use starling_engine::quantity::Quantity;
use tokio::time::Instant;

use crate::secrets::Secrets;
use crate::settings::{self, Metadata, TIMEOUT_DEFAULT_MS, Wrong, flag, not_known, shown, text};
use crate::stream::Address;
use crate::{Error, Goals, Number, Reason};
use brokers::Asker;
pub(crate) use brokers::Brokers;
use group::{Group, Limitation};
use lag::{Cap, Rules, Uncommitted};
use login::Login;

/// KEDA's trigger type for a consumer group of Kafka.
pub const KAFKA: &str = "kafka";
pub(super) const GOALS: Goals = Goals {
    target: "lagThreshold",
    default: Some("10"),
    activation: "activationLagThreshold",
};
const SERVERS: &str = "bootstrapServers";
const GROUP: &str = "consumerGroup";
const ALLOW_IDLE: &str = "allowIdleConsumers";
const LAGGING: &str = "limitToPartitionsWithLag";
const EVEN: &str = "ensureEvenDistributionOfPartitions";
const ZERO: &str = "scaleToZeroOnInvalidOffset";
const PERSISTENT: &str = "excludePersistentLag";
const KEYS: [&str; 14] = [
    SERVERS,
    GROUP,
    "topic",
    "partitionLimitation",
    GOALS.target,
    GOALS.activation,
    POLICY,
    ALLOW_IDLE,
    LAGGING,
    EVEN,
    ZERO,
    PERSISTENT,
    // What a client of KEDA's has to be told, and this one hasn't.
    "version",
    "fullMetadata",
];
const POLICY: &str = "offsetResetPolicy";
/// That a trigger names, each once.
const SERVERS_MAX: usize = 16;
/// Of a group's name.
const GROUP_BYTES_MAX: usize = 1_024;
/// Of a topic's, as Kafka has it.
const TOPIC_BYTES_MAX: usize = 249;

pub(super) fn check(metadata: &Metadata) -> Wrong {
    let keys = [&KEYS[..], &login::KEYS].concat();
    let mut wrong = settings::strange(metadata, &keys);
    wrong.extend(login::check(metadata));
    let mut fails = |key: &str, why: String| wrong.push((key.to_owned(), why));
    let has = |key: &str| !text(metadata, key).is_empty();
    if !has(SERVERS) {
        fails("", format!("`{SERVERS}` is missing: HOST:PORT,HOST:PORT"));
    } else if let Err(why) = servers(metadata) {
        fails(SERVERS, why);
    }
    if !has(GROUP) {
        fails("", format!("`{GROUP}` is missing"));
    }
    for (key, bytes) in [(GROUP, GROUP_BYTES_MAX), ("topic", TOPIC_BYTES_MAX)] {
        if text(metadata, key).len() > bytes {
            fails(key, format!("is longer than {bytes} bytes"));
        }
        if text(metadata, key).contains(char::is_control) {
            fails(key, "holds a control character".to_owned());
        }
    }
    for key in [ALLOW_IDLE, LAGGING, EVEN, ZERO, PERSISTENT, "fullMetadata"] {
        if let Err(why) = flag(metadata, key) {
            fails(key, why);
        }
    }
    if let Err(why) = Limitation::of(text(metadata, "partitionLimitation")) {
        fails("partitionLimitation", why);
    }
    if let Err(why) = is_latest(metadata) {
        fails(POLICY, why);
    }
    // Any other mistake in it is said where it is read as a target.
    let milli = Quantity::parse(text(metadata, GOALS.target)).ok();
    if milli
        .and_then(Quantity::milli)
        .is_some_and(|it| it % 1_000 != 0)
    {
        let why = "must be a whole number of messages";
        fails(GOALS.target, why.to_owned());
    }
    let is = |key: &str| flag(metadata, key) == Ok(true);
    if is(PERSISTENT) {
        let why = "can't be true: whoever asks next, maybe another agent, doesn't know how far \
                   the group was before; leave it out, and lag that nobody works on counts";
        fails(PERSISTENT, why.to_owned());
    }
    if is(LAGGING) && (is(ALLOW_IDLE) || is(EVEN)) {
        let why = format!("goes neither with `{ALLOW_IDLE}` nor with `{EVEN}`");
        fails(LAGGING, why);
    }
    for (key, set) in [
        (LAGGING, is(LAGGING)),
        (EVEN, is(EVEN)),
        ("partitionLimitation", has("partitionLimitation")),
    ] {
        if set && !has("topic") {
            fails(key, "needs a `topic`".to_owned());
        }
    }
    wrong
}

fn servers(metadata: &Metadata) -> Result<Vec<Address>, String> {
    let mut servers = Vec::new();
    for word in text(metadata, SERVERS).split(',') {
        let server = Address::parse(word.trim())?;
        if servers.contains(&server) {
            continue;
        }
        if servers.len() >= SERVERS_MAX {
            return Err(format!("names more than {SERVERS_MAX} servers"));
        }
        servers.push(server);
    }
    Ok(servers)
}

fn is_latest(metadata: &Metadata) -> Result<bool, String> {
    const WORDS: [&str; 2] = ["latest", "earliest"];
    match text(metadata, POLICY) {
        "" | "latest" => Ok(true),
        "earliest" => Ok(false),
        other => Err(not_known(other, &WORDS)),
    }
}

fn rules(metadata: &Metadata) -> Result<Rules, String> {
    let is = |key: &str| flag(metadata, key);
    let uncommitted = match (is(ZERO)?, is_latest(metadata)?) {
        (true, _) => Uncommitted::Nothing,
        (false, true) => Uncommitted::One,
        (false, false) => Uncommitted::All,
    };
    let cap = match (is(EVEN)?, is(LAGGING)?, is(ALLOW_IDLE)?) {
        (true, ..) => Cap::Even,
        (_, true, _) => Cap::Lagging,
        (_, _, true) => Cap::Free,
        _ => Cap::Partitions,
    };
    let target = metadata.get(GOALS.target).map(String::as_str);
    let target = target.or(GOALS.default).unwrap_or_default();
    let milli = Quantity::parse(target).ok().and_then(Quantity::milli);
    let threshold = milli.and_then(|milli| u64::try_from(milli).ok());
    let threshold = threshold.filter(|milli| *milli > 0 && milli % 1_000 == 0);
    let wrong = || format!("must be a whole number of messages, is `{}`", shown(target));
    Ok(Rules {
        uncommitted,
        cap,
        threshold: threshold.ok_or_else(wrong)? / 1_000,
    })
}

pub(super) async fn ask(
    brokers: &Brokers,
    metadata: &Metadata,
    secrets: &Secrets,
) -> Result<Number, Error> {
    let begun = |reason: Reason| Error {
        address: shown(text(metadata, SERVERS)),
        reason,
    };
    let misconfigured = |why: String| begun(Reason::Misconfigured(why));
    let rules = rules(metadata).map_err(misconfigured)?;
    let asker = Asker {
        brokers: brokers.clone(),
        login: Arc::new(Login::of(metadata, secrets).map_err(begun)?),
        until: Instant::now() + Duration::from_millis(TIMEOUT_DEFAULT_MS),
        after_ms: TIMEOUT_DEFAULT_MS,
    };
    let group = Group {
        asker,
        servers: servers(metadata).map_err(misconfigured)?,
        name: text(metadata, GROUP),
        topic: Some(text(metadata, "topic")).filter(|topic| !topic.is_empty()),
        limitation: Limitation::of(text(metadata, "partitionLimitation")).map_err(misconfigured)?,
    };
    let lags = group.lags(rules).await?;
    rules.number(&lags).map_err(begun)
}

#[cfg(test)]
mod tests;
