//! KEDA's trigger `rabbitmq`: how much waits in a queue, or goes through it, as RabbitMQ's
//! management API says (keda.md 4).
//!
//! Comes in: the trigger's metadata, and the parameters of its authentication, of which
//! `host` may be the whole address with a user and a password. Goes out: what the mode
//! makes of the queue's counts and rates, and what is held against the activation.

use hyper::Uri;
use serde::Deserialize;

use crate::http::{Clients, Question};
use crate::secrets::{AUTHENTICATION, Secrets};
use crate::settings::{self, Metadata, Wrong, flag, not_known, shown, text, timeout_ms};
use crate::tls::Trust;
use crate::{Error, Goals, Number, Reason, address, auth, number};

/// KEDA's trigger type for a queue of RabbitMQ.
pub const RABBITMQ: &str = "rabbitmq";
/// What a queue's length is held against where nothing is said.
const GOALS: Goals = Goals {
    target: "value",
    default: Some("20"),
    activation: "activationValue",
};
/// KEDA's former name for the target of a queue's length.
const QUEUE_LENGTH: &str = "queueLength";
const KEYS: [&str; 14] = [
    "host",
    "queueName",
    "mode",
    GOALS.target,
    GOALS.activation,
    QUEUE_LENGTH,
    "protocol",
    "vhostName",
    "useRegex",
    "excludeUnacknowledged",
    "pageSize",
    "operation",
    "timeout",
    "unsafeSsl",
];
/// Of RabbitMQ's own.
const VHOST_DEFAULT: &str = "/";
/// Queues that an expression is asked for at once: KEDA's default, and RabbitMQ's most.
const PAGE_DEFAULT: u16 = 100;
const PAGE_MAX: u16 = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    QueueLength,
    MessageRate,
    DeliverGetRate,
    PublishedToDeliveredRatio,
    ExpectedQueueConsumptionTime,
}

impl Mode {
    const ALL: [(&'static str, Mode); 5] = [
        ("QueueLength", Mode::QueueLength),
        ("MessageRate", Mode::MessageRate),
        ("DeliverGetRate", Mode::DeliverGetRate),
        ("PublishedToDeliveredRatio", Mode::PublishedToDeliveredRatio),
        (
            "ExpectedQueueConsumptionTime",
            Mode::ExpectedQueueConsumptionTime,
        ),
    ];

    fn of(metadata: &Metadata) -> Result<Mode, String> {
        one_of(metadata, "mode", Mode::QueueLength, &Mode::ALL)
    }
}

/// What becomes of the queues that an expression matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Sum,
    Max,
    Average,
}

impl Operation {
    fn of(metadata: &Metadata) -> Result<Operation, String> {
        let all = [
            ("sum", Operation::Sum),
            ("max", Operation::Max),
            ("avg", Operation::Average),
        ];
        one_of(metadata, "operation", Operation::Sum, &all)
    }
}

fn one_of<T: Copy>(
    metadata: &Metadata,
    key: &str,
    default: T,
    all: &[(&str, T)],
) -> Result<T, String> {
    let Some(written) = metadata.get(key) else {
        return Ok(default);
    };
    let found = all.iter().find(|(name, _)| name == written);
    found.map(|(_, it)| *it).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
        not_known(written, &names)
    })
}

pub(super) fn goals(metadata: &Metadata) -> Goals {
    let target = if metadata.contains_key(QUEUE_LENGTH) {
        QUEUE_LENGTH
    } else {
        GOALS.target
    };
    Goals { target, ..GOALS }
}

