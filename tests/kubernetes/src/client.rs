//! The API server asked from within this process: for what is written by the thousand, and
//! for what is looked at again and again, since a kubectl takes as much CPU to start as some
//! twenty such questions. What kubectl alone knows, short names and rollouts, it is asked.

use std::path::Path;
use std::thread;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;

use crate::error::{Error, Result, Trying};

/// What is at this path, such as `/api/v1/nodes`.
pub fn read(config: &Path, path: &str) -> Result<Value> {
    in_own_runtime(config, |client| async move {
        let request = http::Request::get(path).body(Vec::new());
        let request = request.map_err(kube::Error::HttpError)?;
        client.request(request).await
    })
}

/// The path of what `kubectl get` with these words shows; `None` for what only kubectl knows.
pub fn path(words: &[&str]) -> Option<String> {
    let (api, plural) = match *words.first()? {
        "daemonset" => ("/apis/apps/v1", "daemonsets"),
        "deploy" => ("/apis/apps/v1", "deployments"),
        "sts" => ("/apis/apps/v1", "statefulsets"),
        "pod" | "pods" => ("/api/v1", "pods"),
        _ => return None,
    };
    match words[1..] {
        [name, "-n", namespace] if !name.starts_with('-') => {
            Some(format!("{api}/namespaces/{namespace}/{plural}/{name}"))
        }
        ["-n", namespace, "-l", selector] => Some(format!(
            "{api}/namespaces/{namespace}/{plural}?labelSelector={selector}"
        )),
        _ => None,
    }
}

/// Runs to the end on a thread with a runtime of its own, so that callers may be in one.
pub fn in_own_runtime<T: Send, F: Future<Output = kube::Result<T>>>(
    config: &Path,
    act: impl FnOnce(Client) -> F + Send,
) -> Result<T> {
    let failed = |source: kube::Error| Error::Api {
        source: Box::new(source),
    };
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .trying(|| "start a runtime for a client".into())?;
        runtime.block_on(async {
            let file = Kubeconfig::read_from(config).map_err(kube::Error::from);
            let file = file.map_err(failed)?;
            let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .map_err(|e| failed(e.into()))?;
            act(Client::try_from(config).map_err(failed)?)
                .await
                .map_err(failed)
        })
    };
    thread::scope(|scope| {
        let thread = scope.spawn(run);
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn what_is_looked_at_often_has_a_path_and_the_rest_is_kubectls() {
        let deployment = path(&["deploy", "web", "-n", "shop"]);
        let expected = "/apis/apps/v1/namespaces/shop/deployments/web";
        assert_eq!(deployment.as_deref(), Some(expected));
        let pods = path(&["pods", "-n", "shop", "-l", "app=web"]);
        let expected = "/api/v1/namespaces/shop/pods?labelSelector=app=web";
        assert_eq!(pods.as_deref(), Some(expected));
        let others: [&[&str]; 4] = [&[], &["nodes"], &["pods", "-n", "shop"], &["deploy", "web"]];
        assert_eq!(others.map(path), [const { None }; 4]);
    }
}
