//! What the tests inside this crate begin with: a data folder on a simulated disk, its work done step by step.

use std::sync::Arc;

use bytes::Bytes;
use kohort_log::validator::AppendOrigin;
use kohort_protocol::Uuid;
use kohort_protocol::compression::Compressor;
use kohort_protocol::records::{BatchBuilder, BatchOptions, NewRecord};

use crate::partition_log::PartitionLog;
use crate::{Background, LogDir, LogDirConfig, PartitionConfig, PartitionId, SimulatedDisk};

pub(crate) const TOPIC_ID: Uuid = Uuid([1; 16]);

pub(crate) fn config() -> LogDirConfig {
    LogDirConfig { background: Background::Manual, ..LogDirConfig::new("/data") }
}

pub(crate) fn open(disk: &SimulatedDisk) -> Arc<LogDir> {
    LogDir::open_on(Arc::new(disk.clone()), config()).unwrap().0
}

/// Returns a partition of topic `t`.
pub(crate) fn partition(dir: &LogDir, index: i32, config: PartitionConfig) -> Arc<PartitionLog> {
    let id = PartitionId { topic_id: TOPIC_ID, topic: "t".into(), index };
    dir.create_partition(id, config).unwrap()
}

/// Queues a small record.
pub(crate) fn append(log: &Arc<PartitionLog>) {
    append_all(log, &[NewRecord { value: Some(b"a"), ..NewRecord::default() }]);
}

/// Queues records as one batch.
pub(crate) fn append_all(log: &Arc<PartitionLog>, records: &[NewRecord<'_>]) {
    let mut builder = BatchBuilder::new();
    for record in records {
        builder.append(record).unwrap();
    }
    let batch: Bytes = builder.build(&BatchOptions::default(), &mut Compressor::none());
    log.append(1, batch, AppendOrigin::Coordinator, drop).unwrap();
}
