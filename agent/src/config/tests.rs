//! Settings that are refused, with the words that say so.

use std::os::unix::fs::PermissionsExt;

use starling_policy::is_subdomain;
use tempfile::TempDir;

use super::*;

const GOOD: &str = "\
cluster: demo
node: n1
dataDir: data
keys: keys
policies: policies
bootstrap: true
";

/// A directory with what [`GOOD`] speaks of, and the settings in it.
fn host(text: &str) -> TempDir {
    let host = tempfile::tempdir().unwrap();
    fs::create_dir(host.path().join("keys")).unwrap();
    fs::create_dir(host.path().join("policies")).unwrap();
    fs::write(host.path().join("agent.yaml"), text).unwrap();
    host
}

fn load(host: &TempDir) -> Result<Config, Error> {
    load_in(host, &[])
}

/// Whatever the environment of the tests is.
fn load_in(host: &TempDir, environment: &[(&str, &str)]) -> Result<Config, Error> {
    Config::load_with(&host.path().join("agent.yaml"), &|name| {
        let found = environment.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

/// The settings with `from` replaced must be refused with these lines; the
/// directory's path is left out of them.
#[track_caller]
fn refused(from: &str, to: &str, expected: &str) {
    assert!(GOOD.contains(from), "nothing to replace: {from}");
    let host = host(&GOOD.replacen(from, to, 1));
    let error = load(&host).unwrap_err().to_string();
    let root = format!("{}/", host.path().display());
    assert_eq!(error.replace(&root, ""), expected);
}

#[test]
fn sound_settings_get_their_defaults_and_absolute_paths() {
    let host = host(GOOD);
    let config = load(&host).unwrap();
    assert_eq!(
        (config.cluster.as_str(), config.node_name()),
        ("demo", "n1")
    );
    assert_eq!(config.data_dir, host.path().join("data"));
    assert_eq!(config.keys, Some(host.path().join("keys")));
    assert_eq!(config.policies, Some(host.path().join("policies")));
    assert_eq!(config.listen.api, "0.0.0.0:7402");
    assert_eq!(config.listen.health, "127.0.0.1:7403");
    assert_eq!(config.workers_on_exit, WorkersOnExit::Keep);
    let mode = fs::metadata(&config.data_dir).unwrap().permissions().mode();
    assert_eq!(
        mode & 0o777,
        0o700,
        "the data directory is for this user alone"
    );
}

#[test]
fn the_hosts_name_is_the_nodes_where_none_is_given() {
    let host = host(&GOOD.replace("node: n1\n", ""));
    match load(&host) {
        Ok(config) => assert!(is_subdomain(config.node_name(), 63)),
        // This machine's name may be no name.
        Err(error) => assert!(error.to_string().contains("(this host's name)"), "{error}"),
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Path::new("/nowhere/agent.yaml")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "can't read the settings in /nowhere/agent.yaml; check --config"
    );
    assert!(
        std::error::Error::source(&error)
            .unwrap()
            .to_string()
            .contains("No such file")
    );
}

#[test]
fn texts_that_are_no_settings_are_refused() {
    refused(
        "node: n1",
        "node: [",
        "agent.yaml:4:5: while parsing a flow mapping, did not find expected ',' or '}'",
    );
    refused(GOOD, "", "agent.yaml: must hold one YAML document, holds 0");
    refused(
        "node: n1",
        "---\nnode: n1",
        "agent.yaml: must hold one YAML document, holds 2",
    );
    refused(
        "cluster: demo\n",
        "",
        "agent.yaml:1:1: `cluster` is missing",
    );
    refused(
        "node: n1",
        "nodes: n1",
        "agent.yaml:2:1: nodes: unknown field `nodes`; did you mean `node`? allowed: cluster, node, dataDir, \
         policies, authentications, keys, listen, advertise, seeds, bootstrap, zone, votersMax, forgetAfter, workersOnExit, kubernetes, log, sources",
    );
    refused(
        "node: n1",
        "listen: {peers: \"0.0.0.0:1\"}",
        "agent.yaml:2:10: listen.peers: unknown field `peers`; did you mean `peer`? allowed: peer, gossip, api, \
         health",
    );
    refused(
        "bootstrap: true",
        "bootstrap: yes",
        "agent.yaml:6:12: bootstrap: must be true or false",
    );
    refused(
        "node: n1",
        "workersOnExit: kill",
        "agent.yaml:2:16: workersOnExit: `kill` is not known; allowed: keep, stop",
    );
    refused(
        "node: n1",
        "log: {format: xml}",
        "agent.yaml:2:15: log.format: `xml` is not known; allowed: text, json",
    );
}

#[test]
fn names_that_are_none_are_refused() {
    let rule = "write 1 to 63 of a-z, 0-9";
    for wrong in ["\"\"", "Demo", "a.b", "a b"] {
        let shown = wrong.trim_matches('"');
        refused(
            "cluster: demo",
            &format!("cluster: {wrong}"),
            &format!(
                "agent.yaml:1:10: cluster: `{shown}` is not a name: {rule} and `-`, beginning and \
             ending with a letter or digit"
            ),
        );
    }
    refused(
        "node: n1",
        "node: N_1",
        &format!(
            "agent.yaml:2:7: node: `N_1` is not a name: {rule}, `-` and `.`, beginning and ending with \
         a letter or digit"
        ),
    );
}

#[test]
fn addresses_that_are_none_are_refused() {
    for wrong in [
        "7400",
        "0.0.0.0",
        "0.0.0.0:",
        ":7400",
        "0.0.0.0:70000",
        "::1:7400",
        "[::1:7400",
        "h:+1",
        "a b:1",
    ] {
        refused(
            "node: n1",
            &format!("listen: {{peer: \"{wrong}\"}}"),
            &format!(
                "agent.yaml:2:16: listen.peer: `{wrong}` is not HOST:PORT, such as 0.0.0.0:7400"
            ),
        );
    }
    refused(
        "node: n1",
        "seeds: [a:7400, \"b:0\"]",
        "agent.yaml:2:17: seeds[1]: `b:0` is not the \
         HOST:PORT of another agent's peer listener, such as 10.0.0.2:7400",
    );
    refused(
        "node: n1",
        "sources: {networks: []}",
        "agent.yaml:2:21: sources.networks: is empty: name the networks that may be asked, or \
         leave it out",
    );
    refused(
        "node: n1",
        "sources: {networks: [10.0.0.0/8, 10.0.0.1]}",
        "agent.yaml:2:34: sources.networks[1]: `10.0.0.1` is not a network: write one such as \
         10.0.0.0/8 or fd00::/8",
    );
    refused(
        "node: n1",
        "advertise: \"10.0.0.1:7400\"",
        "agent.yaml:2:12: advertise: \
         `10.0.0.1:7400` is not a host: write a name or an address, without a port",
    );
    for right in [
        "localhost:0",
        "[::]:7400",
        "10.0.0.1:65535",
        "Node-1.example.org:1",
    ] {
        let host = host(&format!(
            "{GOOD}listen: {{peer: \"{right}\"}}\nadvertise: \"::1\"\n"
        ));
        assert!(load(&host).is_ok(), "{right}");
    }
}

#[test]
fn an_agent_that_could_neither_join_nor_found_is_refused() {
    refused(
        "bootstrap: true\n",
        "",
        "agent.yaml:1:1: seeds: is empty: name the peer addresses of \
         other agents, or set `bootstrap: true` on exactly one agent, which founds the cluster",
    );
}

#[test]
fn keys_may_be_left_out_in_kubernetes_only() {
    refused(
        "keys: keys\n",
        "",
        "agent.yaml:1:1: keys: is missing: name the directory of this agent that `starling keys` \
         made",
    );
}

const POD: [(&str, &str); 3] = [
    ("NODE_NAME", "node-1.example.org"),
    ("POD_IP", "10.1.2.3"),
    ("POD_NAMESPACE", "starling-system"),
];

#[test]
fn a_pods_settings_come_from_its_environment() {
    let host = host("cluster: starling\ndataDir: data\nkubernetes: {}\n");
    let config = load_in(&host, &POD).unwrap();
    assert_eq!(config.node_name(), "node-1.example.org");
    assert_eq!(config.advertise.as_deref(), Some("10.1.2.3"));
    assert_eq!(config.keys, None);
    let kubernetes = config.kubernetes.unwrap();
    assert_eq!(kubernetes.namespace(), "starling-system");
    assert_eq!(
        config.listen.health, "0.0.0.0:7403",
        "kubelets ask from outside"
    );
    let expected = Kubernetes {
        namespace: Some("starling-system".into()),
        ..Kubernetes::default()
    };
    assert_eq!(kubernetes, expected);

    let stated = "cluster: starling\nnode: n1\nadvertise: h1\ndataDir: data\nkeys: keys\n\
                  kubernetes: {namespace: other, service: s, clusterObject: c.d, token: t, \
                  policies: false, measure: kubelet, hostAddress: 'fd00::1', \
                  kubeletInsecureTls: true}\n";
    fs::write(host.path().join("agent.yaml"), stated).unwrap();
    let config = load_in(&host, &POD).unwrap();
    assert_eq!(config.node_name(), "n1");
    assert_eq!(config.advertise.as_deref(), Some("h1"));
    assert_eq!(config.keys, Some(host.path().join("keys")));
    let expected = Kubernetes {
        namespace: Some("other".into()),
        service: "s".into(),
        cluster_object: "c.d".into(),
        token: host.path().join("t"),
        policies: false,
        adopt: Vec::new(),
        keda_namespace: "keda".into(),
        measure: Some(Measure::Kubelet),
        host_address: Some("fd00::1".into()),
        kubelet_insecure_tls: Some(true),
    };
    assert_eq!(config.kubernetes, Some(expected));
}

#[test]
fn pods_are_measured_by_cgroups_unless_settings_or_environment_say_by_the_kubelet() {
    let host = host("cluster: starling\ndataDir: data\nkubernetes: {}\n");
    let with = |more: &[(&'static str, &'static str)]| {
        let environment = [&POD[..], more].concat();
        load_in(&host, &environment)
    };
    let kubelet = |more: &[(&'static str, &'static str)]| {
        let kubernetes = with(more).unwrap().kubernetes.unwrap();
        let at = kubernetes.kubelet().map(|address| address.to_string());
        (at, kubernetes.kubelet_insecure_tls)
    };
    assert_eq!(kubelet(&[]), (None, None));
    let asked = [("STARLING_MEASURE", "kubelet"), ("HOST_IP", "10.0.0.7")];
    assert_eq!(kubelet(&asked), (Some("10.0.0.7".into()), None));
    let believed = [&asked[..], &[("STARLING_KUBELET_INSECURE_TLS", "true")]].concat();
    assert_eq!(kubelet(&believed), (Some("10.0.0.7".into()), Some(true)));
    let unknown = with(&[
        ("STARLING_MEASURE", "magic"),
        ("STARLING_KUBELET_INSECURE_TLS", "maybe"),
    ]);
    let said = unknown.unwrap_err().to_string();
    for words in [
        "kubernetes.measure: `magic` in STARLING_MEASURE is not cgroups or kubelet",
        "kubernetes.kubeletInsecureTls: `maybe` in STARLING_KUBELET_INSECURE_TLS is not true or \
         false",
    ] {
        assert!(said.contains(words), "{said}");
    }
    let nowhere = with(&[("STARLING_MEASURE", "kubelet"), ("HOST_IP", "node-1")]);
    let said = nowhere.unwrap_err().to_string();
    assert!(
        said.contains("kubernetes.hostAddress: `node-1` is not an IP address"),
        "{said}"
    );
    let missing = with(&[("STARLING_MEASURE", "kubelet")]);
    let said = missing.unwrap_err().to_string();
    assert!(
        said.contains("HOST_IP from `fieldRef: {fieldPath: status.hostIP}`"),
        "{said}"
    );
}

#[test]
fn a_pods_settings_that_are_wrong_are_refused_all_at_once() {
    let host = host(
        "cluster: starling\ndataDir: data\nseeds: [\"a:1\"]\nbootstrap: true\n\
         kubernetes: {service: a.b, clusterObject: A}\n",
    );
    let error = load_in(&host, &[("NODE_NAME", "")])
        .unwrap_err()
        .to_string();
    let root = format!("{}/", host.path().display());
    let rest = "is neither stated nor in the environment: let the pod set";
    assert_eq!(error.replace(&root, ""), format!("\
agent.yaml:1:1: node: {rest} NODE_NAME from `fieldRef: {{fieldPath: spec.nodeName}}`
agent.yaml:1:1: advertise: {rest} POD_IP from `fieldRef: {{fieldPath: status.podIP}}`
agent.yaml:5:13: kubernetes.namespace: {rest} POD_NAMESPACE from `fieldRef: {{fieldPath: metadata.namespace}}`
agent.yaml:5:23: kubernetes.service: `a.b` is not a name: write 1 to 63 of a-z, 0-9 and `-`, beginning and ending with a letter or digit
agent.yaml:5:43: kubernetes.clusterObject: `A` is not the name of a ConfigMap, such as starling-cluster
agent.yaml:3:8: seeds: can't stand beside `kubernetes`: agents find each other through `kubernetes.service`; remove it
agent.yaml:4:12: bootstrap: can't stand beside `kubernetes`: the agent that makes `kubernetes.clusterObject` founds the cluster; remove it"));
}

#[test]
fn directories_that_can_not_be_used_are_refused_all_at_once() {
    let host = host(&GOOD.replace("dataDir: data", "dataDir: agent.yaml/x"));
    fs::remove_dir(host.path().join("keys")).unwrap();
    fs::remove_dir(host.path().join("policies")).unwrap();
    fs::write(host.path().join("policies"), "").unwrap();
    let error = load(&host).unwrap_err().to_string();
    let root = format!("{}/", host.path().display());
    assert_eq!(error.replace(&root, ""), "\
agent.yaml:3:10: dataDir: agent.yaml/x can't be made (Not a directory (os error 20)); choose a directory that this user may write to
agent.yaml:4:7: keys: keys can't be read (No such file or directory (os error 2)); make it with `starling keys`, and see that this user may read it
agent.yaml:5:11: policies: policies is not a directory that can be read (Not a directory (os error 20)); make it, even if it stays empty");
}

#[test]
fn a_data_directory_that_can_not_be_written_to_is_refused() {
    // Nobody may write there, root neither.
    let host = host(&GOOD.replace("dataDir: data", "dataDir: /proc"));
    let error = load(&host).unwrap_err().to_string();
    assert!(
        error.contains("agent.yaml:3:10: dataDir: /proc can't be written to ("),
        "{error}"
    );
}

#[test]
fn the_example_is_sound_and_the_unit_starts_it() {
    let daemonset = Path::new(env!("CARGO_MANIFEST_DIR")).join("../daemonset");
    let example = fs::read_to_string(daemonset.join("examples/agent.yaml")).unwrap();
    let host = host("");
    let here = |text: &str, path: &str, name: &str| {
        assert!(text.contains(path), "{path}");
        text.replace(path, &host.path().join(name).display().to_string())
    };
    let text = here(&example, "/var/lib/starling", "data");
    let text = here(&text, "/etc/starling/keys", "keys");
    let text = here(&text, "/etc/starling/policies", "policies");
    fs::write(host.path().join("agent.yaml"), text).unwrap();
    let config = load(&host).unwrap();
    assert!(config.bootstrap && config.seeds.len() == 2);

    let unit = fs::read_to_string(daemonset.join("systemd/starling.service")).unwrap();
    for line in [
        "ExecStart=/usr/local/bin/starling agent --config /etc/starling/agent.yaml",
        "KillMode=process",
        "OOMPolicy=continue",
        "StateDirectory=starling",
    ] {
        assert!(unit.lines().any(|it| it == line), "{line}");
    }
}

#[test]
fn how_members_are_kept_has_defaults_and_bounds() {
    let config = load(&host(GOOD)).unwrap();
    let upkeep = config.upkeep();
    assert_eq!((upkeep.voters_max, config.zone), (5, None));
    assert_eq!(upkeep.forget_after, std::time::Duration::from_hours(24));
    let text = format!("{GOOD}zone: eu-1a\nvotersMax: 7\nforgetAfter: 3d\n");
    let config = load(&host(&text)).unwrap();
    assert_eq!(config.zone.as_deref(), Some("eu-1a"));
    assert_eq!(config.upkeep().voters_max, 7);
    let text = format!("{GOOD}zone: 'a b'\nvotersMax: 4\nforgetAfter: soon\n");
    let said = load(&host(&text)).unwrap_err().to_string();
    for words in [
        "agent.yaml:7:7: zone: `a b` is not a zone's name: write 1 to 63 of a-z, A-Z",
        "agent.yaml:8:12: votersMax: is 4; write 1, 3, 5 or 7",
        "agent.yaml:9:14: forgetAfter: `soon` is no stretch of time from 10s to 365d: write a \
         whole number and s, m, h or d, such as 24h",
    ] {
        assert!(said.contains(words), "{said}");
    }
}
