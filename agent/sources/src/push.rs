//! What sources say by themselves: that something has changed.
//!
//! Comes in: a trigger that was asked before, and whose it is. Goes out: a note at each sign
//! of news, until the source can't be heard any more, and why. No number: that is what the
//! source says when it is asked. Takes nothing from a queue, and changes nothing at a server.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use starling_engine::policy::{Source, Trigger};
use tokio::sync::Notify;

use crate::stream::Meter;
use crate::{Asked, EXTERNAL_PUSH, Error, POSTGRESQL, Poller, Reason};
use crate::{external, postgresql, redis, turns};

/// However often something changes, it is told at most once in so long.
pub const GAP: Duration = Duration::from_millis(500);

/// What comes by itself has no question before it, so this much may come in each [`GAP`].
pub(crate) struct Pace {
    meter: Meter,
    since: Instant,
}

impl Pace {
    pub(crate) fn of(meter: Meter) -> Pace {
        meter.refill();
        Pace {
            meter,
            since: Instant::now(),
        }
    }

    /// Before what comes next. Lets others run: there may be something for as long as one looks.
    pub(crate) async fn step(&mut self) {
        if self.since.elapsed() >= GAP {
            self.since = Instant::now();
            self.meter.refill();
        }
        tokio::task::yield_now().await;
    }

    pub(crate) fn judge<T>(&self, came: Result<T, Reason>) -> Result<T, Reason> {
        self.meter.judge(came)
    }
}

/// Whether its source says by itself that something has changed.
pub fn pushes(trigger: &Trigger) -> bool {
    let Source::External { kind, metadata } = &trigger.source else {
        return false;
    };
    match kind.as_str() {
        EXTERNAL_PUSH => true,
        POSTGRESQL => postgresql::channel(metadata).is_some(),
        kind => redis::pushes(kind, metadata),
    }
}

/// The server that such a trigger's source is, as far as the trigger says it: of one server
/// not too many things should be heard at once.
pub fn site(trigger: &Trigger, namespace: &str) -> String {
    match &trigger.source {
        Source::External { kind, metadata } => turns::site(kind, metadata, namespace),
        _ => String::new(),
    }
}

impl Poller {
    /// Notes in `signs` whenever the trigger's source says that something has changed, and at
    /// first, since nobody knows what has changed before. Returns when it can't be heard any
    /// more: why.
    pub async fn listen(&self, trigger: &Trigger, asked: Asked<'_>, signs: &Notify) -> Error {
        let name = format!("trigger {}", trigger.name);
        let failed = |reason| Error {
            address: name.clone(),
            reason,
        };
        let Source::External { kind, metadata } = &trigger.source else {
            let why = "is measured, not asked".to_owned();
            return failed(Reason::Misconfigured(why));
        };
        let secrets = match self.secrets(asked, metadata).await {
            Ok(secrets) => secrets,
            Err(why) => return failed(why),
        };
        let heard: Result<Infallible, Error> = match kind.as_str() {
            EXTERNAL_PUSH => external::listen(metadata, &secrets, asked, signs).await,
            POSTGRESQL => postgresql::listen(metadata, &secrets, signs).await,
            kind if redis::TYPES.contains(&kind) => {
                Box::pin(redis::listen(&self.redis, kind, metadata, &secrets, signs)).await
            }
            other => {
                let why = format!("type `{other}` says nothing by itself");
                return failed(Reason::Misconfigured(why));
            }
        };
        let Err(error) = heard;
        error
    }
}
