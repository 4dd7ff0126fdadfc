//! KEDA's triggers `external` and `external-push`: what a server of the user's own says, by
//! KEDA's contract `externalscaler.ExternalScaler` (keda.md 4).
//!
//! Comes in: the trigger's metadata, which goes to the server as it is, and the parameters of
//! its authentication. Goes out: how many replicas the server's numbers ask for, and whether
//! it wants the workload to run. Both are asked for each time. What an `external-push` server
//! says by itself, that the workload is to run or not any more, has both asked for.
//!
//! The server itself says what each of its metrics is held against, so the trigger's own
//! target is 1, and its value is the largest of value / target, rounded up to a thousandth.
//! That never goes past a whole number, so the size is the same as without it:
//! ceil(ceil(1000 v/t) / 1000) = ceil(v/t). With the metric type `Value` it is multiplied by
//! the replicas that there are: up to 1,000 of them it may be one more. A formula takes the
//! value itself, of which there may be one then.

mod server;

use std::convert::Infallible;

use starling_proto::externalscaler::{GetMetricsRequest, MetricSpec, MetricValue, ScaledObjectRef};
use tokio::sync::Notify;

use crate::http::within;
use crate::push::{GAP, Pace};
use crate::secrets::Secrets;
use crate::settings::{self, Metadata, TIMEOUT_DEFAULT_MS, Wrong, shown};
use crate::{Asked, Error, Goals, Number, Reason, number};
pub(crate) use server::ADDRESS;
pub(crate) use server::Connections;
use server::{Open, Server};

/// KEDA's trigger type for a server that is asked.
pub const EXTERNAL: &str = "external";
/// KEDA's trigger type for one that also speaks by itself.
pub const EXTERNAL_PUSH: &str = "external-push";
pub(crate) const TYPES: [&str; 2] = [EXTERNAL, EXTERNAL_PUSH];
/// One for each replica, for what the server says is divided by its own target.
pub(super) const GOALS: Goals = Goals {
    target: Goals::NO_SETTING,
    default: Some("1"),
    activation: Goals::NO_SETTING,
};
/// Of a setting's name. How many there are, and how long each is, is bounded for all kinds.
const NAME_BYTES_MAX: usize = 253;
/// The call whose answers a server writes by itself.
const STREAM: &str = "StreamIsActive";
/// Metrics of one server, each of which is asked for by itself.
const METRICS_MAX: usize = 16;

/// All settings are allowed that the server may know, but no two meanings: what KEDA reads
/// elsewhere or in another way is refused.
pub(super) fn check(metadata: &Metadata) -> Wrong {
    let mut wrong = server::check(metadata);
    wrong.extend(settings::no_name(metadata));
    for (key, _) in settings::written(metadata) {
        if key == Goals::NO_SETTING {
            wrong.push((String::new(), "holds a setting without a name".to_owned()));
        } else if key.len() > NAME_BYTES_MAX {
            let why = format!(
                "holds a setting whose name is longer than {NAME_BYTES_MAX} bytes: `{}`",
                shown(key)
            );
            wrong.push((String::new(), why));
        } else if key.ends_with("FromEnv") {
            let why = "can't be read from the target's variables; write the setting itself, and \
                       give the server its secrets directly";
            wrong.push((key.to_owned(), why.to_owned()));
        }
    }
    wrong
}

pub(super) async fn ask(
    connections: &Connections,
    metadata: &Metadata,
    secrets: &Secrets,
    asked: Asked<'_>,
) -> Result<Number, Error> {
    let server = Server::of(metadata, secrets);
    let address = server.as_ref().map_or_else(
        |_| shown(settings::text(metadata, ADDRESS)),
        |server| server.address.to_string(),
    );
    let object = object(metadata, asked);
    let answer = async {
        let server = server?;
        let question = |open: Open| {
            let object = &object;
            async move {
                open.meter.refill();
                let answer = said(&open, object, asked.composed).await;
                open.meter.judge(answer)
            }
        };
        let connect = || server.connect();
        let asked = connections.ask(&server, connect, question);
        within(TIMEOUT_DEFAULT_MS, asked).await
    };
    answer.await.map_err(|reason| Error { address, reason })
}

