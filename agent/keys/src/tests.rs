//! Identities as their users meet them: made, kept, used in TLS, and spoiled.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::*;

fn request(cluster: &str, nodes: &[&str]) -> Request {
    Request {
        cluster: cluster.into(),
        nodes: nodes.iter().map(|node| node.parse().unwrap()).collect(),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Shakes hands in memory; an error is either side's.
fn handshake(client: &Tls, server: &Tls, name: &str) -> Result<(), rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = |tls: &Tls| {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(tls.ca.as_bytes()).unwrap();
        roots.add(ca).unwrap();
        Arc::new(roots)
    };
    let identity = |tls: &Tls| {
        let certificate = CertificateDer::from_pem_slice(tls.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(tls.key.as_bytes()).unwrap();
        (vec![certificate], key)
    };
    let (certificates, key) = identity(server);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(server), provider.clone())
        .build()
        .unwrap();
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates, key)?;
    let (certificates, key) = identity(client);
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(client))
        .with_client_auth_cert(certificates, key)?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn nodes_and_users_of_one_cluster_trust_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = ["a", "b=b.example.org,192.0.2.7"];
    generate(dir.path(), &request("blue", &nodes)).unwrap();
    let a = load(&dir.path().join("a"), "a").unwrap();
    let b = load(&dir.path().join("b"), "b").unwrap();
    let user = load_client(&dir.path().join("client")).unwrap();
    assert_eq!(a.gossip, b.gossip);
    for name in [
        "peer.starling",
        "b",
        "localhost",
        "127.0.0.1",
        "b.example.org",
        "192.0.2.7",
    ] {
        handshake(&a.tls, &b.tls, name).unwrap();
        handshake(&user, &b.tls, name).unwrap();
    }
    assert!(handshake(&a.tls, &b.tls, "a").is_err(), "b passed for a");
    assert!(handshake(&a.tls, &user, CLIENT).is_err(), "a user served");
}

#[test]
fn clusters_dont_trust_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (blue, green) = (dir.path().join("blue"), dir.path().join("green"));
    generate(&blue, &request("blue", &["a"])).unwrap();
    generate(&green, &request("green", &["a"])).unwrap();
    let blue = load(&blue.join("a"), "a").unwrap();
    let green = load(&green.join("a"), "a").unwrap();
    assert!(handshake(&blue.tls, &green.tls, PEER).is_err());
    assert_ne!(blue.gossip, green.gossip);
}

#[test]
fn keys_are_for_their_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("new");
    generate(&out, &request("blue", &["a"])).unwrap();
    for name in [
        "ca.key",
        "gossip.keys",
        "a/node.key",
        "a/gossip.keys",
        "client/client.key",
    ] {
        assert_eq!(mode(&out.join(name)), 0o600, "{name}");
    }
    for name in ["", "a", "client"] {
        assert_eq!(mode(&out.join(name)), 0o700, "{name}");
    }
}

#[test]
fn a_second_run_adds_nodes_and_changes_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    generate(dir.path(), &request("blue", &["a"])).unwrap();
    let before = load(&dir.path().join("a"), "a").unwrap();
    let made = generate(dir.path(), &request("blue", &["a", "b"])).unwrap();
    assert_eq!(made.made, [dir.path().join("b")]);
    assert_eq!(made.kept.len(), 5, "{made}");
    let after = load(&dir.path().join("a"), "a").unwrap();
    assert_eq!(after.tls.certificate, before.tls.certificate);
    assert_eq!(after.tls.key, before.tls.key);
    let added = load(&dir.path().join("b"), "b").unwrap();
    assert_eq!(added.gossip, before.gossip);
    handshake(&added.tls, &before.tls, PEER).unwrap();
}

