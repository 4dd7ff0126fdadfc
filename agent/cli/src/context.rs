//! Whom to ask, and as whom: a context file.
//!
//! Comes in: a flag, the environment, or one of two known places. Goes out: the
//! agents' addresses and the user's TLS identity. A running demo leaves a
//! context where no other user of the machine can put one.

use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Names the context file where no flag does.
pub const VARIABLE: &str = "STARLING_CONTEXT";
/// A larger file is refused.
const BYTES_MAX: u64 = 256 << 10;
/// More agents in a context are refused: one that answers is enough. A line for each, of
/// up to 63 bytes of name, and an address, keeps below [`BYTES_MAX`].
pub const AGENTS_MAX: usize = 1_000;

/// A YAML or JSON file. Relative paths are relative to the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Context {
    pub cluster: String,
    /// Asked in this order until one answers.
    pub agents: Vec<Agent>,
    /// PEM files: the cluster's authority, the user's certificate and key.
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Agent {
    pub name: String,
    /// `host:port` of the API.
    pub address: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "there is no context, so no agent to ask: looked at --context, {VARIABLE}{}. \
         Start a demo with `starling demo`, or write a context file:\n\n{EXAMPLE}",
        listed(looked_at)
    )]
    None { looked_at: Vec<PathBuf> },
    #[error("no demo runs here: there is no {}; start one with `starling demo`", .path.display())]
    NoDemo { path: PathBuf },
    #[error("can't read the context {}; name another with --context", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the context {} is unusable: {why}", .path.display())]
    Content { path: PathBuf, why: String },
    #[error("{} is not safe to use: {why}; remove it and start the demo again", .path.display())]
    Unsafe { path: PathBuf, why: String },
    #[error("can't write the context {}", .path.display())]
    Write { path: PathBuf, source: io::Error },
}

fn listed(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| format!(", {}", path.display()))
        .collect();
    paths.concat()
}

/// What [`Error::None`] shows. The paths are those that `starling keys` makes.
const EXAMPLE: &str = "  cluster: home
  agents:
    - name: a
      address: 192.0.2.1:7402
  ca: keys/client/ca.pem
  certificate: keys/client/client.pem
  key: keys/client/client.key
";

impl Context {
    /// The first that is there: `flag`, [`VARIABLE`], the user's own file, the
    /// running demo's. What the user names must be there.
    pub fn find(flag: Option<&Path>) -> Result<(PathBuf, Context), Error> {
        let named = flag
            .map(Path::to_owned)
            .or_else(|| set(VARIABLE).map(PathBuf::from));
        if let Some(path) = named {
            let context = Context::read(&path)?;
            return Ok((path, context));
        }
        let mut looked_at = Vec::new();
        if let Some(path) = user_path() {
            match Context::read(&path) {
                Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    looked_at.push(path);
                }
                read => return read.map(|context| (path, context)),
            }
        }
        match Context::find_demo() {
            Err(Error::NoDemo { path }) => {
                looked_at.push(path);
                Err(Error::None { looked_at })
            }
            found => found,
        }
    }

    /// That of the running demo, whatever else there is.
    pub fn find_demo() -> Result<(PathBuf, Context), Error> {
        let path = demo_path();
        match check_private(&demo_directory()).and_then(|()| Context::read(&path)) {
            Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(Error::NoDemo { path })
            }
            read => read.map(|context| (path, context)),
        }
    }

    /// Reads and checks one file.
    pub fn read(path: &Path) -> Result<Context, Error> {
        let failed = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let unusable = |why: String| Error::Content {
            path: path.to_owned(),
            why,
        };
        let bytes = fs::metadata(path).map_err(failed)?.len();
        if bytes > BYTES_MAX {
            return Err(unusable(format!(
                "it has {bytes} bytes; at most {BYTES_MAX} are read"
            )));
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        // JSON is YAML.
        let mut context: Context =
            serde_saphyr::from_str(&text).map_err(|why| unusable(why.to_string()))?;
        if context.agents.is_empty() || context.agents.len() > AGENTS_MAX {
            return Err(unusable(format!("agents: must name 1 to {AGENTS_MAX}")));
        }
        let home = path.parent().unwrap_or(Path::new(""));
        for file in [&mut context.ca, &mut context.certificate, &mut context.key] {
            *file = home.join(&*file);
        }
        Ok(context)
    }

    /// Writes the file as a whole: readers see the old one or the new one.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let failed = |source| Error::Write {
            path: path.to_owned(),
            source,
        };
        let text = serde_saphyr::to_string(self).map_err(|why| failed(io::Error::other(why)))?;
        let home = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(home).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.persist(path).map_err(|why| failed(why.error))?;
        Ok(())
    }

    /// Makes this the context of the running demo, at [`demo_path`].
    pub fn write_demo(&self) -> Result<PathBuf, Error> {
        make_private(&demo_directory())?;
        let path = demo_path();
        self.write(&path)?;
        Ok(path)
    }
}

