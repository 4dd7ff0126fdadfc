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
use starling_proto::v1::{self, Consistency, ExplainPolicyRequest, GoalType};
use tonic::{Code, Request, Response, Status, async_trait};

use crate::answer::named;
use crate::service::Service;
use crate::{near, refuse, watch};

/// Settings of a trigger that are ours; KEDA sends its own and its users' beside them.
const POLICY: &str = "policy";
const TRIGGER: &str = "trigger";
/// More settings, or larger ones, than anybody writes.
const SETTINGS_MAX: usize = 64;
const SETTING_BYTES_MAX: usize = 4_096;

pub struct Scaler {
    service: Arc<Service>,
}

/// What a `ScaledObject` asks about.
#[derive(Debug, Clone)]
struct Asked {
    policy: Name,
    /// `None` for the size that the policy wants.
    trigger: Option<String>,
}

/// What is known of it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Known {
    target_milli: i64,
    /// Of all replicas together.
    value_milli: i64,
    active: bool,
}

impl Scaler {
    pub fn new(service: Arc<Service>) -> Scaler {
        Scaler { service }
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

    async fn explained(&self, service: &Service) -> Result<v1::ExplainPolicyResponse, Status> {
        let question = ExplainPolicyRequest {
            namespace: self.policy.namespace.clone(),
            name: self.policy.name.clone(),
            consistency: Consistency::Leader.into(),
            decision_index: 0,
        };
        let answer = service.explain_policy(Request::new(question)).await?;
        Ok(answer.into_inner())
    }

    async fn known(&self, service: &Service) -> Result<Known, Status> {
        let explained = self.explained(service).await?;
        let Some(live) = &explained.live else {
            return Err(unknown(&explained.live_absent_reason));
        };
        let Some(trigger) = &self.trigger else {
            return Ok(Known {
                target_milli: 1_000,
                value_milli: i64::from(live.size) * 1_000,
                active: live.size > 0,
            });
        };
        let input = live.inputs.iter().find(|it| it.trigger == *trigger);
        let input = input.ok_or_else(|| self.no_trigger(trigger, &live.inputs))?;
        let settings = explained.policy.iter().flat_map(|it| &it.triggers);
        let activation_milli = settings
            .filter(|it| it.name == *trigger)
            .map(|it| it.activation_milli)
            .next()
            .unwrap_or(0);
        of_input(input, activation_milli)
    }

    fn no_trigger(&self, trigger: &str, inputs: &[v1::Input]) -> Status {
        let names: Vec<&str> = inputs.iter().map(|it| it.trigger.as_str()).collect();
        let shown: String = trigger.chars().take(80).collect();
        refuse::invalid(format!(
            "scalerMetadata.trigger: policy {} has no trigger {shown:?}; it has {}",
            self.policy,
            names.join(", ")
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
        if let Some(meant) = near::matches(name, ours.iter()).first() {
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

/// A trigger's value and goal, as one for all replicas and one for each: KEDA's HPA divides
/// the one by the other. Of a goal for all of them (`Value`) as they are.
fn of_input(input: &v1::Input, activation_milli: i64) -> Result<Known, Status> {
    let heard = matches!(input.code.as_str(), "ValidMetricFound" | "FormulaInput");
    let value = input.value_milli.filter(|_| heard);
    let (Some(value), Some(goal)) = (value, input.goal) else {
        return Err(unknown(&input.text));
    };
    let each = match (goal.r#type(), input.pods) {
        (GoalType::Utilization | GoalType::AverageValue, Some(pods)) => i64::from(pods.counted),
        _ => 1,
    };
    Ok(Known {
        target_milli: goal.milli,
        value_milli: value.saturating_mul(each),
        active: value > activation_milli,
    })
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
        let result = asked.known(&self.service).await?.active;
        Ok(Response::new(IsActiveResponse { result }))
    }

    type StreamIsActiveStream = watch::Stream<IsActiveResponse>;

    async fn stream_is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let asked = Asked::of(request.get_ref())?;
        let service = self.service.clone();
        let changes = move || {
            let (asked, service) = (asked.clone(), service.clone());
            async move {
                let result = asked.known(&service).await?.active;
                Ok(IsActiveResponse { result })
            }
        };
        self.service.streams().changes(changes).map(Response::new)
    }

    async fn get_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        let asked = Asked::of(request.get_ref())?;
        let known = asked.known(&self.service).await?;
        let spec = MetricSpec {
            metric_name: asked.metric(),
            target_size: whole(known.target_milli),
            target_size_float: float(known.target_milli),
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
        let known = asked.known(&self.service).await?;
        let value = MetricValue {
            metric_name: request.metric_name,
            metric_value: whole(known.value_milli),
            metric_value_float: float(known.value_milli),
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
    fn kedas_hpa_comes_to_the_size_that_the_goal_means() {
        let cases = [
            // Four replicas at 90 % of their requests, of which 60 % are the goal: six.
            (input(GoalType::Utilization, 60_000, 90_000, Some(4)), 6),
            (input(GoalType::AverageValue, 250, 500, Some(3)), 6),
            // A queue's length stands for all replicas already.
            (input(GoalType::AverageValue, 10_000, 57_000, None), 6),
        ];
        for (input, replicas) in cases {
            let known = of_input(&input, 0).unwrap();
            let average = known.value_milli as f64 / known.target_milli as f64;
            assert_eq!(average.ceil() as i64, replicas, "{input:?}");
        }
        let whole = input(GoalType::Value, 100_000, 57_000, None);
        let known = of_input(&whole, 57_000).unwrap();
        assert_eq!((known.value_milli, known.target_milli), (57_000, 100_000));
        assert!(!known.active, "not above its activation");
        assert!(of_input(&whole, 56_999).unwrap().active);
    }

    #[test]
    fn i4_what_is_not_known_is_refused_and_never_zero() {
        let mut failed = input(GoalType::AverageValue, 10_000, 57_000, None);
        for code in [
            "TriggerFailed",
            "TriggerStale",
            "FallbackActive",
            "NoReplicas",
        ] {
            failed.code = code.into();
            let refused = of_input(&failed, 0).unwrap_err();
            assert_eq!(refused.code(), Code::Unavailable, "{code}");
            assert_eq!(refused.message(), "in words");
        }
        let mut unheard = input(GoalType::AverageValue, 10_000, 0, None);
        unheard.value_milli = None;
        assert!(of_input(&unheard, 0).is_err());
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
        let large = "x".repeat(SETTING_BYTES_MAX + 1);
        assert!(Asked::of(&object(&[("note", &large)])).is_err());
    }

    #[test]
    fn whole_numbers_are_rounded_up() {
        assert_eq!([0, 1, 999, 1_000, 1_001, -1].map(whole), [0, 1, 1, 1, 2, 0]);
    }
}
