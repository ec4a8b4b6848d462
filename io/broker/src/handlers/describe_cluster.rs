//! DescribeCluster (key 60), versions 0–2: the brokers, here one.
//!
//! * 1 tells brokers from controllers; 2 shows fenced brokers, of which there are none.

use super::CLUSTER_OPERATIONS;
use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::describe_cluster::DescribeClusterBroker;
use kohort_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use std::sync::Arc;

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: Context,
    request: DescribeClusterRequest,
) -> Answer {
    let endpoint_type = request.endpoint_type;
    let refusal = match endpoint_type {
        BROKERS => None,
        CONTROLLERS => Some((
            ErrorCode::MISMATCHED_ENDPOINT_TYPE,
            "The request was sent to a broker, not to a controller.".to_owned(),
        )),
        other => Some((
            ErrorCode::UNSUPPORTED_ENDPOINT_TYPE,
            format!("There are no endpoints of type {other}."),
        )),
    };
    if let Some((error_code, message)) = refusal {
        return context.answer(&DescribeClusterResponse {
            error_code,
            error_message: Some(message),
            ..DescribeClusterResponse::default()
        });
    }
    let endpoint = node.endpoint(&context);
    context.answer(&DescribeClusterResponse {
        endpoint_type,
        cluster_id: node.cluster_id.clone(),
        controller_id: node.id,
        brokers: vec![DescribeClusterBroker {
            broker_id: endpoint.node_id,
            host: endpoint.host,
            port: endpoint.port,
            rack: endpoint.rack,
            is_fenced: false,
        }],
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            i32::MIN
        },
        ..DescribeClusterResponse::default()
    })
}
