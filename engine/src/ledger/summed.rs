//! Collections that know a hash of all that they hold, at the cost of what changed.
//!
//! A [`Map`] can only be changed by key, and a [`Queue`] only at its ends, so no change
//! escapes: each is noted, and hashed when the hash is next wanted. Reading goes
//! through to the collection inside. What was read from a snapshot is hashed anew in
//! whole. Two that hold the same have the same hash, whatever happened to them before.

use std::collections::btree_map::{self, BTreeMap};
use std::collections::{BTreeSet, VecDeque, vec_deque};
use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::canonical;

/// A sum of hashes, 256 bits wide in two halves. Empty collections have 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    low: u128,
    high: u128,
}

/// Odd, so that multiplying by it loses nothing; otherwise arbitrary (the first digits of
/// the golden ratio).
const FACTOR: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

impl Sum {
    /// The hash of one value, which has to hold all that tells it from its neighbours.
    fn of<T: Serialize + ?Sized>(value: &T) -> Sum {
        let mut form = Vec::with_capacity(1_024);
        canonical::write(value, &mut form);
        let hash = Sha256::digest(&form);
        let mut halves = [[0; 16]; 2];
        halves[0].copy_from_slice(&hash[..16]);
        halves[1].copy_from_slice(&hash[16..]);
        Sum {
            low: u128::from_le_bytes(halves[0]),
            high: u128::from_le_bytes(halves[1]),
        }
    }

    fn plus(self, other: Sum) -> Sum {
        Sum {
            low: self.low.wrapping_add(other.low),
            high: self.high.wrapping_add(other.high),
        }
    }

    fn minus(self, other: Sum) -> Sum {
        Sum {
            low: self.low.wrapping_sub(other.low),
            high: self.high.wrapping_sub(other.high),
        }
    }

    fn times(self, factor: u128) -> Sum {
        Sum {
            low: self.low.wrapping_mul(factor),
            high: self.high.wrapping_mul(factor),
        }
    }
}

/// An ordered map; see the module. The sum is over the hash of each key with its value.
#[derive(Clone)]
pub struct Map<K, V> {
    entries: BTreeMap<K, V>,
    /// Over all but what changed; `None` where nothing was hashed yet.
    sum: Option<Sum>,
    /// Keys that may have changed or gone since, of which the former value counts no
    /// more in the sum.
    changed: BTreeSet<K>,
}

impl<K: Ord + Clone + Serialize, V: Serialize> Map<K, V> {
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.note(&key);
        self.entries.insert(key, value)
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.note(key);
        self.entries.remove(key)
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.note(key);
        self.entries.get_mut(key)
    }

    pub fn get_or_default(&mut self, key: &K) -> &mut V
    where
        V: Default,
    {
        self.note(key);
        self.entries.entry(key.clone()).or_default()
    }

    /// Takes the former value out of the sum, once.
    fn note(&mut self, key: &K) {
        let Some(sum) = &mut self.sum else {
            return;
        };
        if self.changed.contains(key) {
            return;
        }
        if let Some(value) = self.entries.get(key) {
            *sum = sum.minus(Sum::of(&(key, value)));
        }
        self.changed.insert(key.clone());
    }

    pub fn sum(&self) -> Sum {
        let Some(sum) = self.sum else {
            let all = self.entries.iter().map(|entry| Sum::of(&entry));
            return all.fold(Sum::default(), Sum::plus);
        };
        let present = self.changed.iter().filter_map(|key| {
            let value = self.entries.get(key)?;
            Some(Sum::of(&(key, value)))
        });
        present.fold(sum, Sum::plus)
    }

    /// Hashes what changed, so that the next time costs only what changes from now on.
    pub fn settle(&mut self) -> Sum {
        let sum = self.sum();
        self.sum = Some(sum);
        self.changed.clear();
        sum
    }
}

impl<K, V> Deref for Map<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &BTreeMap<K, V> {
        &self.entries
    }
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Map {
            entries: BTreeMap::new(),
            sum: Some(Sum::default()),
            changed: BTreeSet::new(),
        }
    }
}

impl<K, V> From<BTreeMap<K, V>> for Map<K, V> {
    fn from(entries: BTreeMap<K, V>) -> Self {
        Map {
            entries,
            sum: None,
            changed: BTreeSet::new(),
        }
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for Map<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        BTreeMap::from(entries).into()
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Map<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        BTreeMap::from_iter(entries).into()
    }
}

impl<'a, K, V> IntoIterator for &'a Map<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = btree_map::Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter()
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for Map<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl<K: Eq, V: Eq> Eq for Map<K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.fmt(f)
    }
}

impl<K: Serialize, V: Serialize> Serialize for Map<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.entries.serialize(serializer)
    }
}

impl<'de, K: Ord + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Map<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::deserialize(deserializer)?.into())
    }
}

/// What is added at the back and forgotten at the front, and never changes in between;
/// see the module. The sum is a polynomial of the hashes, so their order counts.
#[derive(Clone)]
pub struct Queue<T> {
    items: VecDeque<T>,
    /// Of the first items; the rest isn't hashed yet.
    hashes: VecDeque<Sum>,
    /// Over `hashes`.
    sum: Sum,
}

impl<T: Serialize> Queue<T> {
    pub fn push_back(&mut self, item: T) {
        self.items.push_back(item);
    }

    pub fn pop_front(&mut self) -> Option<T> {
        if let Some(first) = self.hashes.pop_front() {
            // The first one was multiplied once for each that came after it.
            let power = FACTOR.wrapping_pow(self.hashes.len() as u32);
            self.sum = self.sum.minus(first.times(power));
        }
        self.items.pop_front()
    }

    pub fn sum(&self) -> Sum {
        let rest = self.items.range(self.hashes.len()..);
        rest.map(Sum::of)
            .fold(self.sum, |sum, next| sum.times(FACTOR).plus(next))
    }

    /// Hashes what is new, so that the next time costs only what is added from now on.
    pub fn settle(&mut self) -> Sum {
        for item in self.items.range(self.hashes.len()..) {
            let hash = Sum::of(item);
            self.sum = self.sum.times(FACTOR).plus(hash);
            self.hashes.push_back(hash);
        }
        self.sum
    }
}

impl<T> Deref for Queue<T> {
    type Target = VecDeque<T>;

    fn deref(&self) -> &VecDeque<T> {
        &self.items
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        VecDeque::new().into()
    }
}

impl<T> From<VecDeque<T>> for Queue<T> {
    fn from(items: VecDeque<T>) -> Self {
        Queue {
            items,
            hashes: VecDeque::new(),
            sum: Sum::default(),
        }
    }
}

impl<T> FromIterator<T> for Queue<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        VecDeque::from_iter(items).into()
    }
}

impl<'a, T> IntoIterator for &'a Queue<T> {
    type Item = &'a T;
    type IntoIter = vec_deque::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

impl<T: PartialEq> PartialEq for Queue<T> {
    fn eq(&self, other: &Self) -> bool {
        self.items == other.items
    }
}

impl<T: Eq> Eq for Queue<T> {}

impl<T: fmt::Debug> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.items.fmt(f)
    }
}

impl<T: Serialize> Serialize for Queue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.items.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Queue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(VecDeque::deserialize(deserializer)?.into())
    }
}

#[cfg(test)]
mod tests;
