//! Tells datagrams that were seen before from new ones, by each sender's sequence.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::NODES_MAX;

/// A datagram that is further behind its sender's newest one counts as replayed.
const WINDOW: u64 = u128::BITS as u64;
/// A sender that was silent for this long is forgotten, so that one whose clock
/// was set back is heard again. What a replay could do by then is little: its
/// samples are meant for one life of one receiver, its probes as well.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// At most [`NODES_MAX`] senders; at the bound the one that was silent for longest
/// is forgotten for a new one.
#[derive(Debug, Default)]
pub struct Replay {
    senders: BTreeMap<u64, Window>,
}

#[derive(Debug)]
struct Window {
    newest: u64,
    /// Bit n stands for `newest - n`.
    seen: u128,
    heard: Instant,
}

impl Replay {
    /// Whether this datagram is new. Remembers it.
    pub fn is_new(&mut self, sender: u64, sequence: u64, now: Instant) -> bool {
        let window = self.senders.get_mut(&sender);
        if let Some(window) = window
            && now.saturating_duration_since(window.heard) < SILENCE_MAX
        {
            return window.take(sequence, now);
        }
        if self.senders.len() >= NODES_MAX && !self.senders.contains_key(&sender) {
            let oldest = self.senders.iter().min_by_key(|(_, window)| window.heard);
            if let Some(oldest) = oldest.map(|(&sender, _)| sender) {
                self.senders.remove(&oldest);
            }
        }
        let window = Window {
            newest: sequence,
            seen: 1,
            heard: now,
        };
        self.senders.insert(sender, window);
        true
    }

    /// When this sender was last heard.
    pub fn heard(&self, sender: u64) -> Option<Instant> {
        self.senders.get(&sender).map(|window| window.heard)
    }
}

impl Window {
    fn take(&mut self, sequence: u64, now: Instant) -> bool {
        if sequence > self.newest {
            let ahead = sequence - self.newest;
            self.seen = if ahead < WINDOW {
                self.seen << ahead
            } else {
                0
            };
            self.seen |= 1;
            self.newest = sequence;
        } else {
            let behind = self.newest - sequence;
            if behind >= WINDOW || self.seen & (1 << behind) != 0 {
                return false;
            }
            self.seen |= 1 << behind;
        }
        self.heard = now;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_is_new_twice_and_what_is_in_order_is_always_new(
            steps in proptest::collection::vec(0..400_u64, 1..300)
        ) {
            let now = Instant::now();
            let (mut replay, mut seen, mut newest) = (Replay::default(), BTreeSet::new(), 0);
            for sequence in steps {
                let new = replay.is_new(1, sequence, now);
                let expected = seen.is_empty()
                    || sequence > newest
                    || (newest - sequence < WINDOW && !seen.contains(&sequence));
                prop_assert_eq!(new, expected, "sequence {}", sequence);
                seen.insert(sequence);
                newest = newest.max(sequence);
            }
        }
    }

    #[test]
    fn senders_dont_disturb_each_other() {
        let (mut replay, now) = (Replay::default(), Instant::now());
        assert!(replay.is_new(1, 1_000, now));
        assert!(replay.is_new(2, 5, now));
        assert!(!replay.is_new(2, 5, now));
    }

    #[test]
    fn a_sender_whose_clock_was_set_back_is_heard_after_a_silence() {
        let (mut replay, now) = (Replay::default(), Instant::now());
        assert!(replay.is_new(1, 1_000_000, now));
        assert!(!replay.is_new(1, 5, now + SILENCE_MAX / 2));
        assert!(replay.is_new(1, 6, now + SILENCE_MAX));
    }

    #[test]
    fn senders_beyond_the_bound_take_the_place_of_the_most_silent() {
        let (mut replay, start) = (Replay::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        for sender in 0..NODES_MAX as u64 {
            assert!(replay.is_new(sender, 1, at(sender)));
        }
        assert!(replay.is_new(0, 2, at(5_000)));
        assert!(replay.is_new(9_999, 1, at(5_001)));
        assert_eq!(replay.senders.len(), NODES_MAX);
        assert!(
            !replay.is_new(0, 2, at(5_002)),
            "the one just heard was forgotten"
        );
        assert!(!replay.senders.contains_key(&1));
    }
}
