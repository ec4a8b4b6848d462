//! Deleting records (KIP-107): the start of a partition moves forward.

use std::collections::BTreeMap;

use kohort_protocol::TopicPartition;
use kohort_protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};

use super::error::{check, unanswered};
use super::groups::by_topic;
use super::{Admin, AdminError, Session};
use crate::net::Purpose;

/// Where the records that are kept begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeepFrom {
    /// At this offset.
    Offset(i64),
    /// Nowhere: all records that consumers may see now are deleted.
    End,
}

impl Admin {
    /// Deletes the records before an offset, partition by partition, and returns where each starts
    /// now.
    ///
    /// # Errors
    /// `OFFSET_OUT_OF_RANGE` past the end, `POLICY_VIOLATION` for a topic that is only compacted.
    pub async fn delete_records(
        &self,
        wanted: BTreeMap<TopicPartition, KeepFrom>,
    ) -> Result<BTreeMap<TopicPartition, Result<i64, AdminError>>, AdminError> {
        self.run(move |session| {
            let wanted = wanted.clone();
            async move { session.delete_records(wanted).await }
        })
        .await
    }
}

impl Session {
    async fn delete_records(
        &self,
        wanted: BTreeMap<TopicPartition, KeepFrom>,
    ) -> Result<BTreeMap<TopicPartition, Result<i64, AdminError>>, AdminError> {
        let (by_leader, refused) = self.by_leader(wanted).await?;
        let mut deleted: BTreeMap<TopicPartition, Result<i64, AdminError>> =
            refused.into_iter().map(|(partition, error)| (partition, Err(error))).collect();
        for (broker, partitions) in by_leader {
            for (partition, _) in &partitions {
                let missing = Err(unanswered(format!("partition {partition}")));
                deleted.insert(partition.clone(), missing);
            }
            let topic = |(name, partitions): (std::sync::Arc<str>, Vec<(i32, KeepFrom)>)| {
                let partition = |(partition_index, keep)| DeleteRecordsPartition {
                    partition_index,
                    offset: match keep {
                        KeepFrom::Offset(offset) => offset,
                        KeepFrom::End => HIGH_WATERMARK,
                    },
                };
                DeleteRecordsTopic {
                    name: name.to_string(),
                    partitions: partitions.into_iter().map(partition).collect(),
                }
            };
            let request = DeleteRecordsRequest {
                topics: by_topic(partitions).into_iter().map(topic).collect(),
                timeout_ms: self.broker_timeout_ms(),
            };
            let connection = self.cluster.connection_to(&broker, Purpose::General).await?;
            for topic in connection.send(&request).await?.topics {
                for answer in topic.partitions {
                    let partition = TopicPartition::new(&*topic.name, answer.partition_index);
                    let what = || format!("partition {partition}");
                    match check(answer.error_code, None, what) {
                        Err(error) if error.is_retriable() => return Err(error),
                        result => {
                            deleted.insert(partition, result.map(|()| answer.low_watermark));
                        }
                    }
                }
            }
        }
        Ok(deleted)
    }
}

/// What stands for the end in the request.
const HIGH_WATERMARK: i64 = -1;
