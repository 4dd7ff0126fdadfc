//! What triggers authenticate with, as it is when a trigger is asked: files, or what
//! the host has read of KEDA's objects.
//!
//! Comes in: a directory, a namespace, and the name that a trigger's
//! `authenticationRef` has. Goes out: the parameters, by KEDA's names for them. The
//! layout is that of a mounted Secret: DIRECTORY/NAMESPACE/NAME/PARAMETER. A policy
//! reaches its own namespace's alone. Nothing is told, sent on or replicated; connections that
//! were opened with it are kept, and it with them.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use tokio::io::AsyncReadExt as _;

use crate::Reason;

/// Key of a source's metadata: the name of its `authenticationRef`.
pub const AUTHENTICATION: &str = "authenticationRef";
/// The same for the reference's `kind`: which of KEDA's objects is meant.
pub const AUTHENTICATION_KIND: &str = "authenticationRef.kind";
/// The same for the container of the target whose variables an `env` of that object
/// means where it names none itself.
pub const AUTHENTICATION_CONTAINER: &str = "authenticationRef.container";
/// Of one parameter; a longer one is refused. A chain of certificates fits.
pub const SECRET_BYTES_MAX: usize = 64 << 10;
/// The parameters that any trigger here takes; other files are never read.
const PARAMETERS: [&str; 30] = [
    "apiKey",
    "username",
    "password",
    "token",
    "bearerToken",
    "customAuthHeader",
    "customAuthValue",
    "host",
    "vhostName",
    "address",
    "port",
    "addresses",
    "hosts",
    "ports",
    "sentinelUsername",
    "sentinelPassword",
    "sentinelMaster",
    "connection",
    "connectionString",
    "userName",
    "dbName",
    "sslmode",
    "sasl",
    "tls",
    "ca",
    "cert",
    "key",
    "caCert",
    "tlsClientCert",
    "tlsClientKey",
];

/// Parameters by name.
#[derive(Default, Clone, PartialEq, Eq)]
pub struct Secrets(pub(crate) BTreeMap<&'static str, String>);

/// Their names alone: what they hold is never written down.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// Those that triggers take; what else an object holds is left out.
impl From<BTreeMap<String, String>> for Secrets {
    fn from(mut given: BTreeMap<String, String>) -> Secrets {
        let kept = PARAMETERS.into_iter();
        Secrets(
            kept.filter_map(|name| Some((name, given.remove(name)?)))
                .collect(),
        )
    }
}

impl Secrets {
    pub(crate) fn get(&self, parameter: &str) -> Option<&str> {
        let value = self.0.get(parameter).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    pub(crate) fn needed(&self, parameter: &str) -> Result<&str, Reason> {
        self.get(parameter).ok_or_else(|| {
            Reason::Secret(format!(
                "the trigger's authentication has no parameter `{parameter}`"
            ))
        })
    }
}

/// A name that can be a folder's and nothing above or below it.
pub(crate) fn check(name: &str) -> Result<(), String> {
    const BYTES_MAX: usize = 253;
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let sound = name.len() <= BYTES_MAX
        && name.chars().all(letters)
        && edge(name.chars().next())
        && edge(name.chars().last());
    if sound {
        Ok(())
    } else {
        Err(format!(
            "`{}` is not a name: at most {BYTES_MAX} of a-z, 0-9, `-` and `.`",
            name.escape_debug().take(80).collect::<String>()
        ))
    }
}

/// All parameters of the trigger's reference; none where it has no reference.
pub(crate) async fn read(
    directory: Option<&Path>,
    namespace: &str,
    metadata: &BTreeMap<String, String>,
) -> Result<Secrets, String> {
    let Some(name) = metadata.get(AUTHENTICATION) else {
        return Ok(Secrets::default());
    };
    check(name)?;
    check(namespace)?;
    if let Some(kind) = metadata.get(AUTHENTICATION_KIND) {
        return Err(format!(
            "authenticationRef {name} is a {kind}, and this agent has no Kubernetes to ask for it; \
             leave `kind` out and put its parameters into files"
        ));
    }
    let Some(directory) = directory else {
        return Err(format!(
            "authenticationRef {name} can't be read: this agent has no `authentications` directory"
        ));
    };
    let folder = directory.join(namespace).join(name);
    if !are_in(directory, namespace, name).await {
        return Err(format!(
            "authenticationRef {name} can't be read: {} is no directory on this machine; put a file \
             for each parameter there ({})",
            folder.display(),
            PARAMETERS.join(", ")
        ));
    }
    let mut found = BTreeMap::new();
    for parameter in PARAMETERS {
        let path = folder.join(parameter);
        match text(&path).await {
            Ok(value) => drop(found.insert(parameter, value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("can't read {}: {error}", path.display())),
        }
    }
    Ok(Secrets(found))
}

/// Whether there is a folder for them.
pub(crate) async fn are_in(directory: &Path, namespace: &str, name: &str) -> bool {
    if check(namespace).is_err() || check(name).is_err() {
        return false;
    }
    let folder = directory.join(namespace).join(name);
    let found = tokio::fs::metadata(&folder).await;
    found.is_ok_and(|it| it.is_dir())
}

async fn text(path: &Path) -> io::Result<String> {
    let file = tokio::fs::File::open(path).await?;
    let mut text = String::new();
    // One more than is taken, so that a longer one is told from it.
    let limit = SECRET_BYTES_MAX as u64 + 1;
    file.take(limit).read_to_string(&mut text).await?;
    if text.len() > SECRET_BYTES_MAX {
        let why = format!("is longer than {} KiB", SECRET_BYTES_MAX >> 10);
        return Err(io::Error::other(why));
    }
    // Editors end a file with a new line; no secret does.
    let end = text.trim_end_matches(['\n', '\r']).len();
    text.truncate(end);
    Ok(text)
}
