//! Who may come in: how many handshakes are under way from each address, and how many
//! connections are open, places for members of the cluster kept free.
//!
//! Comes in: the address that a connection comes from, and later what its caller has
//! shown. Goes out: a place, until it is dropped, or a refusal. A place before the
//! handshake may be taken away again by whoever comes next. Never waits.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Resource, getrlimit};
use tokio::sync::oneshot;

/// Handshakes from one address. At the bound the eldest of those that have said nothing
/// yet is cut off, or else the eldest: an honest one is done within some milliseconds.
const SHAKING_PER_SOURCE_MAX: usize = 32;
/// Handshakes from all addresses. At the bound the eldest of the address that has most
/// of them is cut off.
const SHAKING_MAX: usize = 512;
/// One in so many places is kept for members, and one address that isn't a member's has
/// no more than one in so many.
const SHARE: usize = 4;
/// All handshakes together take one in so many of the files that may be open, and all
/// connections of a port one in half as many.
const FILES_SHARE: usize = 8;

/// What a caller has shown in its handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A certificate that is an agent's.
    Member,
    /// Another certificate of the cluster's authority, or none.
    Other,
}

/// The doors of one port. Clones are the same port's.
#[derive(Debug, Clone)]
pub struct Doors {
    state: Arc<Mutex<State>>,
    shaking_max: usize,
    open_max: usize,
}

#[derive(Debug, Default)]
struct State {
    /// Numbers of handshakes.
    last: u64,
    shaking: BTreeMap<IpAddr, VecDeque<Guest>>,
    shaking_count: usize,
    /// Of those who aren't members, by address.
    others: BTreeMap<IpAddr, usize>,
    others_count: usize,
    members_count: usize,
}

#[derive(Debug)]
struct Guest {
    number: u64,
    spoke: Arc<AtomicBool>,
    /// Dropping it cuts the guest off.
    _stays: oneshot::Sender<()>,
}

/// A place for a handshake.
#[derive(Debug)]
pub struct Shaking {
    doors: Doors,
    source: IpAddr,
    number: u64,
    spoke: Arc<AtomicBool>,
    cut_off: oneshot::Receiver<()>,
}

/// A place for an open connection.
#[derive(Debug)]
pub struct Place {
    doors: Doors,
    source: IpAddr,
    caller: Caller,
}

impl Doors {
    /// For at most `open_max` connections, and fewer where this process may open few
    /// files.
    pub fn new(open_max: usize) -> Doors {
        let files = getrlimit(Resource::Nofile).current;
        let files = files.map_or(usize::MAX, |files| {
            usize::try_from(files).unwrap_or(usize::MAX)
        });
        Doors {
            state: Arc::default(),
            shaking_max: SHAKING_MAX.min(files / FILES_SHARE).max(1),
            open_max: open_max.min(files / FILES_SHARE * 2).max(SHARE),
        }
    }

    /// A place for a handshake: there is always one.
    pub fn enter(&self, address: IpAddr) -> Shaking {
        let source = source(address);
        let (stays, cut_off) = oneshot::channel();
        let spoke = Arc::<AtomicBool>::default();
        let mut state = self.lock();
        let own = state.shaking.get(&source).map_or(0, VecDeque::len);
        if own >= SHAKING_PER_SOURCE_MAX {
            state.cut_off(source);
        } else if state.shaking_count >= self.shaking_max {
            state.cut_off_one();
        }
        state.last += 1;
        let number = state.last;
        let queue = state.shaking.entry(source).or_default();
        queue.push_back(Guest {
            number,
            spoke: spoke.clone(),
            _stays: stays,
        });
        state.shaking_count += 1;
        Shaking {
            doors: self.clone(),
            source,
            number,
            spoke,
            cut_off,
        }
    }

    /// Cuts off one handshake, for want of files.
    pub fn make_room(&self) {
        self.lock().cut_off_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Counts only; a panic elsewhere can't leave them half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn cut_off_one(&mut self) {
        let most = self.shaking.iter().max_by_key(|(_, queue)| queue.len());
        if let Some(source) = most.map(|(source, _)| *source) {
            self.cut_off(source);
        }
    }

    fn cut_off(&mut self, source: IpAddr) {
        let Some(queue) = self.shaking.get_mut(&source) else {
            return;
        };
        let silent = |guest: &Guest| !guest.spoke.load(Ordering::Relaxed);
        let eldest = queue.iter().position(silent).unwrap_or_default();
        if queue.remove(eldest).is_some() {
            self.shaking_count -= 1;
        }
        if queue.is_empty() {
            self.shaking.remove(&source);
        }
    }
}

impl Shaking {
    /// Waits until the place is taken away; forever while it isn't.
    pub async fn cut_off(&mut self) {
        let _ = (&mut self.cut_off).await;
    }

    /// To be set once the caller has said something.
    pub fn spoke(&self) -> Arc<AtomicBool> {
        self.spoke.clone()
    }

