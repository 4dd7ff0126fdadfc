//! What a disk and its users do to a directory.

use super::*;

#[test]
fn a_file_that_is_replaced_by_way_of_a_backup_is_never_absent() {
    let mut bench = Bench::settled();
    let text = fs::read_to_string(bench.path("web.yaml")).unwrap();
    fs::rename(bench.path("web.yaml"), bench.path("web.yaml~")).unwrap();
    assert_eq!(bench.scan().proposals, []);
    bench.write("web.yaml", &text);
    for _ in 0..3 {
        assert_eq!(bench.scan().proposals, []);
    }
}

#[test]
fn a_file_is_not_read_while_it_is_being_written() {
    let mut bench = Bench::settled();
    let text = policy("web", "web", 9);
    for end in (text.len() - 20)..text.len() {
        bench.write("web.yaml", &text[..end]);
        bench.now = bench.now.plus(100);
        let scan = bench.scan_with(&BTreeSet::new());
        assert_eq!(scan.proposals, []);
        assert!(
            !scan
                .problems
                .keys()
                .any(|subject| subject.contains("web.yaml"))
        );
    }
    bench.write("web.yaml", &text);
    bench.agree();
    assert_eq!(bench.max("web"), Some(9));
}

#[test]
fn a_look_that_hangs_or_breaks_off_changes_nothing_and_another_one_mends_it() {
    let mut bench = Bench::settled();
    let look = bench.directory.look(bench.now).unwrap();
    assert!(bench.directory.look(bench.now).is_none(), "one at a time");
    bench.write("web.yaml", &policy("web", "web", 9));
    // An answer that comes meanwhile isn't lost, and processes stay known.
    assert!(bench.directory.processes().is_some());
    drop(look);
    bench.directory.broke_off();
    // The files are read anew.
    bench.agree();
    assert_eq!(bench.max("web"), Some(9));
}

#[test]
fn a_vanished_directory_removes_nothing() {
    let mut bench = Bench::new();
    bench.write(
        "web.yaml",
        &format!("{}---\n{}", policy("web", "web", 5), process("web", "a")),
    );
    bench.agree();
    let aside = bench.policies.path().with_extension("aside");
    fs::rename(bench.policies.path(), &aside).unwrap();
    for round in 0..2 {
        let scan = bench.agree();
        assert_eq!(bench.max("web"), Some(5));
        assert_eq!(scan.processes["web"].command, ["a"], "round {round}");
        let words = &scan.problems[&bench.policies.path().display().to_string()];
        assert!(
            words.starts_with("can't be listed: No such file or directory"),
            "{words}"
        );
        bench.restart();
    }
    fs::rename(&aside, bench.policies.path()).unwrap();
    problems(&bench.agree(), &bench, &[]);
}

#[test]
fn files_that_can_not_be_read_remove_nothing() {
    let mut bench = Bench::settled();
    let cases = [
        ("is not UTF-8 text at byte 2", b"a:\xff".to_vec()),
        ("is longer than 1024 KiB", vec![b'#'; (1 << 20) + 1]),
    ];
    for (words, bytes) in cases {
        fs::write(bench.path("web.yaml"), bytes).unwrap();
        bench.touch("web.yaml");
        let scan = bench.agree();
        problems(
            &scan,
            &bench,
            &[
                (
                    "policy web",
                    "is in no file any more; stays in force until web.yaml can be read, which may hold it",
                ),
                ("web.yaml", words),
            ],
        );
        assert_eq!(bench.max("web"), Some(5));
    }
}

#[test]
fn pipes_and_directories_and_dangling_links_are_survived() {
    let mut bench = Bench::settled();
    let pipe = bench.path("pipe.yaml");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    fs::create_dir(bench.path("dir.yaml")).unwrap();
    std::os::unix::fs::symlink("nowhere", bench.path("link.yaml")).unwrap();
    bench.write(".hidden.yaml", "not: [yaml");
    bench.write("notes.txt", "not: [yaml");
    let scan = bench.agree();
    problems(&scan, &bench, &[("pipe.yaml", "is not a regular file")]);
    assert_eq!(bench.max("web"), Some(5));
}

#[test]
fn files_beyond_the_limit_are_reported_and_nothing_counts_as_absent() {
    let mut bench = Bench::settled();
    for number in 0..FILES_MAX {
        fs::write(bench.path(&format!("a{number:04}.yaml")), "# empty\n").unwrap();
    }
    let scan = bench.agree();
    assert_eq!(bench.max("web"), Some(5));
    let words = &scan.problems[&bench.policies.path().display().to_string()];
    assert_eq!(
        words,
        "holds more than 1000 YAML files; the last 1 by name are not read"
    );
}

