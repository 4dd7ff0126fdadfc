//! What the API answers to gRPC's health checks.
//!
//! Comes in: whether a leader stands behind this agent. Goes out: two services, one for
//! "this agent answers" (the API's own name, and the empty one) and one for "a leader that
//! a majority answers stands behind what it says" ([`LED`]). Never decides whether an agent
//! is ready: without a quorum each answers what it knows, and no other one knows more.

use std::time::Duration;

use starling_proto::v1::starling_service_server::SERVICE_NAME;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::view::View;

/// The health service that is `NOT_SERVING` while no leader stands behind this agent.
pub const LED: &str = "starling.led";
/// How often it is looked. That a leader falls silent is no event.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Keeps both true until `ending`, then reports that nothing is served.
pub async fn report(reporter: HealthReporter, view: View, ending: CancellationToken) {
    reporter
        .set_service_status(SERVICE_NAME, ServingStatus::Serving)
        .await;
    let mut told = None;
    loop {
        let led = view.log.backing().led;
        if told.replace(led) != Some(led) {
            let status = if led {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            };
            reporter.set_service_status(LED, status).await;
        }
        tokio::select! {
            () = ending.cancelled() => break,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    for service in ["", SERVICE_NAME, LED] {
        reporter
            .set_service_status(service, ServingStatus::NotServing)
            .await;
    }
}