pub(super) fn check(metadata: &Metadata) -> Wrong {
    let mut wrong = settings::strange(metadata, &KEYS);
    let mut fails = |key: &str, why: String| wrong.push((key.to_owned(), why));
    match metadata.get("host") {
        Some(url) => {
            if let Err(why) = asked_over_http(url).and_then(|()| address::bare(url).map(drop)) {
                fails("host", why);
            }
        }
        None if metadata.contains_key(AUTHENTICATION) => {}
        None => fails(
            "",
            "`host` is missing: http://HOST:15672/VHOST here, or with user and password as the \
             parameter `host` of an `authenticationRef`"
                .to_owned(),
        ),
    }
    if text(metadata, "queueName").is_empty() {
        fails("", "`queueName` is missing".to_owned());
    }
    if let Err(why) = Mode::of(metadata) {
        fails("mode", why);
    }
    let has = |key: &str| metadata.contains_key(key);
    let (mode, value) = (has("mode"), has(GOALS.target));
    if has(QUEUE_LENGTH) && (mode || value) {
        let why = "is KEDA's former name for `value`; leave it out beside `mode` and `value`";
        fails(QUEUE_LENGTH, why.to_owned());
    } else if mode != value && !has(QUEUE_LENGTH) {
        let missing = if mode { GOALS.target } else { "mode" };
        fails(
            "",
            format!("`{missing}` is missing: `mode` and `value` go together"),
        );
    }
    let checks: [(&str, Result<(), String>); 7] = [
        ("protocol", protocol(metadata)),
        ("operation", Operation::of(metadata).map(drop)),
        ("pageSize", page_size(metadata).map(drop)),
        ("timeout", timeout_ms(metadata).map(drop)),
        ("useRegex", flag(metadata, "useRegex").map(drop)),
        (
            "excludeUnacknowledged",
            flag(metadata, "excludeUnacknowledged").map(drop),
        ),
        ("unsafeSsl", flag(metadata, "unsafeSsl").map(drop)),
    ];
    for (key, checked) in checks {
        if let Err(why) = checked {
            fails(key, why);
        }
    }
    wrong
}

fn protocol(metadata: &Metadata) -> Result<(), String> {
    match metadata.get("protocol").map(String::as_str) {
        None | Some("auto" | "http") => Ok(()),
        Some("amqp") => Err(
            "`amqp` can't be asked yet; `http` asks the management API, which knows every mode"
                .to_owned(),
        ),
        Some(other) => Err(not_known(other, &["auto", "http"])),
    }
}

fn asked_over_http(url: &str) -> Result<(), String> {
    if url.starts_with("amqp") {
        Err(
            "is an address of AMQP, which can't be asked yet; write that of the management \
             API, http://HOST:15672/VHOST"
                .to_owned(),
        )
    } else {
        Ok(())
    }
}

fn page_size(metadata: &Metadata) -> Result<u16, String> {
    let Some(written) = metadata.get("pageSize") else {
        return Ok(PAGE_DEFAULT);
    };
    let size = written
        .parse()
        .ok()
        .filter(|it| (1..=PAGE_MAX).contains(it));
    size.ok_or_else(|| format!("must be 1 to {PAGE_MAX}, is `{}`", shown(written)))
}

pub(super) async fn ask(
    clients: &Clients,
    metadata: &Metadata,
    secrets: &Secrets,
) -> Result<Number, Error> {
    let given = metadata.get("host").map(String::as_str);
    let url = given.or_else(|| secrets.get("host")).unwrap_or_default();
    // Nothing is shown of one that can't be told from a password in it.
    let address = match address::without_user(url) {
        Ok((bare, _)) if !bare.is_empty() => address::shown(&bare),
        _ => format!("queue {}", shown(text(metadata, "queueName"))),
    };
    let answer = async {
        let after_ms = timeout_ms(metadata).map_err(Reason::Misconfigured)?;
        let (uri, question) = question(metadata, url, secrets)?;
        let body = clients.ask(uri, question, after_ms).await?;
        let queue = read(metadata, &body)?;
        queue.value(metadata)
    };
    answer.await.map_err(|reason| Error { address, reason })
}

