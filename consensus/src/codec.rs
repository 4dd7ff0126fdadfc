//! How values become bytes, on disk and between agents: protobuf (see [`Form`]), with
//! length and checksum where the bytes lie on a disk.
//!
//! Bytes of the right checksum that can't be read are no damage: another release wrote
//! them, and the error says so ([`unreadable`]).

use std::io;

use prost::Message as _;
use starling_proto::log::{Error, read_whole};

use crate::form::Form;

/// Length and checksum before a sealed record.
const SEAL_BYTES: usize = 8;

pub fn encode<T: Form>(value: &T) -> io::Result<Vec<u8>> {
    bytes(value).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))
}

pub fn decode<T: Form>(bytes: &[u8]) -> io::Result<T> {
    value(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

pub fn bytes<T: Form>(value: &T) -> Result<Vec<u8>, Error> {
    Ok(value.out()?.encode_to_vec())
}

pub fn value<T: Form>(bytes: &[u8]) -> Result<T, Error> {
    let message = T::Message::decode(bytes)?;
    let needs = T::needs(&message).cloned();
    let read = if T::MAY_GROW {
        T::back(message)
    } else {
        read_whole(bytes, message).and_then(T::back)
    };
    read.map_err(|error| match needs {
        Some(needs) => Error::Newer {
            version: needs.version,
            release: needs.release,
        },
        None => error,
    })
}

/// Why bytes that are whole can't be read; `None` where they are damaged.
pub fn unreadable(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Puts length and checksum before `body`. The checksum covers `place` too
/// (a key, a file's kind), so a record that turns up elsewhere is noticed.
/// A body is far below 4 GiB by the bounds on entries and snapshots.
pub fn seal(place: &[u8], body: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(SEAL_BYTES + body.len());
    sealed.extend_from_slice(&(body.len() as u32).to_be_bytes());
    sealed.extend_from_slice(&checksum(place, body).to_be_bytes());
    sealed.extend_from_slice(body);
    sealed
}

/// The body, if it is whole and belongs to `place`.
pub fn unseal<'a>(place: &[u8], sealed: &'a [u8]) -> io::Result<&'a [u8]> {
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let (length, rest) = sealed
        .split_first_chunk::<4>()
        .ok_or_else(|| damaged("a record is cut short"))?;
    let (sum, body) = rest
        .split_first_chunk::<4>()
        .ok_or_else(|| damaged("a record is cut short"))?;
    if body.len() != u32::from_be_bytes(*length) as usize {
        return Err(damaged("a record has the wrong length"));
    }
    if checksum(place, body) != u32::from_be_bytes(*sum) {
        return Err(damaged("a record has the wrong checksum"));
    }
    Ok(body)
}

fn checksum(place: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(place), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_record_opens_only_whole_and_in_its_place() {
        let sealed = seal(b"7", b"body");
        assert_eq!(unseal(b"7", &sealed).unwrap(), b"body");
        assert!(unseal(b"8", &sealed).is_err());
        assert!(unseal(b"7", &sealed[..sealed.len() - 1]).is_err());
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(b"7", &flipped).is_err(), "bit {bit}");
        }
    }
}
