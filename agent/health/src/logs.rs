//! How much this process writes into its log, and in which form.
//!
//! Comes in: a form and a filter at the start, other filters for a while later.
//! Goes out: lines on standard error. A filter that was set while the agent runs
//! ends by itself, so that a look at the details isn't forgotten.

use std::io::{self, IsTerminal as _};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

/// What is written where nobody says otherwise.
pub const DEFAULT: &str = "info";
/// openraft tells each of its steps, and each try to reach an agent that is
/// away; that one is away is said once by our own side of the connection.
const QUIET: &str = "openraft=error,openraft::replication=off,openraft::core::raft_core=off";
/// Longer filters are refused.
pub const FILTER_BYTES_MAX: usize = 1_024;
/// How long a filter holds that was set for no stated time.
pub const LASTING: Duration = Duration::from_mins(15);
/// Longer times are refused: what shall stay belongs in the settings.
pub const LASTING_MAX: Duration = Duration::from_hours(24);

/// The form of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One object a line, for machines.
    Json,
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(word: &str) -> Result<Format, Error> {
        match word {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err(Error::Format(word.to_owned())),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`{}` is no form of a log; use text or json", .0.escape_debug())]
    Format(String),
    #[error(
        "`{}` is no filter ({why}); write a level (error, warn, info, debug, trace), or several \
         parts such as info,starling_gossip=debug",
        .filter.escape_debug()
    )]
    Filter { filter: String, why: String },
    #[error("a filter has at most {FILTER_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    #[error("a filter may be set for 1 s to {} h", LASTING_MAX.as_secs() / 3_600)]
    Lasting,
    #[error("this process writes its log already")]
    Twice(#[source] TryInitError),
    #[error("this process has stopped writing its log")]
    Gone(#[source] reload::Error),
}

/// The log of this process. Cheap to clone; all clones are the same log.
#[derive(Clone)]
pub struct Logs {
    inner: Arc<Inner>,
}

struct Inner {
    handle: reload::Handle<EnvFilter, Registry>,
    /// In force where no other one was set.
    base: String,
    set: Mutex<Set>,
}

struct Set {
    filter: String,
    /// `None`: it is that of the start.
    until: Option<Instant>,
    /// How often a filter was set: one that was replaced doesn't end the next.
    changes: u64,
}

/// What is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub filter: String,
    /// From the start; in force again when the time is over.
    pub base: String,
    /// `None`: it is that of the start.
    pub remaining: Option<Duration>,
}

impl Logs {
    /// Writes this process's log to standard error from now on.
    pub fn start(format: Format, filter: Option<&str>) -> Result<Logs, Error> {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let color = !plain && io::stderr().is_terminal();
        let (subscriber, logs) = Logs::new(format, filter, color, io::stderr)?;
        subscriber.try_init().map_err(Error::Twice)?;
        Ok(logs)
    }

    fn new<W>(
        format: Format,
        filter: Option<&str>,
        color: bool,
        writer: W,
    ) -> Result<(impl Subscriber + Send + Sync, Logs), Error>
    where
        W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    {
        let base = filter.unwrap_or(DEFAULT).to_owned();
        let (layer, handle) = reload::Layer::new(parse(&base)?);
        let lines = fmt::layer().with_ansi(color).with_writer(writer);
        let lines = match format {
            Format::Text => lines.boxed(),
            Format::Json => lines.json().flatten_event(true).boxed(),
        };
        let logs = Logs {
            inner: Arc::new(Inner {
                handle,
                set: Mutex::new(Set {
                    filter: base.clone(),
                    until: None,
                    changes: 0,
                }),
                base,
            }),
        };
        let subscriber = tracing_subscriber::registry().with(layer).with(lines);
        Ok((subscriber, logs))
    }

    /// What is in force now, and how long.
    pub fn now(&self) -> Filter {
        let set = self.set_now();
        Filter {
            filter: set.filter.clone(),
            base: self.inner.base.clone(),
            remaining: set
                .until
                .map(|until| until.saturating_duration_since(Instant::now())),
        }
    }

    /// Puts another filter into force for a while; then the one of the start
    /// holds again. Must be called within a tokio runtime.
    pub fn set(&self, filter: &str, lasting: Duration) -> Result<(), Error> {
        if !(Duration::from_secs(1)..=LASTING_MAX).contains(&lasting) {
            return Err(Error::Lasting);
        }
        let parsed = parse(filter)?;
        let number = {
            let mut set = self.set_now();
            self.inner.handle.reload(parsed).map_err(Error::Gone)?;
            filter.clone_into(&mut set.filter);
            set.until = Some(Instant::now() + lasting);
            set.changes += 1;
            set.changes
        };
        let logs = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(lasting).await;
            logs.end(Some(number));
        });
        Ok(())
    }

    /// Puts the filter of the start into force at once.
    pub fn reset(&self) {
        self.end(None);
    }

    /// Ends the change of that number, unless another one has followed; or any.
    fn end(&self, number: Option<u64>) {
        let mut set = self.set_now();
        if set.until.is_none() || number.is_some_and(|number| number != set.changes) {
            return;
        }
        // The base was parsed at the start, and the log goes on as it is
        // where it has gone.
        if let Ok(base) = parse(&self.inner.base)
            && self.inner.handle.reload(base).is_ok()
        {
            set.filter.clone_from(&self.inner.base);
            set.until = None;
            drop(set);
            tracing::info!(
                filter = self.inner.base,
                "the log's filter is as at the start again"
            );
        }
    }

    fn set_now(&self) -> std::sync::MutexGuard<'_, Set> {
        self.inner
            .set
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A filter as `tracing-subscriber` reads it. A level alone speaks of Starling;
/// the libraries below it stay as quiet as they are.
fn parse(filter: &str) -> Result<EnvFilter, Error> {
    if filter.len() > FILTER_BYTES_MAX {
        return Err(Error::TooLong(filter.len()));
    }
    let wrong = |why: String| Error::Filter {
        filter: filter.to_owned(),
        why,
    };
    let whole = filter.trim();
    if whole.is_empty() {
        return Err(wrong("it is empty".into()));
    }
    let part = whole
        .split(',')
        .map(str::trim)
        .find(|part| !part.contains(['=', '[']) && part.parse::<LevelFilter>().is_err());
    if let Some(part) = part {
        // It would be read as a module of that name, and silence all others.
        return Err(wrong(format!("`{}` is no level", part.escape_debug())));
    }
    let full = if whole.contains("openraft") {
        whole.to_owned()
    } else {
        format!("{whole},{QUIET}")
    };
    EnvFilter::builder()
        .parse(full)
        .map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests;
