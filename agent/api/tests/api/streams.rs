//! Streams: snapshots, differences, resuming.

use std::sync::Arc;

use starling_api::view::Snapshot;
use starling_proto::v1;
use starling_proto::v1::watch_cluster_response::Event;
use starling_proto::v1::watch_decisions_response::Event as DecisionsEvent;
use tonic::Code;

use crate::harness::{Home, client, next, now, policy};

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_comes_as_a_snapshot_and_then_as_what_changed() {
    let home = Home::new();
    let agent = home.leader().await;
    agent.put(policy("checkout", 1)).await;
    let mut client = client(&agent.address, &home.user()).await.unwrap();
    let fresh = v1::WatchClusterRequest::default();
    let mut stream = client
        .watch_cluster(fresh.clone())
        .await
        .unwrap()
        .into_inner();
    let first = next(&mut stream).await.unwrap();
    let Some(Event::Snapshot(snapshot)) = first.event else {
        panic!("{first:?}")
    };
    assert_eq!((snapshot.members.len(), snapshot.policies.len()), (1, 1));
    assert!(first.header.is_some() && snapshot.status.is_some());

    agent.put(policy("billing", 2)).await;
    let update = loop {
        let message = next(&mut stream).await.unwrap();
        match message.event {
            Some(Event::Update(update)) if !update.policies.is_empty() => break update,
            Some(Event::Snapshot(_)) => panic!("a second snapshot"),
            _ => {}
        }
    };
    let names: Vec<&str> = update.policies.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["billing"]);

    // Taken up at the snapshot, the change comes again and the snapshot doesn't.
    drop(stream);
    let resume_revision = first.revision;
    let mut stream = client
        .watch_cluster(v1::WatchClusterRequest {
            resume_revision,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let again = next(&mut stream).await.unwrap();
    assert!(matches!(again.event, Some(Event::Update(_))), "{again:?}");

    for resume_revision in ["17-0-1", "nonsense"].map(String::from) {
        let asked = v1::WatchClusterRequest {
            resume_revision,
            ..Default::default()
        };
        let status = client.watch_cluster(asked).await.unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_ages_is_not_sent_but_a_warning_is() {
    let home = Home::new();
    let agent = home.leader().await;
    let mut client = client(&agent.address, &home.user()).await.unwrap();
    let asked = v1::WatchClusterRequest::default();
    let mut stream = client.watch_cluster(asked).await.unwrap().into_inner();
    next(&mut stream).await.unwrap();
    // A young leader still writes an entry or two. After them nothing but ages changes, and a
    // heartbeat comes.
    let mut updates = 0;
    loop {
        let message = next(&mut stream).await.unwrap();
        match message.event {
            Some(Event::Heartbeat(_)) => break,
            Some(Event::Update(_)) if updates < 10 => updates += 1,
            _ => panic!("{message:?}"),
        }
    }
    let mut snapshot = Snapshot {
        at: now(),
        ..Snapshot::default()
    };
    snapshot
        .warnings
        .insert("policies".into(), "a file was refused".into());
    agent.snapshot.send_replace(Arc::new(snapshot));
    let warnings = loop {
        let message = next(&mut stream).await.unwrap();
        if let Some(Event::Update(update)) = message.event {
            break update.status.unwrap().warnings;
        }
    };
    assert_eq!(warnings[0].text, "a file was refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_come_once_each_and_a_stream_goes_on_where_it_stood() {
    let home = Home::new();
    let agent = home.leader().await;
    agent.put(policy("checkout", 1)).await;
    agent.put(policy("checkout", 2)).await;
    let mut client = client(&agent.address, &home.user()).await.unwrap();
    let fresh = v1::WatchDecisionsRequest::default();
    let mut stream = client
        .watch_decisions(fresh.clone())
        .await
        .unwrap()
        .into_inner();
    let first = next(&mut stream).await.unwrap();
    let Some(DecisionsEvent::Snapshot(snapshot)) = first.event else {
        panic!("{first:?}")
    };
    let sizes: Vec<(u32, u32)> = snapshot
        .decisions
        .iter()
        .map(|d| (d.previous_size, d.size))
        .collect();
    assert_eq!(sizes, [(1, 2)]);
    drop(stream);

    agent.put(policy("checkout", 4)).await;
    let asked = v1::WatchDecisionsRequest {
        resume_revision: first.revision,
        ..fresh.clone()
    };
    let mut stream = client.watch_decisions(asked).await.unwrap().into_inner();
    let message = next(&mut stream).await.unwrap();
    let Some(DecisionsEvent::Update(update)) = message.event else {
        panic!("{message:?}")
    };
    let sizes: Vec<(u32, u32)> = update
        .decisions
        .iter()
        .map(|d| (d.previous_size, d.size))
        .collect();
    assert_eq!(sizes, [(2, 4)]);

    for (resume_revision, code) in [
        ("9/1", Code::OutOfRange),
        ("nonsense", Code::InvalidArgument),
    ] {
        let asked = v1::WatchDecisionsRequest {
            resume_revision: resume_revision.into(),
            ..fresh.clone()
        };
        assert_eq!(
            client.watch_decisions(asked).await.unwrap_err().code(),
            code
        );
    }
    let asked = v1::WatchDecisionsRequest {
        policy: "chekout".into(),
        ..fresh
    };
    assert_eq!(
        client.watch_decisions(asked).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ending_agent_sends_its_streams_elsewhere() {
    let home = Home::new();
    let mut agent = home.leader().await;
    let mut client = client(&agent.address, &home.user()).await.unwrap();
    let asked = v1::WatchDecisionsRequest::default();
    let mut stream = client.watch_decisions(asked).await.unwrap().into_inner();
    next(&mut stream).await.unwrap();
    agent.end_api().await;
    let end = next(&mut stream).await.unwrap_err();
    assert_eq!(end.code(), Code::Unavailable);
    assert!(end.message().contains("another one"), "{}", end.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_one_namespace_holds_that_ones_policies_and_decisions_only() {
    let home = Home::new();
    let agent = home.leader().await;
    for (namespace, name) in [("shop", "web"), ("default", "checkout")] {
        for replicas_min in [1, 3] {
            let mut policy = policy(name, replicas_min);
            policy.name.namespace = namespace.into();
            policy.target.namespace = namespace.into();
            agent.put(policy).await;
        }
    }
    let mut client = client(&agent.address, &home.user()).await.unwrap();
    let asked = v1::WatchClusterRequest {
        namespace: "shop".into(),
        ..Default::default()
    };
    let mut stream = client.watch_cluster(asked).await.unwrap().into_inner();
    let Some(Event::Snapshot(snapshot)) = next(&mut stream).await.unwrap().event else {
        panic!("no snapshot")
    };
    let names: Vec<_> = snapshot.policies.iter().map(|p| p.name.as_str()).collect();
    assert_eq!((names, snapshot.members.len()), (vec!["web"], 1));
    let asked = v1::WatchDecisionsRequest {
        namespace: "shop".into(),
        ..Default::default()
    };
    let mut stream = client.watch_decisions(asked).await.unwrap().into_inner();
    let Some(DecisionsEvent::Snapshot(snapshot)) = next(&mut stream).await.unwrap().event else {
        panic!("no snapshot")
    };
    let of: Vec<_> = snapshot
        .decisions
        .iter()
        .map(|d| (d.namespace.as_str(), d.policy.as_str()))
        .collect();
    assert_eq!(of, [("shop", "web")]);
}
