//! Certificates that are given on request, and files that are replaced.

#![allow(clippy::unwrap_used)] // A helper that finds nothing has failed its test.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, IsCa, KeyPair, PKCS_ED25519};
use starling_keys::watch::Watcher;
use starling_keys::{
    Authority, Error, Expired, Node, Role, Unsigned, file, load, load_client, load_with, new_ring,
    unsigned, validity,
};

const DAY: Duration = Duration::from_hours(24);

fn node(name: &str) -> Node {
    name.parse().unwrap()
}

fn request(params: &CertificateParams, key: &KeyPair) -> Vec<u8> {
    params.serialize_request(key).unwrap().der().to_vec()
}

/// A node's directory as it is laid out on disk.
fn write(dir: &Path, authority: &Authority, certificate: &str, key: &str) {
    let ring = new_ring("test").unwrap();
    let files = [
        ("ca.pem", authority.certificate.as_str()),
        ("node.pem", certificate),
        ("node.key", key),
        ("gossip.keys", &ring),
    ];
    file::write_directory(dir, &files).unwrap();
}

#[test]
fn names_in_a_request_count_for_nothing() {
    let home = tempfile::tempdir().unwrap();
    let authority = Authority::found("test").unwrap();
    let names = vec!["peer.starling".into(), "other".into(), "10.0.0.1".into()];
    let mut forged = CertificateParams::new(names).unwrap();
    forged.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let forged = request(&forged, &key);

    let certificate = authority
        .certify(&forged, Role::Node(&node("n1")), DAY)
        .unwrap();
    let dir = home.path().join("node");
    write(&dir, &authority, &certificate, &key.serialize_pem());
    load(&dir, "n1").unwrap();
    let refused = load(&dir, "other").unwrap_err().to_string();
    assert!(refused.contains("isn't for the name other"), "{refused}");

    // Nor does it make a user an agent, or anybody an authority.
    let user = authority.certify(&forged, Role::Client, DAY).unwrap();
    let dir = home.path().join("user");
    let files = [
        ("ca.pem", authority.certificate.as_str()),
        ("client.pem", &user),
        ("client.key", &key.serialize_pem()),
        ("node.pem", &user),
        ("node.key", &key.serialize_pem()),
    ];
    file::write_directory(&dir, &files).unwrap();
    load_client(&dir).unwrap();
    let refused = load(&dir, "other").unwrap_err().to_string();
    assert!(
        refused.contains("isn't for the name peer.starling"),
        "{refused}"
    );
    let own = Authority::restore(&user, &key.serialize_pem()).unwrap();
    let Unsigned { key, request } = unsigned().unwrap();
    let chained = own.certify(&request, Role::Node(&node("n2")), DAY).unwrap();
    let dir = home.path().join("chained");
    write(&dir, &authority, &format!("{chained}{user}"), &key);
    // Shaking hands refuses the chain, and so does everyone who looks here.
    let parts = load(&dir, "n2");
    let trusted = parts.is_ok_and(|keys| verifies(&keys.tls));
    assert!(!trusted, "a user's certificate passes for an authority's");
}

/// Whether others would believe it.
fn verifies(tls: &starling_consensus::Tls) -> bool {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, UnixTime};
    use rustls::server::WebPkiClientVerifier;
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(tls.ca.as_bytes()).unwrap())
        .unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
        .build()
        .unwrap();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(tls.certificate.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap();
    verifier
        .verify_client_cert(&chain[0], &chain[1..], UnixTime::now())
        .is_ok()
}

#[test]
fn a_key_of_another_kind_and_nonsense_are_refused() {
    let authority = Authority::found("test").unwrap();
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let other = request(&CertificateParams::default(), &key);
    let mut spoiled = unsigned().unwrap().request;
    let last = spoiled.len() - 1;
    spoiled[last] ^= 1;
    for bad in [other, spoiled, b"nonsense".to_vec(), Vec::new()] {
        let refused = authority.certify(&bad, Role::Client, DAY);
        assert!(matches!(refused, Err(Error::Request(_))));
    }
}

