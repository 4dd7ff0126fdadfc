//! The room of external sources: asks the triggers of a policy for their value.
//!
//! Comes in: a [`Trigger`] that was checked when its policy was read, whose it is,
//! and what time it is. Goes out: a value in milli-units, or an [`Error`] that says
//! what failed and why, without credentials.
//!
//! Never decides what a value means and never keeps one. What fails is asked again at the
//! next polling interval. Knows nothing of policies but their triggers, and reads
//! secrets only when it asks.
//!
//! The next kind of source gets a file of its own here, with its settings, a
//! check of them that policies are read with, and how it is asked; [`check`] and
//! [`Poller::poll`] are where kinds are told apart.

mod address;
mod auth;
pub mod cron;
mod external;
mod http;
mod kafka;
mod kept;
mod kubernetes_workload;
mod metrics_api;
mod mysql;
mod nats;
mod number;
mod postgresql;
mod prometheus;
pub mod push;
mod rabbitmq;
mod reach;
mod reads;
mod redis;
mod secrets;
mod settings;
mod stream;
mod tls;
mod turns;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use starling_engine::policy::{Source, Trigger};

pub use self::redis::{REDIS, REDIS_CLUSTER, REDIS_SENTINEL};
pub use self::redis::{REDIS_CLUSTER_STREAMS, REDIS_SENTINEL_STREAMS, REDIS_STREAMS};
pub use cron::CRON;
pub use external::{EXTERNAL, EXTERNAL_PUSH};
pub use http::BODY_BYTES_MAX;
pub use kafka::KAFKA;
pub use kubernetes_workload::{KUBERNETES_WORKLOAD, Pods, pods};
pub use metrics_api::{ENDPOINTS_MAX, METRICS_API, Service};
pub use mysql::MYSQL;
pub use nats::NATS_JETSTREAM;
pub use postgresql::POSTGRESQL;
pub use prometheus::PROMETHEUS;
pub use rabbitmq::RABBITMQ;
pub use reach::limit;
pub use secrets::{
    AUTHENTICATION, AUTHENTICATION_CONTAINER, AUTHENTICATION_KIND, SECRET_BYTES_MAX, Secrets,
};

/// Whose trigger is asked, and when.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The policy's, whose secrets the trigger may use.
    pub namespace: &'a str,
    /// The policy's, or that of KEDA's object that is decided for in its stead.
    pub name: &'a str,
    /// The policy has a formula, which takes the value itself and no part of a target.
    pub composed: bool,
    /// Wall time in milliseconds since 1970: calendars go by it, and nothing else.
    pub wall_ms: i64,
    /// In place of the files that the trigger's reference names.
    pub secrets: Option<&'a Secrets>,
    /// The ready pods of the [`service`], where the trigger asks those.
    pub endpoints: Option<&'a [IpAddr]>,
}

/// The Service whose pods a trigger asks, each by itself; `None` for all other triggers.
pub fn service(trigger: &Trigger) -> Option<Service<'_>> {
    match &trigger.source {
        Source::External { kind, metadata } if kind == METRICS_API => {
            metrics_api::service(metadata)
        }
        _ => None,
    }
}

/// What a trigger's `authenticationRef` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference<'a> {
    /// Which of KEDA's objects it means; none of them is meant where it is left out
    /// and there are files of that name.
    pub kind: Option<&'a str>,
    pub name: &'a str,
    /// Whose variables an `env` means that names no container; the first one's where this
    /// is left out too.
    pub container: Option<&'a str>,
}

