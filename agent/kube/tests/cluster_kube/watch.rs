//! A watch over an API server that dies, forgets, and comes back.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};
use starling_kube::client::Failure;
use starling_kube::client::calls::Verb;
use starling_kube::watch::{Config, Event, Watch};
use starling_kubernetes_rig::{Cluster, turn};

use crate::rig::{self, LIMIT, connect};

async fn next(watch: &mut Watch<ConfigMap>) -> Result<Event<ConfigMap>, Failure> {
    let next = tokio::time::timeout(LIMIT, watch.next()).await;
    next.expect("something comes in time")
}

/// Takes events until a list is whole, and what it held.
async fn listed(watch: &mut Watch<ConfigMap>, failures: &mut Vec<Failure>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    loop {
        match next(watch).await {
            Ok(Event::Init) => names.clear(),
            Ok(Event::InitApply(object)) => {
                names.insert(object.name_any());
            }
            Ok(Event::InitDone) => return names,
            Ok(Event::Apply(_) | Event::Delete(_)) => {}
            Err(failure) => failures.push(failure),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_after_the_server_died_and_lists_anew_where_it_must() {
    let Some(_turn) = turn::beside() else { return };
    rig::prepare();
    let cluster = Cluster::start(0).unwrap();
    cluster.kubectl(["create", "namespace", "maps"]).unwrap();
    let make = |name: &str| {
        let map = ["create", "configmap", name, "-n", "maps"];
        cluster.kubectl(map).unwrap();
    };
    make("first");
    let connection = connect(cluster.kubeconfig_through_proxy()).await.unwrap();
    let api: Api<ConfigMap> = Api::namespaced(connection.client.clone(), "maps");
    let config = Config::default().fields("metadata.name!=kube-root-ca.crt");
    let mut watch = Watch::new(api, config);
    let mut failures = Vec::new();
    let whole = listed(&mut watch, &mut failures).await;
    assert_eq!(whole, BTreeSet::from(["first".to_owned()]));

    // A broken connection alone: the stream goes on where it was, without a list.
    cluster.break_connections();
    make("second");
    let lists = || connection.calls.tally(Verb::List).calls;
    let before = lists();
    loop {
        match next(&mut watch).await {
            Ok(Event::Apply(object)) => {
                assert_eq!(object.name_any(), "second");
                break;
            }
            Ok(other) => panic!("{other}"),
            Err(failure) => failures.push(failure),
        }
    }
    assert_eq!(lists(), before);

    // The server forgets what came before its start: 410, and a new list.
    failures.clear();
    for i in 0..5 {
        let name = format!("other{i}");
        cluster.kubectl(["create", "namespace", &name]).unwrap();
    }
    cluster.kill_api_server().unwrap();
    cluster.resume_api_server().unwrap();
    cluster
        .kubectl(["delete", "configmap", "first", "-n", "maps"])
        .unwrap();
    let mut names = listed(&mut watch, &mut failures).await;
    assert!(
        failures.iter().any(|f| matches!(f, Failure::Expired(_))),
        "no 410 among {failures:?}"
    );
    // The deletion came before the new list, or comes after it.
    while names.contains("first") {
        if let Ok(Event::Delete(object)) = next(&mut watch).await {
            names.remove(&object.name_any());
        }
    }
    assert_eq!(names, BTreeSet::from(["second".to_owned()]));

    // A silent server: after renewing, the stream doesn't wait for the old connection.
    cluster.slow_api_server(Duration::from_hours(1));
    cluster.break_connections();
    let stuck = loop {
        // Whether the next request goes out by the broken connection is chance.
        match next(&mut watch).await.expect_err("no answer") {
            Failure::Unreachable(_) => {}
            other => break other,
        }
    };
    assert!(matches!(stuck, Failure::Late(_)), "{stuck:?}");
    cluster.slow_api_server(Duration::ZERO);
    cluster.break_connections();
    watch.renew();
    assert_eq!(listed(&mut watch, &mut failures).await, names);
}