#[test]
fn a_broken_memory_is_put_aside_and_nothing_is_overruled() {
    let mut bench = Bench::settled();
    bench.interfere("web", 8);
    fs::write(memory::path(bench.data.path()), "{").unwrap();
    bench.restart();
    let scan = bench.agree();
    assert_eq!(bench.max("web"), Some(8));
    assert!(
        scan.problems
            .values()
            .any(|words| words.contains("moved to")),
        "{:?}",
        scan.problems
    );
    bench.restart();
    let scan = bench.agree();
    assert_eq!(scan.problems.len(), 1, "{:?}", scan.problems);
}

#[test]
fn a_memory_that_can_not_be_written_is_reported() {
    let mut bench = Bench::new();
    let gone = bench.data.path().join("gone");
    bench.directory = Directory::open(bench.policies.path(), &gone, "n1").unwrap();
    let scan = bench.agree();
    let words = &scan.problems[&memory::path(&gone).display().to_string()];
    assert!(
        words.starts_with("can't be written (No such file"),
        "{words}"
    );
}

#[test]
fn an_unreadable_file_is_read_once_it_may_be() {
    let mut bench = Bench::settled();
    bench.write("api.yaml", &policy("api", "api", 2));
    fs::set_permissions(bench.path("api.yaml"), fs::Permissions::from_mode(0o000)).unwrap();
    if File::open(bench.path("api.yaml")).is_ok() {
        // Running as root, whom no mode keeps out.
        return;
    }
    let scan = bench.agree();
    problems(
        &scan,
        &bench,
        &[("api.yaml", "can't be read: Permission denied (os error 13)")],
    );
    fs::set_permissions(bench.path("api.yaml"), fs::Permissions::from_mode(0o600)).unwrap();
    bench.agree();
    assert_eq!(bench.max("api"), Some(2));
}

#[test]
fn a_file_that_is_absent_while_the_agent_starts_may_come_back() {
    let mut bench = Bench::settled();
    let text = fs::read_to_string(bench.path("web.yaml")).unwrap();
    bench.remove("web.yaml");
    bench.restart();
    assert_eq!(bench.scan().proposals, []);
    bench.write("web.yaml", &text);
    for _ in 0..3 {
        assert_eq!(bench.scan().proposals, []);
    }
}

#[test]
fn a_policy_that_moves_into_a_file_still_being_written_stays() {
    let mut bench = Bench::settled();
    bench.write("web.yaml", "# moved\n");
    bench.write_later("all.yaml", &policy("web", "web", 5));
    let revision = bench.ledger.policies[&"web".into()].revision;
    for _ in 0..5 {
        let scan = bench.scan();
        problems(&scan, &bench, &[]);
        for command in &scan.proposals {
            bench.grant(command);
        }
        assert_eq!(bench.ledger.policies[&"web".into()].revision, revision);
    }
    assert_eq!(bench.sources("web"), ["n1:all.yaml"]);
}

#[test]
fn more_changed_files_than_one_scan_reads_wait_for_the_next() {
    let mut bench = Bench::new();
    for number in 0..=READ_MAX {
        bench.write(&format!("{number}.yaml"), "not: [yaml");
    }
    assert_eq!(bench.scan().problems.len(), READ_MAX);
    assert_eq!(bench.scan().problems.len(), READ_MAX + 1);
}

#[test]
fn an_empty_directory_in_the_place_of_the_one_with_the_files_removes_nothing() {
    let mut bench = Bench::new();
    let both = format!("{}---\n{}", policy("web", "web", 5), process("web", "a"));
    bench.write("web.yaml", &both);
    bench.agree();
    let aside = bench.policies.path().with_extension("mounted");
    fs::rename(bench.policies.path(), &aside).unwrap();
    fs::create_dir(bench.policies.path()).unwrap();
    for _ in 0..2 {
        let scan = bench.agree();
        assert_eq!(bench.max("web"), Some(5));
        assert_eq!(scan.processes["web"].command, ["a"]);
        let words = &scan.problems["policy web"];
        assert!(
            words.contains("(empty, and not the directory that held it)"),
            "{words}"
        );
        bench.restart();
    }
    fs::remove_dir(bench.policies.path()).unwrap();
    fs::rename(&aside, bench.policies.path()).unwrap();
    problems(&bench.agree(), &bench, &[]);
}
