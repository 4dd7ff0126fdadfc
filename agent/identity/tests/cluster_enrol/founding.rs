//! Who founds, and that a founder that ends at any point goes on where it was.

use std::sync::Mutex;
use std::time::Duration;

use starling_identity::{Error, Established, Settings, establish};
use starling_kube::cluster::{Cluster as Said, Raised};
use starling_kubernetes_rig::{Cluster, turn};
use tempfile::TempDir;

use crate::harness::{OBJECTS, SYSTEM, settings};

async fn node(cluster: &Cluster, name: &str, home: &TempDir) -> Settings {
    let mut settings = settings(cluster.kubeconfig(), home.path()).await;
    settings.node = name.into();
    std::fs::write(&settings.token, "none").unwrap();
    settings
}

async fn start(settings: &Settings) -> Result<Established, Error> {
    establish(settings, None, &|_| {}).await
}

/// Runs an agent until `seen`, and for a while longer: it waits.
async fn waits(settings: &Settings, tell: &(dyn Fn(&str) + Sync), seen: impl Fn() -> bool) {
    let look = async {
        while !seen() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    };
    tokio::select! {
        _ = establish(settings, None, tell) => panic!("it doesn't wait"),
        looked = tokio::time::timeout(Duration::from_mins(1), look) => looked.unwrap(),
    }
}

fn delete(cluster: &Cluster) {
    let words = ["delete", "configmap", "starling-cluster", "-n", SYSTEM];
    cluster.kubectl(words).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_that_ends_before_it_has_founded_goes_on_and_nobody_else_founds() {
    let Some(_turn) = turn::beside() else { return };
    let cluster = Cluster::start(0).unwrap();
    cluster.apply(OBJECTS).unwrap();
    let homes = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let first = node(&cluster, "node-1", &homes[0]).await;
    let second = node(&cluster, "node-2", &homes[1]).await;

    // It made the object and has no log yet: whatever it began with it has again.
    let begun = start(&first).await.unwrap();
    assert!(begun.bootstrap);
    let again = start(&first).await.unwrap();
    assert!(again.bootstrap);
    assert_eq!(again.cluster, begun.cluster);
    assert_eq!(again.authority, begun.authority);
    let object = first.object.get().await.unwrap().unwrap();
    assert_eq!(object, begun.cluster);
    assert_eq!(object.founder, "node-1");

    // It had not even made the object: it makes the same one.
    delete(&cluster);
    let again = start(&first).await.unwrap();
    assert!(again.bootstrap);
    assert_eq!(again.cluster, begun.cluster);

    // Another one waits for it, and says so.
    let said = Mutex::new(String::new());
    let tell = |words: &str| words.clone_into(&mut said.lock().unwrap());
    let words = "node node-1 founded the cluster";
    waits(&second, &tell, || said.lock().unwrap().contains(words)).await;

    // Somebody else was faster: it gives up what it began with, and waits too.
    delete(&cluster);
    let other = TempDir::new().unwrap();
    let other = node(&cluster, "node-3", &other).await;
    let faster = start(&other).await.unwrap();
    assert!(faster.bootstrap && faster.cluster.id != begun.cluster.id);
    let store = starling_identity::Store::open(&first.data_dir, "node-1").unwrap();
    let theirs = Some(faster.cluster);
    waits(&first, &|_| {}, || store.belonging().unwrap() == theirs).await;
    assert!(store.founding().unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_a_cluster_of_another_name_is_an_error_that_says_what_to_do() {
    let Some(_turn) = turn::beside() else { return };
    let cluster = Cluster::start(0).unwrap();
    cluster.apply(OBJECTS).unwrap();
    let homes = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    start(&node(&cluster, "node-1", &homes[0]).await)
        .await
        .unwrap();
    let mut other = node(&cluster, "node-2", &homes[1]).await;
    other.cluster = "other".into();
    let error = start(&other).await.err().unwrap().to_string();
    assert!(
        error.contains("is of cluster test") && error.contains("kubernetes.clusterObject"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_raise_the_generation_at_once_one_does_and_the_other_hears_who() {
    let Some(_turn) = turn::beside() else { return };
    let cluster = Cluster::start(0).unwrap();
    cluster.apply(OBJECTS).unwrap();
    let homes = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let first = node(&cluster, "node-1", &homes[0]).await;
    let second = node(&cluster, "node-2", &homes[1]).await;
    start(&first).await.unwrap();
    let mut now = first.object.get().await.unwrap().unwrap();
    assert_eq!((now.generation, now.recovered_by.as_str()), (1, ""));
    for generation in 2..8 {
        let by = |node: &str| Said {
            generation,
            recovered_by: node.into(),
            ..now.clone()
        };
        let (one, other) = (by("node-1"), by("node-2"));
        let (first, second) = tokio::join!(
            first.object.raise(Some(&now), &one),
            second.object.raise(Some(&now), &other)
        );
        let (first, second) = (first.unwrap(), second.unwrap());
        let said = match (&first, &second) {
            (Raised::Done, Raised::Other(said)) => {
                assert_eq!(**said, one);
                one
            }
            (Raised::Other(said), Raised::Done) => {
                assert_eq!(**said, other);
                other
            }
            both => panic!("{both:?}"),
        };
        now = said;
    }
    // From what it doesn't say any more nothing is raised, and what was deleted is made.
    let stale = Said {
        generation: 1,
        ..now.clone()
    };
    let raised = first.object.raise(Some(&stale), &now).await.unwrap();
    assert_eq!(raised, Raised::Other(Box::new(now.clone())));
    delete(&cluster);
    assert!(first.object.raise(Some(&now), &stale).await.is_err());
    let made = first.object.raise(None, &now).await.unwrap();
    assert_eq!(made, Raised::Done);
    assert_eq!(first.object.get().await.unwrap(), Some(now));
}
