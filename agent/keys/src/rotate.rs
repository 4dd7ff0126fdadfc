//! Rotates the keys that seal datagrams, in a directory of `starling keys`, so that no agent
//! misses another one meanwhile.
//!
//! Comes in: that directory, and the next of three steps. Goes out: `gossip.keys` there and
//! in each node's directory. Between two steps the files travel to all machines; agents take
//! them over without a restart. Never leaves a ring without a key.

use std::fmt;
use std::path::{Path, PathBuf};

use super::renew::holders;
use super::ring::{self, Key};
use super::{Error, RING, USERS, file};

/// In this order, each on all machines before the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A new key opens datagrams beside the present one, which seals.
    Add,
    /// The new key seals, the former one still opens.
    Use,
    /// The former one is gone.
    Drop,
}

/// What [`rotate`] did; its `Display` is meant for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    pub written: Vec<PathBuf>,
    /// Keys in the ring now.
    pub keys: usize,
    step: Step,
}

impl fmt::Display for Rotated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for path in &self.written {
            writeln!(f, "wrote {}", path.display())?;
        }
        let copy = "Copy each node's gossip.keys to its machine, and wait until every agent has \
                    taken it over (ten seconds, without a restart; a line in its log, and \
                    `starling_gossip_keys` of its metrics)";
        match self.step {
            Step::Add => write!(f, "{copy}; then `starling keys gossip use`."),
            Step::Use => write!(f, "{copy}; then `starling keys gossip drop`."),
            Step::Drop => write!(f, "{copy}. That was the last step."),
        }
    }
}

/// Takes one step. Each node's ring becomes that of `out`.
pub fn rotate(out: &Path, step: Step) -> Result<Rotated, Error> {
    let path = out.join(RING);
    let before = file::read_secret(&path)?;
    let mut keys = ring::parse(&path, &before)?;
    let refuse = |why| {
        Err(Error::Ring {
            path: path.clone(),
            why,
        })
    };
    match step {
        Step::Add if keys.len() > 1 => {
            return refuse(
                "holds a second key already, so a rotation is under way: end it with `starling \
                 keys gossip use` and `starling keys gossip drop`",
            );
        }
        Step::Use | Step::Drop if keys.len() < 2 => {
            return refuse("holds one key alone: begin with `starling keys gossip add`");
        }
        Step::Add => keys.push(Key::new()?),
        Step::Use => keys.rotate_right(1),
        Step::Drop => keys.truncate(1),
    }
    let text = ring::text(&before, &keys);
    let mut written = vec![path];
    let nodes = holders(out)?.into_iter().filter(|name| name != USERS);
    written.extend(nodes.map(|name| out.join(name).join(RING)));
    for path in &written {
        file::replace_as_owned(path, &text)?;
    }
    Ok(Rotated {
        written,
        keys: keys.len(),
        step,
    })
}
