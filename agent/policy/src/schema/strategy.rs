//! How a size is computed from what is measured, and the settings of that.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::{
    AMOUNT_BYTES_MAX, BAND_MAX, LABEL_BYTES_MAX, SLOTS_MAX, STEP_DOWN_MAX, WAIT_SECONDS_MAX,
};

/// How a size is computed: `target` as HPA and KEDA do, `banded` only outside of
/// a band of usage, `objective` by how long work may wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Strategy {
    #[default]
    Target,
    Banded,
    Objective,
}

/// Settings of `strategy: banded`, in percent of what the replicas request.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Banded {
    /// Above it the workload grows to `highAimPercent`; 80 where it is left out.
    #[schemars(range(min = 1, max = BAND_MAX))]
    pub high_percent: Option<i64>,
    /// The usage that it grows to; 70 where it is left out.
    #[schemars(range(min = 1, max = BAND_MAX))]
    pub high_aim_percent: Option<i64>,
    /// Below it the workload shrinks to `lowAimPercent`; 30 where it is left out.
    #[schemars(range(min = 1, max = BAND_MAX))]
    pub low_percent: Option<i64>,
    /// The usage that it shrinks to; 50 where it is left out.
    #[schemars(range(min = 1, max = BAND_MAX))]
    pub low_aim_percent: Option<i64>,
    /// The largest step up, of the current size; 50 where it is left out.
    #[schemars(range(min = 1, max = BAND_MAX))]
    pub step_up_percent: Option<i64>,
    /// The largest step down, of the current size; 30 where it is left out.
    #[schemars(range(min = 1, max = STEP_DOWN_MAX))]
    pub step_down_percent: Option<i64>,
    /// Seconds without a further change after one; 60 where it is left out.
    #[schemars(range(min = 0, max = WAIT_SECONDS_MAX))]
    pub cooldown_period: Option<i64>,
}

/// Settings of `strategy: objective`: how long work may wait.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Objective {
    /// How long work may wait for a free slot, such as `250ms`; up to `1h`.
    #[schemars(length(min = 1, max = AMOUNT_BYTES_MAX))]
    pub wait: String,
    /// The part of it that may wait longer: `3%` or `0.03`; up to a half.
    #[schemars(length(min = 1, max = AMOUNT_BYTES_MAX))]
    pub miss_ratio: String,
    /// How long one piece of work takes, such as `40ms`; measured where it is left out.
    #[schemars(length(min = 1, max = AMOUNT_BYTES_MAX))]
    pub service_time: Option<String>,
    /// Pieces of work that one replica does at a time; measured where it is left out.
    #[schemars(range(min = 1, max = SLOTS_MAX))]
    pub slots: Option<i64>,
    /// The name of the trigger whose value is the work that arrives each second.
    #[schemars(length(min = 1, max = LABEL_BYTES_MAX))]
    pub arrivals: Option<String>,
    /// The name of the trigger whose value is the work in service or waiting.
    #[schemars(length(min = 1, max = LABEL_BYTES_MAX))]
    pub in_system: Option<String>,
}
