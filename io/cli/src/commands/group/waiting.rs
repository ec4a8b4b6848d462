//! What waits to be read in each partition ahead of what is committed, found out by reading there as a
//! consumer of committed data does.
//!
//! Lag is a difference of offsets, and not each of them has a record to be read: some were deleted or
//! compacted away, transactions are aborted, and each ends with a mark. A reader passes over all that, so where
//! it comes to the end without a record, none waits. It comes to the first transaction that has not ended,
//! too, and no further.

use std::collections::BTreeMap;
use std::time::Duration;

use kohort::TopicPartition;
use kohort::config::{ConsumerConfig, Properties as _};
use kohort::consumer::Consumer;
use tokio::time::{Instant, timeout_at};

use super::super::Cluster;
use super::standing::Place;
use crate::groups::verdict::Waiting;

/// How long it is read at most. A partition that cannot be read in that time is left out.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// How often it is seen where reading has come to, while no records come.
const POLL: Duration = Duration::from_millis(50);

/// Looks at what waits in each partition.
pub(super) async fn look(
    cluster: &Cluster,
    now_ms: i64,
    behind: BTreeMap<TopicPartition, Place>,
) -> anyhow::Result<BTreeMap<TopicPartition, Waiting>> {
    let mut found = BTreeMap::new();
    if behind.is_empty() {
        return Ok(found);
    }
    let mut config: ConsumerConfig = cluster.configure()?;
    config.set("auto.offset.reset", "earliest")?;
    config.set("enable.auto.commit", "false")?;
    config.set("allow.auto.create.topics", "false")?;
    config.set("isolation.level", "read_committed")?;
    // One batch of each is enough.
    config.set("max.partition.fetch.bytes", "1")?;
    let consumer = Consumer::builder().with(|_| config).build()?;
    // Both are cancelled at the deadline, when the consumer is closed anyway.
    let deadline = Instant::now() + READ_WITHIN;
    if let Ok(ends) = timeout_at(deadline, consumer.end_offsets(behind.keys().cloned())).await {
        let ends = ends?;
        let reading = read(&consumer, now_ms, behind, &ends, &mut found);
        if let Ok(ended) = timeout_at(deadline, reading).await {
            ended?;
        }
    }
    // It has nothing to commit or to be late for.
    let _ = consumer.close(READ_WITHIN).await;
    Ok(found)
}

/// Reads until it is known of each partition what waits there.
async fn read(
    consumer: &Consumer,
    now_ms: i64,
    mut behind: BTreeMap<TopicPartition, Place>,
    ends: &BTreeMap<TopicPartition, i64>,
    found: &mut BTreeMap<TopicPartition, Waiting>,
) -> anyhow::Result<()> {
    consumer.assign(behind.keys().cloned()).await?;
    for (partition, place) in &behind {
        consumer.seek(partition, place.committed).await?;
    }
    while !behind.is_empty() {
        for record in &consumer.poll(POLL).await? {
            let partition = record.topic_partition();
            if behind.remove(&partition).is_some() {
                let age_ms = (now_ms - record.timestamp).max(0);
                found.insert(partition.clone(), Waiting::Records(age_ms));
                let _ = consumer.pause([partition]).await;
            }
        }
        behind.retain(|partition, place| {
            let (position, end) = (consumer.position(partition), ends.get(partition));
            let ended =
                position.zip(end).and_then(|(at, end)| without_records(at, *end, place.end));
            ended.is_none_or(|waiting| found.insert(partition.clone(), waiting).is_some())
        });
    }
    Ok(())
}

/// Returns what waits for a group whose reader came there without a record; nothing if it has not come to
/// its end, before which every transaction has ended. The partition's own end was asked for earlier.
fn without_records(position: i64, stable_end: i64, end: i64) -> Option<Waiting> {
    if position >= end {
        Some(Waiting::Nothing)
    } else if position >= stable_end {
        Some(Waiting::Held)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_comes_to_the_end_without_a_record_tells_that_none_waits() {
        // Deleted up to there, or marks of transactions: the end is reached.
        assert_eq!(without_records(100, 100, 100), Some(Waiting::Nothing));
        // More came since the end was asked for: it is not what was counted as lag.
        assert_eq!(without_records(100, 120, 100), Some(Waiting::Nothing));
        // A transaction that is open begins at 90.
        assert_eq!(without_records(90, 90, 100), Some(Waiting::Held));
        assert_eq!(without_records(95, 90, 100), Some(Waiting::Held), "committed within it");
        assert_eq!(without_records(10, 100, 100), None, "still on its way");
    }
}