#[test]
fn a_certificate_is_valid_for_the_time_asked_and_an_expired_one_only_where_that_is_allowed() {
    let home = tempfile::tempdir().unwrap();
    let authority = Authority::found("test").unwrap();
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for (lifetime, sound) in [(DAY, true), (Duration::ZERO, false)] {
        let Unsigned { key, request } = unsigned().unwrap();
        let role = Role::Node(&node("n1"));
        let certificate = authority.certify(&request, role, lifetime).unwrap();
        let until_s = validity(&certificate).unwrap().until_s;
        let left = until_s.saturating_sub(now_s.as_secs());
        assert!(left.abs_diff(lifetime.as_secs()) < 60, "{left}");
        let dir = home.path().join(sound.to_string());
        write(&dir, &authority, &certificate, &key);
        // The second in which it ends is still its own.
        let refused = || load(&dir, "n1").is_ok() == sound;
        while !refused() {
            assert!(now_s.as_secs() + 60 > until_s, "it doesn't expire");
            std::thread::yield_now();
        }
        load_with(&dir, "n1", Expired::Allowed).unwrap();
    }
}

/// Puts a version in place as a kubelet does: all files are links into `..data`,
/// which is swapped at once.
fn swap(dir: &Path, version: &str, authority: &Authority, secret: &starling_keys::Leaf) {
    let ring = new_ring("test").unwrap();
    let files = [
        ("ca.crt", authority.certificate.as_str()),
        ("tls.crt", &secret.certificate),
        ("tls.key", &secret.key),
        ("gossip.keys", &ring),
    ];
    file::write_directory(&dir.join(version), &files).unwrap();
    symlink(version, dir.join("..tmp")).unwrap();
    fs::rename(dir.join("..tmp"), dir.join("..data")).unwrap();
    for (name, _) in files {
        // Made once, for the first version.
        let _ = symlink(Path::new("..data").join(name), dir.join(name));
    }
}

#[test]
fn a_secrets_volume_is_read_and_its_swap_is_noticed() {
    let home = tempfile::tempdir().unwrap();
    let authority = Authority::found("test").unwrap();
    let issue = || authority.issue(Role::Node(&node("n1"))).unwrap();
    let first = issue();
    swap(home.path(), "..1", &authority, &first);
    let keys = load(home.path(), "n1").unwrap();
    assert_eq!(keys.tls.certificate, first.certificate);

    let mut watcher = Watcher::new(home.path(), "n1");
    assert!(watcher.look().is_none());
    let second = issue();
    swap(home.path(), "..2", &authority, &second);
    let keys = watcher.look().unwrap().unwrap();
    assert_eq!(keys.tls.certificate, second.certificate);
    assert!(watcher.look().is_none());

    // Half of a pair is no news to act on, and is said until it is whole.
    fs::write(home.path().join("..2/tls.key"), issue().key).unwrap();
    assert!(watcher.look().unwrap().is_err());
    assert!(watcher.look().unwrap().is_err());
    let third = issue();
    swap(home.path(), "..3", &authority, &third);
    let keys = watcher.look().unwrap().unwrap();
    assert_eq!(keys.tls.key, third.key);
}

#[test]
fn a_file_of_another_owner_may_be_readable_by_a_group_and_no_further() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("tls.key");
    fs::write(&path, "secret").unwrap();
    let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o440);
    assert!(matches!(
        file::read_secret(&path),
        Err(Error::Exposed { .. })
    ));
    if chown(&path, Some(65_532), Some(65_532)).is_err() {
        // Only root can give files away.
        return;
    }
    assert!(file::read_secret(&path).is_ok());
    for wrong in [0o460, 0o444, 0o666] {
        mode(wrong);
        let refused = file::read_secret(&path);
        assert!(matches!(refused, Err(Error::Exposed { .. })), "{wrong:o}");
    }
}

#[test]
fn what_is_replaced_is_there_whole_for_its_owner_alone() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("cluster.json");
    for text in ["first", "second"] {
        file::replace(&path, text).unwrap();
        assert_eq!(file::read_secret(&path).unwrap(), text);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let link = home.path().join("current");
    for target in ["a", "b"] {
        file::point(&link, Path::new(target)).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new(target));
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2);
}
