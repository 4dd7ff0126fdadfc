//! What goes into the book and what comes out of it.
//!
//! Comes in: what watches, reads and writes find out, as [`Note`]s. Goes out:
//! [`Action`]s for the task that keeps the book. Holds nothing itself.

use starling_engine::node::platform::Scale;
use starling_engine::policy::Target;

use super::blocked::{Failed, Fate};
use super::plan::Scope;
use super::{Event, Found};
use crate::client::Failure;
use crate::scale::Error;
use crate::target::Reference;

/// What the tasks around the book find out.
#[derive(Debug)]
pub enum Note {
    /// A list of what the scope covers begins; it is whole with [`Note::Whole`].
    Begin(Scope),
    Whole(Scope),
    Seen(Scope, Target, Fact),
    /// The object of this uid was deleted.
    Lost(Scope, Target, String),
    /// The scope can't be watched just now.
    Blind(Scope, Failure),
    /// The scope can't be watched at all: no such kind, or it has no scale.
    Unservable(Scope, Error),
    Read(Target, Result<Scale, Error>),
    /// What became of a write.
    Found(Found),
    Pods(PodNote),
    CreateFailed(Failed),
    CreateForgotten(Failed),
    Platform(bool),
}

#[derive(Debug)]
pub enum PodNote {
    Begin,
    Pod(Fate),
    Whole,
}

/// What a watch shows of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// All there is to know.
    Scale(Scale),
    /// It changed: its scale is to be read.
    Touched { resource_version: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Tell(Event),
    Read(Reference),
}
