//! Lists pods in pages, of which one at a time is kept.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Metrics, answer, escaped, query};
use crate::client::{Failure, LIST_DEADLINE};

/// More pods than this are an error.
pub const PODS_MAX: usize = 10_000;
/// Lists at the same time; further ones wait. A page of pods takes some 2 MB while it is
/// read.
pub const ASKED_MAX: usize = 4;
/// In one page of a list.
const PAGE: &str = "250";

/// A page of pods, of which only what is needed is read.
#[derive(Deserialize)]
struct Page<T> {
    #[serde(default)]
    metadata: Next,
    items: Vec<T>,
}

#[derive(Default, Deserialize)]
struct Next {
    #[serde(rename = "continue")]
    token: Option<String>,
}

impl Metrics {
    /// Takes the pods of a namespace that have these labels and fields, page by page, and
    /// says how many there were.
    pub(super) async fn pages<T: DeserializeOwned>(
        &self,
        namespace: &str,
        selector: &str,
        fields: Option<&str>,
        take: impl FnMut(Vec<T>),
    ) -> Result<usize, String> {
        let listed = self.all(namespace, selector, fields, take);
        let listed = tokio::time::timeout(LIST_DEADLINE, listed).await;
        let listed = listed.unwrap_or_else(|_| Err(Failure::Late(LIST_DEADLINE).to_string()));
        listed.map_err(|why| format!("pods can't be listed: {why}"))
    }

    async fn all<T: DeserializeOwned>(
        &self,
        namespace: &str,
        selector: &str,
        fields: Option<&str>,
        mut take: impl FnMut(Vec<T>),
    ) -> Result<usize, String> {
        let Ok(_room) = self.lists.acquire().await else {
            return Err("the agent ends".to_owned());
        };
        let mut listed = 0;
        let mut token = None;
        loop {
            let query = query(&[
                ("labelSelector", Some(selector)),
                ("fieldSelector", fields),
                ("limit", Some(PAGE)),
                ("continue", token.as_deref()),
            ]);
            let path = format!("/api/v1/namespaces/{}/pods{query}", escaped(namespace));
            let page: Result<Page<T>, Failure> = answer::list(&self.client, &path).await;
            let page = page.map_err(|why| why.to_string())?;
            listed += page.items.len();
            if listed > PODS_MAX {
                return Err(format!("there are more than {PODS_MAX}"));
            }
            take(page.items);
            token = page.metadata.token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(listed);
            }
        }
    }
}
