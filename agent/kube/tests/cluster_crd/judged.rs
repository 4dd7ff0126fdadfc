//! The API server takes what is sound, and says what is wrong with the rest; the agent
//! refuses the same.

use std::collections::BTreeMap;

use serde_json::Value;
use starling_kube::client;
use starling_kubernetes_rig::turn;
use starling_policy::objects::{Written, read};

use crate::bad::bad;
use crate::good::{good, patched};
use crate::{cluster, object};

/// As `kubectl create --dry-run=server` asks, without starting a kubectl for each.
const TRY: &str = "/apis/starling.sh/v1alpha1/namespaces/default/scalingpolicies\
                   ?dryRun=All&fieldValidation=Strict";

fn agent_refuses(spec: &Value) -> bool {
    let written = Written {
        namespace: "default",
        name: "web",
        annotations: &BTreeMap::new(),
        spec,
    };
    read(written).is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_takes_what_is_sound_and_says_what_is_wrong_with_the_rest() {
    let Some(_turn) = turn::beside() else { return };
    let cluster = cluster();
    // A second one in the same process has nothing left to do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let source = client::Source::Kubeconfig {
        file: Some(cluster.kubeconfig().to_owned()),
        context: None,
    };
    let connection = client::connect(&source).await.expect("a connection");
    let create = async |spec: &Value| {
        let request = http::Request::post(TRY).header("Content-Type", "application/json");
        let body = object(spec).to_string().into_bytes();
        let request = request.body(body).expect("a request");
        connection.client.request::<Value>(request).await
    };
    for spec in good() {
        let answer = create(&spec).await;
        assert!(answer.is_ok(), "{spec}: {answer:?}");
        assert!(!agent_refuses(&spec), "the agent refuses {spec}");
    }
    for (base, patch, words) in bad() {
        let spec = patched(base, &patch);
        let answer = create(&spec).await.expect_err("it should be refused");
        let answer = answer.to_string();
        assert!(answer.contains(words), "{patch}\n{words}\n{answer}");
        assert!(agent_refuses(&spec), "only the API server refuses {patch}");
    }
}
