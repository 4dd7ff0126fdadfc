//! How to find a target by REST.
//!
//! Comes in: what a policy's `scaleTargetRef` states. Goes out: names to look up.
//! Never does I/O.

use starling_engine::policy::Target;

/// A target and the version of its group in which the policy names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    pub target: Target,
    /// Such as `v1`; where it is empty or no longer served, the group's own
    /// preference is taken.
    pub version: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {field} of scaleTargetRef may hold only letters, digits, `-`, `.`, `_` and `:`")]
pub struct Malformed {
    pub field: &'static str,
}

impl Reference {
    /// Refuses what could lead to another place of the API than the one meant:
    /// every part becomes a segment of a path.
    pub fn check(&self) -> Result<(), Malformed> {
        let Target {
            group,
            kind,
            namespace,
            name,
        } = &self.target;
        let parts = [
            ("group", group, true),
            ("version", &self.version, true),
            ("kind", kind, false),
            ("namespace", namespace, false),
            ("name", name, false),
        ];
        for (field, part, may_be_empty) in parts {
            let empty = part.is_empty() && may_be_empty;
            if !empty && !is_segment(part) {
                return Err(Malformed { field });
            }
        }
        Ok(())
    }
}

fn is_segment(part: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    !part.is_empty() && part != "." && part != ".." && part.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_never_leaves_its_place_in_a_path() {
        let good = Reference {
            target: Target {
                group: "apps".into(),
                kind: "Deployment".into(),
                namespace: "shop".into(),
                name: "web-1.blue".into(),
            },
            version: "v1".into(),
        };
        assert_eq!(good.check(), Ok(()));
        for bad in ["..", ".", "", "a/b", "a?b", "a#b", "a%2fb", "a b"] {
            let mut named = good.clone();
            named.target.name = bad.into();
            assert_eq!(named.check(), Err(Malformed { field: "name" }), "{bad}");
        }
        let mut grouped = good;
        grouped.target.group = "../api".into();
        assert_eq!(grouped.check(), Err(Malformed { field: "group" }));
    }
}
