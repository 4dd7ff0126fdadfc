//! Seals datagrams so that only agents of this cluster and generation can read
//! or make them.
//!
//! A datagram is: version (1 byte), key id (4), nonce (24), cipher text and tag
//! (16). Version, key id, cluster and generation are authenticated.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};

use super::Key;

const VERSION: u8 = 1;
const KEY_ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 24;
const HEAD_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_BYTES;
const TAG_BYTES: usize = 16;

/// What sealing adds.
pub const OVERHEAD_BYTES: usize = HEAD_BYTES + TAG_BYTES;

/// Why a datagram didn't open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Not of this version, or sealed with a key that isn't in the ring.
    UnknownKey,
    /// Cut, damaged, or of another cluster or generation.
    Unsealable,
}

/// The ring at work. It may be replaced at any time.
pub struct Seal {
    cluster: String,
    generation: u64,
    /// The first one seals. Never empty.
    ring: RwLock<Vec<Slot>>,
}

struct Slot {
    id: [u8; KEY_ID_BYTES],
    cipher: XChaCha20Poly1305,
    associated: Vec<u8>,
}

impl Seal {
    pub fn new(keys: &[Key], cluster: &str, generation: u64) -> Seal {
        let seal = Seal {
            cluster: cluster.to_owned(),
            generation,
            ring: RwLock::default(),
        };
        seal.replace(keys);
        seal
    }

    /// From here on these keys hold. What is on its way under a key that is left out
    /// doesn't open any more.
    pub fn replace(&self, keys: &[Key]) {
        let ring = keys.iter().map(|key| self.slot(key)).collect();
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = ring;
    }

    fn slot(&self, key: &Key) -> Slot {
        let Seal {
            cluster,
            generation,
            ..
        } = self;
        let id = key_id(key);
        let mut associated = b"starling gossip".to_vec();
        associated.push(VERSION);
        associated.extend(id);
        associated.extend((cluster.len() as u64).to_be_bytes());
        associated.extend(cluster.as_bytes());
        associated.extend(generation.to_be_bytes());
        Slot {
            id,
            cipher: XChaCha20Poly1305::new(&key.0.into()),
            associated,
        }
    }

    /// Names of the keys, in the ring's order, that say nothing about the keys.
    pub fn names(&self) -> Vec<String> {
        self.ring().iter().map(|slot| name(slot.id)).collect()
    }

    fn ring(&self) -> RwLockReadGuard<'_, Vec<Slot>> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` only without keys, or beyond the cipher's 256 GiB.
    pub fn close(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let ring = self.ring();
        let slot = ring.first()?;
        // 24 random bytes: no two of 2^80 datagrams under one key share a nonce.
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload {
            msg: plain,
            aad: &slot.associated,
        };
        let sealed = slot.cipher.encrypt(&XNonce::from(nonce), payload).ok()?;
        let mut datagram = Vec::with_capacity(HEAD_BYTES + sealed.len());
        datagram.push(VERSION);
        datagram.extend(slot.id);
        datagram.extend(nonce);
        datagram.extend(sealed);
        Some(datagram)
    }

    pub fn open(&self, datagram: &[u8]) -> Result<Vec<u8>, Refused> {
        let (&version, rest) = datagram.split_first().ok_or(Refused::Unsealable)?;
        let (id, rest) = rest
            .split_first_chunk::<KEY_ID_BYTES>()
            .ok_or(Refused::Unsealable)?;
        let (nonce, sealed) = rest
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(Refused::Unsealable)?;
        let ring = self.ring();
        let slot = ring
            .iter()
            .find(|slot| version == VERSION && slot.id == *id)
            .ok_or(Refused::UnknownKey)?;
        let payload = Payload {
            msg: sealed,
            aad: &slot.associated,
        };
        slot.cipher
            .decrypt(&XNonce::from(*nonce), payload)
            .map_err(|_| Refused::Unsealable)
    }
}

fn name(id: [u8; KEY_ID_BYTES]) -> String {
    format!("{:08x}", u32::from_be_bytes(id))
}

/// Says which key it is without saying anything about the key.
fn key_id(key: &Key) -> [u8; KEY_ID_BYTES] {
    let digest = Sha256::new()
        .chain_update(b"starling gossip key id")
        .chain_update(key.0)
        .finalize();
    let mut id = [0; KEY_ID_BYTES];
    id.copy_from_slice(&digest[..KEY_ID_BYTES]);
    id
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seal(keys: &[u8], cluster: &str, generation: u64) -> Seal {
        let keys: Vec<Key> = keys.iter().map(|&byte| Key([byte; 32])).collect();
        Seal::new(&keys, cluster, generation)
    }

    #[test]
    fn what_was_sealed_opens_with_any_key_of_the_ring() {
        let old = seal(&[1], "blue", 1).close(b"hello").unwrap();
        let both = seal(&[2, 1], "blue", 1);
        assert_eq!(both.open(&old).unwrap(), b"hello");
        let new = both.close(b"hello").unwrap();
        assert_eq!(new.len(), 5 + OVERHEAD_BYTES);
        assert_eq!(seal(&[2], "blue", 1).open(&new).unwrap(), b"hello");
        assert_eq!(seal(&[1], "blue", 1).open(&new), Err(Refused::UnknownKey));
    }

    #[test]
    fn a_ring_that_is_replaced_holds_at_once_and_has_names_that_stay() {
        let seal = seal(&[1], "blue", 1);
        let old = seal.close(b"hello").unwrap();
        let names = seal.names();
        seal.replace(&[Key([2; 32]), Key([1; 32])]);
        assert_eq!(seal.names()[1..], names);
        assert_eq!(seal.open(&old).unwrap(), b"hello");
        seal.replace(&[Key([2; 32])]);
        assert_eq!(seal.open(&old), Err(Refused::UnknownKey));
        let other = super::Seal::new(&[Key([2; 32])], "green", 7);
        assert_eq!(other.names(), seal.names(), "of the key alone");
    }

    #[test]
    fn another_cluster_generation_or_version_doesnt_open() {
        let ours = seal(&[1], "blue", 1).close(b"hello").unwrap();
        for (cluster, generation) in [("blur", 1), ("blue", 2), ("blu", 1), ("", 1)] {
            let theirs = seal(&[1], cluster, generation);
            assert_eq!(
                theirs.open(&ours),
                Err(Refused::Unsealable),
                "{cluster} {generation}"
            );
        }
        let mut newer = ours;
        newer[0] += 1;
        assert_eq!(seal(&[1], "blue", 1).open(&newer), Err(Refused::UnknownKey));
    }

    #[test]
    fn nothing_can_be_read_or_told_apart_from_outside() {
        let ours = seal(&[1], "blue", 1);
        let (a, b) = (
            ours.close(b"a secret").unwrap(),
            ours.close(b"a secret").unwrap(),
        );
        assert_ne!(a[HEAD_BYTES..], b[HEAD_BYTES..]);
        assert!(!a.windows(6).any(|window| window == b"secret"));
    }

    proptest! {
        #[test]
        fn a_damaged_datagram_doesnt_open(
            plain in proptest::collection::vec(any::<u8>(), 0..100),
            at in any::<proptest::sample::Index>(),
            flip in 1..=255_u8,
        ) {
            let ours = seal(&[1], "blue", 1);
            let mut datagram = ours.close(&plain).unwrap();
            let at = at.index(datagram.len());
            prop_assert!(ours.open(&datagram[..at]).is_err());
            datagram[at] ^= flip;
            prop_assert!(ours.open(&datagram).is_err());
        }

        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(seal(&[1], "blue", 1).open(&bytes).is_err());
        }
    }
}
