//! Faults of a machine that tests make happen, whatever they test: a log alone, or
//! whole agents.
//!
//! Comes in: where on this machine. Goes out: something that fails, hangs or runs full,
//! until it is dropped. Knows nothing of what it happens to. Where this machine allows
//! none of it, a test says so and passes, unless faults are required.
//!
//! The next fault is a module beside [`volume`].

pub mod volume;

/// Where it is set, a machine on which something can't be broken fails the tests of it.
pub const REQUIRED: &str = "STARLING_REQUIRE_FAULTS";

/// Says that a test is left out, and why.
///
/// # Panics
///
/// Where [`REQUIRED`] is set.
pub fn leave_out(why: &str) {
    assert!(std::env::var_os(REQUIRED).is_none(), "{REQUIRED}: {why}");
    println!("left out: {why}");
}