    /// The handshake is done: a place for the connection, if there is one.
    pub fn admit(self, caller: Caller) -> Option<Place> {
        let (doors, source) = (self.doors.clone(), self.source);
        let open_max = doors.open_max;
        let mut state = doors.lock();
        let room = match caller {
            Caller::Member => state.members_count + state.others_count < open_max,
            Caller::Other => {
                let own = state.others.get(&source).copied().unwrap_or_default();
                own < open_max / SHARE
                    && state.others_count < open_max - open_max / SHARE
                    && state.members_count + state.others_count < open_max
            }
        };
        if !room {
            return None;
        }
        match caller {
            Caller::Member => state.members_count += 1,
            Caller::Other => {
                state.others_count += 1;
                *state.others.entry(source).or_default() += 1;
            }
        }
        drop(state);
        Some(Place {
            doors,
            source,
            caller,
        })
    }
}

impl Drop for Shaking {
    fn drop(&mut self) {
        let mut state = self.doors.lock();
        let Some(queue) = state.shaking.get_mut(&self.source) else {
            return;
        };
        let before = queue.len();
        queue.retain(|guest| guest.number != self.number);
        let left = queue.len();
        if left == 0 {
            state.shaking.remove(&self.source);
        }
        state.shaking_count -= before - left;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.doors.lock();
        if self.caller == Caller::Member {
            state.members_count -= 1;
            return;
        }
        state.others_count -= 1;
        if let Some(own) = state.others.get_mut(&self.source) {
            *own -= 1;
            if *own == 0 {
                state.others.remove(&self.source);
            }
        }
    }
}

/// Whoever has one address of a network of IPv6 has 2^64 of them.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doors(shaking_max: usize, open_max: usize) -> Doors {
        Doors {
            state: Arc::default(),
            shaking_max,
            open_max,
        }
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn is_cut_off(shaking: &mut Shaking) -> bool {
        shaking.cut_off.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn one_address_loses_its_eldest_handshakes_and_no_other_does() {
        let doors = doors(SHAKING_MAX, 8);
        let mut other = doors.enter(address(2));
        let mut flood: Vec<Shaking> = (0..2_500).map(|_| doors.enter(address(1))).collect();
        let left = flood
            .iter_mut()
            .filter_map(|it| (!is_cut_off(it)).then_some(()));
        assert_eq!(left.count(), SHAKING_PER_SOURCE_MAX);
        assert!(!is_cut_off(&mut other));
        let mut last = flood.pop().unwrap();
        assert!(!is_cut_off(&mut last), "the newest one stays");
        drop(flood);
        drop(last);
        assert_eq!(doors.lock().shaking_count, 1);
        drop(other);
        assert!(doors.lock().shaking.is_empty());
    }

    #[test]
    fn whoever_has_said_something_stays_for_as_long_as_others_have_not() {
        let doors = doors(SHAKING_MAX, 8);
        let mut honest = doors.enter(address(1));
        honest.spoke().store(true, Ordering::Relaxed);
        let mut flood: Vec<Shaking> = (0..2_500).map(|_| doors.enter(address(1))).collect();
        assert!(!is_cut_off(&mut honest));
        for shaking in &mut flood {
            shaking.spoke().store(true, Ordering::Relaxed);
        }
        let _next = doors.enter(address(1));
        assert!(is_cut_off(&mut honest), "then the eldest goes");
    }

    #[test]
    fn many_addresses_lose_those_of_whoever_has_most() {
        let doors = doors(6, 8);
        let mut many: Vec<Shaking> = (0..4).map(|_| doors.enter(address(1))).collect();
        let mut few: Vec<Shaking> = (2..=5).map(|last| doors.enter(address(last))).collect();
        let cut: Vec<bool> = many.iter_mut().map(is_cut_off).collect();
        assert_eq!(cut, [true, true, false, false]);
        assert!(!few.iter_mut().any(is_cut_off));
        doors.make_room();
        assert!(is_cut_off(&mut many[2]));
    }

    #[test]
    fn places_are_kept_for_members_and_no_address_has_all_that_are_left() {
        let doors = doors(SHAKING_MAX, 8);
        let admit = |last, caller| doors.enter(address(last)).admit(caller);
        let mut open: Vec<Place> = Vec::new();
        for last in 1..=5 {
            open.extend((0..9).filter_map(|_| admit(last, Caller::Other)));
        }
        assert_eq!(open.len(), 6, "two of each address, and two are kept");
        let members = [0; 9].map(|_| admit(9, Caller::Member));
        assert_eq!(members.iter().flatten().count(), 2);
        open.pop();
        assert!(admit(1, Caller::Member).is_some());
        drop((open, members));
        assert!((0..8).all(|_| admit(9, Caller::Member).is_some()));
        let state = doors.lock();
        assert_eq!((state.members_count, state.others_count), (0, 0));
        assert!(state.others.is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let source = |text: &str| source(text.parse().unwrap());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), address(1));
    }
}
