//! HPA v2's `behavior` block.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Amount;
use super::limits::{PERIOD_SECONDS_MAX, RATE_MAX, RATES_MAX, WINDOW_SECONDS_MAX};

/// How fast the size may change, as a `HorizontalPodAutoscaler` (autoscaling/v2)
/// writes it. What is left out has its defaults.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Behavior {
    /// Four pods or a doubling each 15 s, whichever is more, where it is left out.
    pub scale_up: Option<Rules>,
    /// As far as wanted, after 300 s of stabilization, where it is left out.
    pub scale_down: Option<Rules>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Rules {
    /// Sizes wanted within so many seconds hold the size back; 0 upwards and 300
    /// downwards where it is left out.
    #[schemars(range(min = 0, max = WINDOW_SECONDS_MAX))]
    pub stabilization_window_seconds: Option<i64>,
    /// Which of `policies` holds: the one that allows most, the one that allows
    /// least, or none, which forbids this direction.
    pub select_policy: Option<Select>,
    /// Limits on how much may change within a time.
    #[schemars(length(min = 1, max = RATES_MAX))]
    pub policies: Option<Vec<Rate>>,
    /// How far from its target a value may be without changing the size; 0.1 is
    /// 10 %, which it is where it is left out.
    pub tolerance: Option<Amount>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub enum Select {
    Max,
    Min,
    Disabled,
}

/// At most `value` within `periodSeconds`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Rate {
    #[serde(rename = "type")]
    pub kind: RateKind,
    /// Pods, or percent of the size at the period's start.
    #[schemars(range(min = 1, max = RATE_MAX))]
    pub value: i64,
    /// How far back changes of size count.
    #[schemars(range(min = 1, max = PERIOD_SECONDS_MAX))]
    pub period_seconds: i64,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub enum RateKind {
    Pods,
    Percent,
}
