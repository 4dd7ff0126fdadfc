//! A server that answers each question with 0, and counts them by their paths.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How often each path was asked for.
pub type Asked = Arc<Mutex<BTreeMap<String, usize>>>;

/// Its address. Whoever doesn't send this line, where there is one, is refused.
pub async fn serve(asked: &Asked, demands: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, asked.clone(), demands));
        }
    });
    url
}

async fn answer(
    mut stream: TcpStream,
    asked: Asked,
    demands: Option<&'static str>,
) -> std::io::Result<()> {
    let (reads, mut writes) = stream.split();
    let mut lines = BufReader::new(reads).lines();
    let (mut path, mut proved) = (String::new(), demands.is_none());
    while let Some(line) = lines.next_line().await? {
        if let Some(of) = line.strip_prefix("GET ") {
            path = of.split(' ').next().unwrap_or_default().to_owned();
        }
        proved |= demands.is_some_and(|demanded| line.eq_ignore_ascii_case(demanded));
        if line.is_empty() && proved {
            *asked.lock().unwrap().entry(path.clone()).or_default() += 1;
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"n\":0}";
            writes.write_all(answer.as_bytes()).await?;
        } else if line.is_empty() {
            let answer = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
            writes.write_all(answer.as_bytes()).await?;
        }
    }
    Ok(())
}
