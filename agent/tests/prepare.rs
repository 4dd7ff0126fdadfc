//! `starling prepare`, run as root on real directories. Without root there is nothing
//! to give away, and the tests say that they were left out.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::{Command, Output};

const OWNER: u32 = 65_532;

fn left_out() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        let required = std::env::var_os("STARLING_REQUIRE_FAULTS").is_some();
        assert!(!required, "only root can give files away");
        eprintln!("left out: only root can give files away");
    }
    !root
}

/// As the init container does, with no capability but CHOWN.
fn prepare(dir: &Path) -> Output {
    Command::new("setpriv")
        .args(["--bounding-set", "-all,+chown", "--inh-caps", "-all,+chown"])
        .args(["--no-new-privs", env!("CARGO_BIN_EXE_starling"), "prepare"])
        .args(["--owner", "65532:65532", "--data-dir"])
        .arg(dir)
        .output()
        .unwrap()
}

fn owner(path: &Path) -> (u32, u32, u32) {
    let found = fs::symlink_metadata(path).unwrap();
    (found.uid(), found.gid(), found.mode() & 0o777)
}

#[test]
fn a_directory_that_the_kubelet_made_becomes_the_agents_own() {
    if left_out() {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("starling");
    let first = prepare(&dir);
    assert!(first.status.success(), "{first:?}");
    assert_eq!(owner(&dir), (OWNER, OWNER, 0o700));
    let again = prepare(&dir);
    assert!(again.status.success(), "{again:?}");
    assert!(String::from_utf8_lossy(&again.stdout).contains("already"));
}

#[test]
fn what_another_user_wrote_is_taken_over_and_links_are_not_followed() {
    if left_out() {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let outside = base.path().join("outside");
    fs::write(&outside, "not the agent's").unwrap();
    let dir = base.path().join("starling");
    let log = dir.join("log");
    fs::create_dir_all(&log).unwrap();
    fs::write(log.join("db"), "entries").unwrap();
    symlink(&outside, log.join("link")).unwrap();
    for path in [&log.join("db"), &log, &dir] {
        chown(path, Some(1_000), Some(1_000)).unwrap();
    }
    for path in [&log, &dir] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let done = prepare(&dir);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(owner(&dir), (OWNER, OWNER, 0o700));
    assert_eq!(owner(&log), (OWNER, OWNER, 0o700));
    assert_eq!(owner(&log.join("db")).0, OWNER);
    assert_eq!(owner(&log.join("link")).0, OWNER);
    assert_eq!(owner(&outside).0, 0);
}

#[test]
fn a_tree_that_no_agent_made_is_refused() {
    if left_out() {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let deep = base.path().join("a/b/c/d/e/f/g/h/i");
    fs::create_dir_all(&deep).unwrap();
    let refused = prepare(base.path());
    assert!(!refused.status.success(), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("levels deep"));
    assert_eq!(owner(&deep).0, 0);
    let file = base.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = prepare(&file);
    assert!(!refused.status.success(), "{refused:?}");
}
