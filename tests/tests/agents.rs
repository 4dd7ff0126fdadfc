//! Three real agents with real workers, and what users see when agents die,
//! files are broken or a quorum is lost.

use std::path::Path;
use std::time::Duration;

use starling_agent::demo::cluster::{Cluster, Documents};
use starling_agent::demo::observe::Observer;
use starling_tests::{binary, until};

/// Workers name the cluster's directory on their command line, which is how the
/// process table tells them from other processes.
fn process(dir: &Path) -> String {
    format!(
        "apiVersion: starling.sh/v1alpha1\nkind: Process\nmetadata: {{name: web}}\nspec:\n  \
         command: [sleep, '600', '{}']\n  requests: {{cpu: 100m}}\n",
        dir.display()
    )
}

fn policy(min: u32, max: u32) -> String {
    format!(
        "apiVersion: starling.sh/v1alpha1\nkind: ScalingPolicy\nmetadata: {{name: web}}\nspec:\n  \
         scaleTargetRef: {{kind: Process, name: web}}\n  minReplicaCount: {min}\n  \
         maxReplicaCount: {max}\n  triggers:\n  - type: cpu\n    metricType: Utilization\n    \
         metadata: {{value: '60'}}\n"
    )
}
