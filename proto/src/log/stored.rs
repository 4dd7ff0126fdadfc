//! How one of the engine's types becomes a message, and the way back.
//!
//! Comes in: a type of the engine, or a message from a disk or another agent. Goes out:
//! the other one, or why not. Both ways hold the same bounds, so that whatever could be
//! written can be read. The macro [`stored!`] takes each type apart by name: a new field
//! or variant doesn't compile until it has a place in a message.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use starling_engine::unit::{Ms, NodeId};

use super::{Error, wire};

/// The longest text. A command that holds one that is half as long is refused for its
/// size already; this keeps what was never proposed within bounds too.
pub const TEXT_BYTES_MAX: usize = 2 << 20;
/// The longest list within a command or a workload.
pub const LIST_MAX: usize = 10_000;

/// See the module.
pub trait Stored: Sized {
    /// As a field of a message.
    type Wire;

    fn out(&self) -> Result<Self::Wire, Error>;

    fn back(wire: Self::Wire) -> Result<Self, Error>;
}

pub fn at_most(what: &'static str, found: usize, max: usize) -> Result<(), Error> {
    if found > max {
        return Err(Error::TooMany { what, found, max });
    }
    Ok(())
}

/// A field that every writer fills.
pub fn needed<T: Stored>(what: &'static str, wire: Option<T::Wire>) -> Result<T, Error> {
    T::back(wire.ok_or(Error::Missing(what))?)
}

macro_rules! as_it_is {
    ($($number:ty),*) => {$(
        impl Stored for $number {
            type Wire = $number;

            fn out(&self) -> Result<Self::Wire, Error> {
                Ok(*self)
            }

            fn back(wire: Self::Wire) -> Result<Self, Error> {
                Ok(wire)
            }
        }
    )*};
}

as_it_is!(bool, u32, u64, i32, i64);

impl Stored for usize {
    type Wire = u64;

    fn out(&self) -> Result<u64, Error> {
        Ok(*self as u64)
    }

    fn back(wire: u64) -> Result<Self, Error> {
        usize::try_from(wire).map_err(|_| Error::TooMany {
            what: "a count",
            found: usize::MAX,
            max: usize::MAX,
        })
    }
}

impl Stored for Ms {
    type Wire = u64;

    fn out(&self) -> Result<u64, Error> {
        Ok(self.0)
    }

    fn back(wire: u64) -> Result<Self, Error> {
        Ok(Ms(wire))
    }
}

impl Stored for NodeId {
    type Wire = u64;

    fn out(&self) -> Result<u64, Error> {
        Ok(self.0)
    }

    fn back(wire: u64) -> Result<Self, Error> {
        Ok(NodeId(wire))
    }
}

impl Stored for String {
    type Wire = String;

    fn out(&self) -> Result<String, Error> {
        at_most("bytes in a text", self.len(), TEXT_BYTES_MAX)?;
        Ok(self.clone())
    }

    fn back(wire: String) -> Result<Self, Error> {
        at_most("bytes in a text", wire.len(), TEXT_BYTES_MAX)?;
        Ok(wire)
    }
}

impl Stored for Cow<'static, str> {
    type Wire = String;

    fn out(&self) -> Result<String, Error> {
        at_most("bytes in a text", self.len(), TEXT_BYTES_MAX)?;
        Ok(self.clone().into_owned())
    }

    fn back(wire: String) -> Result<Self, Error> {
        String::back(wire).map(Cow::Owned)
    }
}

impl Stored for [u8; 16] {
    type Wire = Vec<u8>;

    fn out(&self) -> Result<Vec<u8>, Error> {
        Ok(self.to_vec())
    }

    fn back(wire: Vec<u8>) -> Result<Self, Error> {
        let found = wire.len();
        wire.try_into().map_err(|_| Error::Digest(found))
    }
}

impl<T: Stored> Stored for Box<T> {
    type Wire = T::Wire;

    fn out(&self) -> Result<Self::Wire, Error> {
        T::out(self)
    }

    fn back(wire: Self::Wire) -> Result<Self, Error> {
        T::back(wire).map(Box::new)
    }
}

impl<T: Stored> Stored for Option<T> {
    type Wire = Option<T::Wire>;

    fn out(&self) -> Result<Self::Wire, Error> {
        self.as_ref().map(T::out).transpose()
    }

    fn back(wire: Self::Wire) -> Result<Self, Error> {
        wire.map(T::back).transpose()
    }
}

impl<T: Stored> Stored for Vec<T> {
    type Wire = Vec<T::Wire>;

    fn out(&self) -> Result<Self::Wire, Error> {
        at_most("elements of a list", self.len(), LIST_MAX)?;
        self.iter().map(T::out).collect()
    }

    fn back(wire: Self::Wire) -> Result<Self, Error> {
        at_most("elements of a list", wire.len(), LIST_MAX)?;
        wire.into_iter().map(T::back).collect()
    }
}

impl Stored for BTreeSet<String> {
    type Wire = Vec<String>;

    fn out(&self) -> Result<Self::Wire, Error> {
        at_most("elements of a set", self.len(), LIST_MAX)?;
        self.iter().map(String::out).collect()
    }

    fn back(wire: Self::Wire) -> Result<Self, Error> {
        at_most("elements of a set", wire.len(), LIST_MAX)?;
        let mut all = BTreeSet::new();
        for text in wire {
            if !all.insert(String::back(text)?) {
                return Err(Error::Twice("element"));
            }
        }
        Ok(all)
    }
}

