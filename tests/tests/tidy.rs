//! The tree itself: what the README and the style promise of the files.
#![allow(clippy::expect_used)] // A helper that finds nothing has failed its test.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace's folder")
        .to_path_buf()
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// All Rust files of the workspace's crates.
fn sources() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = ["engine", "proto", "consensus", "agent", "chaos", "tests"]
        .map(|name| root().join(name))
        .into();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && path.file_name().is_some_and(|n| n != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 40, "too few files: {files:?}");
    files
}

/// Names of tests, where a document says what holds its rows.
#[test]
fn the_tests_that_hold_what_happens_when_something_fails_exist() {
    let table = text("daemonset/docs/when-something-fails.md");
    let rows = table.lines().filter(|line| line.starts_with("| "));
    let held = rows.skip(2).map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let tests = cells.last().expect("a cell").trim_end_matches(" |");
        let names = tests.split(", ").map(|name| name.trim_matches('`'));
        names.map(str::to_owned).collect::<Vec<_>>()
    });
    let held: Vec<String> = held.flatten().collect();
    assert!(held.len() > 20, "{held:?}");
    let code: Vec<String> = sources()
        .iter()
        .map(|path| fs::read_to_string(path).expect("a readable file"))
        .collect();
    for name in held {
        let function = format!("fn {name}(");
        let found = code.iter().any(|text| text.contains(&function));
        assert!(found, "no test is named `{name}`");
    }
}

#[test]
fn the_files_on_a_samples_way_exist_and_stand_in_the_readme() {
    let readme = text("README.md");
    let trail = [
        "agent/collect/src/lib.rs",
        "agent/src/run.rs",
        "engine/src/node.rs",
        "engine/src/demand.rs",
        "agent/gossip/src/lib.rs",
        "engine/src/decide.rs",
        "consensus/src/lib.rs",
        "engine/src/ledger.rs",
        "agent/src/actuate.rs",
    ];
    let mut at = 0;
    for path in trail {
        assert!(root().join(path).is_file(), "{path} doesn't exist");
        let row = format!("| `{path}` |");
        let found = readme[at..].find(&row);
        at += found.unwrap_or_else(|| panic!("the README lacks {path}, or has it out of order"));
    }
}

#[test]
fn files_that_the_documents_name_exist() {
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = text(document);
        let quoted = text.split('`').skip(1).step_by(2);
        let paths = quoted.filter(|q| {
            let crates = [
                "engine/",
                "proto/",
                "consensus/",
                "agent/",
                "daemonset/",
                "tests/",
            ];
            crates.iter().any(|c| q.starts_with(c)) && !q.contains(' ')
        });
        for path in paths {
            assert!(root().join(path).exists(), "{document} names {path}");
        }
    }
}

#[test]
fn every_source_file_says_what_it_is_for() {
    for path in sources() {
        let text = fs::read_to_string(&path).expect("readable");
        assert!(
            text.starts_with("//! "),
            "{} begins without a module doc",
            path.display()
        );
    }
}

#[test]
fn source_files_stay_readable_in_one_go() {
    for path in sources() {
        let lines = fs::read_to_string(&path).expect("readable").lines().count();
        assert!(
            lines <= 700,
            "{} has {lines} lines; split it by idea",
            path.display()
        );
    }
}

#[test]
fn the_engine_can_do_no_io() {
    let manifest = text("engine/Cargo.toml");
    let dependencies = manifest
        .split("[dependencies]")
        .nth(1)
        .and_then(|rest| rest.split("\n[").next())
        .expect("a list of dependencies");
    let names: Vec<&str> = dependencies
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(names, ["serde", "sha2", "thiserror"]);
}

