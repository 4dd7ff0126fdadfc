//! How values become bytes, on disk and between agents: `MessagePack` with field
//! names, so that a newer version can add fields, and checksums where the
//! bytes lie on a disk.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Length and checksum before a sealed record.
const SEAL_BYTES: usize = 8;

pub fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    rmp_serde::to_vec_named(value).map_err(io::Error::other)
}

pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    rmp_serde::from_slice(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
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
