//! A broker of an older version: it serves what a test lists, and says what the test has it say.

use std::sync::Arc;

use bytes::Bytes;
use kohort_protocol::header::RequestHeader;
use kohort_protocol::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse,
};
use kohort_protocol::messages::find_coordinator::FindCoordinatorResponse;
use kohort_protocol::messages::metadata::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kohort_protocol::{ApiKey, Message, Reader, frame};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Encodes the answer to a request: its version, correlation id and bytes. `None` hangs up.
pub type Answers = Arc<dyn Fn(ApiKey, i16, i32, &Bytes) -> Option<Bytes> + Send + Sync>;

/// A cluster of one node, which has the topic `t` with one partition. It lives as long as the process.
pub struct OldBroker {
    pub port: u16,
    /// What it answers about the cluster.
    pub cluster: Arc<Mutex<MetadataResponse>>,
    seen: Arc<Mutex<Vec<(ApiKey, i16)>>>,
}

impl OldBroker {
    /// Serves these APIs up to these versions beside ApiVersions, Metadata (up to `metadata`) and
    /// FindCoordinator, which it answers itself.
    pub fn start(metadata: i16, apis: &[(ApiKey, i16)], answers: Answers) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let own = [
            (ApiKey::ApiVersions, ApiVersionsRequest::VERSIONS.max),
            (ApiKey::Metadata, metadata),
            (ApiKey::FindCoordinator, 2),
        ];
        let api_keys = own.iter().chain(apis).map(|(api, max_version)| ApiVersion {
            api_key: *api as i16,
            min_version: 0,
            max_version: *max_version,
        });
        let versions = ApiVersionsResponse { api_keys: api_keys.collect(), ..Default::default() };
        let seen = Arc::new(Mutex::new(Vec::new()));
        let cluster = Arc::new(Mutex::new(itself(port)));
        let (noted, described) = (seen.clone(), cluster.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (versions, noted) = (versions.clone(), noted.clone());
                    let (described, answers) = (described.clone(), answers.clone());
                    tokio::spawn(serve(stream, versions, described, answers, noted));
                }
            });
        });
        Self { port, cluster, seen }
    }

    pub fn servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What was asked so far and in which version, over all connections.
    pub fn seen(&self) -> Vec<(ApiKey, i16)> {
        self.seen.lock().clone()
    }

    pub fn has_seen(&self, api: ApiKey) -> bool {
        self.seen.lock().iter().any(|(seen, _)| *seen == api)
    }
}

async fn serve(
    mut stream: TcpStream,
    versions: ApiVersionsResponse,
    cluster: Arc<Mutex<MetadataResponse>>,
    answers: Answers,
    seen: Arc<Mutex<Vec<(ApiKey, i16)>>>,
) -> Option<()> {
    loop {
        let length = usize::try_from(stream.read_i32().await.ok()?).ok()?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let body = Bytes::from(body);
        let header = RequestHeader::decode(&mut Reader::new(&body)).ok()?;
        let api = ApiKey::from_i16(header.api_key)?;
        let (version, id) = (header.api_version, header.correlation_id);
        seen.lock().push((api, version));
        let answer = match api {
            ApiKey::ApiVersions => frame::encode_response(&versions, version, id).ok()?,
            ApiKey::Metadata => {
                let described = cluster.lock().clone();
                frame::encode_response(&described, version, id).ok()?
            }
            ApiKey::FindCoordinator => {
                let node = cluster.lock().brokers[0].clone();
                let (host, port) = (node.host, node.port);
                let found =
                    FindCoordinatorResponse { node_id: 1, host, port, ..Default::default() };
                frame::encode_response(&found, version, id).ok()?
            }
            _ => answers(api, version, id, &body)?,
        };
        stream.write_all(&answer).await.ok()?;
    }
}

fn itself(port: u16) -> MetadataResponse {
    let broker = MetadataResponseBroker {
        node_id: 1,
        host: "127.0.0.1".to_owned(),
        port: i32::from(port),
        ..Default::default()
    };
    let partition =
        MetadataResponsePartition { leader_id: 1, leader_epoch: 6, ..Default::default() };
    let topic = MetadataResponseTopic {
        name: Some("t".to_owned()),
        partitions: vec![partition],
        ..Default::default()
    };
    MetadataResponse {
        brokers: vec![broker],
        controller_id: 1,
        topics: vec![topic],
        ..Default::default()
    }
}
