//! How much may be written where: the ranges that files are held to and that the
//! CRD states, in the units that users write.
//!
//! Longer lists and texts than anybody needs are refused, which also keeps the
//! CRD's rules within what an API server allows them to cost.

use starling_engine::{formula, policy};

pub const REPLICAS_MAX: i64 = policy::REPLICAS_MAX as i64;
/// A week, in seconds.
pub const WAIT_SECONDS_MAX: i64 = (policy::WAIT_MS_MAX / 1_000) as i64;
pub const FAILURES_MAX: i64 = 1_000;
/// HPA's.
pub const WINDOW_SECONDS_MAX: i64 = (policy::WINDOW_MS_MAX / 1_000) as i64;
/// HPA's.
pub const PERIOD_SECONDS_MAX: i64 = (policy::PERIOD_MS_MAX / 1_000) as i64;
pub const RATE_MAX: i64 = i32::MAX as i64;
pub const RATES_MAX: usize = policy::RATES_MAX;
/// Triggers and metrics together.
pub const TRIGGERS_MAX: usize = policy::TRIGGERS_MAX;
/// Settings of one trigger.
pub const METADATA_MAX: usize = 32;
/// Of one setting.
pub const METADATA_BYTES_MAX: usize = 4_096;
/// Percent of what replicas request.
pub const UTILIZATION_MAX: i64 = 100_000;
/// Percent, in the bands.
pub const BAND_MAX: i64 = 1_000;
pub const STEP_DOWN_MAX: i64 = 100;
pub const SLOTS_MAX: i64 = policy::SLOTS_MAX as i64;
/// Of an amount, a duration or a ratio.
pub const AMOUNT_BYTES_MAX: usize = 64;
pub const FORMULA_BYTES_MAX: usize = formula::BYTES_MAX;
/// Names of objects and metrics.
pub const NAME_BYTES_MAX: usize = policy::NAME_BYTES_MAX;
/// Names of namespaces, containers, processes and triggers: one DNS label.
pub const LABEL_BYTES_MAX: usize = 63;
/// A group of 253 bytes, a slash and a version.
pub const API_VERSION_BYTES_MAX: usize = 317;
/// Labels, expressions and values of one selector.
pub const SELECTOR_MAX: usize = 32;
/// A label's key: a prefix of 253 bytes, a slash and a name.
pub const LABEL_KEY_BYTES_MAX: usize = 317;
