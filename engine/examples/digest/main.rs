//! Prints the digest of a small cluster after so many steps from one seed:
//! `digest [STEPS] [SEED]`. It must be the same from every build on every
//! machine; `.ci/run` compares.

#![allow(clippy::expect_used, reason = "a panic says that the engine is wrong")]

#[path = "../../tests/anything/generator.rs"]
mod generator;
#[path = "../../tests/anything/world.rs"]
mod world;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let steps = arguments.next().map_or(Ok(1_000_000), |n| n.parse())?;
    let seed = arguments.next().map_or(Ok(1), |n| n.parse())?;
    let played = world::play(generator::bytes(seed), steps);
    let digest = u128::from_be_bytes(played.digest);
    println!("{steps} steps from seed {seed}: {digest:032x}");
    Ok(())
}
