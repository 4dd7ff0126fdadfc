//! KEDA's contract for external scalers (keda.md 4), from the answering side: for clusters
//! that keep KEDA, and scale by what a policy here wants or by what one of its triggers says.
//!
//! Comes in: a `ScaledObject`'s name and its trigger's settings. Goes out: a target, a value
//! and whether there is work, from the leader's last pass. What isn't known is refused with
//! why, and never 0: KEDA then holds the size, or falls back.

use std::collections::HashMap;
use std::sync::Arc;

use starling_engine::policy::Name;
use starling_proto::externalscaler::external_scaler_server::ExternalScaler;
use starling_proto::externalscaler::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec,
    MetricValue, ScaledObjectRef,
};
use starling_proto::v1::starling_service_server::StarlingService as _;
use starling_proto::v1::{self, Consistency, ExplainPolicyRequest};
use tokio::sync::Semaphore;
use tonic::{Code, Request, Response, Status, async_trait};

use crate::answer::named;
use crate::service::Service;
use crate::{REQUESTS_PER_CONNECTION_MAX, near, refuse, watch};

/// Settings of a trigger that are ours; KEDA sends its own and its users' beside them.
const POLICY: &str = "policy";
const TRIGGER: &str = "trigger";
/// More settings, or larger ones, than anybody writes.
const SETTINGS_MAX: usize = 64;
const SETTING_BYTES_MAX: usize = 4_096;
/// Streams that one agent serves: KEDA asks everything over one connection, and half of what
/// goes over one is left for its questions.
pub const STREAMS_MAX: usize = REQUESTS_PER_CONNECTION_MAX / 2;
/// One, in milli-units.
const ONE_MILLI: i64 = 1_000;
/// Why a pass may know no size of the workload.
const UNSEEN: [&str; 4] = [
    "PlatformAway",
    "TargetUnseen",
    "TargetGone",
    "ClusterRebuilt",
];

pub struct Scaler {
    service: Arc<Service>,
    streams: Arc<Semaphore>,
}

/// What a `ScaledObject` asks about.
#[derive(Debug, Clone)]
struct Asked {
    policy: Name,
    /// `None` for the size that the policy wants.
    trigger: Option<String>,
}

impl Scaler {
    pub fn new(service: Arc<Service>) -> Scaler {
        Scaler {
            service,
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        }
    }
}

impl Asked {
    fn of(object: &ScaledObjectRef) -> Result<Asked, Status> {
        let settings = &object.scaler_metadata;
        check(settings)?;
        let policy = settings.get(POLICY).unwrap_or(&object.name);
        Ok(Asked {
            policy: named(&object.namespace, policy),
            trigger: settings.get(TRIGGER).cloned(),
        })
    }

    fn metric(&self) -> String {
        match &self.trigger {
            Some(trigger) => format!("{}-{trigger}", self.policy.name),
            None => self.policy.name.clone(),
        }
    }

    /// What the metric is held against, by the policy alone: KEDA asks for it when it sets up
    /// what it scales by, and takes a refusal for a scaler that has no metric.
    async fn target_milli(&self, service: &Service) -> Result<i64, Status> {
        let question = v1::GetPolicyRequest {
            namespace: self.policy.namespace.clone(),
            name: self.policy.name.clone(),
            consistency: Consistency::Stale.into(),
        };
        let answer = service.get_policy(Request::new(question)).await?;
        let policy = answer.into_inner().policy.unwrap_or_default();
        let Some(trigger) = &self.trigger else {
            return Ok(ONE_MILLI);
        };
        let found = policy.triggers.iter().find(|it| it.name == *trigger);
        let goal = found.and_then(|it| it.goal).map(|goal| goal.milli);
        goal.ok_or_else(|| {
            let names = policy.triggers.iter().map(|it| it.name.as_str());
            self.no_trigger(trigger, names)
        })
    }

    /// What the leader's last pass decided, where it could see the workload.
    async fn decided(&self, service: &Service) -> Result<v1::Explanation, Status> {
        let question = ExplainPolicyRequest {
            namespace: self.policy.namespace.clone(),
            name: self.policy.name.clone(),
            consistency: Consistency::Leader.into(),
            decision_index: 0,
        };
        let explained = service.explain_policy(Request::new(question)).await?;
        let explained = explained.into_inner();
        let Some(live) = explained.live else {
            return Err(unknown(&explained.live_absent_reason));
        };
        // Then the size is what was seen last, if anything was.
        let unseen = |it: &&v1::Limit| UNSEEN.contains(&it.code.as_str());
        match live.limits.iter().find(unseen) {
            Some(limit) => Err(unknown(&limit.detail)),
            None => Ok(live),
        }
    }

