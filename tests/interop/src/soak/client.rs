//! One connection that speaks raw protocol messages: the load must not cost more than the broker.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use kohort_protocol::frame::encode_request;
use kohort_protocol::header::decode_response_header;
use kohort_protocol::{Message, Reader, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long anything may take before the soak fails.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    next_id: i32,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, next_id: 1 })
    }

    /// Sends a request without waiting for its response; returns its number.
    pub(crate) async fn send<R: Request>(&mut self, request: &R, version: i16) -> Result<i32> {
        let id = self.next_id;
        self.next_id += 1;
        let frame = encode_request(request, version, id, Some("soak"))?;
        self.stream.write_all(&frame).await?;
        Ok(id)
    }

    pub(crate) async fn call<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response> {
        let id = self.send(request, version).await?;
        let frame = timeout(PATIENCE, self.frame()).await.context("no answer for a minute")??;
        let mut reader = Reader::new(&frame);
        ensure!(decode_response_header(&mut reader, R::API_KEY, version)? == id, "another answer");
        Ok(R::Response::decode(&mut reader, version)?)
    }

    /// Reads one byte, as a client that can do no more.
    pub(crate) async fn read_a_little(&mut self) -> Result<()> {
        self.stream.read_u8().await?;
        Ok(())
    }

    async fn frame(&mut self) -> Result<Bytes> {
        let length = self.stream.read_i32().await?;
        let mut frame = vec![0; usize::try_from(length)?];
        self.stream.read_exact(&mut frame).await?;
        Ok(frame.into())
    }
}
