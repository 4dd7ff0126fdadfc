//! Which namespaces a command speaks of.
//!
//! Comes in: `-n`, `-A`, and names that may carry a namespace, as `shop/web`. Goes
//! out: the namespace and the name to ask for. Knows nothing of what is there.

use starling_engine::policy::NAMESPACE;

use super::exit::{Error, Kind};

/// What the command line says about namespaces.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Scope {
    /// Only what is in this namespace
    #[arg(short, long, value_name = "NAME", default_value = NAMESPACE)]
    namespace: String,
    /// What is in all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
}

impl Scope {
    /// What lists are asked for: one namespace, or the empty one, which is all.
    pub fn listed(&self) -> String {
        if self.all_namespaces {
            String::new()
        } else {
            self.namespace.clone()
        }
    }

    /// The namespace and the name of one thing: its own namespace, where it has one.
    pub fn one(&self, name: &str) -> Result<(String, String), Error> {
        let (namespace, name) = match name.split_once('/') {
            Some((namespace, name)) => (namespace, name),
            None if self.all_namespaces => {
                let why = "one policy has one namespace: write NAMESPACE/NAME, or -n NAMESPACE";
                return Err(Error::new(Kind::Usage, why));
            }
            None => (self.namespace.as_str(), name),
        };
        Ok((namespace.to_owned(), name.to_owned()))
    }

    /// What decisions are asked for: those of one policy, or of the listed namespaces.
    pub fn some(&self, name: Option<&str>) -> Result<(String, String), Error> {
        match name {
            Some(name) => self.one(name),
            None => Ok((self.listed(), String::new())),
        }
    }
}

/// How the policy or workload of a namespace is called: the namespace is left out
/// where it is the usual one.
pub fn called(namespace: &str, name: &str) -> String {
    if namespace.is_empty() || namespace == NAMESPACE {
        name.to_owned()
    } else {
        format!("{namespace}/{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(namespace: &str, all_namespaces: bool) -> Scope {
        Scope {
            namespace: namespace.into(),
            all_namespaces,
        }
    }

    fn pair(namespace: &str, name: &str) -> (String, String) {
        (namespace.into(), name.into())
    }

    #[test]
    fn a_name_may_carry_its_namespace_and_else_has_that_of_the_command() {
        assert_eq!(
            scope("default", false).one("web").unwrap(),
            pair("default", "web")
        );
        assert_eq!(
            scope("shop", false).one("web").unwrap(),
            pair("shop", "web")
        );
        assert_eq!(
            scope("shop", true).one("bar/web").unwrap(),
            pair("bar", "web")
        );
        assert!(scope("default", true).one("web").is_err());
    }

    #[test]
    fn lists_are_of_one_namespace_or_of_all() {
        assert_eq!(scope("default", false).listed(), "default");
        assert_eq!(scope("default", true).some(None).unwrap(), pair("", ""));
        assert_eq!(called("default", "web"), "web");
        assert_eq!(called("shop", "web"), "shop/web");
    }
}
