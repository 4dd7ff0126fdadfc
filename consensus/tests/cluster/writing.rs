//! Letters of agents to each other.

use std::time::Duration;

use starling_consensus::letters::LETTER_BYTES_MAX;
use starling_consensus::{Error, Letter};
use starling_engine::unit::NodeId;

use crate::harness::{Agent, Authority, eventually, form};

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_reaches_the_one_that_it_is_for_and_names_its_writer() {
    let authority = Authority::new();
    let mut agents = Agent::some(&authority, 3);
    let logs = form(&mut agents).await;
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        let body = format!("{from} to {to}").into_bytes();
        eventually("it is delivered", async || {
            logs[from].tell(logs[to].id(), body.clone()).await.ok()
        })
        .await;
        let read = tokio::time::timeout(Duration::from_mins(1), logs[to].letter()).await;
        let expected = Letter {
            from: logs[from].id(),
            body,
        };
        assert_eq!(read.unwrap(), expected);
    }

    let fails = |told: Result<(), Error>, words: &str| match told {
        Err(Error::Undelivered(why)) if why.contains(words) => {}
        other => panic!("{other:?}, not {words}"),
    };
    let nobody = logs[0].tell(NodeId(1 << 40), Vec::new()).await;
    fails(nobody, "nobody knows where it lives");
    let long = vec![0; LETTER_BYTES_MAX + 1];
    fails(logs[0].tell(logs[1].id(), long).await, "at most");
    // Nobody reads: no more than so many wait.
    let full = eventually("no more are taken", async || {
        let told = logs[0].tell(logs[1].id(), vec![1]).await;
        told.err()
            .filter(|why| why.to_string().contains("too many letters wait"))
    });
    full.await;
    logs[2].shutdown().await;
    let gone = eventually("it is gone", async || {
        logs[0].tell(logs[2].id(), vec![2]).await.err()
    });
    assert!(matches!(gone.await, Error::Undelivered(_)));
}
