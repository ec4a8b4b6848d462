//! A cluster of several nodes that say what a test has them say.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use bytes::Bytes;
use kohort_protocol::header::RequestHeader;
use kohort_protocol::messages::alter_user_scram_credentials::AlterUserScramCredentialsRequest;
use kohort_protocol::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse,
};
use kohort_protocol::messages::consumer_group_describe::ConsumerGroupDescribeRequest;
use kohort_protocol::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
use kohort_protocol::messages::create_partitions::CreatePartitionsRequest;
use kohort_protocol::messages::create_topics::CreateTopicsRequest;
use kohort_protocol::messages::delete_groups::DeleteGroupsRequest;
use kohort_protocol::messages::delete_topics::DeleteTopicsRequest;
use kohort_protocol::messages::describe_configs::DescribeConfigsRequest;
use kohort_protocol::messages::describe_groups::DescribeGroupsRequest;
use kohort_protocol::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};
use kohort_protocol::messages::incremental_alter_configs::IncrementalAlterConfigsRequest;
use kohort_protocol::messages::leave_group::LeaveGroupRequest;
use kohort_protocol::messages::list_groups::ListGroupsRequest;
use kohort_protocol::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker,
};
use kohort_protocol::messages::offset_fetch::OffsetFetchRequest;
use kohort_protocol::{ApiKey, ErrorCode, Message, Reader, Request, frame};
use parking_lot::Mutex;

/// A cluster whose nodes have the ids 1, 2, …. It lives as long as the process.
pub struct Nodes {
    ports: Arc<[u16]>,
    asked: Arc<Mutex<Vec<(i32, ApiKey)>>>,
}

/// A request as it came to a node.
pub struct Call {
    pub node: i32,
    pub api: ApiKey,
    version: i16,
    id: i32,
    body: Bytes,
    ports: Arc<[u16]>,
}

impl Nodes {
    /// Starts so many; `answer` says what is sent for each request but ApiVersions. Where it is nothing, the
    /// node hangs up.
    pub fn start(count: usize, answer: impl Fn(&Call) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::of_versions(count, &[], answer)
    }

    /// The same, with nodes that know these APIs up to these versions only.
    pub fn of_versions(
        count: usize,
        latest: &[(ApiKey, i16)],
        answer: impl Fn(&Call) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let latest: Arc<[(ApiKey, i16)]> = latest.into();
        let listener = |_| TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners: Vec<_> = (0..count).map(listener).collect();
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let ports: Arc<[u16]> = listeners.iter().map(port).collect();
        let asked: Arc<Mutex<Vec<(i32, ApiKey)>>> = Arc::default();
        let answer = Arc::new(answer);
        for (node, listener) in (1..).zip(listeners) {
            let (ports, asked, answer) = (ports.clone(), asked.clone(), answer.clone());
            let latest = latest.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let (ports, asked, answer) = (ports.clone(), asked.clone(), answer.clone());
                    let latest = latest.clone();
                    let mut stream = stream.unwrap();
                    std::thread::spawn(move || {
                        while let Some(call) = Call::read(&mut stream, node, &ports) {
                            let frame = match call.api {
                                ApiKey::ApiVersions => call.answer(&versions(&latest)),
                                api => {
                                    asked.lock().push((node, api));
                                    answer(&call)
                                }
                            };
                            if frame.is_empty() || stream.write_all(&frame).is_err() {
                                return;
                            }
                        }
                    });
                }
            });
        }
        Self { ports, asked }
    }

    /// Returns the addresses of all nodes.
    pub fn servers(&self) -> String {
        let servers: Vec<_> = (1..).zip(&*self.ports).map(|(node, _)| self.server(node)).collect();
        servers.join(",")
    }

    /// Returns the address of one.
    pub fn server(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.ports[node - 1])
    }

    /// Returns which nodes were asked this, in order.
    pub fn asked(&self, api: ApiKey) -> Vec<i32> {
        self.asked.lock().iter().filter(|it| it.1 == api).map(|it| it.0).collect()
    }
}