#[test]
fn a_run_that_was_cut_off_is_made_good_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    generate(dir.path(), &request("blue", &["a"])).unwrap();
    let half = dir.path().join(".b.unfinished");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("node.key"), "half a k").unwrap();
    generate(dir.path(), &request("blue", &["b"])).unwrap();
    load(&dir.path().join("b"), "b").unwrap();
    assert!(!half.exists());
}

#[test]
fn another_clusters_authority_and_half_an_authority_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    generate(dir.path(), &request("blue", &["a"])).unwrap();
    let error = generate(dir.path(), &request("green", &["b"])).unwrap_err();
    assert!(
        error.to_string().contains("belongs to cluster \"blue\""),
        "{error}"
    );
    fs::remove_file(dir.path().join("ca.key")).unwrap();
    let error = generate(dir.path(), &request("blue", &["b"])).unwrap_err();
    assert!(matches!(error, Error::Incomplete { .. }), "{error}");
    assert!(!dir.path().join("b").exists());
    assert!(
        !dir.path().join("ca.key").exists(),
        "a new key beside the old authority"
    );
}

#[test]
fn names_that_could_pass_for_others_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |cluster: &str, node: &str, host: Option<&str>| {
        let node = Node {
            name: node.into(),
            hosts: host.map(str::to_owned).into_iter().collect(),
        };
        let request = Request {
            cluster: cluster.into(),
            nodes: vec![node],
        };
        let error = generate(dir.path(), &request).unwrap_err();
        assert!(matches!(error, Error::Name { .. }), "{error}");
    };
    let long = "x".repeat(64);
    for name in [
        "",
        "..",
        "a/b",
        "a b",
        "-a",
        "client.starling",
        "Peer.Starling",
        long.as_str(),
    ] {
        refused("blue", name, None);
        refused(name, "a", None);
        refused("blue", "a", Some(name));
    }
    refused("blue", "client", None);
    let twice = generate(dir.path(), &request("blue", &["a", "a"])).unwrap_err();
    assert!(matches!(twice, Error::Name { .. }), "{twice}");
    assert!(
        fs::read_dir(dir.path()).unwrap().next().is_none(),
        "left something behind"
    );
}

