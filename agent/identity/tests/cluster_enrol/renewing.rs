//! A certificate is renewed by another agent, or by its own where that holds the
//! authority, and kept where nobody certifies.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use starling_consensus::tls::Callers;
use starling_engine::ledger;
use starling_identity::{Attendant, Troubles};
use starling_keys::{Authority, Expired, validity};
use starling_kubernetes_rig::{Cluster, turn};
use tokio::sync::watch;

use crate::harness::{AUDIENCE, Holder, OBJECTS, settings, token};
use crate::member::{Age, Member, now_s};

const HOUR_S: u64 = 3_600;

async fn until(troubles: &mut watch::Receiver<Troubles>, is: impl FnMut(&Troubles) -> bool) {
    let seen = tokio::time::timeout(Duration::from_mins(1), troubles.wait_for(is)).await;
    let _ = seen.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_in_time_and_the_former_one_kept_where_nobody_certifies() {
    let Some(_turn) = turn::beside() else { return };
    let cluster = Cluster::start(0).unwrap();
    cluster.apply(OBJECTS).unwrap();
    let good = token(&cluster, "starling", Some("agent"), AUDIENCE);
    let holder = Holder::start(cluster.kubeconfig(), &good).await;
    let home = tempfile::tempdir().unwrap();
    let mut settings = settings(cluster.kubeconfig(), home.path()).await;
    settings.node = "node-a.example.org".into();
    std::fs::write(&settings.token, &good).unwrap();
    cluster.freeze_api_server().unwrap();

    // It asks the holder, whose address the ledger gives.
    let authority = ledger::Authority {
        certificate: holder.authority.clone(),
        key: holder.key.clone(),
    };
    let age = Age {
        since_s: 20 * HOUR_S,
        until_s: 4 * HOUR_S as i64 - 60,
    };
    let api = holder.address.to_string();
    let member = Member::start(&settings, &api, &authority, age, false).await;
    let (store, credentials) = (
        member.established.store.clone(),
        member.established.credentials.clone(),
    );
    let before = credentials.server(Callers::Certified);
    let kept = || store.keys(Expired::Refused).unwrap().unwrap().tls;
    let mut troubles = Attendant::start(settings, member.established, false, member.log.clone());
    until(&mut troubles, |now| now.contains_key("certificate")).await;
    let words = troubles.borrow()["certificate"].clone();
    assert!(
        words.contains("can't be renewed") && words.contains("good for 3 h more"),
        "{words}"
    );
    assert_eq!(kept().certificate, member.certificate);
    assert!(Arc::ptr_eq(
        &before,
        &credentials.server(Callers::Certified)
    ));

    cluster.resume_api_server().unwrap();
    until(&mut troubles, |now| !now.contains_key("certificate")).await;
    assert_ne!(kept().certificate, member.certificate);
    let until_s = validity(&kept().certificate).unwrap().until_s;
    assert!(until_s > now_s() + 23 * HOUR_S);
    assert!(!Arc::ptr_eq(
        &before,
        &credentials.server(Callers::Certified)
    ));
}

/// All agents stood still for days: each certificate has expired, so nobody can
/// be asked, and without them there is no leader either.
#[tokio::test(flavor = "multi_thread")]
async fn with_nobody_to_ask_an_agent_that_holds_the_authority_renews_what_has_expired() {
    let home = tempfile::tempdir().unwrap();
    let settings = settings(&nowhere(home.path()), home.path()).await;
    let authority = Authority::found("test").unwrap();
    let authority = ledger::Authority {
        key: authority.key_pem(),
        certificate: authority.certificate,
    };
    let age = Age {
        since_s: 72 * HOUR_S,
        until_s: -(48 * HOUR_S as i64),
    };
    let member = Member::start(&settings, "127.0.0.1:1", &authority, age, true).await;
    let (store, credentials) = (
        member.established.store.clone(),
        member.established.credentials.clone(),
    );
    let before = credentials.server(Callers::Certified);
    let _troubles = Attendant::start(settings, member.established, false, member.log.clone());
    let renewed = tokio::time::timeout(Duration::from_mins(1), async {
        while Arc::ptr_eq(&before, &credentials.server(Callers::Certified)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    renewed.await.unwrap();
    let keys = store.keys(Expired::Refused).unwrap().unwrap();
    assert_ne!(keys.tls.certificate, member.certificate);
}

/// A kubeconfig whose API server isn't there.
fn nowhere(home: &std::path::Path) -> PathBuf {
    let path = home.join("kubeconfig");
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
                clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n\
                users: [{name: u, user: {}}]\n\
                contexts: [{name: c, context: {cluster: c, user: u}}]\n";
    std::fs::write(&path, text).unwrap();
    path
}
