//! What stalls a disk for less than the watch on it waits costs no election without need.

use std::time::Duration;

use crate::process::{agree, rounds, seeded};
use crate::stalling::{on_volumes, stall};

#[test]
fn disks_that_stall_for_up_to_two_seconds_cost_no_needless_election_and_nothing_acknowledged() {
    let Some((volumes, mut writers)) = on_volumes(3) else {
        return;
    };
    let length = Duration::from_secs(rounds(30).into());
    let mut random = seeded();
    let mut seen = stall(&volumes, &mut writers, &mut random, length, |_| {});
    println!("{seen}");
    // All volumes lie on one disk: what else uses it may stall all of them at once. That isn't
    // so again and again.
    for _ in 0..4 {
        if seen.needless > 0 {
            seen = stall(&volumes, &mut writers, &mut random, length, |_| {});
            println!("{seen}");
        }
    }
    assert!(seen.stalls > seen.of_leaders, "{seen}");
    assert_eq!(seen.needless, 0, "{seen}");
    // One for each long stall of a leader, and some more where what else uses the machine's
    // disk keeps a voter from storing its vote in time.
    assert!(seen.elections <= 4 * u64::from(seen.of_leaders), "{seen}");
    agree(&mut writers);
}