impl<'a> Reference<'a> {
    pub fn of(trigger: &'a Trigger) -> Option<Reference<'a>> {
        let Source::External { metadata, .. } = &trigger.source else {
            return None;
        };
        Some(Reference {
            kind: metadata.get(AUTHENTICATION_KIND).map(String::as_str),
            name: metadata.get(AUTHENTICATION)?,
            container: metadata.get(AUTHENTICATION_CONTAINER).map(String::as_str),
        })
    }
}

/// Why there is no value. Displays as one line: address and reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address}: {reason}")]
pub struct Error {
    /// Without user, password and query.
    pub address: String,
    pub reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The policy should never have been accepted.
    Misconfigured(String),
    TimedOut {
        after_ms: u64,
    },
    /// Not asked: others had all turns for so long.
    Crowded {
        after_ms: u64,
    },
    /// Not asked: nobody has answered the last ones.
    Resting {
        silences: u32,
        again_ms: u64,
    },
    /// Refused, reset, name not found, a certificate that isn't trusted.
    Connection(String),
    /// Secrets that aren't there, or can't be used.
    Secret(String),
    /// By the server itself: who asks isn't known there, or may not ask that.
    Refused(String),
    /// Pods of a Service that aren't there, are too many or didn't all answer.
    Endpoints(String),
    /// Any but 200, and redirects.
    Status(u16),
    /// To another scheme, to no address, or again and again.
    Redirected(String),
    TooLong,
    /// Not in the format that the trigger says.
    Unreadable {
        format: &'static str,
        why: String,
    },
    /// Looking for the number broke off.
    Unread(String),
    Missing {
        location: String,
    },
    NotANumber {
        location: String,
        is: String,
    },
    Negative {
        location: String,
        is: String,
    },
    TooLarge {
        location: String,
        is: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Misconfigured(why) | Reason::Secret(why) | Reason::Endpoints(why) => {
                f.write_str(why)
            }
            Reason::TimedOut { after_ms } => write!(f, "no answer within {after_ms} ms"),
            Reason::Crowded { after_ms } => {
                write!(
                    f,
                    "not asked: other questions had all turns for {after_ms} ms"
                )
            }
            Reason::Resting { silences, again_ms } => write!(
                f,
                "not asked: the last {silences} questions had no answer; the next one is asked in \
                 {again_ms} ms"
            ),
            Reason::Connection(why) => write!(f, "can't connect: {why}"),
            Reason::Refused(why) => write!(f, "refused: {why}"),
            Reason::Status(code) => write!(f, "answered HTTP {code}"),
            Reason::Redirected(why) => write!(f, "is redirected {why}"),
            Reason::TooLong => write!(f, "the answer is longer than {} KiB", BODY_BYTES_MAX >> 10),
            Reason::Unreadable { format, why } => write!(f, "the answer is not {format}: {why}"),
            Reason::Unread(why) => write!(f, "the answer couldn't be looked through: {why}"),
            Reason::Missing { location } => write!(f, "the answer has no `{location}`"),
            Reason::NotANumber { location, is } => {
                write!(f, "`{location}` is {is}, not a number")
            }
            Reason::Negative { location, is } => write!(f, "`{location}` is negative: {is}"),
            Reason::TooLarge { location, is } => write!(f, "`{location}` is too large: {is}"),
        }
    }
}

/// Whether it is answered without asking anybody.
pub fn is_local(trigger: &Trigger) -> bool {
    matches!(&trigger.source, Source::External { kind, .. } if kind == CRON)
}

/// Whether the source is told for which policy it is asked.
pub fn is_told_whom(trigger: &Trigger) -> bool {
    let told = |kind: &str| external::TYPES.contains(&kind);
    matches!(&trigger.source, Source::External { kind, .. } if told(kind))
}

/// How long a question may take, at most.
pub fn timeout(trigger: &Trigger) -> Duration {
    let ms = match &trigger.source {
        Source::External { kind, metadata } => timeout_ms(kind, metadata).ok(),
        _ => None,
    };
    Duration::from_millis(ms.unwrap_or(settings::TIMEOUT_DEFAULT_MS))
}

/// What an external scaler is told in a setting `timeout` is its own business.
fn timeout_ms(kind: &str, metadata: &BTreeMap<String, String>) -> Result<u64, String> {
    if external::TYPES.contains(&kind) {
        return Ok(settings::TIMEOUT_DEFAULT_MS);
    }
    settings::timeout_ms(metadata)
}

