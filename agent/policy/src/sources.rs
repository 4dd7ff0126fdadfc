//! What a policy's sources hold that other rooms must understand: those that HPA's
//! `metrics` become, whose values Kubernetes' metrics APIs have.

/// Kind of an external source whose value external.metrics.k8s.io has. Its
/// metadata: [`METRIC`] and [`SELECTOR`].
pub const EXTERNAL_METRICS: &str = "external-metrics-api";
/// Kind of an object source whose value custom.metrics.k8s.io has. Its metadata:
/// the same, and [`API_VERSION`], [`KIND`] and [`NAME`] of the object.
pub const CUSTOM_METRICS: &str = "custom-metrics-api";
pub const METRIC: &str = "metric";
/// A label selector in Kubernetes' notation; absent where every series counts.
pub const SELECTOR: &str = "selector";
pub const API_VERSION: &str = "apiVersion";
pub const KIND: &str = "kind";
pub const NAME: &str = "name";
