//! The data folders of brokers, and what fills them (KIP-113, KIP-827).

use std::collections::{BTreeMap, BTreeSet};

use kohort_protocol::TopicPartition;
use kohort_protocol::messages::describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResult};
use tokio::task::JoinSet;

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
    /// Describes the data folders of some brokers, or of all, each for itself: one that cannot be reached
    /// fails alone, when `default.api.timeout.ms` is over.
    ///
    /// # Errors
    /// [`AdminError::UnknownBroker`] for a broker the cluster does not have.
    pub async fn describe_log_dirs(
        &self,
        brokers: Option<Vec<i32>>,
    ) -> Result<BTreeMap<i32, Result<Vec<LogDirectory>, AdminError>>, AdminError> {
        let brokers = match brokers {
            Some(brokers) => brokers,
            None => self.describe_cluster().await?.brokers.iter().map(|it| it.id).collect(),
        };
        let session = self.session.clone();
        self.driver
            .run(async move { session.describe_log_dirs(brokers).await })
            .await
            .map_err(Into::into)
    }
}

impl Session {
    /// Asks all of them at once, so that one which is away costs the others nothing.
    async fn describe_log_dirs(
        self,
        brokers: Vec<i32>,
    ) -> BTreeMap<i32, Result<Vec<LogDirectory>, AdminError>> {
        let mut asked = JoinSet::new();
        for broker in BTreeSet::from_iter(brokers) {
            let session = self.clone();
            asked.spawn(async move {
                let ask = |it: Session| async move { it.log_dirs_of(broker).await };
                (broker, session.repeat(ask).await)
            });
        }
        asked.join_all().await.into_iter().collect()
    }

    async fn log_dirs_of(&self, broker: i32) -> Result<Vec<LogDirectory>, AdminError> {
        let answer = self.ask_node(broker, &DescribeLogDirsRequest { topics: None }).await?;
        check(answer.error_code, None, || format!("the data folders of broker {broker}"))?;
        Ok(answer.results.into_iter().map(LogDirectory::from).collect())
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
