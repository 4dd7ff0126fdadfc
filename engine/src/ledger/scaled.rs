//! A workload whose size the platform carries out: what it was last seen to
//! have, and what that means for the size that was granted.
//!
//! Comes in: what the platform says. Goes out: whether a grant has been carried
//! out, is still to be, or was overruled by hand. Replicated, so that the next
//! leader knows as much. Never guesses: a size that nobody granted is somebody's wish.

use serde::{Deserialize, Serialize};

use crate::unit::Ms;

/// The memory of one scaled workload, beside its size.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaled {
    /// Of the object itself; another one under the same name has another. Empty
    /// until it has been seen.
    pub uid: String,
    /// The label selector of its pods, as its scale states it.
    pub selector: String,
    /// What the platform was last seen to have; `None` until it has been seen.
    /// Where it isn't the granted size, that one is still to be written.
    pub carried: Option<u32>,
    /// A size that was granted and replaced before it was seen carried out: a late
    /// write of it is nobody's wish.
    pub superseded: Option<u32>,
    /// The size that somebody else set, until another one is granted.
    pub by_hand: Option<ByHand>,
    /// It was found at 0, or somebody else set it to 0: switched off, as HPA
    /// understands it (hpa.md rule 17).
    pub off: bool,
    /// Something else scales it, as far as was seen last.
    pub ruled: bool,
}

/// A size that was set by somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByHand {
    pub at: Ms,
    pub from: u32,
    pub to: u32,
    /// Another object was found under the same name, with this size.
    pub anew: bool,
}

/// What the platform says of a workload, as far as the ledger keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub uid: String,
    pub selector: String,
    /// The size that it is to have (`spec.replicas`).
    pub replicas: u32,
    /// Something else scales it: that size counts, whatever was granted before.
    pub ruled: bool,
}

/// The same, where it only has to be looked at.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    pub uid: &'a str,
    pub selector: &'a str,
    pub replicas: u32,
    pub ruled: bool,
}

/// What a look at the platform means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Seen for the first time, or another object under the same name: it is
    /// taken at the size that it has.
    Adopted,
    /// The granted size is what the platform has.
    Carried,
    /// The granted size is still to be written.
    Pending,
    /// An older grant was written late; the granted size is still to be written.
    Late,
    /// Somebody else has set the size, or something else rules it: it is taken as it
    /// is, as HPA does.
    ByHand,
}

impl Scaled {
    /// What `seen` means where `size` is granted.
    pub fn meaning(&self, size: u32, seen: &Seen) -> Meaning {
        if self.carried.is_none() || self.uid != seen.uid {
            Meaning::Adopted
        } else if seen.replicas == size {
            Meaning::Carried
        } else if !seen.ruled && self.carried == Some(seen.replicas) {
            Meaning::Pending
        } else if !seen.ruled && self.superseded == Some(seen.replicas) {
            Meaning::Late
        } else {
            Meaning::ByHand
        }
    }

    /// Whether the granted size is carried out, and nothing of what the platform shows
    /// is news: almost always, so it is found without a copy of it.
    pub fn knows(&self, size: u32, shown: Shown<'_>) -> bool {
        self.carried == Some(size)
            && self.superseded.is_none()
            && shown.replicas == size
            && self.ruled == shown.ruled
            && self.uid == shown.uid
            && self.selector == shown.selector
    }

    /// The size that counts as granted once `seen` is taken in.
    pub fn size_after(&self, size: u32, seen: &Seen) -> u32 {
        match self.meaning(size, seen) {
            Meaning::Adopted | Meaning::ByHand => seen.replicas,
            Meaning::Carried | Meaning::Pending | Meaning::Late => size,
        }
    }

    /// Whether taking `seen` in would change anything.
    pub fn is_news(&self, size: u32, seen: &Seen) -> bool {
        let mut after = self.clone();
        after.take_in(size, seen, Ms::default());
        after != *self || self.size_after(size, seen) != size
    }

    /// Takes `seen` in at log time `now`; the size that counts from now on.
    pub fn take_in(&mut self, size: u32, seen: &Seen, now: Ms) -> u32 {
        let meaning = self.meaning(size, seen);
        let after = self.size_after(size, seen);
        let by_hand = ByHand {
            at: now,
            from: size,
            to: after,
            anew: self.carried.is_some() && self.uid != seen.uid,
        };
        seen.uid.clone_into(&mut self.uid);
        seen.selector.clone_into(&mut self.selector);
        self.carried = Some(seen.replicas);
        self.ruled = seen.ruled;
        match meaning {
            Meaning::Adopted => {
                self.superseded = None;
                self.by_hand = by_hand.anew.then_some(by_hand);
                self.off = after == 0;
            }
            Meaning::Carried => self.superseded = None,
            Meaning::Pending | Meaning::Late => {}
            Meaning::ByHand => {
                self.superseded = None;
                self.off = after == 0;
                self.by_hand = Some(by_hand);
            }
        }
        after
    }

    /// Notes that another size than `size` is granted now.
    pub fn granted_anew(&mut self, size: u32) {
        if self.carried != Some(size) {
            self.superseded = Some(size);
        }
        self.by_hand = None;
        self.off = false;
    }

    /// What was granted and not written counts no more, not even where it is written
    /// late; the size that counts then, where `size` was granted.
    pub fn void(&mut self, size: u32) -> u32 {
        self.superseded = None;
        self.carried.unwrap_or(size)
    }

    /// Whether the granted `size` is still to be written.
    pub fn pending(&self, size: u32) -> bool {
        self.carried.is_some_and(|carried| carried != size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every state and look made of a few values.
    fn cases() -> impl Iterator<Item = (Scaled, u32, Seen)> {
        let numbers = |n: u32| [n % 2 + 2, n / 2 % 2 + 2, n / 4 % 2 + 2, n / 8 % 2 + 2];
        (0..1_u32 << 10).map(move |n| {
            let [size, carried, superseded, replicas] = numbers(n);
            let bit = |at: u32| (n >> at) & 1 == 1;
            let text = |differs: bool| if differs { "b" } else { "a" }.to_owned();
            let scaled = Scaled {
                uid: "a".into(),
                selector: "a".into(),
                carried: bit(4).then_some(carried),
                superseded: bit(5).then_some(superseded),
                ruled: bit(6),
                ..Scaled::default()
            };
            let seen = Seen {
                uid: text(bit(7)),
                selector: text(bit(8)),
                replicas,
                ruled: bit(9),
            };
            (scaled, size, seen)
        })
    }

    #[test]
    fn what_is_known_of_a_size_that_is_carried_out_is_no_news_and_the_rest_is() {
        for (scaled, size, seen) in cases() {
            let shown = Shown {
                uid: &seen.uid,
                selector: &seen.selector,
                replicas: seen.replicas,
                ruled: seen.ruled,
            };
            let carried = scaled.meaning(size, &seen) == Meaning::Carried;
            let known = carried && !scaled.is_news(size, &seen);
            assert_eq!(
                scaled.knows(size, shown),
                known,
                "{scaled:?} {size} {seen:?}"
            );
        }
    }
}