fn question(metadata: &Metadata, url: &str, secrets: &Secrets) -> Result<(Uri, Question), Reason> {
    if url.is_empty() {
        let why = "the trigger has no `host`, and neither has its authentication";
        return Err(Reason::Secret(why.to_owned()));
    }
    asked_over_http(url).map_err(|why| Reason::Secret(format!("the parameter `host` {why}")))?;
    let anyone = flag(metadata, "unsafeSsl").map_err(Reason::Misconfigured)?;
    let mut question = Question {
        accept: "application/json",
        trust: Trust::of(secrets, anyone),
        ..Question::default()
    };
    let (url, user) = address::without_user(url)
        .map_err(|why| Reason::Secret(format!("the parameter `host` {why}")))?;
    let base = address::bare(&url).map_err(Reason::Misconfigured)?;
    let apart = secrets.get("username");
    let apart = apart.map(|user| (user, secrets.get("password").unwrap_or_default()));
    let user = user
        .as_ref()
        .map(|(name, word)| (name.as_str(), word.as_str()));
    if let Some((user, password)) = apart.or(user) {
        question.headers.push(auth::basic(user, password)?);
    }
    let named = metadata.get("vhostName").map(String::as_str);
    let named = named
        .or_else(|| secrets.get("vhostName"))
        .unwrap_or_default();
    let (folder, vhost) = folder_and_vhost(base.path(), named);
    let queue = text(metadata, "queueName");
    let uri = if flag(metadata, "useRegex").map_err(Reason::Misconfigured)? {
        let size = page_size(metadata)
            .map_err(Reason::Misconfigured)?
            .to_string();
        let path = format!("{folder}/api/queues/{vhost}");
        let parameters = [
            ("page", "1"),
            ("use_regex", "true"),
            ("pagination", "false"),
            ("name", queue),
            ("page_size", &size),
        ];
        let uri = address::with_path(&base, &path);
        uri.and_then(|uri| address::with_query(&uri, &parameters))
    } else {
        let queue = address::encoded(queue);
        address::with_path(&base, &format!("{folder}/api/queues/{vhost}/{queue}"))
    };
    let no_address = || Reason::Misconfigured("`queueName` makes no address".to_owned());
    Ok((uri.ok_or_else(no_address)?, question))
}

/// Where the API is, and the virtual host, as parts of a path. The last part of the
/// address is the virtual host, where `vhostName` doesn't name another one: that of
/// `http://queue/api-of/` is [`VHOST_DEFAULT`], as with KEDA.
fn folder_and_vhost(path: &str, named: &str) -> (String, String) {
    let (folder, last) = path.rsplit_once('/').unwrap_or_default();
    let vhost = match (named, last) {
        ("", "") => address::encoded(VHOST_DEFAULT),
        // As it stands in the address, where it is encoded already.
        ("", last) => last.to_owned(),
        (named, _) => address::encoded(named),
    };
    (folder.to_owned(), vhost)
}

#[derive(Debug, Deserialize)]
struct Queue {
    messages: Option<f64>,
    messages_ready: Option<f64>,
    #[serde(default)]
    message_stats: Stats,
}

/// Left out where nothing has gone through the queue yet.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stats {
    publish: Option<f64>,
    publish_details: Option<Rate>,
    deliver_get: Option<f64>,
    deliver_get_details: Option<Rate>,
}

#[derive(Debug, Deserialize)]
struct Rate {
    /// A second.
    rate: f64,
}

/// None at all where nothing was counted. Where there is a count and no rate, RabbitMQ works
/// no rates out (`management.rates_mode = none`), and nobody knows it.
fn rate(count: Option<f64>, details: Option<&Rate>) -> Option<f64> {
    let none = count.is_none().then_some(0.0);
    details.map(|it| it.rate).or(none)
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Queue>,
    page_count: u64,
}

/// One queue's numbers, or those that several come to.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Seen {
    messages: f64,
    /// A second; `None` where RabbitMQ doesn't know.
    published: Option<f64>,
    delivered: Option<f64>,
}

/// Of no queue.
const NOTHING: Seen = Seen {
    messages: 0.0,
    published: Some(0.0),
    delivered: Some(0.0),
};

