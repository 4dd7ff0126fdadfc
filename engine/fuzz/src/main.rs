//! The fuzz target: plays arbitrary bytes as the life of a small cluster. What
//! must hold at every step is checked by the world itself; here it is played
//! twice, and both must end with the same digest.

#![no_main]

#[path = "../../tests/anything/world.rs"]
mod world;

use libfuzzer_sys::fuzz_target;

/// An input is played no further, so that none takes long.
const STEPS_MAX: u64 = 20_000;

fuzz_target!(|bytes: &[u8]| {
    let play = || world::play(bytes.iter().copied(), STEPS_MAX);
    assert_eq!(play(), play());
});
