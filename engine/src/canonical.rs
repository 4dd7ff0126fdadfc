//! A value's canonical form: the bytes over which digests are taken.
//!
//! Comes in: anything that serde can describe. Goes out: bytes that differ where values
//! differ, and that stay as they are when a type gets another field, as long as that
//! is at its default (0, empty, `None`). Fields go by their names, numbers have no
//! width. Nothing is ever read back from it: what is stored or sent is protobuf.

use serde::Serialize;
use serde::de::value::Error;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// Ends what has no stated length. No other tag is 0, so no value begins with it.
const END: u8 = 0;
const POSITIVE: u8 = 1;
const NEGATIVE: u8 = 2;
const FLOAT: u8 = 3;
const TEXT: u8 = 4;
const BYTES: u8 = 5;
const NONE: u8 = 6;
const SOME: u8 = 7;
const UNIT: u8 = 8;
const LIST: u8 = 9;
const MAP: u8 = 10;
const STRUCT: u8 = 11;
const FIELD: u8 = 12;
const VARIANT: u8 = 13;
const UNWRITABLE: u8 = 14;

/// Appends the canonical form of `value` to `form`. Lists and maps come in the order in
/// which they are gone through: only ordered maps have one form.
pub fn write<T: Serialize + ?Sized>(value: &T, form: &mut Vec<u8>) {
    let before = form.len();
    // Only a type that refuses to be serialized at all fails, and none in the ledger
    // does. One that did would have the same form everywhere.
    if value.serialize(Writer { form }).is_err() {
        form.truncate(before);
        form.push(UNWRITABLE);
    }
}

/// What serializing gives is whether the value is its type's default, in which case a
/// field that has it is left out.
struct Writer<'a> {
    form: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// In as few bytes as it takes, so that a wider type has the same form.
    fn number(self, magnitude: u128, negative: bool) -> bool {
        let bytes = magnitude.to_le_bytes();
        let used = 16 - (magnitude.leading_zeros() / 8) as usize;
        self.form.push(if negative { NEGATIVE } else { POSITIVE });
        self.form.push(used as u8);
        self.form.extend_from_slice(&bytes[..used]);
        magnitude == 0
    }

    fn counted(&mut self, tag: u8, bytes: &[u8]) {
        self.form.push(tag);
        // Texts of 4 GiB are refused long before they get here.
        self.form
            .extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.form.extend_from_slice(bytes);
    }

    fn variant(mut self, name: &str) -> Writer<'a> {
        self.counted(VARIANT, name.as_bytes());
        self
    }

    fn many(self, tag: u8, is_variant: bool) -> Many<'a> {
        self.form.push(tag);
        Many {
            form: self.form,
            is_default: !is_variant,
        }
    }
}

