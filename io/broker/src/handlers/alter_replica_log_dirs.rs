//! AlterReplicaLogDirs (key 34), versions 1–2: moves of partitions between data folders (KIP-113).
//!
//! * 2 is flexible.
//! * There is one data folder: a partition may be moved to where it is, and nowhere else.

use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::messages::alter_replica_log_dirs::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use kohort_protocol::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};
use kohort_protocol::{ErrorCode, Uuid};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: Context,
    request: AlterReplicaLogDirsRequest,
) -> Answer {
    // A topic named with several folders is answered once.
    let mut results: BTreeMap<String, Vec<AlterReplicaLogDirPartitionResult>> = BTreeMap::new();
    for dir in request.dirs {
        for topic in dir.topics {
            let found = node.topic(&topic.name, Uuid::ZERO);
            let partitions = topic.partitions.iter().map(|&partition_index| {
                let exists = found.as_ref().is_ok_and(|t| t.partition(partition_index).is_some());
                let error_code = match (dir.path == node.data_dir, exists) {
                    (false, _) => ErrorCode::LOG_DIR_NOT_FOUND,
                    (true, false) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                    (true, true) => ErrorCode::NONE,
                };
                AlterReplicaLogDirPartitionResult { partition_index, error_code }
            });
            let partitions: Vec<_> = partitions.collect();
            results.entry(topic.name).or_default().extend(partitions);
        }
    }
    let results = results.into_iter();
    let results = results
        .map(|(topic_name, partitions)| AlterReplicaLogDirTopicResult { topic_name, partitions });
    context.answer(&AlterReplicaLogDirsResponse {
        results: results.collect(),
        ..AlterReplicaLogDirsResponse::default()
    })
}
