//! The certificate authority of a cluster whose agents certify each other.
//!
//! It is in the ledger so that whoever holds the log can certify after any
//! failure, and nobody else can. The key stays out of everything that is shown.

use std::fmt;

use serde::{Deserialize, Serialize};

/// PEM texts. Whoever has the key can pass for any agent of the cluster.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    pub certificate: String,
    pub key: String,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;

    #[test]
    fn the_authoritys_key_is_not_shown_by_debug_output() {
        let ledger = Ledger {
            authority: Some(Authority {
                certificate: "public".into(),
                key: "secret".into(),
            }),
            ..Ledger::default()
        };
        let shown = format!("{ledger:?}");
        assert!(
            shown.contains("Authority") && !shown.contains("secret"),
            "{shown}"
        );
    }
}
