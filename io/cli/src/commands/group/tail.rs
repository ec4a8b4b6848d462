//! Reading one partition from a time on: to where it ends now, or for ever.

use std::collections::BTreeMap;
use std::time::Duration;

use kohort::TopicPartition;
use kohort::admin::{Admin, AdminError, OffsetSpec};
use kohort::config::{ConsumerConfig, Properties as _};
use kohort::consumer::{Consumer, Record};

use super::super::Cluster;

/// How long one poll waits.
const POLL: Duration = Duration::from_millis(500);

/// Where to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Where the partition ends now.
    Now,
    /// Never.
    Stopped,
}

/// Calls `each` with every record of a partition since a time. Returns false, having done nothing, if
/// there is no such partition.
pub(super) async fn read(
    cluster: &Cluster,
    admin: &Admin,
    partition: TopicPartition,
    since_ms: i64,
    until: Until,
    mut each: impl FnMut(&Record<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let Some(end) = offset(admin, &partition, OffsetSpec::Latest).await? else {
        return Ok(false);
    };
    let start = offset(admin, &partition, OffsetSpec::AtOrAfter(since_ms)).await?;
    if start.is_none() && until == Until::Now {
        return Ok(true);
    }
    let mut config: ConsumerConfig = cluster.configure()?;
    config.set("auto.offset.reset", "earliest")?;
    config.set("enable.auto.commit", "false")?;
    config.set("allow.auto.create.topics", "false")?;
    let consumer = Consumer::builder().with(|_| config).build()?;
    consumer.assign([partition.clone()]).await?;
    consumer.seek(&partition, start.unwrap_or(end)).await?;
    loop {
        if until == Until::Now && consumer.position(&partition).is_some_and(|at| at >= end) {
            break;
        }
        for record in &consumer.poll(POLL).await? {
            each(&record)?;
        }
    }
    consumer.close(POLL).await;
    Ok(true)
}

/// Returns an offset of a partition; nothing if there is no such partition or no such record.
async fn offset(
    admin: &Admin,
    partition: &TopicPartition,
    spec: OffsetSpec,
) -> Result<Option<i64>, AdminError> {
    let wanted = BTreeMap::from([(partition.clone(), spec)]);
    let mut found = admin.list_offsets(wanted).await?;
    Ok(found.remove(partition).and_then(Result::ok).and_then(|found| found.offset))
}