/// What is wrong with the metadata of a trigger of one of the types that this room
/// asks: key and reason; the key is empty where one is missing.
pub fn check(kind: &str, metadata: &BTreeMap<String, String>) -> Vec<(String, String)> {
    match kind {
        METRICS_API => metrics_api::check(metadata),
        PROMETHEUS => prometheus::check(metadata),
        RABBITMQ => rabbitmq::check(metadata),
        KAFKA => kafka::check(metadata),
        POSTGRESQL => postgresql::check(metadata),
        MYSQL => mysql::check(metadata),
        NATS_JETSTREAM => nats::check(metadata),
        kind if redis::TYPES.contains(&kind) => redis::check(kind, metadata),
        KUBERNETES_WORKLOAD => kubernetes_workload::check(metadata),
        kind if external::TYPES.contains(&kind) => external::check(metadata),
        CRON => cron::check(metadata),
        _ => Vec::new(),
    }
}

/// The settings that say what a trigger's value is held against, by KEDA's names for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goals {
    pub target: &'static str,
    /// What counts where it is left out; it may not be where there is none.
    pub default: Option<&'static str>,
    /// Above this the workload is to run at all; 0 where it is left out.
    pub activation: &'static str,
}

impl Goals {
    /// In place of a name: users say nothing about it. No setting is called so.
    pub(crate) const NO_SETTING: &str = "";
}

/// Those of a type whose value is asked for over the network; `None` for all others.
pub fn goals(kind: &str, metadata: &BTreeMap<String, String>) -> Option<Goals> {
    match kind {
        METRICS_API => Some(metrics_api::GOALS),
        PROMETHEUS => Some(prometheus::GOALS),
        RABBITMQ => Some(rabbitmq::goals(metadata)),
        KAFKA => Some(kafka::GOALS),
        POSTGRESQL => Some(postgresql::GOALS),
        MYSQL => Some(mysql::GOALS),
        NATS_JETSTREAM => Some(nats::GOALS),
        kind if redis::TYPES.contains(&kind) => Some(redis::goals(kind, metadata)),
        KUBERNETES_WORKLOAD => Some(kubernetes_workload::GOALS),
        kind if external::TYPES.contains(&kind) => Some(external::GOALS),
        _ => None,
    }
}

/// What a source says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number {
    /// In milli-units, 0 or more.
    pub milli: i64,
    /// What is held against the activation, in milli-units: mostly the same. A queue may
    /// want its workload to run while the number that sizes it is 0.
    pub activity_milli: i64,
}

impl Number {
    pub(crate) fn of(milli: i64) -> Number {
        Number {
            milli,
            activity_milli: milli,
        }
    }
}

/// Asks, over connections that it keeps, so that a server that doesn't answer delays no
/// other. How many wait for their turn is the caller's to bound.
#[derive(Debug, Default)]
pub struct Poller {
    http: http::Clients,
    kafka: kafka::Brokers,
    redis: redis::Connections,
    external: external::Connections,
    reads: reads::Reads,
    turns: turns::Turns,
    secrets: Option<PathBuf>,
}

impl Poller {
    /// `secrets` is the directory of what triggers authenticate with:
    /// NAMESPACE/NAME/PARAMETER.
    pub fn new(secrets: Option<PathBuf>) -> Poller {
        Poller {
            http: http::Clients::default(),
            kafka: kafka::Brokers::default(),
            redis: redis::Connections::default(),
            external: external::Connections::default(),
            reads: reads::Reads::default(),
            turns: turns::Turns::default(),
            secrets,
        }
    }

