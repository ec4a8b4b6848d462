//! A connection that many members' tasks use one each: raw messages, and nothing that costs.

use anyhow::{Context as _, Result, ensure};
use bytes::{Bytes, BytesMut};
use kohort_protocol::frame::encode_request;
use kohort_protocol::header::decode_response_header;
use kohort_protocol::messages::ApiVersionsRequest;
use kohort_protocol::{Message, Reader, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Duration, timeout};

/// How long anything may take before the bench fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Fewer than Kafka's backlog, and ours, has room for by default.
static CONNECTING: Semaphore = Semaphore::const_new(32);

#[derive(Debug)]
pub(super) struct Peer {
    stream: TcpStream,
    incoming: BytesMut,
    next_id: i32,
    name: String,
}

impl Peer {
    /// Connects when its turn comes, and asks for the versions as clients do: an answer says that the
    /// connection is out of the broker's backlog. Who connects while that is full tries again only after a
    /// second, which would be the kernel's doing.
    pub(super) async fn connect(address: &str, name: String) -> Result<Self> {
        let _turn = CONNECTING.acquire().await?;
        let connecting = timeout(PATIENCE, TcpStream::connect(address));
        let stream = connecting.await.context("no connection in time")??;
        stream.set_nodelay(true)?;
        let mut peer = Self { stream, incoming: BytesMut::new(), next_id: 1, name };
        let versions = ApiVersionsRequest {
            client_software_name: "bench".to_owned(),
            client_software_version: "1".to_owned(),
        };
        let answer = peer.call(&versions, 3).await?;
        ensure!(answer.error_code.is_ok(), "the versions were not told: {}", answer.error_code);
        Ok(peer)
    }

    pub(super) async fn call<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response> {
        self.send(request, version).await?;
        self.receive::<R>(version).await
    }

    pub(super) async fn send<R: Request>(&mut self, request: &R, version: i16) -> Result<()> {
        let frame = encode_request(request, version, self.next_id, Some(&self.name))?;
        self.next_id += 1;
        self.stream.write_all(&frame).await?;
        Ok(())
    }

    /// Takes the next answer, which must be to a request of that kind.
    pub(super) async fn receive<R: Request>(&mut self, version: i16) -> Result<R::Response> {
        let frame = timeout(PATIENCE, self.frame()).await.context("no answer in time")??;
        let mut reader = Reader::new(&frame);
        decode_response_header(&mut reader, R::API_KEY, version)?;
        Ok(R::Response::decode(&mut reader, version)?)
    }

    async fn frame(&mut self) -> Result<Bytes> {
        loop {
            if let Some(prefix) = self.incoming.first_chunk::<4>() {
                let length = u32::from_be_bytes(*prefix) as usize + 4;
                if self.incoming.len() >= length {
                    let mut frame = self.incoming.split_to(length).freeze();
                    return Ok(frame.split_off(4));
                }
            }
            let read = self.stream.read_buf(&mut self.incoming).await?;
            ensure!(read > 0, "the broker closed a connection");
        }
    }
}
