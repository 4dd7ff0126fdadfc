//! A serde reader over an outline that notes what is wrong and goes on.

use std::fmt;

use serde::de::Visitor;
use serde::de::value::{StrDeserializer, StringDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess};
use serde_saphyr::Spanned;

use super::super::near::nearest;
use super::super::outline::{Node, child};
use super::super::{EMPTY, NOT_BOOL, NOT_LIST, NOT_MAP, NOT_SINGLE, NOT_WHOLE};
use super::super::{unknown_field, unknown_word};
use super::Notes;

/// What ends a reading; the field it is about is filled in the next one.
#[derive(Debug)]
pub(super) enum Stop {
    Missing { within: String, field: &'static str },
    Other { at: String, why: String },
}

impl Stop {
    /// The innermost reader that sees it says where it was.
    fn at(self, path: &str) -> Stop {
        match self {
            Stop::Missing { within, field } if within.is_empty() => Stop::Missing {
                within: path.to_owned(),
                field,
            },
            Stop::Other { at, why } if at.is_empty() => Stop::Other {
                at: path.to_owned(),
                why,
            },
            stop => stop,
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Missing { field, .. } => write!(f, "`{field}` is missing"),
            Stop::Other { why, .. } => f.write_str(why),
        }
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<T: fmt::Display>(why: T) -> Stop {
        Stop::Other {
            at: String::new(),
            why: why.to_string(),
        }
    }

    fn missing_field(field: &'static str) -> Stop {
        Stop::Missing {
            within: String::new(),
            field,
        }
    }
}

/// One value; without a node it is a placeholder, which is whatever is asked for.
pub(super) struct Reader<'a> {
    node: Option<&'a Spanned<Node>>,
    path: String,
    notes: &'a Notes<'a>,
}

impl<'a> Reader<'a> {
    pub(super) fn root(notes: &'a Notes<'a>) -> Reader<'a> {
        Reader {
            node: Some(&notes.outline.root),
            path: String::new(),
            notes,
        }
    }

    fn below(&self, key: &str, node: Option<&'a Spanned<Node>>) -> Reader<'a> {
        self.at(child(&self.path, key), node)
    }

    fn at(&self, path: String, node: Option<&'a Spanned<Node>>) -> Reader<'a> {
        let node = node.filter(|_| !self.notes.filled.contains(&path));
        if node.is_none() {
            self.notes.blur(&path);
        }
        Reader {
            node,
            path,
            notes: self.notes,
        }
    }

    /// Notes that the value isn't what it should be.
    fn wrong(&self, why: &str) {
        let place = match self.node {
            Some(node) => self.notes.outline.of(node),
            None => return,
        };
        self.notes.problem(place, &self.path, why.to_owned());
        self.notes.blur(&self.path);
    }

    /// The text of a scalar that `T` is written as, or else its placeholder.
    fn scalar<T>(&self, read: impl Fn(&str) -> Option<T>, otherwise: &str, placeholder: T) -> T {
        let Some(node) = self.node else {
            return placeholder;
        };
        match node.value.text().map(read) {
            Some(Some(value)) => return value,
            Some(None) => self.wrong(otherwise),
            None => self.wrong(NOT_SINGLE),
        }
        placeholder
    }

    fn text(&self) -> &'a str {
        match self.node.map(|node| (&node.value, node.value.text())) {
            None => "",
            Some((Node::Null, _)) => {
                self.wrong(EMPTY);
                ""
            }
            Some((_, Some(text))) => text,
            Some((_, None)) => {
                self.wrong(NOT_SINGLE);
                ""
            }
        }
    }

    fn items(&self) -> &'a [Spanned<Node>] {
        match self.node.map(|node| &node.value) {
            Some(Node::List(items)) => items,
            None | Some(Node::Null) => &[],
            Some(_) => {
                self.wrong(NOT_LIST);
                &[]
            }
        }
    }

