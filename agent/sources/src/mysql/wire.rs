//! MySQL's packets: each its length, its number, and what it says.
//!
//! Comes in: a stream, and what to say. Goes out: one packet after the other, and the fields
//! of one. Reads no byte beyond a packet, so that TLS may begin behind it.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::Reason;
use crate::settings::shown;
use crate::stream::{ANSWER_BYTES_MAX, Stream};

/// A longer one would have to be sent in pieces.
const PACKET_BYTES_MAX: usize = 0x00ff_ffff;

pub(super) struct Wire {
    stream: Box<dyn Stream>,
    /// The next packet's number: both sides go on from the other's.
    next: u8,
}

impl Wire {
    pub(super) fn new(stream: Box<dyn Stream>) -> Wire {
        Wire { stream, next: 0 }
    }

    /// The same conversation over another stream, such as one over TLS on this one.
    pub(super) async fn over<F>(
        self,
        other: impl FnOnce(Box<dyn Stream>) -> F,
    ) -> Result<Wire, Reason>
    where
        F: Future<Output = Result<Box<dyn Stream>, Reason>>,
    {
        let stream = other(self.stream).await?;
        Ok(Wire {
            stream,
            next: self.next,
        })
    }

    pub(super) async fn read(&mut self) -> Result<Vec<u8>, Reason> {
        let mut head = [0; 4];
        self.stream
            .read_exact(&mut head)
            .await
            .map_err(|error| broken(&error))?;
        let [low, middle, high, number] = head;
        let length = u32::from_le_bytes([low, middle, high, 0]) as usize;
        if length > ANSWER_BYTES_MAX {
            return Err(Reason::TooLong);
        }
        self.next = number.wrapping_add(1);
        let mut packet = vec![0; length];
        self.stream
            .read_exact(&mut packet)
            .await
            .map_err(|error| broken(&error))?;
        Ok(packet)
    }

    pub(super) async fn write(&mut self, packet: &[u8]) -> Result<(), Reason> {
        let length = u32::try_from(packet.len()).ok();
        let length = length.filter(|_| packet.len() < PACKET_BYTES_MAX);
        let length =
            length.ok_or_else(|| Reason::Misconfigured("is too long to be asked".to_owned()))?;
        let [low, middle, high, _] = length.to_le_bytes();
        let mut bytes = vec![low, middle, high, self.next];
        self.next = self.next.wrapping_add(1);
        bytes.extend_from_slice(packet);
        self.stream
            .write_all(&bytes)
            .await
            .map_err(|error| broken(&error))?;
        self.stream.flush().await.map_err(|error| broken(&error))
    }

    /// A command: with it the numbers begin anew.
    pub(super) async fn command(&mut self, packet: &[u8]) -> Result<(), Reason> {
        self.next = 0;
        self.write(packet).await
    }
}

fn broken(error: &std::io::Error) -> Reason {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return Reason::Connection("the server ended the connection".to_owned());
    }
    Reason::Connection(error.to_string())
}

pub(super) fn unreadable(why: &str) -> Reason {
    Reason::Unreadable {
        format: "in MySQL's protocol",
        why: why.to_owned(),
    }
}

/// What is left of a packet to read.
pub(super) struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Reason> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| unreadable("a packet is too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// Of 1 to 8 bytes, the lowest first.
    pub(super) fn number(&mut self, bytes: usize) -> Result<u64, Reason> {
        let taken = self.bytes(bytes)?.iter().rev();
        Ok(taken.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// One that says itself how long it is.
    pub(super) fn length(&mut self) -> Result<u64, Reason> {
        match self.number(1)? {
            0xfc => self.number(2),
            0xfd => self.number(3),
            0xfe => self.number(8),
            small @ 0..=0xfa => Ok(small),
            _ => Err(unreadable("a length is none")),
        }
    }

    /// Up to a zero, or all where there is none.
    pub(super) fn text(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0);
        let text = &self.0[..end.unwrap_or(self.0.len())];
        self.0 = &self.0[end.map_or(self.0.len(), |end| end + 1)..];
        text
    }
}

/// What an error packet says, behind its first byte.
pub(super) fn refusal(packet: &[u8]) -> Reason {
    // A number, and where the server knows whom it talks to, a mark and a state.
    let words = packet.get(2..).unwrap_or_default();
    let words = match words {
        [b'#', rest @ ..] => rest.get(5..).unwrap_or_default(),
        words => words,
    };
    Reason::Refused(shown(&String::from_utf8_lossy(words)))
}