/// Whether a context of the user's own is found before the running demo's, so that
/// the demo is asked with `--demo` only.
pub fn hides_demo() -> bool {
    set(VARIABLE).is_some() || user_path().is_some_and(|path| path.exists())
}

/// Where a running demo leaves its context: `starling-<uid>/demo.yaml` in
/// `XDG_RUNTIME_DIR` or the temporary directory.
pub fn demo_path() -> PathBuf {
    demo_directory().join("demo.yaml")
}

fn demo_directory() -> PathBuf {
    let runtime = set("XDG_RUNTIME_DIR").map_or_else(env::temp_dir, PathBuf::from);
    runtime.join(format!("starling-{}", rustix::process::geteuid().as_raw()))
}

fn make_private(directory: &Path) -> Result<(), Error> {
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => Err(Error::Write {
            path: directory.to_owned(),
            source,
        }),
        _ => check_private(directory),
    }
}

/// In a directory that others may write to, anybody can make one of this name
/// first; only our own, closed to others, is believed.
fn check_private(directory: &Path) -> Result<(), Error> {
    let path = directory.to_owned();
    let found = match fs::symlink_metadata(directory) {
        Ok(found) => found,
        Err(source) => return Err(Error::Read { path, source }),
    };
    let why = if !found.is_dir() {
        "it isn't a directory".into()
    } else if found.uid() != rustix::process::geteuid().as_raw() {
        format!("it belongs to user {}", found.uid())
    } else if found.mode() & 0o077 != 0 {
        format!(
            "other users have access to it (mode {:o})",
            found.mode() & 0o777
        )
    } else {
        return Ok(());
    };
    Err(Error::Unsafe { path, why })
}

fn user_path() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(set("HOME")?).join(".config"));
    let config = set("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home)?;
    Some(config.join("starling/context.yaml"))
}

/// An empty variable counts as none.
fn set(variable: &str) -> Option<std::ffi::OsString> {
    env::var_os(variable).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context {
            cluster: "demo".into(),
            agents: vec![Agent {
                name: "a".into(),
                address: "127.0.0.1:1".into(),
            }],
            ca: "ca.pem".into(),
            certificate: "client.pem".into(),
            key: "/elsewhere/client.key".into(),
        }
    }

    #[test]
    fn what_was_written_is_read_with_paths_from_the_file_on() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("context.yaml");
        context().write(&path).unwrap();
        let read = Context::read(&path).unwrap();
        assert_eq!(read.agents, context().agents);
        assert_eq!(read.ca, home.path().join("ca.pem"));
        assert_eq!(read.key, Path::new("/elsewhere/client.key"));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn json_is_read_too_and_nonsense_is_refused_with_its_place() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("context.json");
        fs::write(&path, serde_json::to_string(&context()).unwrap()).unwrap();
        assert!(Context::read(&path).is_ok());
        fs::write(&path, "cluster: x\nagent: []\n").unwrap();
        let why = Context::read(&path).unwrap_err().to_string();
        assert!(
            why.contains("agent") && why.contains("context.json"),
            "{why}"
        );
        let empty = Context {
            agents: Vec::new(),
            ..context()
        };
        empty.write(&path).unwrap();
        let why = Context::read(&path).unwrap_err().to_string();
        assert!(why.contains("must name 1 to"), "{why}");
    }

    #[test]
    fn a_directory_that_others_can_reach_is_not_believed() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let home = tempfile::tempdir().unwrap();
        let own = home.path().join("own");
        make_private(&own).unwrap();
        make_private(&own).unwrap();
        assert_eq!(fs::metadata(&own).unwrap().mode() & 0o777, 0o700);
        let link = home.path().join("link");
        symlink(&own, &link).unwrap();
        assert!(matches!(make_private(&link), Err(Error::Unsafe { .. })));
        fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
        let why = make_private(&own).unwrap_err().to_string();
        assert!(why.contains("mode 755"), "{why}");
    }

    #[test]
    fn the_example_that_is_shown_can_be_read() {
        assert!(serde_saphyr::from_str::<Context>(EXAMPLE).is_ok());
    }
}
