//! Kafka's way of writing numbers, texts and lists, as far as the questions that are asked
//! here and their answers need it: the versions before its "flexible" ones.
//!
//! Comes in: values, or an answer's bytes. Goes out: bytes, or values. A list takes memory
//! for the elements that came, never for those that its length announces.

use crate::Reason;
use crate::settings::shown;

/// What an answer isn't that can't be read.
pub(super) fn garbled(why: impl Into<String>) -> Reason {
    Reason::Unreadable {
        format: "Kafka's protocol",
        why: why.into(),
    }
}

/// What is written, so far.
#[derive(Debug, Default)]
pub(super) struct Written(pub Vec<u8>);

impl Written {
    pub(super) fn i8(mut self, number: i8) -> Written {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(super) fn i16(mut self, number: i16) -> Written {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(super) fn i32(mut self, number: i32) -> Written {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(super) fn i64(mut self, number: i64) -> Written {
        self.0.extend(number.to_be_bytes());
        self
    }

    /// Settings and answers have no text that is longer than an i16 says.
    pub(super) fn text(self, text: &str) -> Written {
        let mut with = self.i16(text.len() as i16);
        with.0.extend(text.as_bytes());
        with
    }

    pub(super) fn bytes(self, bytes: &[u8]) -> Written {
        let mut with = self.i32(bytes.len() as i32);
        with.0.extend(bytes);
        with
    }

    pub(super) fn list<T>(
        self,
        list: impl ExactSizeIterator<Item = T>,
        one: impl Fn(Written, T) -> Written,
    ) -> Written {
        let with = self.i32(list.len() as i32);
        list.fold(with, one)
    }
}

/// What is still to be read of an answer.
#[derive(Debug)]
pub(super) struct Answer<'a>(pub &'a [u8]);

impl<'a> Answer<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Reason> {
        let ends = || garbled("it ends too early");
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or_else(ends)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| garbled("it ends too early"))
    }

    pub(super) fn flag(&mut self) -> Result<bool, Reason> {
        Ok(self.array::<1>()? != [0])
    }

    pub(super) fn i16(&mut self) -> Result<i16, Reason> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, Reason> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64, Reason> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// Empty where there is none.
    pub(super) fn text(&mut self) -> Result<&'a str, Reason> {
        let length = usize::try_from(self.i16()?).unwrap_or_default();
        let text = self.take(length)?;
        std::str::from_utf8(text).map_err(|_| garbled("a text in it is not UTF-8"))
    }

    /// Empty where there are none.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Reason> {
        let length = usize::try_from(self.i32()?).unwrap_or_default();
        self.take(length)
    }

    /// Empty where there is none; `what` there are too many of says so.
    pub(super) fn list<T>(
        &mut self,
        most: usize,
        what: &str,
        mut one: impl FnMut(&mut Answer<'a>) -> Result<T, Reason>,
    ) -> Result<Vec<T>, Reason> {
        let length = usize::try_from(self.i32()?).unwrap_or_default();
        if length > most {
            return Err(too_many(most, what));
        }
        (0..length).map(|_| one(self)).collect()
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), Reason> {
        if self.0.is_empty() {
            Ok(())
        } else {
            let kept = String::from_utf8_lossy(self.0);
            Err(garbled(format!("behind its end stands `{}`", shown(&kept))))
        }
    }
}

pub(super) fn too_many(most: usize, what: &str) -> Reason {
    Reason::Unread(format!("it has more than {most} {what}"))
}
