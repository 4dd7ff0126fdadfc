//! KEDA's `kubernetes-workload` on a real API server.

use starling_engine::node::Answer;
use starling_engine::policy::Source;
use starling_kube::metrics::Metrics;
use starling_kubernetes_rig::{Cluster, turn};

use crate::rig::{self, connect};

fn pod(name: &str, app: &str, node: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {app}}}}}\nspec:\n  \
         nodeName: {node}\n  containers: [{{name: main, image: localhost/none:1}}]\n---\n"
    )
}

async fn counted(metrics: &Metrics, selector: &str, by_node: &str) -> Result<Answer, String> {
    let settings = [("podSelector", selector), ("groupByNode", by_node)];
    let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let source = Source::External {
        kind: "kubernetes-workload".into(),
        metadata: settings.into(),
    };
    metrics.ask("default", &source, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_have_not_ended_count_by_their_labels() {
    let Some(_turn) = turn::beside() else { return };
    rig::prepare();
    let cluster = Cluster::start(0).unwrap();
    let pods = [
        pod("one", "web", "a"),
        pod("two", "web", "a"),
        pod("three", "web", "b"),
        pod("ended", "web", "c"),
        pod("other", "mail", "d"),
    ];
    cluster.apply(&pods.concat()).unwrap();
    let ended = r#"{"status": {"phase": "Succeeded"}}"#;
    let patch = ["patch", "pod", "ended", "--subresource=status", "-p", ended];
    cluster.kubectl(patch).unwrap();
    let connection = connect(cluster.kubeconfig_through_proxy()).await.unwrap();
    let metrics = Metrics::new(&connection);

    for (selector, by_node, expected) in [
        ("app=web", "false", 3_000),
        ("app=web", "true", 2_000),
        ("app in (web, mail)", "false", 4_000),
        ("app=nothing", "false", 0),
    ] {
        let answer = counted(&metrics, selector, by_node).await;
        assert_eq!(answer, Ok(Answer::value(expected)), "{selector} {by_node}");
    }
    let why = counted(&metrics, "app in", "false").await.unwrap_err();
    assert!(why.contains("unable to parse requirement"), "{why}");
}
