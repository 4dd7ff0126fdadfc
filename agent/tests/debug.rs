//! `starling debug` as a program: what it writes, and what it refuses.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use starling_collect::HostRoot;
use starling_collect::cgroup::{Cgroups, ContainerRef, PodRef, record};
use starling_engine::unit::Ms;

const UID: &str = "7b1f8a52-9c0e-4a3d-8f7e-0c6f5d2b9a11";
const ID: &str = "4f2c0d1e4f2c0d1e4f2c0d1e4f2c0d1e4f2c0d1e4f2c0d1e4f2c0d1e4f2c0d1e";

fn record_cgroups(host: &Path, out: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_starling"))
        .args(["debug", "record-cgroups", "--host-root"])
        .arg(host)
        .args(["--out", out])
        .output()
        .unwrap()
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_recording_is_one_new_file_that_an_agent_reads_like_the_host() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("sys/fs/cgroup");
    let cgroup = root.join(format!("kubepods/pod{UID}/{ID}"));
    fs::create_dir_all(&cgroup).unwrap();
    fs::write(root.join("cgroup.controllers"), "memory\n").unwrap();
    fs::write(cgroup.join("memory.current"), "5000\n").unwrap();
    fs::write(cgroup.join("memory.stat"), "inactive_file 1000\n").unwrap();
    let out = home.path().join("cgroups.txt");
    let out = out.to_str().unwrap();
    let done = record_cgroups(home.path(), out);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(words(&done.stdout), "");
    assert!(
        words(&done.stderr).starts_with("Recorded 2 cgroups (V2), "),
        "{done:?}"
    );

    let text = fs::read_to_string(out).unwrap();
    let copy = tempfile::tempdir().unwrap();
    record::unpack(&text, copy.path()).unwrap();
    let pod = PodRef {
        uid: UID.into(),
        containers: vec![ContainerRef {
            name: "app".into(),
            container_id: ID.into(),
        }],
        ..PodRef::default()
    };
    let host = HostRoot::below(&copy.path().join(record::MOMENTS[1]));
    let measured = Cgroups::open(&host).measure(Ms(0), &[pod]);
    let memory = measured.pods[UID].memory.unwrap();
    assert_eq!(memory.milli, 4_000_000);

    // A file that somebody has stays as it is.
    let again = record_cgroups(home.path(), out);
    assert_eq!(again.status.code(), Some(1));
    let said = words(&again.stderr);
    assert!(said.contains("doesn't exist yet"), "{said}");
    assert_eq!(fs::read_to_string(out).unwrap(), text);

    let shown = record_cgroups(home.path(), "-");
    assert!(words(&shown.stdout).contains(&format!("pod{UID}/{ID}/memory.stat --")));
}

#[test]
fn a_machine_without_pods_is_told_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let done = record_cgroups(home.path(), "-");
    assert_eq!(done.status.code(), Some(1));
    let said = words(&done.stderr);
    assert!(said.contains("in --host-root"), "{said}");
    assert_eq!(words(&done.stdout), "");
}