/// Returns when the server ends its stream.
pub(super) async fn listen(
    metadata: &Metadata,
    secrets: &Secrets,
    asked: Asked<'_>,
    signs: &Notify,
) -> Result<Infallible, Error> {
    let heard = async {
        let server = Server::of(metadata, secrets)?;
        let open = within(TIMEOUT_DEFAULT_MS, server.connect()).await?;
        let mut pace = Pace::of(open.meter.clone());
        let mut client = open.client();
        let stream = client.stream_is_active(object(metadata, asked));
        let mut stream = std::pin::pin!(stream);
        // Many servers don't even begin to answer before there is something to say; those that
        // don't have the call say so at once.
        let soon = tokio::time::timeout(GAP, stream.as_mut()).await;
        let begun = if let Ok(answer) = soon {
            answer
        } else {
            signs.notify_one();
            stream.await
        };
        let begun = begun.map_err(|status| server::reason(STREAM, &status));
        let mut stream = pace.judge(begun)?.into_inner();
        signs.notify_one();
        loop {
            pace.step().await;
            let said = stream.message().await;
            let said = said.map_err(|status| server::reason(STREAM, &status));
            if pace.judge(said)?.is_none() {
                let why = format!("it ended its {STREAM}");
                return Err(Reason::Connection(why));
            }
            signs.notify_one();
        }
    };
    heard.await.map_err(|reason| Error {
        address: shown(settings::text(metadata, ADDRESS)),
        reason,
    })
}

/// On whose behalf a server is asked.
fn object(metadata: &Metadata, asked: Asked<'_>) -> ScaledObjectRef {
    ScaledObjectRef {
        name: asked.name.to_owned(),
        namespace: asked.namespace.to_owned(),
        scaler_metadata: settings::written(metadata)
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    }
}

async fn said(open: &Open, object: &ScaledObjectRef, composed: bool) -> Result<Number, Reason> {
    let active = async {
        let answer = open.client().is_active(object.clone()).await;
        let answer = answer.map_err(|status| server::reason("IsActive", &status))?;
        Ok(answer.into_inner().result)
    };
    let (active, milli) = tokio::try_join!(active, wanted(open, object, composed))?;
    Ok(Number {
        milli,
        // Above a threshold of 0 or not.
        activity_milli: if active { 1_000 } else { 0 },
    })
}

async fn wanted(open: &Open, object: &ScaledObjectRef, composed: bool) -> Result<i64, Reason> {
    let answer = open.client().get_metric_spec(object.clone()).await;
    let answer = answer.map_err(|status| server::reason("GetMetricSpec", &status))?;
    let specs = answer.into_inner().metric_specs;
    match specs.len() {
        0 => {
            let location = "metricSpecs".to_owned();
            return Err(Reason::Missing { location });
        }
        many if many > METRICS_MAX => {
            let why = format!("it has {many} metrics, and at most {METRICS_MAX} are asked for");
            return Err(Reason::Unread(why));
        }
        many if composed && many > 1 => {
            return Err(Reason::Unreadable {
                format: "one number",
                why: format!("it has {many} metrics, and a formula takes one"),
            });
        }
        _ => {}
    }
    let mut most = 0;
    for spec in specs {
        let request = GetMetricsRequest {
            scaled_object_ref: Some(object.clone()),
            metric_name: spec.metric_name.clone(),
        };
        let answer = open.client().get_metrics(request).await;
        let answer = answer.map_err(|status| server::reason("GetMetrics", &status))?;
        let values = answer.into_inner().metric_values;
        most = most.max(if composed {
            number::computed(value(&spec, &values)?, &location("value", &spec))?.milli
        } else {
            share(&spec, &values)?
        });
    }
    Ok(most)
}

/// What a metric is by its target, in milli-units and rounded up.
fn share(spec: &MetricSpec, values: &[MetricValue]) -> Result<i64, Reason> {
    let target = amount("target", spec, spec.target_size_float, spec.target_size)?;
    if target <= 0.0 {
        return Err(Reason::Unreadable {
            format: "a target above 0",
            why: format!("that of `{}` is {target}", shown(&spec.metric_name)),
        });
    }
    let share = value(spec, values)? / target;
    // What is held against an activation is rounded up, as this has to be.
    Ok(number::computed(share, &location("value", spec))?.activity_milli)
}

/// All that the server gives for a metric together, by whatever names: as the HPA adds up what
/// KEDA hands on.
fn value(spec: &MetricSpec, values: &[MetricValue]) -> Result<f64, Reason> {
    if values.is_empty() {
        return Err(Reason::Missing {
            location: location("value", spec),
        });
    }
    let each = values
        .iter()
        .map(|it| amount("value", spec, it.metric_value_float, it.metric_value));
    each.sum()
}

/// The float, unless it is 0, as it is with servers that know the whole number alone.
fn amount(what: &str, spec: &MetricSpec, float: f64, whole: i64) -> Result<f64, Reason> {
    let number = if float == 0.0 { whole as f64 } else { float };
    let is = number.to_string();
    if !number.is_finite() {
        let location = location(what, spec);
        return Err(Reason::NotANumber { location, is });
    }
    if number < 0.0 {
        let location = location(what, spec);
        return Err(Reason::Negative { location, is });
    }
    Ok(number)
}

fn location(what: &str, spec: &MetricSpec) -> String {
    format!("{what} of {}", shown(&spec.metric_name))
}

#[cfg(test)]
mod tests;