#[test]
fn what_is_replicated_and_what_routes_it_holds_no_floats() {
    let parts = ["ledger", "history", "unit", "node"].map(|p| format!("engine/src/{p}"));
    let mut seen = 0;
    for path in sources() {
        let name = path.strip_prefix(root()).expect("within the workspace");
        let name = name.to_string_lossy();
        let below = |part: &String| name.strip_prefix(part.as_str());
        if !parts
            .iter()
            .filter_map(below)
            .any(|rest| rest.starts_with(['.', '/']))
        {
            continue;
        }
        seen += 1;
        let text = fs::read_to_string(&path).expect("readable");
        for word in ["f32", "f64"] {
            assert!(!text.contains(word), "{name} holds an {word}");
        }
    }
    assert!(seen >= 8, "only {seen} files were looked at");
}

/// The crates under `agent/` and `tests/`, by folder.
fn rooms() -> Vec<String> {
    let manifest = text("Cargo.toml");
    let members = manifest.split("members = [").nth(1);
    let members = members.and_then(|rest| rest.split(']').next());
    let quoted = members
        .expect("a list of members")
        .split('"')
        .skip(1)
        .step_by(2);
    let rooms = quoted.filter(|member| member.contains('/'));
    rooms.map(str::to_owned).collect()
}

#[test]
fn every_room_says_at_its_door_what_it_is_for_and_stands_in_the_architecture() {
    let architecture = text("ARCHITECTURE.md");
    let rooms = rooms();
    assert!(rooms.len() > 10, "too few rooms: {rooms:?}");
    for room in &rooms {
        let door = text(&format!("{room}/src/lib.rs"));
        let said = door.lines().take_while(|line| line.starts_with("//!"));
        // Those that hold nothing yet have little to say.
        let empty = door.lines().all(|line| line.starts_with("//!"));
        let lines = said.count();
        assert!(
            empty || (5..=20).contains(&lines),
            "{room}/src/lib.rs begins with {lines} lines; about ten say what the room is for, \
             what it never does, and where the next of its kind goes"
        );
        let row = format!("| `{room}` |");
        assert!(architecture.contains(&row), "ARCHITECTURE.md lacks {row}");
    }
}

#[test]
fn the_shipped_library_knows_neither_the_rig_nor_the_demo() {
    for path in sources() {
        let name = path.strip_prefix(root()).expect("within the workspace");
        if !name.starts_with("agent") || name.starts_with("agent/demo") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("readable");
        let binary = name == Path::new("agent/src/main.rs");
        for crate_name in ["starling_rig", "starling_demo"] {
            let used = text.contains(crate_name);
            assert!(
                !used || (binary && crate_name == "starling_demo"),
                "{} uses {crate_name}",
                name.display()
            );
        }
    }
}

#[test]
fn what_acts_on_a_machine_asks_for_its_part_and_not_the_ledger() {
    for path in ["agent/src/actuate.rs", "agent/src/measure.rs"] {
        assert!(!text(path).contains("Ledger"), "{path} reads the ledger");
    }
}

/// The calls of the log's macros in a file, each up to its closing bracket.
fn log_lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    for level in ["trace", "debug", "info", "warn", "error"] {
        for (at, _) in text.match_indices(&format!("{level}!(")) {
            let mut depth = 0_i32;
            let end = text[at..].find(|c| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                c == ')' && depth == 0
            });
            lines.push(&text[at..end.map_or(text.len(), |end| at + end)]);
        }
    }
    lines
}

#[test]
fn the_log_is_written_in_words() {
    let mut seen = 0;
    for path in sources() {
        let text = fs::read_to_string(&path).expect("readable");
        for line in log_lines(&text) {
            seen += 1;
            // `?field` and `field = ?value`, and what a format string writes so.
            let debug = line.contains(":?}")
                || line.contains(":#?}")
                || line
                    .split(['(', ',', '='])
                    .any(|part| part.trim_start().starts_with('?'));
            assert!(!debug, "{}: Rust's debug output in {line}", path.display());
        }
    }
    assert!(seen > 30, "only {seen} lines were looked at");
}

#[test]
fn nothing_is_left_to_do_in_the_code() {
    for path in sources() {
        let text = fs::read_to_string(&path).expect("readable");
        for word in [
            concat!("TO", "DO"),
            concat!("FIX", "ME"),
            concat!("unimplemented", "!("),
        ] {
            assert!(!text.contains(word), "{} has {word}", path.display());
        }
    }
}
