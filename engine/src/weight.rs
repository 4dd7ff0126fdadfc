//! How many bytes a value takes at most in the log and between agents, whichever
//! format they speak.
//!
//! Comes in: anything of the ledger's. Goes out: a bound that holds for formats that
//! write out each field's name (JSON) and for those that number fields
//! (protobuf). Allocates nothing: a pass weighs each of its items.

use serde::Serialize;
use serde::de::value::Error;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// A number below 128, with a field's number before it.
const SMALL: usize = 3;
/// Any other number, with the same.
const LARGE: usize = 12;
/// What stands before a text, a list or a structure: a field's number and a length of
/// 32 bits.
const HEAD: usize = 7;

/// See the module. What can't be written at all weighs more than anything else.
pub fn bytes_max<T: Serialize + ?Sized>(value: &T) -> usize {
    let mut weight = Weight(0);
    match value.serialize(&mut weight) {
        Ok(()) => weight.0,
        Err(_) => usize::MAX,
    }
}

struct Weight(usize);

impl Weight {
    fn add(&mut self, bytes: usize) {
        self.0 = self.0.saturating_add(bytes);
    }

    #[expect(clippy::unnecessary_wraps, reason = "as serde wants it")]
    fn bytes(&mut self, bytes: usize) -> Result<(), Error> {
        self.add(HEAD.saturating_add(bytes));
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "as serde wants it")]
    fn number(&mut self, is_small: bool) -> Result<(), Error> {
        self.add(if is_small { SMALL } else { LARGE });
        Ok(())
    }

    fn begin(&mut self, name: &str) -> Result<&mut Self, Error> {
        self.bytes(name.len())?;
        self.add(HEAD);
        Ok(self)
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Error> {
        self.bytes(name.len())?;
        value.serialize(self)
    }
}

impl Serializer for &mut Weight {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, _: bool) -> Result<(), Error> {
        self.number(true)
    }

    fn serialize_i8(self, n: i8) -> Result<(), Error> {
        self.number(n >= 0)
    }

    fn serialize_i16(self, n: i16) -> Result<(), Error> {
        self.serialize_i64(n.into())
    }

    fn serialize_i32(self, n: i32) -> Result<(), Error> {
        self.serialize_i64(n.into())
    }

    fn serialize_i64(self, n: i64) -> Result<(), Error> {
        self.number((0..128).contains(&n))
    }

    fn serialize_i128(self, _: i128) -> Result<(), Error> {
        self.bytes(16)
    }

    fn serialize_u8(self, n: u8) -> Result<(), Error> {
        self.number(n < 128)
    }

    fn serialize_u16(self, n: u16) -> Result<(), Error> {
        self.number(n < 128)
    }

    fn serialize_u32(self, n: u32) -> Result<(), Error> {
        self.number(n < 128)
    }

    fn serialize_u64(self, n: u64) -> Result<(), Error> {
        self.number(n < 128)
    }

    fn serialize_u128(self, _: u128) -> Result<(), Error> {
        self.bytes(16)
    }

    fn serialize_f32(self, _: f32) -> Result<(), Error> {
        self.number(false)
    }

    fn serialize_f64(self, _: f64) -> Result<(), Error> {
        self.number(false)
    }

    fn serialize_char(self, _: char) -> Result<(), Error> {
        self.number(false)
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        self.bytes(text.len())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        self.bytes(bytes.len())
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.number(true)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.add(HEAD);
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.number(true)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.number(true)
    }

    fn serialize_unit_variant(self, _: &str, _: u32, name: &'static str) -> Result<(), Error> {
        self.bytes(name.len())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.add(HEAD);
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.begin(name)?;
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Error> {
        self.begin("")
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Error> {
        self.begin("")
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        self.begin("")
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Self, Error> {
        self.begin(name)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Error> {
        self.begin("")
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        self.begin("")
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Self, Error> {
        self.begin(name)
    }
}

impl SerializeSeq for &mut Weight {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

impl SerializeTuple for &mut Weight {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

impl SerializeTupleStruct for &mut Weight {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

impl SerializeTupleVariant for &mut Weight {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

impl SerializeMap for &mut Weight {
    type Ok = ();
    type Error = Error;

    /// protobuf makes a structure of each entry.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.add(HEAD);
        key.serialize(&mut **self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

impl SerializeStruct for &mut Weight {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.field(name, value)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

impl SerializeStructVariant for &mut Weight {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.field(name, value)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Command, Item};
    use crate::policy::Policy;

    #[test]
    fn a_value_weighs_more_than_it_takes_with_all_names_written_out() {
        let item = Item {
            policy: "shop/web".into(),
            revision: 77,
            from: 1,
            to: u32::MAX,
            shares: Some([(crate::unit::NodeId(7), 3)].into()),
            seen: None,
            changes: vec![crate::history::Change::Resized { from: 1, to: 2 }],
            report: None,
        };
        let put = Command::PutPolicy {
            policy: Policy::default(),
            source: "a:/policies/web.yaml".into(),
        };
        let json = serde_json::to_string(&item).unwrap();
        assert!(bytes_max(&item) >= json.len(), "{json}");
        let json = serde_json::to_string(&put).unwrap();
        assert!(bytes_max(&put) >= json.len(), "{json}");
        assert!(bytes_max(&put) < 4 * json.len(), "it isn't beyond reason");
    }
}
