//! Why a decision came out as it did: typed first, words from the types.
//! Log, API, conditions and `explain` all show these.

use serde::{Deserialize, Serialize};

/// The whole account of one decision, in the order in which it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {}