    async fn value_milli(&self, service: &Service) -> Result<i64, Status> {
        let live = self.decided(service).await?;
        let Some(trigger) = &self.trigger else {
            return Ok(i64::from(live.size) * ONE_MILLI);
        };
        let input = live.inputs.iter().find(|it| it.trigger == *trigger);
        let input = input.ok_or_else(|| {
            let names = live.inputs.iter().map(|it| it.trigger.as_str());
            self.no_trigger(trigger, names)
        })?;
        value_milli(input, live.size)
    }

    /// Whether the policy wants the workload to run at all, whatever a trigger says.
    async fn is_active(&self, service: &Service) -> Result<bool, Status> {
        Ok(self.decided(service).await?.size > 0)
    }

    fn no_trigger<'a>(&self, trigger: &str, names: impl Iterator<Item = &'a str>) -> Status {
        let shown: String = trigger.chars().take(80).collect();
        refuse::invalid(format!(
            "scalerMetadata.trigger: policy {} has no trigger {shown:?}; it has {}",
            self.policy,
            names.collect::<Vec<_>>().join(", ")
        ))
    }
}

/// A setting that is one of ours but for a typo would be left out without a word.
fn check(settings: &HashMap<String, String>) -> Result<(), Status> {
    let large = |(name, value): (&String, &String)| {
        name.len() > SETTING_BYTES_MAX || value.len() > SETTING_BYTES_MAX
    };
    if settings.len() > SETTINGS_MAX || settings.iter().any(large) {
        return Err(refuse::invalid(format!(
            "scalerMetadata: has more than {SETTINGS_MAX} settings, or one of more than \
             {SETTING_BYTES_MAX} bytes"
        )));
    }
    let ours = [POLICY, TRIGGER].map(str::to_owned);
    for name in settings.keys().filter(|name| !ours.contains(name)) {
        // KEDA would read it from the environment of the workload, and says so by the name.
        let bare = name.strip_suffix("FromEnv").unwrap_or(name);
        if let Some(meant) = near::matches(bare, ours.iter()).first() {
            return Err(refuse::invalid(format!(
                "scalerMetadata.{name}: is no setting of this scaler; did you mean {meant}?"
            )));
        }
    }
    Ok(())
}

fn unknown(why: &str) -> Status {
    refuse::with(Code::Unavailable, refuse::NO_VALUE, why)
}

/// Of all replicas together. Where it is measured of the replicas themselves, some may be
/// missing or starting, or there are none: then it is what the size that the trigger asks
/// for, or the policy, comes to.
fn value_milli(input: &v1::Input, size: u32) -> Result<i64, Status> {
    let goal_milli = input.goal.map_or(0, |goal| goal.milli);
    let of = |replicas: u32| goal_milli.saturating_mul(i64::from(replicas));
    let value = match (input.code.as_str(), input.pods) {
        ("NoReplicas", _) => Some(of(size)),
        ("ValidMetricFound", Some(_)) => input.proposal.map(of),
        ("ValidMetricFound" | "FormulaInput", None) => input.value_milli,
        _ => None,
    };
    value.ok_or_else(|| unknown(&input.text))
}

/// A whole number of at least what it is, for versions of KEDA that read no other.
fn whole(milli: i64) -> i64 {
    milli.div_euclid(1_000) + i64::from(milli.rem_euclid(1_000) > 0)
}

fn float(milli: i64) -> f64 {
    milli as f64 / 1_000.0
}

#[async_trait]
impl ExternalScaler for Scaler {
    async fn is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<IsActiveResponse>, Status> {
        let asked = Asked::of(request.get_ref())?;
        asked.target_milli(&self.service).await?;
        let result = asked.is_active(&self.service).await?;
        Ok(Response::new(IsActiveResponse { result }))
    }

    type StreamIsActiveStream = watch::Stream<IsActiveResponse>;

    async fn stream_is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let asked = Asked::of(request.get_ref())?;
        let slot = self.streams.clone().try_acquire_owned().map_err(|_| {
            let words = format!(
                "this agent serves {STREAMS_MAX} streams of scalers; end one, or ask another agent"
            );
            refuse::with(Code::ResourceExhausted, refuse::FULL, words)
        })?;
        // What is asked wrongly is said now; what isn't known yet is waited for.
        asked.target_milli(&self.service).await?;
        let service = self.service.clone();
        let ask = move || {
            let (asked, service) = (asked.clone(), service.clone());
            async move {
                let result = asked.is_active(&service).await.ok()?;
                Some(IsActiveResponse { result })
            }
        };
        let streams = self.service.streams();
        Ok(Response::new(streams.changes(slot, ask)))
    }

    async fn get_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        let asked = Asked::of(request.get_ref())?;
        let target_milli = asked.target_milli(&self.service).await?;
        let spec = MetricSpec {
            metric_name: asked.metric(),
            target_size: whole(target_milli),
            target_size_float: float(target_milli),
        };
        Ok(Response::new(GetMetricSpecResponse {
            metric_specs: vec![spec],
        }))
    }

    async fn get_metrics(
        &self,
        request: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        let request = request.into_inner();
        let object = request.scaled_object_ref.unwrap_or_default();
        let asked = Asked::of(&object)?;
        let value_milli = asked.value_milli(&self.service).await?;
        let value = MetricValue {
            metric_name: request.metric_name,
            metric_value: whole(value_milli),
            metric_value_float: float(value_milli),
        };
        Ok(Response::new(GetMetricsResponse {
            metric_values: vec![value],
        }))
    }

    type StreamMetricSpecStream = watch::Stream<GetMetricSpecResponse>;

    async fn stream_metric_spec(
        &self,
        _: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamMetricSpecStream>, Status> {
        Err(Status::unimplemented(
            "targets change with their policy; ask for them with GetMetricSpec",
        ))
    }
}

