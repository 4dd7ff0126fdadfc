//! What lies where in sled, and how it is framed.
//!
//! Tree `log`: an entry's sealed record, cut into pieces under
//! (index, piece number), both big-endian. Pieces keep sled's pages small:
//! above 128 KiB sled 0.34 writes a page to a file of its own and never syncs
//! it, and up to 32 records share a page. Tree `meta`: one sealed record for
//! each name.

use std::io;

use crate::codec;
use crate::form::Form;
use crate::types::LogId;

/// 32 records of this size and their keys stay below sled's 128 KiB.
pub const PIECE_BYTES: usize = 2_048;

/// Of the last durable write; see [`super::guard`].
pub const WRITE: &str = "write";
pub const VOTE: &str = "vote";
pub const COMMITTED: &str = "committed";
pub const PURGED: &str = "purged";
pub const LAST: &str = "last";
pub const IDENTITY: &str = "identity";
pub const ADMISSION: &str = "admission";
pub const SNAPSHOT: &str = "snapshot";

/// Who this agent is, as long as its data directory lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub cluster: String,
    /// Drawn at founding; see [`crate::Config::cluster_id`].
    pub cluster_id: String,
    pub generation: u64,
    pub id: u64,
    /// This agent has founded the cluster, and initializes its log.
    pub founder: bool,
}

/// On disk before the agent asks to be let in: asking again gives the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    pub cluster: String,
    pub nonce: String,
    /// The generation of a log that was given up for a rebuilt cluster's: only a later one
    /// may give the same id again, for in this one it has voted.
    pub after: u64,
}

/// Which snapshot file counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    pub file: String,
    pub last: Option<LogId>,
}

pub type PieceKey = [u8; 10];

pub fn piece_key(index: u64, piece: u16) -> PieceKey {
    let mut key = [0; 10];
    key[..8].copy_from_slice(&index.to_be_bytes());
    key[8..].copy_from_slice(&piece.to_be_bytes());
    key
}

/// The entry's index and the piece's number; `None` for a key of any other shape.
pub fn parse_piece_key(key: &[u8]) -> Option<(u64, u16)> {
    let (index, piece) = key.split_first_chunk::<8>()?;
    Some((
        u64::from_be_bytes(*index),
        u16::from_be_bytes(piece.try_into().ok()?),
    ))
}

/// The pieces of an entry's record. 65,536 pieces hold 128 MiB, far more than
/// an entry may have.
pub fn pieces(index: u64, body: &[u8]) -> Vec<(PieceKey, Vec<u8>)> {
    codec::seal(&index.to_be_bytes(), body)
        .chunks(PIECE_BYTES)
        .enumerate()
        .map(|(n, piece)| (piece_key(index, n as u16), piece.to_vec()))
        .collect()
}

/// Puts records together again while the pieces come by in key order.
#[derive(Default)]
pub struct Assembler {
    current: Option<(u64, u16, Vec<u8>)>,
}

impl Assembler {
    /// Takes the next piece; gives the record before it if that is complete now.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> io::Result<Option<(u64, Vec<u8>)>> {
        let (index, piece) =
            parse_piece_key(key).ok_or_else(|| damaged("the log has a key of unknown shape"))?;
        match &mut self.current {
            Some((at, count, bytes)) if *at == index => {
                if piece != *count {
                    return Err(damaged(&format!("entry {index} lacks a piece")));
                }
                *count = count.wrapping_add(1);
                bytes.extend_from_slice(value);
                Ok(None)
            }
            _ if piece != 0 => Err(damaged(&format!("entry {index} lacks its beginning"))),
            _ => {
                let done = self.finish()?;
                self.current = Some((index, 1, value.to_vec()));
                Ok(done)
            }
        }
    }

    /// The last record.
    pub fn finish(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        let Some((index, _, sealed)) = self.current.take() else {
            return Ok(None);
        };
        let body = codec::unseal(&index.to_be_bytes(), &sealed)
            .map_err(|e| damaged(&format!("entry {index}: {e}")))?;
        Ok(Some((index, body.to_vec())))
    }
}

pub fn meta_record<T: Form>(name: &str, value: &T) -> io::Result<Vec<u8>> {
    Ok(codec::seal(name.as_bytes(), &codec::encode(value)?))
}

pub fn read_meta<T: Form>(meta: &sled::Tree, name: &str) -> io::Result<Option<T>> {
    let Some(record) = meta.get(name).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let body = codec::unseal(name.as_bytes(), &record)
        .map_err(|e| damaged(&format!("the record of {name}: {e}")))?;
    codec::decode(body).map(Some)
}

pub fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_many_pieces_is_put_together_again_and_a_missing_piece_is_noticed() {
        let body: Vec<u8> = (0..PIECE_BYTES * 3 + 17).map(|i| i as u8).collect();
        let all = pieces(9, &body);
        assert_eq!(all.len(), 4);

        let assemble = |pieces: &[(PieceKey, Vec<u8>)]| {
            let mut assembler = Assembler::default();
            for (key, value) in pieces {
                assembler.push(key, value)?;
            }
            assembler.finish()
        };
        assert_eq!(assemble(&all).unwrap(), Some((9, body)));
        for missing in 0..all.len() {
            let mut some = all.clone();
            some.remove(missing);
            assert!(assemble(&some).is_err(), "without piece {missing}");
        }
    }
}