impl Call {
    fn read(stream: &mut TcpStream, node: i32, ports: &Arc<[u16]>) -> Option<Self> {
        let mut prefix = [0; 4];
        stream.read_exact(&mut prefix).ok()?;
        let mut body = vec![0; usize::try_from(i32::from_be_bytes(prefix)).unwrap()];
        stream.read_exact(&mut body).ok()?;
        let body = Bytes::from(body);
        let header = RequestHeader::decode(&mut Reader::new(&body)).unwrap();
        let api = ApiKey::from_i16(header.api_key).unwrap();
        let (version, id) = (header.api_version, header.correlation_id);
        Some(Self { node, api, version, id, body, ports: ports.clone() })
    }

    /// Returns what was asked.
    pub fn request<R: Request>(&self) -> R {
        let mut reader = Reader::new(&self.body);
        RequestHeader::decode(&mut reader).unwrap();
        R::decode(&mut reader, self.version).unwrap()
    }

    /// Returns an answer as it is sent.
    pub fn answer<M: Message>(&self, answer: &M) -> Vec<u8> {
        frame::encode_response(answer, self.version, self.id).unwrap().to_vec()
    }

    /// Returns the version it was asked in.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// Returns the port of a node, as metadata has it.
    pub fn port(&self, node: i32) -> i32 {
        i32::from(self.ports[usize::try_from(node - 1).unwrap()])
    }

    /// Returns coordinators: a group's is the node that its first letter names.
    pub fn coordinators(&self) -> Vec<u8> {
        let coordinator = |key: String| {
            let Ok(node_id) = key[..1].parse() else {
                let error_code = ErrorCode::GROUP_AUTHORIZATION_FAILED;
                return Coordinator { key, node_id: -1, error_code, ..Default::default() };
            };
            let (host, port) = ("127.0.0.1".to_owned(), self.port(node_id));
            Coordinator { key, node_id, host, port, ..Default::default() }
        };
        let asked = self.request::<FindCoordinatorRequest>().coordinator_keys.into_iter();
        let coordinators = asked.map(coordinator).collect();
        self.answer(&FindCoordinatorResponse { coordinators, ..Default::default() })
    }

    /// Returns metadata that names these nodes and a controller.
    pub fn metadata(&self, nodes: &[i32], controller_id: i32) -> Vec<u8> {
        let broker = |node_id: &i32| MetadataResponseBroker {
            node_id: *node_id,
            host: "127.0.0.1".to_owned(),
            port: self.port(*node_id),
            ..Default::default()
        };
        let brokers = nodes.iter().map(broker).collect();
        self.answer(&MetadataResponse { brokers, controller_id, ..Default::default() })
    }
}

fn versions(latest: &[(ApiKey, i16)]) -> ApiVersionsResponse {
    fn api<R: Request>() -> ApiVersion {
        let (min_version, max_version) = (R::VERSIONS.min, R::VERSIONS.max);
        ApiVersion { api_key: R::API_KEY as i16, min_version, max_version }
    }
    let mut api_keys = vec![
        api::<ApiVersionsRequest>(),
        api::<MetadataRequest>(),
        api::<CreateTopicsRequest>(),
        api::<DeleteTopicsRequest>(),
        api::<CreatePartitionsRequest>(),
        api::<AlterUserScramCredentialsRequest>(),
        api::<DescribeConfigsRequest>(),
        api::<IncrementalAlterConfigsRequest>(),
        api::<FindCoordinatorRequest>(),
        api::<DeleteGroupsRequest>(),
        api::<DescribeGroupsRequest>(),
        api::<ConsumerGroupDescribeRequest>(),
        api::<ConsumerGroupHeartbeatRequest>(),
        api::<LeaveGroupRequest>(),
        api::<ListGroupsRequest>(),
        api::<OffsetFetchRequest>(),
    ];
    for (api, version) in latest {
        let known = api_keys.iter_mut().find(|known| known.api_key == *api as i16).unwrap();
        known.max_version = *version;
    }
    ApiVersionsResponse { api_keys, ..Default::default() }
}