#[cfg(test)]
mod tests {
    use starling_proto::v1::GoalType;

    use super::*;

    fn input(goal: GoalType, milli: i64, value: i64, counted: Option<u32>) -> v1::Input {
        v1::Input {
            trigger: "it".into(),
            goal: Some(v1::Goal {
                r#type: goal.into(),
                milli,
            }),
            value_milli: Some(value),
            pods: counted.map(|counted| v1::InputPods {
                counted,
                missing: 2,
                ..Default::default()
            }),
            code: "ValidMetricFound".into(),
            text: "in words".into(),
            ..Default::default()
        }
    }

    #[test]
    fn kedas_hpa_comes_to_the_size_that_the_trigger_asks_for() {
        // Four replicas of six have a sample, at their goal: two more that are silent count
        // as busy, so that it asks for six.
        let mut silent = input(GoalType::Utilization, 60_000, 60_000, Some(4));
        silent.proposal = Some(6);
        // A queue's length stands for all replicas already.
        let queue = input(GoalType::AverageValue, 10_000, 57_000, None);
        for input in [silent, queue] {
            let value = value_milli(&input, 1).unwrap();
            let goal = input.goal.unwrap();
            assert_eq!(
                (value as f64 / goal.milli as f64).ceil() as i64,
                6,
                "{input:?}"
            );
        }
        let whole = input(GoalType::Value, 100_000, 57_000, None);
        assert_eq!(value_milli(&whole, 1).unwrap(), 57_000);
    }

    #[test]
    fn i4_what_is_not_known_is_refused_and_never_zero() {
        let mut failed = input(GoalType::AverageValue, 10_000, 57_000, None);
        for code in ["TriggerFailed", "TriggerStale", "FallbackActive"] {
            failed.code = code.into();
            let refused = value_milli(&failed, 1).unwrap_err();
            assert_eq!(refused.code(), Code::Unavailable, "{code}");
            assert_eq!(refused.message(), "in words");
        }
        let mut unheard = input(GoalType::AverageValue, 10_000, 0, None);
        unheard.value_milli = None;
        assert!(value_milli(&unheard, 1).is_err());
        // There are none to measure: the policy's own size counts.
        failed.code = "NoReplicas".into();
        assert_eq!(value_milli(&failed, 2).unwrap(), 20_000);
        // None of its replicas could be measured.
        let unseen = input(GoalType::Utilization, 60_000, 0, Some(0));
        assert!(value_milli(&unseen, 1).is_err());
    }

    #[test]
    fn typos_are_refused_and_kedas_own_settings_are_not() {
        let object = |settings: &[(&str, &str)]| ScaledObjectRef {
            name: "web".into(),
            namespace: "shop".into(),
            scaler_metadata: settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let kedas = [
            ("scalerAddress", "starling:7401"),
            ("enableTLS", "true"),
            ("metricType", "Value"),
        ];
        let asked = Asked::of(&object(&kedas)).unwrap();
        assert_eq!(asked.policy, Name::new("shop", "web"));
        assert_eq!(asked.metric(), "web");
        let both = object(&[("policy", "api"), ("trigger", "cpu")]);
        assert_eq!(Asked::of(&both).unwrap().metric(), "api-cpu");
        let typo = Asked::of(&object(&[("polcy", "api")])).unwrap_err();
        let words = "scalerMetadata.polcy: is no setting of this scaler; did you mean policy?";
        assert_eq!(typo.message(), words);
        let by_environment = object(&[("triggerFromEnv", "cpu")]);
        assert!(Asked::of(&by_environment).is_err());
        let large = "x".repeat(SETTING_BYTES_MAX + 1);
        assert!(Asked::of(&object(&[("note", &large)])).is_err());
    }

    #[test]
    fn whole_numbers_are_rounded_up() {
        assert_eq!([0, 1, 999, 1_000, 1_001, -1].map(whole), [0, 1, 1, 1, 2, 0]);
    }
}
