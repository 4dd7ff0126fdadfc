//! The text that says where a MySQL is and who asks it, as KEDA's library for Go has it:
//! `USER:PASSWORD@tcp(HOST:PORT)/DATABASE?NAME=VALUE&...`.
//!
//! Comes in: the parameter `connectionString`. Goes out: what it says. Why it can't be used is
//! said without any of its words, which might be of a password.

use super::login::Account;
use super::server::{Mode, PORT_DEFAULT};
use crate::address::decoded;
use crate::stream::Address;

/// What Go's library does to the answer, or how long it waits, or what this one never does.
const WITHOUT_EFFECT: [&str; 18] = [
    "allowAllFiles",
    "allowOldPasswords",
    "charset",
    "checkConnLiveness",
    "clientFoundRows",
    "columnsWithAlias",
    "compress",
    "connectionAttributes",
    "interpolateParams",
    "loc",
    "maxAllowedPacket",
    "parseTime",
    "readTimeout",
    "rejectReadOnly",
    "timeTruncate",
    "timeout",
    "tinyInt1IsBool",
    "writeTimeout",
];
/// What may only say what holds without it: a name, and whether that is `true`.
const FIXED: [(&str, bool); 3] = [
    ("allowFallbackToPlaintext", false),
    ("allowNativePasswords", true),
    ("multiStatements", false),
];

pub(super) struct Said {
    pub account: Account,
    pub address: Address,
    /// Where it says so.
    pub mode: Option<Mode>,
    /// The server's variables, and to what they are to be set, in SQL's words.
    pub variables: Vec<(String, String)>,
}

pub(super) fn read(text: &str) -> Result<Said, String> {
    let (before, behind) = text.rsplit_once('/').ok_or_else(malformed)?;
    let (account, net) = before.rsplit_once('@').unwrap_or(("", before));
    let (user, password) = account.split_once(':').unwrap_or((account, ""));
    let (database, parameters) = behind.split_once('?').unwrap_or((behind, ""));
    // Then it is the end of a password that holds a `/`, and none comes after it.
    if database.contains('@') {
        return Err(malformed());
    }
    let mut said = Said {
        account: Account {
            user: user.to_owned(),
            password: password.to_owned(),
            database: decoded(database),
            in_the_clear: false,
        },
        address: address(net)?,
        mode: None,
        variables: Vec::new(),
    };
    for parameter in parameters.split('&') {
        // As with Go's library what has no value says nothing.
        if let Some((name, value)) = parameter.split_once('=') {
            said.take(name, value)?;
        }
    }
    Ok(said)
}

fn malformed() -> String {
    "the parameter `connectionString` can't be read; write \
     USER:PASSWORD@tcp(HOST:PORT)/DATABASE?tls=true, a `/` behind the `?` as %2F"
        .to_owned()
}

fn address(net: &str) -> Result<Address, String> {
    let (protocol, address) = match net.split_once('(') {
        Some((protocol, rest)) => (protocol, rest.strip_suffix(')').ok_or_else(malformed)?),
        None => (net, ""),
    };
    if protocol == "unix" {
        return Err("the parameter `connectionString` must name a host: tcp(HOST:PORT)".to_owned());
    }
    if !matches!(protocol, "tcp" | "") {
        return Err(malformed());
    }
    // Go's library asks its own machine then.
    let address = if address.is_empty() {
        "127.0.0.1"
    } else {
        address
    };
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    let found = Address::parse(address).or_else(|_| Address::of(bare, PORT_DEFAULT));
    found.map_err(|_| malformed())
}

/// As Go reads one.
fn truth(word: &str) -> Option<bool> {
    match word {
        "1" | "true" | "TRUE" | "True" => Some(true),
        "0" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

impl Said {
    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        let wrong = |name: &str, why: &str| {
            let why = format!("in the parameter `connectionString` `{name}` {why}");
            Err(why)
        };
        if WITHOUT_EFFECT.contains(&name) {
            return Ok(());
        }
        if let Some((name, holds)) = FIXED.iter().find(|it| it.0 == name) {
            if truth(value) == Some(*holds) {
                return Ok(());
            }
            return wrong(name, &format!("can't be anything but {holds} here"));
        }
        match name {
            "tls" => {
                let mode = truth(value).map(|on| if on { Mode::Verify } else { Mode::Disable });
                let mode = mode.or_else(|| Mode::of(&value.to_ascii_lowercase()));
                if mode.is_none() {
                    let why = "must be true, false, skip-verify or preferred; whom to trust say \
                               the parameters `ca`, `cert` and `key`";
                    return wrong(name, why);
                }
                self.mode = mode;
            }
            "allowCleartextPasswords" => match truth(value) {
                Some(may) => self.account.in_the_clear = may,
                None => return wrong(name, "must be true or false"),
            },
            "serverPubKey" => {
                return wrong(name, "can't be used: that is a key within a program of Go");
            }
            "collation" => {
                let inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
                if !value.chars().all(inside) {
                    return wrong(name, "is no name");
                }
                let variable = "collation_connection".to_owned();
                self.variables.push((variable, format!("'{value}'")));
            }
            variable => {
                let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '@');
                if variable.is_empty() || !variable.chars().all(inside) {
                    return Err(malformed());
                }
                let value = decoded(&value.replace('+', " "));
                self.variables.push((variable.to_owned(), value));
            }
        }
        Ok(())
    }
}