impl Stored for BTreeMap<String, String> {
    type Wire = Vec<wire::Setting>;

    fn out(&self) -> Result<Self::Wire, Error> {
        at_most("settings", self.len(), LIST_MAX)?;
        let setting = |(key, value): (&String, &String)| {
            Ok(wire::Setting {
                key: key.out()?,
                value: value.out()?,
            })
        };
        self.iter().map(setting).collect()
    }

    fn back(wire: Self::Wire) -> Result<Self, Error> {
        at_most("settings", wire.len(), LIST_MAX)?;
        let mut all = BTreeMap::new();
        for wire::Setting { key, value } in wire {
            let former = all.insert(String::back(key)?, String::back(value)?);
            if former.is_some() {
                return Err(Error::Twice("setting"));
            }
        }
        Ok(all)
    }
}

/// Implements [`Stored`] for a struct (fields after `needed` are messages that are
/// always there), an enum without fields, or one that becomes a message's `oneof kind`:
/// its variants are `unit`, `plain` (one value), `wrapped` (one list, which needs a message
/// around it) or have `fields`.
macro_rules! stored {
    (
        struct $engine:ty = $($wire:ident)::+ { $($field:ident),* $(,)? }
        needed { $($need:ident),* $(,)? }
    ) => {
        impl $crate::log::stored::Stored for $engine {
            type Wire = $($wire)::+;

            fn out(&self) -> Result<Self::Wire, $crate::log::Error> {
                let Self { $($field,)* $($need,)* } = self;
                Ok($($wire)::+ {
                    $($field: $crate::log::stored::Stored::out($field)?,)*
                    $($need: Some($crate::log::stored::Stored::out($need)?),)*
                })
            }

            fn back(wire: Self::Wire) -> Result<Self, $crate::log::Error> {
                let $($wire)::+ { $($field,)* $($need,)* } = wire;
                Ok(Self {
                    $($field: $crate::log::stored::Stored::back($field)?,)*
                    $($need: $crate::log::stored::needed(stringify!($need), $need)?,)*
                })
            }
        }
    };
    (enum $engine:ty = $($wire:ident)::+ { $($variant:ident),* $(,)? }) => {
        impl $crate::log::stored::Stored for $engine {
            type Wire = i32;

            fn out(&self) -> Result<i32, $crate::log::Error> {
                use $($wire)::+ as Wire;
                Ok(match self {
                    $(Self::$variant => Wire::$variant,)*
                }
                .into())
            }

            fn back(wire: i32) -> Result<Self, $crate::log::Error> {
                use $($wire)::+ as Wire;
                match Wire::try_from(wire) {
                    $(Ok(Wire::$variant) => Ok(Self::$variant),)*
                    Ok(Wire::Unspecified) => {
                        Err($crate::log::Error::Missing(stringify!($engine)))
                    }
                    Err(_) => Err($crate::log::Error::Unknown),
                }
            }
        }
    };
    (
        oneof $engine:ty = $($wire:ident)::+, $($kind:ident)::+;
        unit { $($unit:ident),* $(,)? }
        plain { $($plain:ident),* $(,)? }
        wrapped { $($wrapped:ident = $($around:ident)::+ . $list:ident),* $(,)? }
        fields {
            $(
                $variant:ident = $($message:ident)::+ { $($field:ident),* $(,)? }
                needed { $($need:ident),* $(,)? },
            )*
        }
    ) => {
        impl $crate::log::stored::Stored for $engine {
            type Wire = $($wire)::+;

            fn out(&self) -> Result<Self::Wire, $crate::log::Error> {
                use $($kind)::+ as Kind;
                let kind = match self {
                    $(Self::$unit => Kind::$unit(()),)*
                    $(Self::$plain(it) => {
                        Kind::$plain($crate::log::stored::Stored::out(it)?)
                    })*
                    $(Self::$wrapped(it) => Kind::$wrapped($($around)::+ {
                        $list: $crate::log::stored::Stored::out(it)?,
                    }),)*
                    $(Self::$variant { $($field,)* $($need,)* } => {
                        Kind::$variant($($message)::+ {
                            $($field: $crate::log::stored::Stored::out($field)?,)*
                            $($need: Some($crate::log::stored::Stored::out($need)?),)*
                        })
                    })*
                };
                Ok($($wire)::+ { kind: Some(kind) })
            }

            fn back(wire: Self::Wire) -> Result<Self, $crate::log::Error> {
                use $($kind)::+ as Kind;
                let kind = wire.kind;
                let kind = kind.ok_or($crate::log::Error::Missing(stringify!($engine)))?;
                Ok(match kind {
                    $(Kind::$unit(()) => Self::$unit,)*
                    $(Kind::$plain(it) => {
                        Self::$plain($crate::log::stored::Stored::back(it)?)
                    })*
                    $(Kind::$wrapped($($around)::+ { $list }) => {
                        Self::$wrapped($crate::log::stored::Stored::back($list)?)
                    })*
                    $(Kind::$variant($($message)::+ { $($field,)* $($need,)* }) => {
                        Self::$variant {
                            $($field: $crate::log::stored::Stored::back($field)?,)*
                            $($need: $crate::log::stored::needed(stringify!($need), $need)?,)*
                        }
                    })*
                })
            }
        }
    };
}

pub(super) use stored;