fn read(metadata: &Metadata, body: &[u8]) -> Result<Seen, Reason> {
    let unreadable = |error: serde_json::Error| Reason::Unreadable {
        format: "RabbitMQ's",
        why: error.to_string(),
    };
    let ready_only = flag(metadata, "excludeUnacknowledged").map_err(Reason::Misconfigured)?;
    if !flag(metadata, "useRegex").map_err(Reason::Misconfigured)? {
        let queue: Queue = serde_json::from_slice(body).map_err(unreadable)?;
        return queue.seen(ready_only);
    }
    let page: Page = serde_json::from_slice(body).map_err(unreadable)?;
    if page.page_count > 1 {
        return Err(Reason::Unread(format!(
            "more queues match than `pageSize` allows ({} pages)",
            page.page_count
        )));
    }
    let queues = page.items.iter().map(|queue| queue.seen(ready_only));
    let queues: Vec<Seen> = queues.collect::<Result<_, _>>()?;
    let operation = Operation::of(metadata).map_err(Reason::Misconfigured)?;
    Ok(together(&queues, operation))
}

fn together(queues: &[Seen], operation: Operation) -> Seen {
    let join = |a: f64, b: f64| match operation {
        Operation::Max => a.max(b),
        Operation::Sum | Operation::Average => a + b,
    };
    let both = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| join(a, b));
    let whole = queues.iter().fold(NOTHING, |all, queue| Seen {
        messages: join(all.messages, queue.messages),
        published: both(all.published, queue.published),
        delivered: both(all.delivered, queue.delivered),
    });
    if operation != Operation::Average || queues.is_empty() {
        return whole;
    }
    let count = queues.len() as f64;
    Seen {
        // KEDA divides counts as whole numbers.
        messages: (whole.messages / count).floor(),
        published: whole.published.map(|rate| rate / count),
        delivered: whole.delivered.map(|rate| rate / count),
    }
}

impl Queue {
    /// A queue without a count says nothing: RabbitMQ has none in a queue's first seconds.
    fn seen(&self, ready_only: bool) -> Result<Seen, Reason> {
        let (count, location) = if ready_only {
            (self.messages_ready, "messages_ready")
        } else {
            (self.messages, "messages")
        };
        let location = location.to_owned();
        let stats = &self.message_stats;
        let (published, delivered) = (&stats.publish_details, &stats.deliver_get_details);
        Ok(Seen {
            messages: count.ok_or(Reason::Missing { location })?,
            published: rate(stats.publish, published.as_ref()),
            delivered: rate(stats.deliver_get, delivered.as_ref()),
        })
    }
}

impl Seen {
    /// By KEDA's formulas for each mode.
    fn value(self, metadata: &Metadata) -> Result<Number, Reason> {
        let mode = Mode::of(metadata).map_err(Reason::Misconfigured)?;
        let activation = match metadata.get(GOALS.activation) {
            Some(written) => number::read(written, GOALS.activation)?.milli,
            None => 0,
        };
        let value = |number: f64| number::computed(number, "queue");
        // Nothing is taken out, so no ratio and no time says how bad that is: the workload
        // is to run, and nothing more.
        let awake = Ok(Number {
            milli: activation,
            activity_milli: i64::MAX,
        });
        if mode == Mode::QueueLength {
            return value(self.messages);
        }
        let known = |rate: Option<f64>, location: &str| {
            let location = location.to_owned();
            rate.ok_or(Reason::Missing { location })
        };
        if mode == Mode::MessageRate {
            let rate = value(known(self.published, "publish_details")?)?;
            let activity_milli = rate
                .activity_milli
                .max(value(self.messages)?.activity_milli);
            return Ok(Number {
                activity_milli,
                ..rate
            });
        }
        let delivered = known(self.delivered, "deliver_get_details")?;
        if mode == Mode::DeliverGetRate {
            return value(delivered);
        }
        let published = known(self.published, "publish_details")?;
        let ratio = mode == Mode::PublishedToDeliveredRatio;
        let nothing_to_do = if ratio {
            published <= 0.0
        } else {
            self.messages <= 0.0
        };
        if nothing_to_do {
            value(0.0)
        } else if delivered <= 0.0 {
            awake
        } else if ratio {
            value(published / delivered)
        } else {
            value((published - delivered + self.messages) / delivered)
        }
    }
}

#[cfg(test)]
mod tests;