/// Spoils one file of a node's directory and returns what loading it says.
fn spoiled(name: &str, spoil: impl Fn(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    generate(dir.path(), &request("blue", &["a", "b"])).unwrap();
    let path = dir.path().join("a").join(name);
    spoil(&path);
    let error = load(&dir.path().join("a"), "a").unwrap_err().to_string();
    assert!(
        error.starts_with(path.to_str().unwrap()),
        "{error} doesn't begin with {name}"
    );
    error
}

#[test]
fn errors_name_the_file_what_is_wrong_and_what_to_do() {
    for name in ["ca.pem", "node.pem", "node.key", "gossip.keys"] {
        let error = spoiled(name, |path| fs::remove_file(path).unwrap());
        assert!(
            error.contains("is missing: make it with `starling keys"),
            "{error}"
        );
        let error = spoiled(name, |path| fs::write(path, " \n").unwrap());
        assert!(error.contains("is empty: copy it again"), "{error}");
        let error = spoiled(name, |path| fs::write(path, "nonsense").unwrap());
        assert!(error.contains("copy it again"), "{error}");
        let error = spoiled(name, |path| fs::write(path, [0xff; 64]).unwrap());
        assert!(error.contains("isn't text"), "{error}");
        let error = spoiled(name, |path| fs::write(path, vec![b'x'; 1 << 21]).unwrap());
        assert!(error.contains("larger than 1 MiB"), "{error}");
    }
    for name in ["node.key", "gossip.keys"] {
        for readable in [0o640, 0o604] {
            let error = spoiled(name, |path| set_mode(path, readable));
            assert!(error.contains("`chmod 600 "), "{error}");
        }
    }
}

#[test]
fn parts_that_dont_belong_together_are_refused() {
    let other = |path: &Path, name: &str| path.parent().unwrap().parent().unwrap().join(name);
    let error = spoiled("node.key", |path| {
        fs::copy(other(path, "b/node.key"), path).unwrap();
    });
    assert!(error.contains("isn't the key of "), "{error}");
    let error = spoiled("node.key", |path| {
        fs::write(path, fs::read(path.with_file_name("node.pem")).unwrap()).unwrap();
    });
    assert!(error.contains("isn't a private key in PEM"), "{error}");
    let error = spoiled("node.pem", |path| {
        fs::copy(other(path, "a/node.key"), path).unwrap();
    });
    assert!(error.contains("instead of a certificate"), "{error}");
    let error = spoiled("node.pem", |path| {
        let foreign = tempfile::tempdir().unwrap();
        generate(foreign.path(), &request("blue", &["a"])).unwrap();
        fs::copy(foreign.path().join("a/node.pem"), path).unwrap();
        fs::copy(
            foreign.path().join("a/node.key"),
            path.with_file_name("node.key"),
        )
        .unwrap();
    });
    assert!(error.contains("wasn't issued by "), "{error}");
    let error = spoiled("node.pem", |path| {
        fs::copy(other(path, "client/client.pem"), path).unwrap();
        fs::copy(
            other(path, "client/client.key"),
            path.with_file_name("node.key"),
        )
        .unwrap();
    });
    assert!(
        error.contains("isn't for the name peer.starling"),
        "{error}"
    );
}

#[test]
fn a_ring_opens_with_all_of_its_keys_and_seals_with_the_first() {
    let path = Path::new("gossip.keys");
    let first = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let second = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let keys = ring::parse(path, &format!("# new\n{second}\n\n {first} \n")).unwrap();
    assert_eq!(keys, [Key([1; 32]), Key([0; 32])]);
    let refused = |text: &str, what: &str| {
        let error = ring::parse(path, text).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
        assert!(!error.contains("AAAA"), "{error}");
    };
    refused("# nothing\n", "holds no key");
    refused("AAAA\n", "line 1: isn't a key of 32 bytes");
    refused(&format!("{first}\n{first}\n"), "line 2: is there twice");
    refused(
        &format!("{first}\n{}!\n", &first[1..]),
        "line 2: isn't a key in base64",
    );
    assert_eq!(format!("{keys:?}"), "[Key(..), Key(..)]");
}

#[test]
fn the_user_is_told_what_was_made_and_how_long_it_lasts() {
    let dir = tempfile::tempdir().unwrap();
    let made = generate(dir.path(), &request("blue", &["a"])).unwrap();
    let years = |text: &str| text[..4].parse::<u32>().unwrap();
    let years = years(&made.authority_until) - years(&made.leafs_until);
    assert!((8..=9).contains(&years), "{made}");
    let text = made.to_string();
    assert!(
        text.contains(&format!("valid until {}", made.authority_until)),
        "{text}"
    );
    assert!(text.contains("ca.key away from all of them"), "{text}");
}

fn until_s(tls: &Tls) -> u64 {
    validity(&tls.certificate).unwrap().until_s
}

#[test]
fn certificates_that_are_made_together_don_t_end_together() {
    const DAY_S: u64 = 86_400;
    let authority = Authority::found("blue").unwrap();
    let node: Node = "a".parse().unwrap();
    let ends = || {
        let leaf = authority.issue(Role::Node(&node)).unwrap();
        validity(&leaf.certificate).unwrap().until_s
    };
    let ends: Vec<u64> = (0..50).map(|_| ends()).collect();
    let (first, last) = (ends.iter().min().unwrap(), ends.iter().max().unwrap());
    let now_s = starling_consensus::tls::now_s();
    assert!(*first + 60 > now_s + (LEAF_DAYS - LEAF_SPREAD_DAYS) * DAY_S);
    assert!(*last <= now_s + LEAF_DAYS * DAY_S);
    assert!(
        last - first > LEAF_SPREAD_DAYS / 2 * DAY_S,
        "{} s apart",
        last - first
    );
}

#[test]
fn renewing_makes_new_certificates_for_the_same_names_and_leaves_all_else() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = ["a=a.example.org,192.0.2.7,2001:db8::1", "b"];
    generate(dir.path(), &request("blue", &nodes)).unwrap();
    let at = |name: &str| dir.path().join(name);
    let (a, b) = (load(&at("a"), "a").unwrap(), load(&at("b"), "b").unwrap());
    let user = load_client(&at("client")).unwrap();
    let further = at("a").join("further.txt");
    fs::write(&further, "mine").unwrap();

    let renewed = renew(dir.path(), &["a".into(), "client".into()]).unwrap();
    let made: Vec<_> = renewed
        .directories
        .iter()
        .map(|(path, _)| path.clone())
        .collect();
    assert_eq!(made, [at("a"), at("client")]);
    let new = load(&at("a"), "a").unwrap();
    assert_ne!(
        (&new.tls.certificate, &new.tls.key),
        (&a.tls.certificate, &a.tls.key)
    );
    assert_eq!((&new.tls.ca, &new.gossip), (&a.tls.ca, &a.gossip));
    assert_eq!(fs::read_to_string(&further).unwrap(), "mine");
    for name in [PEER, "a", "a.example.org", "192.0.2.7", "2001:db8::1"] {
        handshake(&b.tls, &new.tls, name).unwrap();
    }
    assert_ne!(load_client(&at("client")).unwrap(), user);
    assert_eq!(load(&at("b"), "b").unwrap().tls, b.tls);
    assert_eq!(mode(&at("a/node.key")), 0o600);
    assert_eq!(mode(&at("a")), 0o700);
    assert!(
        renewed.to_string().contains("without a restart"),
        "{renewed}"
    );

    let unknown = renew(dir.path(), &["z".into()]).unwrap_err().to_string();
    assert!(unknown.contains("no certificate is called \"z\"") && unknown.contains("a, b, client"));
    let all = renew(dir.path(), &[]).unwrap();
    assert_eq!(all.directories.len(), 3);
    assert!(until_s(&load(&at("b"), "b").unwrap().tls) > starling_consensus::tls::now_s());
}

