//! That the rig, which knows an agent's files only from outside, writes them as
//! an agent reads them.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;

use starling_agent::config::{Config, WorkersOnExit};
use starling_rig::cluster::files::Files;

#[test]
fn settings_are_written_as_an_agent_reads_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = Files::new(dir.path(), "agent-2");
    let seeds = [String::from("127.0.0.1:4711")];
    let keys = dir.path().join("keys");
    fs::create_dir(&keys).expect("made");
    files.write_config(&keys, &seeds, false).expect("written");
    let config = Config::load(&files.config()).expect("settings that are sound");
    assert_eq!(config.node_name(), "agent-2");
    assert_eq!((config.seeds, config.bootstrap), (seeds.to_vec(), false));
    assert_eq!(config.workers_on_exit, WorkersOnExit::Stop);
}
