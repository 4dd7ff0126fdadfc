//! A worker's calls to the queue, over one kept connection.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, Uri};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use starling_rig::queue::{Finish, Job};

/// More than the queue holds a call for a job.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// An answer names one job.
const ANSWER_BYTES_MAX: usize = 1_024;

pub(super) struct Client {
    http: Http<HttpConnector, Full<Bytes>>,
    queue: String,
}

impl Client {
    pub fn new(queue: &str) -> anyhow::Result<Client> {
        let uri: Uri = queue
            .parse()
            .with_context(|| format!("--queue {queue}: not a URL"))?;
        ensure!(
            uri.scheme_str() == Some("http") && uri.host().is_some(),
            "--queue {queue}: must look like http://HOST:PORT"
        );
        let queue = queue.trim_end_matches('/').to_owned();
        Ok(Client {
            http: Http::builder(TokioExecutor::new()).build_http(),
            queue,
        })
    }

    /// Waits up to about a second for a job.
    pub async fn lease(&self) -> anyhow::Result<Option<Job>> {
        match self.call("lease", None).await? {
            (StatusCode::NO_CONTENT, _) => Ok(None),
            (StatusCode::OK, body) => Ok(Some(serde_json::from_slice(&body)?)),
            (status, _) => bail!("the queue answered a call for a job with {status}"),
        }
    }

    /// Whether the job is still ours.
    pub async fn renew(&self, job: Job) -> anyhow::Result<bool> {
        let (status, _) = self.call("renew", Some(job)).await?;
        Ok(status == StatusCode::NO_CONTENT)
    }

    pub async fn finish(&self, job: Job) -> anyhow::Result<Finish> {
        let (_, body) = self.call("finish", Some(job)).await?;
        Ok(serde_json::from_slice(&body)?)
    }

    /// Whether the job was still ours.
    pub async fn give_back(&self, job: Job) -> anyhow::Result<bool> {
        let (status, _) = self.call("give-back", Some(job)).await?;
        Ok(status == StatusCode::NO_CONTENT)
    }

    async fn call(&self, path: &str, job: Option<Job>) -> anyhow::Result<(StatusCode, Bytes)> {
        let body = job
            .map(|job| serde_json::to_vec(&job))
            .transpose()?
            .unwrap_or_default();
        let request = Request::post(format!("{}/{path}", self.queue))
            .header("content-type", "application/json")
            .body(Full::from(body))?;
        let answer = async {
            let response = self.http.request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
            let body = body
                .collect()
                .await
                .map_err(anyhow::Error::from_boxed)?
                .to_bytes();
            anyhow::Ok((status, body))
        };
        tokio::time::timeout(ANSWER_WITHIN, answer)
            .await
            .context("the queue took too long")?
    }
}
