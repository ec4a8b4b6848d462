//! DescribeLogDirs (key 35), versions 1–5: how much the partitions take on disk.
//!
//! * 3 adds a top-level error; 4 the volume's size; 5 whether a directory is cordoned, which none is.
//! * Of the volume, -1 is what the system does not tell.

use crate::cluster::topics::Topic;
use crate::node::Node;
use crate::partition::Partition;
use crate::request::{Answer, Context};
use kohort_protocol::messages::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kohort_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tracing::warn;

pub(crate) fn handle(
    node: &Arc<Node>,
    context: Context,
    request: DescribeLogDirsRequest,
) -> Answer {
    let topics = match request.topics {
        None => {
            let all = node.metadata.topics.all();
            all.iter().map(|topic| describe(topic, &topic.partitions)).collect()
        }
        Some(wanted) => {
            // Who names a topic or a partition again means the same one, as in Kafka.
            let mut partitions: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
            for wanted in wanted {
                partitions.entry(wanted.topic).or_default().extend(wanted.partitions);
            }
            let found = partitions.into_iter().filter_map(|(name, indexes)| {
                let topic = node.metadata.topics.named(&name)?;
                let partitions = indexes.into_iter().filter_map(|index| topic.partition(index));
                Some(describe(&topic, partitions))
            });
            // Nothing is said of a topic without a partition that was asked for.
            found.filter(|topic| !topic.partitions.is_empty()).collect()
        }
    };
    let result = DescribeLogDirsResult { log_dir: node.data_dir.clone(), topics, ..volume(node) };
    context.answer(&DescribeLogDirsResponse {
        results: vec![result],
        ..DescribeLogDirsResponse::default()
    })
}

/// Returns an answer that tells about the volume and nothing else.
fn volume(node: &Node) -> DescribeLogDirsResult {
    let unknown = DescribeLogDirsResult::default();
    let bytes = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
    match node.log_dir.volume() {
        Ok(volume) => DescribeLogDirsResult {
            total_bytes: bytes(volume.total),
            usable_bytes: bytes(volume.usable),
            ..unknown
        },
        Err(error) => {
            warn!(%error, "the volume's size is not known");
            unknown
        }
    }
}

fn describe<'a>(
    topic: &Topic,
    partitions: impl IntoIterator<Item = &'a Arc<Partition>>,
) -> DescribeLogDirsTopic {
    let size = |partition: &Arc<Partition>| DescribeLogDirsPartition {
        partition_index: partition.index,
        partition_size: partition.log.size_in_bytes() as i64,
        ..DescribeLogDirsPartition::default()
    };
    DescribeLogDirsTopic {
        name: topic.name.to_string(),
        partitions: partitions.into_iter().map(size).collect(),
    }
}