impl<'a> Serializer for Writer<'a> {
    type Ok = bool;
    type Error = Error;
    type SerializeSeq = Many<'a>;
    type SerializeTuple = Many<'a>;
    type SerializeTupleStruct = Many<'a>;
    type SerializeTupleVariant = Many<'a>;
    type SerializeMap = Many<'a>;
    type SerializeStruct = Many<'a>;
    type SerializeStructVariant = Many<'a>;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, yes: bool) -> Result<bool, Error> {
        Ok(self.number(yes.into(), false))
    }

    fn serialize_i8(self, n: i8) -> Result<bool, Error> {
        self.serialize_i128(n.into())
    }

    fn serialize_i16(self, n: i16) -> Result<bool, Error> {
        self.serialize_i128(n.into())
    }

    fn serialize_i32(self, n: i32) -> Result<bool, Error> {
        self.serialize_i128(n.into())
    }

    fn serialize_i64(self, n: i64) -> Result<bool, Error> {
        self.serialize_i128(n.into())
    }

    fn serialize_i128(self, n: i128) -> Result<bool, Error> {
        Ok(self.number(n.unsigned_abs(), n < 0))
    }

    fn serialize_u8(self, n: u8) -> Result<bool, Error> {
        Ok(self.number(n.into(), false))
    }

    fn serialize_u16(self, n: u16) -> Result<bool, Error> {
        Ok(self.number(n.into(), false))
    }

    fn serialize_u32(self, n: u32) -> Result<bool, Error> {
        Ok(self.number(n.into(), false))
    }

    fn serialize_u64(self, n: u64) -> Result<bool, Error> {
        Ok(self.number(n.into(), false))
    }

    fn serialize_u128(self, n: u128) -> Result<bool, Error> {
        Ok(self.number(n, false))
    }

    fn serialize_f32(self, n: f32) -> Result<bool, Error> {
        self.serialize_f64(n.into())
    }

    /// By its bits; both zeros are one, and so is all that is no number.
    fn serialize_f64(self, n: f64) -> Result<bool, Error> {
        let bits = if n == 0.0 {
            0
        } else if n.is_nan() {
            f64::NAN.to_bits()
        } else {
            n.to_bits()
        };
        self.form.push(FLOAT);
        self.form.extend_from_slice(&bits.to_le_bytes());
        Ok(bits == 0)
    }

    fn serialize_char(self, c: char) -> Result<bool, Error> {
        self.serialize_str(c.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(mut self, text: &str) -> Result<bool, Error> {
        self.counted(TEXT, text.as_bytes());
        Ok(text.is_empty())
    }

    fn serialize_bytes(mut self, bytes: &[u8]) -> Result<bool, Error> {
        self.counted(BYTES, bytes);
        Ok(bytes.is_empty())
    }

    fn serialize_none(self) -> Result<bool, Error> {
        self.form.push(NONE);
        Ok(true)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<bool, Error> {
        self.form.push(SOME);
        value.serialize(Writer { form: self.form })?;
        Ok(false)
    }

    fn serialize_unit(self) -> Result<bool, Error> {
        self.form.push(UNIT);
        Ok(true)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<bool, Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
    ) -> Result<bool, Error> {
        self.variant(name).serialize_unit()?;
        Ok(false)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<bool, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Result<bool, Error> {
        value.serialize(self.variant(name))?;
        Ok(false)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Many<'a>, Error> {
        Ok(self.many(LIST, false))
    }

    fn serialize_tuple(self, _: usize) -> Result<Many<'a>, Error> {
        Ok(self.many(LIST, false))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Many<'a>, Error> {
        Ok(self.many(LIST, false))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Many<'a>, Error> {
        Ok(self.variant(name).many(LIST, true))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Many<'a>, Error> {
        Ok(self.many(MAP, false))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Many<'a>, Error> {
        Ok(self.many(STRUCT, false))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Many<'a>, Error> {
        Ok(self.variant(name).many(STRUCT, true))
    }
}

/// What is made of several values.
struct Many<'a> {
    form: &'a mut Vec<u8>,
    is_default: bool,
}

impl Many<'_> {
    fn one<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(Writer {
            form: &mut *self.form,
        })?;
        self.is_default = false;
        Ok(())
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Error> {
        let before = self.form.len();
        let mut writer = Writer {
            form: &mut *self.form,
        };
        writer.counted(FIELD, name.as_bytes());
        if value.serialize(writer)? {
            self.form.truncate(before);
        } else {
            self.is_default = false;
        }
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "as serde wants it")]
    fn close(self) -> Result<bool, Error> {
        self.form.push(END);
        Ok(self.is_default)
    }
}

impl SerializeSeq for Many<'_> {
    type Ok = bool;
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.one(value)
    }

    fn end(self) -> Result<bool, Error> {
        self.close()
    }
}

impl SerializeTuple for Many<'_> {
    type Ok = bool;
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.one(value)
    }

    fn end(self) -> Result<bool, Error> {
        self.close()
    }
}

impl SerializeTupleStruct for Many<'_> {
    type Ok = bool;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.one(value)
    }

    fn end(self) -> Result<bool, Error> {
        self.close()
    }
}

impl SerializeTupleVariant for Many<'_> {
    type Ok = bool;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.one(value)
    }

    fn end(self) -> Result<bool, Error> {
        self.close()
    }
}

impl SerializeMap for Many<'_> {
    type Ok = bool;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.one(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.one(value)
    }

    fn end(self) -> Result<bool, Error> {
        self.close()
    }
}

impl SerializeStruct for Many<'_> {
    type Ok = bool;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.field(name, value)
    }

    fn end(self) -> Result<bool, Error> {
        self.close()
    }
}

impl SerializeStructVariant for Many<'_> {
    type Ok = bool;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.field(name, value)
    }

    fn end(self) -> Result<bool, Error> {
        self.close()
    }
}

#[cfg(test)]
mod tests;
