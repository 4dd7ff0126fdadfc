//! Whatever happens to a small cluster, what must hold holds, and it happens in
//! the same way again. `engine/fuzz` plays the same world, guided by coverage.

#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

mod generator;
// By its path, as its other hosts name it, so that its parts lie beside it here
// and there.
#[path = "world.rs"]
mod world;

use std::fs;
use std::path::Path;

use world::Tally;

/// Of seed 1 after [`STEPS`]. Whoever means to change what is decided, or how it
/// is encoded, puts the new one here.
const DIGEST: &str = "50e06a1a10ad9c39e51577ee6e4255d8";
const STEPS: u64 = 20_000;

fn hex(digest: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(digest))
}

#[test]
fn two_runs_from_one_seed_give_the_digest_of_every_build_and_machine() {
    for _ in 0..2 {
        let played = world::play(generator::bytes(1), STEPS);
        assert_eq!(hex(played.digest), DIGEST);
    }
}

#[test]
fn another_seed_gives_another_digest() {
    let played = world::play(generator::bytes(2), STEPS);
    assert_ne!(hex(played.digest), DIGEST);
}

#[test]
fn i5_inputs_that_were_found_once_are_played_without_a_breach() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/anything/kept");
    let files = fs::read_dir(&kept).expect("the folder of kept inputs");
    let mut played = 0;
    for file in files {
        let path = file.expect("an entry").path();
        println!("{}", path.display());
        let bytes = fs::read(&path).expect("a readable input");
        let play = || world::play(bytes.iter().copied(), STEPS);
        assert_eq!(play(), play());
        played += 1;
    }
    assert!(played > 0, "{} is empty", kept.display());
}

#[test]
fn i5_lives_from_many_seeds_are_played_without_a_breach() {
    for seed in 0..100 {
        world::play(generator::bytes(seed), 1_000);
    }
}

/// How often each thing is played from so many seeds.
fn play_all(seeds: u64) -> Tally {
    let mut tally = Tally::new();
    for seed in 0..seeds {
        for (what, times) in world::play(generator::bytes(seed), 2_000).tally {
            *tally.entry(what).or_default() += times;
        }
    }
    println!("{tally:#?}");
    tally
}

/// What is never played proves nothing.
#[test]
fn what_a_platform_may_do_is_played() {
    let tally = play_all(80);
    for what in [
        "PlatformAway",
        "TargetUnseen",
        "TargetGone",
        "AlreadyScaled",
        "ReplicasBlocked",
        "ScalingDisabled",
        "platform away",
        "platform back",
        "set by hand",
        "made anew",
        "written",
        "written late",
        "answered",
        "conflict",
        "refused",
        "unknown",
    ] {
        assert!(tally.contains_key(what), "{what} never happens");
    }
}

/// What is never played proves nothing. Left out is the forecast, which takes
/// half an hour to be trusted: longer lives reach it.
#[test]
fn what_objective_may_do_is_played() {
    let tally = play_all(160);
    for what in [
        "ObjectiveArrivalsUnknown",
        "ObjectiveServiceUnknown",
        "ObjectiveSlotsUnknown",
        "ObjectiveQueueUnknown",
        "ObjectiveStaffed",
        "ObjectiveQueue",
        "ObjectiveIdle",
        "ObjectiveExpected",
        "ObjectiveBounded",
        "ObjectiveWithinHeadroom",
        "ObjectiveSignalShort",
        "ObjectiveHeld",
        "ObjectiveStepSmall",
        "shrinks",
        "grows",
    ] {
        assert!(tally.contains_key(what), "{what} never happens");
    }
}