    fn fields(&self) -> &'a [(Spanned<String>, Spanned<Node>)] {
        match self.node.map(|node| &node.value) {
            Some(Node::Map(map)) => &map.fields,
            None | Some(Node::Null) => &[],
            Some(_) => {
                self.wrong(NOT_MAP);
                &[]
            }
        }
    }

    /// Whatever is known about a field that isn't one here: of itself, of one that is
    /// written much like it, or of those that are in it.
    fn unknown(&self, key: &Spanned<String>, value: &Spanned<Node>, allowed: &[&str]) {
        let path = child(&self.path, &key.value);
        let misspelt = nearest(&key.value, allowed).is_some();
        let said = self.elsewhere(&path, key) || (!misspelt && self.within(&path, value));
        if !said {
            let why = unknown_field(&key.value, allowed);
            let place = self.notes.outline.of(key);
            self.notes.problem(place, &path, why);
        }
    }

    /// Whether something was said.
    fn elsewhere(&self, path: &str, key: &Spanned<String>) -> bool {
        let Some(why) = (self.notes.elsewhere)(path) else {
            return false;
        };
        let place = self.notes.outline.of(key);
        self.notes.problem(place, path, why);
        true
    }

    /// The same of the fields of a value.
    fn within(&self, path: &str, value: &Spanned<Node>) -> bool {
        let Node::Map(map) = &value.value else {
            return false;
        };
        let mut said = false;
        for (key, value) in &map.fields {
            let path = child(path, &key.value);
            said |= self.elsewhere(&path, key) || self.within(&path, value);
        }
        said
    }

    fn visit_fields<'de, V: Visitor<'de>>(
        self,
        fields: Vec<(String, Reader<'a>)>,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let access = Fields {
            left: fields.into_iter(),
            value: None,
        };
        visitor
            .visit_map(access)
            .map_err(|stop| stop.at(&self.path))
    }

    fn visit_items<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let items: Vec<Reader<'a>> = self
            .items()
            .iter()
            .enumerate()
            .map(|(index, item)| self.at(format!("{}[{index}]", self.path), Some(item)))
            .collect();
        visitor
            .visit_seq(Items(items.into_iter()))
            .map_err(|stop| stop.at(&self.path))
    }

    fn all_fields(&self) -> Vec<(String, Reader<'a>)> {
        let fields = self.fields().iter();
        fields
            .map(|(key, value)| (key.value.clone(), self.below(&key.value, Some(value))))
            .collect()
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            let value = self.scalar(|text| text.parse::<$type>().ok(), NOT_WHOLE, 0);
            visitor.$visit(value).map_err(|stop: Stop| stop.at(&self.path))
        })*
    };
}

macro_rules! texts {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            visitor.visit_str(self.text()).map_err(|stop: Stop| stop.at(&self.path))
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Stop;

    numbers! {
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_i128 visit_i128 i128,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_u128 visit_u128 u128,
    }

    texts! {
        deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_identifier
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        match self.node.map(|node| &node.value) {
            None | Some(Node::Null) => visitor.visit_unit(),
            Some(Node::Bool(value)) => visitor.visit_bool(*value),
            Some(Node::Text(text)) => visitor.visit_str(text),
            Some(Node::Number(text)) => {
                if let Ok(value) = text.parse::<i64>() {
                    visitor.visit_i64(value)
                } else if let Ok(value) = text.parse::<u64>() {
                    visitor.visit_u64(value)
                } else if let Ok(value) = text.parse::<f64>() {
                    visitor.visit_f64(value)
                } else {
                    visitor.visit_str(text)
                }
            }
            Some(Node::List(_)) => return self.visit_items(visitor),
            Some(Node::Map(_)) => {
                let fields = self.all_fields();
                return self.visit_fields(fields, visitor);
            }
        }
        .map_err(|stop: Stop| stop.at(&self.path))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_bool(self.scalar(|text| text.parse().ok(), NOT_BOOL, false))
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_f32(self.scalar(|text| text.parse().ok(), "must be a number", 0.0))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_f64(self.scalar(|text| text.parse().ok(), "must be a number", 0.0))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        match self.node.map(|node| &node.value) {
            None | Some(Node::Null) => visitor.visit_none(),
            Some(_) => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.visit_items(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Stop> {
        self.visit_items(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.visit_items(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let fields = self.all_fields();
        self.visit_fields(fields, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let mut fields = Vec::new();
        for (key, value) in self.fields() {
            if known.contains(&key.value.as_str()) {
                fields.push((key.value.clone(), self.below(&key.value, Some(value))));
            } else {
                self.unknown(key, value, known);
            }
        }
        // What a placeholder lacks, and what was found missing before.
        let has = |name: &str| fields.iter().any(|(key, _)| key == name);
        let lacking: Vec<_> = known
            .iter()
            .filter(|name| {
                !has(name)
                    && (self.node.is_none() || self.notes.filled.contains(&child(&self.path, name)))
            })
            .collect();
        for name in lacking {
            fields.push(((*name).to_owned(), self.below(name, None)));
        }
        self.visit_fields(fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let text = self.text();
        let variant = known.iter().find(|variant| **variant == text);
        let said = match self.node.map(|node| &node.value) {
            None | Some(Node::Null | Node::List(_) | Node::Map(_)) => true,
            Some(_) => variant.is_some(),
        };
        if !said {
            self.wrong(&unknown_word(text, known));
        }
        let variant = variant.or(known.first()).copied().unwrap_or_default();
        let variant: StrDeserializer<'_, Stop> = variant.into_deserializer();
        visitor
            .visit_enum(variant)
            .map_err(|stop| stop.at(&self.path))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }
}

struct Items<'a>(std::vec::IntoIter<Reader<'a>>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Stop> {
        self.0.next().map(|item| seed.deserialize(item)).transpose()
    }
}

struct Fields<'a> {
    left: std::vec::IntoIter<(String, Reader<'a>)>,
    value: Option<Reader<'a>>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Stop> {
        let Some((key, value)) = self.left.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        let key: StringDeserializer<Stop> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        match self.value.take() {
            Some(value) => seed.deserialize(value),
            // serde asks for a value only behind its key.
            None => seed.deserialize(IntoDeserializer::<Stop>::into_deserializer(())),
        }
    }
}