#[test]
fn the_ring_rotates_in_three_steps_and_in_no_other_order() {
    let dir = tempfile::tempdir().unwrap();
    generate(dir.path(), &request("blue", &["a", "b"])).unwrap();
    let ring = |name: &str| load(&dir.path().join(name), name).unwrap().gossip;
    let refused = |step| {
        let before = ring("a");
        let why = rotate(dir.path(), step).unwrap_err();
        assert!(matches!(why, Error::Ring { .. }), "{why}");
        assert_eq!(ring("a"), before);
        why.to_string()
    };
    let old = ring("a");
    assert!(refused(Step::Use).contains("begin with `starling keys gossip add`"));
    refused(Step::Drop);
    rotate(dir.path(), Step::Add).unwrap();
    let both = ring("a");
    assert_eq!((both.len(), &both[..1]), (2, old.as_slice()));
    assert!(refused(Step::Add).contains("a rotation is under way"));
    rotate(dir.path(), Step::Use).unwrap();
    assert_eq!(ring("a"), [both[1].clone(), both[0].clone()]);
    let last = rotate(dir.path(), Step::Drop).unwrap();
    assert_eq!(ring("a"), both[1..]);
    assert_eq!(ring("b"), ring("a"));
    assert_eq!((last.keys, last.written.len()), (1, 3));
    // Who comes later has the new one alone, and the comments are still there.
    generate(dir.path(), &request("blue", &["c"])).unwrap();
    assert_eq!(ring("c"), ring("a"));
    let text = fs::read_to_string(dir.path().join("c/gossip.keys")).unwrap();
    assert!(text.starts_with("# Cluster blue: "), "{text}");
    assert_eq!(mode(&dir.path().join("a/gossip.keys")), 0o600);
}
