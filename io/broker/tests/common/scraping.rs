//! Asking a broker for `/metrics` and `/health`.

use super::{PATIENCE, Running, start_with};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Starts a broker that answers `/metrics`.
pub(crate) async fn observed() -> Running {
    start_with(|builder| builder.set("metrics.listener", "127.0.0.1:0")).await
}

pub(crate) fn address(running: &Running) -> SocketAddr {
    running.broker.metrics_addr().unwrap()
}

/// Sends `request` as it is and returns all that comes back.
pub(crate) async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut answer = Vec::new();
    // A peer that is refused early may find the connection closed while it writes or reads.
    let _ = stream.write_all(request).await;
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Returns the status line and the body of what is found at `path`.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let answer = raw(address, format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

pub(crate) async fn scrape(running: &Running) -> String {
    let (status, body) = get(address(running), "/metrics").await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    body
}

/// Returns the value of the series written as `series`.
pub(crate) fn value(scrape: &str, series: &str) -> Option<f64> {
    let line = scrape
        .lines()
        .find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit_once(' ').unwrap().1.parse().ok()
}
