//! Agents that are cut off from the others, and come back.

use std::time::{Duration, Instant};

use crate::harness::Authority;
use crate::network::Network;
use crate::process::{Writer, agree, eventually, wait_until};
use crate::writer::State;

/// Three writers, each in a place of its own; the first one leads.
fn three() -> Option<(Network, Vec<Writer>)> {
    let network = Network::new(3)?;
    let mut writers = Writer::placed(&Authority::new(), &network, 3);
    for writer in &mut writers {
        writer.start();
        writer.await_found();
    }
    eventually("all vote", || {
        let states: Vec<State> = writers.iter_mut().filter_map(Writer::state).collect();
        let all = states.len() == 3 && states.iter().all(|state| state.voters.len() == 3);
        all.then_some(()).ok_or_else(|| format!("{states:?}"))
    });
    // The last step of making them vote is an entry of its own.
    let written: Vec<u64> = writers.iter().map(Writer::acknowledged).collect();
    wait_until("all write", || {
        (0..3).all(|n| writers[n].acknowledged() > written[n] + 20)
    });
    Some((network, writers))
}

fn term(writer: &mut Writer) -> u64 {
    eventually("it says its term", || {
        writer.state().ok_or_else(String::new)
    })
    .term
}

#[test]
fn a_voter_that_was_cut_off_comes_back_without_an_election() {
    // Where the disk is slow, one of the two others may miss the leader and stand for election
    // just when the third comes back: then all is tried again. The third itself must not stand
    // even once.
    for _ in 0..3 {
        let Some((network, mut writers)) = three() else {
            return;
        };
        network.cut(2);
        let (before, stood) = (term(&mut writers[2]), writers[2].stood());
        // It would stand ten times and more.
        let cut = Instant::now();
        let written = writers[0].acknowledged();
        wait_until("the others write for a while", || {
            cut.elapsed() > Duration::from_secs(6) && writers[0].acknowledged() > written + 100
        });
        assert_eq!(
            term(&mut writers[2]),
            before,
            "it stood, and nobody could hear it"
        );
        let then = term(&mut writers[0]);
        writers[0].gap();
        network.mend(2);
        agree(&mut writers);
        println!(
            "the longest write at its return took {:?}",
            writers[0].gap()
        );
        assert_eq!(writers[2].stood(), stood, "it stood at its return");
        if term(&mut writers[0]) == then {
            return;
        }
        eprintln!("tried again: another one stood for election at its return");
    }
    panic!("at each of three returns another one stood for election");
}

#[test]
fn a_leader_that_is_cut_off_is_replaced_and_comes_back_as_a_follower() {
    let Some((network, mut writers)) = three() else {
        return;
    };
    let leader = (0..3).max_by_key(|n| writers[*n].leads()).unwrap();
    let before = term(&mut writers[leader]);
    let cut = Instant::now();
    network.cut(leader);
    let others: Vec<usize> = (0..3).filter(|n| *n != leader).collect();
    let written: Vec<u64> = writers.iter().map(Writer::acknowledged).collect();
    wait_until("the others go on", || {
        let goes_on = |n: &usize| writers[*n].acknowledged() > written[*n] + 10;
        others.iter().all(goes_on)
    });
    assert!(others.iter().any(|n| writers[*n].leads() > Some(cut)));
    // The test above relies on this: who stands for election says so.
    assert!(others.iter().any(|n| writers[*n].stood() > 0));
    network.mend(leader);
    agree(&mut writers);
    assert!(term(&mut writers[leader]) > before);
}
