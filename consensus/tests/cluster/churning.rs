//! Seven agents, killed, stopped, wiped, replaced, removed and joined by others in an
//! order of chance, that come to rest again and again: nothing acknowledged is gone then, all hold
//! the same, and the right ones vote.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::harness::Authority;
use crate::process::{State, Writer, agree, eventually, pause, rounds, seeded};

const AT_FIRST: usize = 7;
const AT_MOST: usize = 9;
/// Voters of a cluster of seven or more.
const VOTERS: usize = 5;

struct Churn {
    random: StdRng,
    authority: Authority,
    writers: Vec<Writer>,
    /// Ids of those that are gone for good.
    gone: Vec<u64>,
    named: usize,
    /// One disk may be lost between two times of rest: a majority keeps its disks.
    wiped: bool,
}

impl Churn {
    /// Everybody else, as whoever comes to a cluster is told where it is.
    fn start(&mut self, which: usize) {
        let address = |n: usize| self.writers[n].address.clone();
        let others = (0..self.writers.len()).filter(|n| *n != which);
        self.writers[which].seeds = others.map(address).collect();
        self.writers[which].start();
    }

    fn disturb(&mut self) {
        let which = self.random.random_range(0..self.writers.len());
        match self.random.random_range(0..8) {
            0 | 1 => self.writers[which].kill(),
            2 | 3 => self.writers[which].stop(),
            4 if !self.wiped => {
                self.wiped = true;
                let moves = self.random.random();
                self.writers[which].wipe(moves);
            }
            5 | 6 if self.writers.len() < AT_MOST => {
                let name = format!("w{}", self.named);
                self.named += 1;
                let writer = Writer::new(&self.authority, &name);
                self.writers.push(writer);
                self.start(self.writers.len() - 1);
            }
            7 if !self.wiped && self.writers.len() > AT_FIRST && self.writers[which].runs() => {
                // One that is stopped doesn't say who it is, and stays.
                if let Some(state) = self.writers[which].state() {
                    self.wiped = true;
                    self.gone.push(state.id);
                    self.writers.remove(which).kill();
                }
            }
            _ => {}
        }
    }

    fn come_to_rest(&mut self) {
        self.wiped = false;
        for which in 0..self.writers.len() {
            if self.writers[which].runs() {
                self.writers[which].go_on();
            } else {
                self.start(which);
            }
        }
        for writer in &mut self.writers {
            writer.await_found();
        }
        for id in self.gone.drain(..) {
            self.writers[0].tell(&format!("remove {id}"));
        }
        agree(&mut self.writers);
        let writers = &mut self.writers;
        eventually("the right ones vote", || {
            let states: Vec<State> = writers.iter_mut().filter_map(Writer::state).collect();
            let ids: BTreeSet<u64> = states.iter().map(|state| state.id).collect();
            let right = |state: &State| {
                let voters: BTreeSet<u64> = state.voters.iter().copied().collect();
                let all: BTreeSet<u64> = voters.iter().chain(&state.learners).copied().collect();
                let members: BTreeSet<u64> = state.members.keys().copied().collect();
                voters.len() == VOTERS && all == ids && members == ids
            };
            (states.len() == writers.len() && states.iter().all(right))
                .then_some(())
                .ok_or_else(|| format!("{states:?}"))
        });
        for writer in writers {
            writer.tell("go");
        }
    }
}

#[test]
fn seven_agents_in_an_order_of_chance_come_to_rest_with_all_that_was_acknowledged() {
    let authority = Authority::new();
    let writers = (0..AT_FIRST).map(|n| Writer::new(&authority, &format!("w{n}")));
    let mut churn = Churn {
        random: seeded(),
        writers: writers.collect(),
        authority,
        gone: Vec::new(),
        named: AT_FIRST,
        wiped: false,
    };
    // It founds, since it knows of nobody.
    churn.writers[0].start();
    churn.writers[0].await_found();
    churn.come_to_rest();
    let end = Instant::now() + Duration::from_secs(rounds(36).into());
    let mut rests = 0;
    while Instant::now() < end {
        for _ in 0..churn.random.random_range(1..=4) {
            churn.disturb();
            pause(&mut churn.random, 0..1_500);
        }
        pause(&mut churn.random, 0..4_000);
        churn.come_to_rest();
        rests += 1;
    }
    let written: u64 = churn.writers.iter().map(Writer::acknowledged).sum();
    println!("{rests} times of rest, {written} numbers");
    assert!(written > 100, "they wrote next to nothing");
}
