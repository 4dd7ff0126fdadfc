//! In whose name brokers are asked, and whom to trust: KEDA's `sasl` and `tls`, each in the
//! trigger or in its authentication.
//!
//! Comes in: the trigger's settings and its secrets. Goes out: what a connection begins with.

use std::fmt;

use crate::Reason;
use crate::secrets::{AUTHENTICATION, Secrets};
use crate::settings::{Metadata, Wrong, flag, not_known, text};
use crate::tls::{self, Trust};

use super::scram::By;

pub(super) const KEYS: [&str; 3] = ["sasl", "tls", "unsafeSsl"];
const WORDS: [&str; 4] = ["none", "plaintext", "scram_sha256", "scram_sha512"];

/// How the password is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mechanism {
    /// It is told.
    Plain,
    Scram(By),
}

impl Mechanism {
    /// By KEDA's word for it; `None` where nothing is proved.
    fn of(word: &str) -> Result<Option<Mechanism>, String> {
        Ok(match word {
            "" | "none" => None,
            "plaintext" => Some(Mechanism::Plain),
            "scram_sha256" => Some(Mechanism::Scram(By::Sha256)),
            "scram_sha512" => Some(Mechanism::Scram(By::Sha512)),
            _ => return Err(not_known(word, &WORDS)),
        })
    }

    /// Kafka's word for it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Scram(By::Sha256) => "SCRAM-SHA-256",
            Mechanism::Scram(By::Sha512) => "SCRAM-SHA-512",
        }
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Proof {
    pub mechanism: Mechanism,
    pub user: String,
    pub password: String,
}

#[derive(Default, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Login {
    pub proof: Option<Proof>,
    /// Where brokers are asked over TLS.
    pub trust: Option<Trust>,
}

/// Nothing that is secret.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mechanism = self.proof.as_ref().map(|proof| proof.mechanism);
        f.debug_struct("Login")
            .field("mechanism", &mechanism)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

pub(super) fn check(metadata: &Metadata) -> Wrong {
    let mut wrong = Wrong::new();
    let mut fails = |key: &str, why: String| wrong.push((key.to_owned(), why));
    match Mechanism::of(text(metadata, "sasl")) {
        Err(why) => fails("sasl", why),
        Ok(Some(_)) if !metadata.contains_key(AUTHENTICATION) => {
            let why = "needs `authenticationRef` beside the metadata, which says with what \
                       `username` and `password`";
            fails("sasl", why.to_owned());
        }
        Ok(_) => {}
    }
    if let Err(why) = secure(metadata) {
        fails("tls", why);
    }
    if let Err(why) = flag(metadata, "unsafeSsl") {
        fails("unsafeSsl", why);
    }
    wrong
}

fn secure(metadata: &Metadata) -> Result<bool, String> {
    const WORDS: [&str; 2] = ["enable", "disable"];
    match text(metadata, "tls") {
        "enable" => Ok(true),
        "" | "disable" => Ok(false),
        other => Err(not_known(other, &WORDS)),
    }
}

impl Login {
    pub(super) fn of(metadata: &Metadata, secrets: &Secrets) -> Result<Login, Reason> {
        let asked = secure(metadata).map_err(Reason::Misconfigured)?;
        let anyone = flag(metadata, "unsafeSsl").map_err(Reason::Misconfigured)?;
        let secure = tls::is_wanted(secrets, asked, "`tls: enable` of the trigger")?;
        Ok(Login {
            proof: proof(metadata, secrets)?,
            trust: secure.then(|| Trust::of(secrets, anyone)),
        })
    }
}

fn proof(metadata: &Metadata, secrets: &Secrets) -> Result<Option<Proof>, Reason> {
    let told = text(metadata, "sasl");
    let word = match secrets.get("sasl") {
        None => told,
        Some(given) if told.is_empty() || told == given => given,
        Some(_) => {
            let why = "the parameter `sasl` of the trigger's authentication is another one than \
                       the trigger's own";
            return Err(Reason::Secret(why.to_owned()));
        }
    };
    let mechanism = Mechanism::of(word).map_err(|_| {
        let words = WORDS.join(", ");
        let why = format!("the parameter `sasl` of the trigger's authentication must be {words}");
        Reason::Secret(why)
    })?;
    let Some(mechanism) = mechanism else {
        return Ok(None);
    };
    let needed = |parameter: &str| {
        let value = secrets.needed(parameter)?;
        // With PLAIN it would be the end of a name.
        if value.contains('\0') {
            let why = format!("the parameter `{parameter}` holds a character that is no text's");
            return Err(Reason::Secret(why));
        }
        Ok(value.to_owned())
    };
    Ok(Some(Proof {
        mechanism,
        user: needed("username")?,
        password: needed("password")?,
    }))
}
