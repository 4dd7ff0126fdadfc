//! SIGKILL and power cuts, again and again, while clients write.

use std::time::Duration;

use rand::RngExt as _;

use starling_faults::volume::Volume;

use crate::harness::Authority;
use crate::process::{Writer, agree, pause, rounds, seeded, wait_until};

#[test]
fn one_agent_that_is_killed_again_and_again_keeps_what_was_acknowledged() {
    let mut random = seeded();
    let mut writer = Writer::some(&Authority::new(), 1).remove(0);
    for round in 0..rounds(20) {
        writer.start();
        writer.await_found();
        // A slow disk gets the time for one number in each round.
        wait_until("it writes", || writer.acknowledged() > u64::from(round));
        pause(&mut random, 0..100);
        writer.kill();
    }
}

#[test]
fn three_agents_that_are_killed_in_any_order_keep_what_was_acknowledged() {
    let mut random = seeded();
    let mut writers = Writer::some(&Authority::new(), 3);
    let everybody: Vec<usize> = (0..writers.len()).collect();
    let mut gone = everybody.clone();
    for round in 0..rounds(20) {
        for n in &gone {
            writers[*n].start();
        }
        for n in &gone {
            writers[*n].await_found();
        }
        wait_until("they write", || {
            let written: u64 = writers.iter().map(Writer::acknowledged).sum();
            written > u64::from(round)
        });
        pause(&mut random, 0..300);
        // Each of them as often as not, and someone always.
        gone = everybody
            .iter()
            .copied()
            .filter(|_| random.random())
            .collect();
        if gone.is_empty() {
            gone.push(random.random_range(0..writers.len()));
        }
        for n in &gone {
            writers[*n].kill();
        }
    }
    for n in &gone {
        writers[*n].start();
    }
    for writer in &mut writers {
        writer.await_found();
    }
    agree(&mut writers);
}

/// Cuts the power under a writer until the times are over or something is lost: what.
fn cut(writer: &mut Writer, volume: &Volume, times: u32) -> Result<(), String> {
    let mut random = seeded();
    for time in 0..times {
        writer.start();
        let last = writer.acknowledged();
        match writer.found_or_gone(Duration::from_secs(30)) {
            Ok(found) if found >= last => {}
            found => {
                return Err(format!(
                    "after {time} cuts, {last} was acknowledged: {found:?}"
                ));
            }
        }
        pause(&mut random, 0..150);
        volume.fail();
        writer.kill();
        volume.mount_again();
    }
    Ok(())
}

/// The file system forgets whatever was not synced, as in a power cut.
#[test]
fn what_was_acknowledged_survives_power_cuts_but_not_without_fdatasync() {
    let authority = Authority::new();
    let mut writer = Writer::some(&authority, 1).remove(0);
    let Some(volume) = Volume::mount(&writer.data()) else {
        return;
    };
    let times = rounds(6);
    cut(&mut writer, &volume, times).unwrap();
    writer.start();
    writer.await_found();
    wait_until("it writes more than next to nothing", || {
        writer.acknowledged() > u64::from(times)
    });
    writer.kill();
    drop(volume);

    // The same without syncs has to be noticed, or this test notices nothing.
    let mut writer = Writer::some(&authority, 1).remove(0);
    writer.unsynced = true;
    let volume = Volume::mount(&writer.data()).unwrap();
    let lost = cut(&mut writer, &volume, 20);
    writer.kill();
    assert!(lost.is_err(), "nothing was lost without fdatasync");
}
