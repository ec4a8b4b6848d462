//! The data folders of brokers, and what fills them (KIP-113, KIP-827).

use std::collections::BTreeMap;

use kohort_protocol::TopicPartition;
use kohort_protocol::messages::describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResult};

use super::error::check;
use super::{Admin, AdminError, Session};

/// A data folder of a broker.
#[derive(Debug)]
pub struct LogDirectory {
    /// Its path on the broker's machine.
    pub path: String,
    /// Why it cannot be used, if it cannot.
    pub error: Option<AdminError>,
    /// The size of its volume in bytes, if the broker tells.
    pub total_bytes: Option<i64>,
    /// How much of that is free, if the broker tells.
    pub usable_bytes: Option<i64>,
    /// The replicas in it.
    pub replicas: BTreeMap<TopicPartition, Replica>,
}

/// A replica in a data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replica {
    /// Its size in bytes.
    pub size: i64,
    /// How many records it is behind.
    pub offset_lag: i64,
    /// Whether it is being moved here from another folder.
    pub is_future: bool,
}

impl Admin {
    /// Describes the data folders of some brokers, or of all.
    pub async fn describe_log_dirs(
        &self,
        brokers: Option<Vec<i32>>,
    ) -> Result<BTreeMap<i32, Vec<LogDirectory>>, AdminError> {
        self.run(move |session| {
            let brokers = brokers.clone();
            async move { session.describe_log_dirs(brokers).await }
        })
        .await
    }
}

impl Session {
    async fn describe_log_dirs(
        &self,
        brokers: Option<Vec<i32>>,
    ) -> Result<BTreeMap<i32, Vec<LogDirectory>>, AdminError> {
        let brokers = if let Some(brokers) = brokers {
            brokers
        } else {
            let (view, _) = self.metadata(Some(Vec::new())).await?;
            view.brokers().map(|broker| broker.id).collect()
        };
        let request = DescribeLogDirsRequest { topics: None };
        let mut described = BTreeMap::new();
        for broker in brokers {
            let answer = self.ask_node(broker, &request).await?;
            check(answer.error_code, None, || format!("the data folders of broker {broker}"))?;
            let directories = answer.results.into_iter().map(LogDirectory::from).collect();
            described.insert(broker, directories);
        }
        Ok(described)
    }
}

impl From<DescribeLogDirsResult> for LogDirectory {
    fn from(result: DescribeLogDirsResult) -> Self {
        let what = || format!("the data folder {}", result.log_dir);
        let error = check(result.error_code, None, what).err();
        let mut replicas = BTreeMap::new();
        for topic in result.topics {
            for partition in topic.partitions {
                let replica = Replica {
                    size: partition.partition_size,
                    offset_lag: partition.offset_lag,
                    is_future: partition.is_future_key,
                };
                let partition = TopicPartition::new(&*topic.name, partition.partition_index);
                replicas.insert(partition, replica);
            }
        }
        let known = |bytes: i64| (bytes >= 0).then_some(bytes);
        Self {
            path: result.log_dir,
            error,
            total_bytes: known(result.total_bytes),
            usable_bytes: known(result.usable_bytes),
            replicas,
        }
    }
}