    /// The trigger's value. Returns within the trigger's timeout (default 3 s), and the time
    /// in which it waits for its turn is part of that. A value beyond i64 is an error, not the largest value: it is a fault of the source, and a
    /// failed trigger holds the size where a huge value would take it to its maximum.
    pub async fn poll(&self, trigger: &Trigger, asked: Asked<'_>) -> Result<Number, Error> {
        let name = format!("trigger {}", trigger.name);
        let misconfigured = |why: String| Error {
            address: name.clone(),
            reason: Reason::Misconfigured(why),
        };
        let (kind, metadata) = match &trigger.source {
            Source::External { kind, metadata }
                if kind == CRON || goals(kind, metadata).is_some() =>
            {
                (kind.as_str(), metadata)
            }
            Source::External { kind, .. } | Source::Unknown { kind } => {
                return Err(misconfigured(format!("type `{kind}` can't be asked")));
            }
            _ => return Err(misconfigured("is measured, not asked".to_owned())),
        };
        if let Some((key, why)) = check(kind, metadata).into_iter().next() {
            return Err(misconfigured(format!("{key} {why}").trim().to_owned()));
        }
        if kind == CRON {
            let (metadata, wall_ms) = (metadata.clone(), asked.wall_ms);
            let value = move || cron::value(&metadata, wall_ms);
            let value = self.reads.run(value).await;
            return value
                .map_err(|reason| misconfigured(reason.to_string()))?
                .map(Number::of)
                .map_err(misconfigured);
        }
        let after_ms = timeout_ms(kind, metadata).map_err(misconfigured)?;
        let site = turns::site(kind, metadata, asked.namespace);
        // As large as the largest of them, and made only when it is its turn.
        let question = async { Box::pin(self.ask(kind, metadata, &name, asked)).await };
        let mark = turns::mark(kind, metadata);
        self.turns
            .ask((&site, mark), &name, after_ms, question)
            .await
    }

    /// When it is its turn.
    async fn ask(
        &self,
        kind: &str,
        metadata: &BTreeMap<String, String>,
        name: &str,
        asked: Asked<'_>,
    ) -> Result<Number, Error> {
        let failed = |reason: Reason| Error {
            address: name.to_owned(),
            reason,
        };
        let secrets = self.secrets(asked, metadata).await.map_err(failed)?;
        let secrets = &*secrets;
        match kind {
            PROMETHEUS => prometheus::ask(&self.http, metadata, secrets).await,
            RABBITMQ => rabbitmq::ask(&self.http, metadata, secrets).await,
            KAFKA => kafka::ask(&self.kafka, metadata, secrets).await,
            POSTGRESQL => postgresql::ask(metadata, secrets).await,
            MYSQL => mysql::ask(metadata, secrets).await,
            NATS_JETSTREAM => nats::ask(&self.http, metadata, secrets).await,
            kind if redis::TYPES.contains(&kind) => {
                redis::ask(&self.redis, kind, metadata, secrets).await
            }
            kind if external::TYPES.contains(&kind) => {
                external::ask(&self.external, metadata, secrets, asked).await
            }
            METRICS_API => {
                metrics_api::ask(&self.http, &self.reads, metadata, secrets, asked).await
            }
            KUBERNETES_WORKLOAD => {
                let why = "counts pods of Kubernetes, which this agent isn't part of";
                Err(failed(Reason::Misconfigured(why.to_owned())))
            }
            other => {
                let why = format!("type `{other}` can't be asked");
                Err(failed(Reason::Misconfigured(why)))
            }
        }
    }

    /// What the trigger authenticates with: what is given, or else what the files say.
    async fn secrets<'a>(
        &self,
        asked: Asked<'a>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Cow<'a, Secrets>, Reason> {
        if let Some(given) = asked.secrets {
            return Ok(Cow::Borrowed(given));
        }
        let directory = self.secrets.as_deref();
        let read = secrets::read(directory, asked.namespace, metadata).await;
        read.map(Cow::Owned).map_err(Reason::Secret)
    }

    /// Whether this agent has files of that name to authenticate with.
    pub async fn has_files(&self, namespace: &str, name: &str) -> bool {
        match &self.secrets {
            Some(directory) => secrets::are_in(directory, namespace, name).await,
            None => false,
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod trying;
