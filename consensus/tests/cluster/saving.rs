//! Snapshots that are kept outside of the cluster.

use starling_consensus::export;
use starling_engine::ledger::Authority as Issuer;

use crate::harness::{Agent, Authority, agree, commit, completed, digest, form};

#[tokio::test]
async fn a_saved_snapshot_holds_all_that_was_applied_and_any_changed_bit_is_noticed() {
    let mut agents = Agent::some(&Authority::new(), 3);
    let logs = form(&mut agents).await;
    for n in 0..20 {
        commit(&logs[0], &n.to_string()).await;
    }
    agree(&logs.iter().collect::<Vec<_>>()).await;
    for log in &logs {
        let sealed = completed(|| log.save()).await;
        let contents = export::inspect(&sealed).unwrap();
        let held = (contents.index, contents.digest);
        assert_eq!(held, digest(log));
        assert_eq!(contents.members, ["agent-0", "agent-1", "agent-2"]);
        assert_eq!((contents.voters, contents.generation), (3, 1));
        assert_eq!(contents.size_bytes, sealed.len());
        for byte in (0..sealed.len()).step_by(7) {
            let mut changed = sealed.clone();
            changed[byte] ^= 4;
            assert!(export::inspect(&changed).is_err(), "byte {byte}");
        }
        assert!(export::inspect(&sealed[..sealed.len() - 1]).is_err());
        assert!(export::inspect(b"").is_err());
    }
    // Saved again without news it is the same.
    let save = || completed(|| logs[0].save());
    assert_eq!(save().await, save().await);
}

#[tokio::test]
async fn the_authoritys_key_is_in_no_saved_snapshot() {
    let mut agents = Agent::some(&Authority::new(), 1);
    agents[0].config.authority = Some(Issuer {
        certificate: "public".into(),
        key: "the-secret-key".into(),
    });
    let logs = form(&mut agents).await;
    commit(&logs[0], "x").await;
    let ledger = logs[0].ledger();
    assert!(ledger.read().unwrap().authority.is_some());
    let sealed = completed(|| logs[0].save()).await;
    let secret = b"the-secret-key";
    assert!(!sealed.windows(secret.len()).any(|bytes| bytes == secret));
    assert_eq!(export::inspect(&sealed).unwrap().members, ["agent-0"]);
}
