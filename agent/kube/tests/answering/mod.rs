//! A server that gives the same answer to each question of a path, and keeps what it
//! was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The paths with their queries, in order.
pub type Asked = Arc<Mutex<Vec<String>>>;

/// `answer` says status and body for a path with its query.
pub async fn serve(
    answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static,
) -> (SocketAddr, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (answer, asked) = (Arc::new(answer), Asked::default());
    let heard = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(one(stream, Arc::clone(&answer), Arc::clone(&heard)));
        }
    });
    (address, asked)
}

async fn one(mut stream: TcpStream, answer: Arc<impl Fn(&str) -> (u16, String)>, asked: Asked) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap();
    asked.lock().unwrap().push(path.to_owned());
    let (status, body) = answer(path);
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    // Whoever has read enough hangs up.
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}
