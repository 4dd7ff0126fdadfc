//! Asks an agent's health port, as a kubelet or Prometheus would.
//!
//! Comes in: an address and a path. Goes out: status and body. One question, one
//! connection.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A kubelet gives up after 1 s; a busy machine may take longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A longer answer is an error: a scrape of a small cluster has some 20 KiB.
const BYTES_MAX: u64 = 4 << 20;

/// The status and the body of `GET http://ADDRESS/PATH`.
pub async fn get(address: &str, path: &str) -> io::Result<(u16, String)> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(BYTES_MAX).read_to_string(&mut answer).await?;
        Ok(answer)
    };
    let answer: io::Result<String> = tokio::time::timeout(ANSWER_WITHIN, asked)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
    let answer = answer?;
    let broken = || io::Error::other("the answer is no HTTP");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or_else(broken)?, body.to_owned()))
}

/// Whether the agent says that it is ready.
pub async fn ready(address: &str) -> bool {
    get(address, "/readyz")
        .await
        .is_ok_and(|(status, _)| status == 200)
}

/// The value of the series `name`, with its labels, on a page of `/metrics`.
pub fn value(page: &str, series: &str) -> Option<f64> {
    let line = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
    page.lines().find_map(line)
}
