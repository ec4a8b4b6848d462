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

/// Where to begin: at a time, or so many records before the end, whichever is further back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Since {
    /// Unix milliseconds.
    pub(super) ms: i64,
    pub(super) records: i64,
}

impl Since {
    /// Begins at a time and not before it.
    pub(super) fn time(ms: i64) -> Self {
        Self { ms, records: 0 }
    }

    /// Returns the offset to begin at, given the first one since the time, if there is one, and the end.
    fn offset(self, since_time: Option<i64>, end: i64) -> i64 {
        since_time.unwrap_or(end).min(end - self.records).max(0)
    }
}

/// Where to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Where the partition ends now.
    Now,
    /// Never.
    Stopped,
}

/// Calls `each` with every record of a partition from there on. Returns false, having done nothing, if
/// there is no such partition.
pub(super) async fn read(
    cluster: &Cluster,
    admin: &Admin,
    partition: TopicPartition,
    since: Since,
    until: Until,
    mut each: impl FnMut(&Record<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let Some(end) = offset(admin, &partition, OffsetSpec::Latest).await? else {
        return Ok(false);
    };
    let since_time = offset(admin, &partition, OffsetSpec::AtOrAfter(since.ms)).await?;
    let start = since.offset(since_time, end);
    if start >= end && until == Until::Now {
        return Ok(true);
    }
    let mut config: ConsumerConfig = cluster.configure()?;
    config.set("auto.offset.reset", "earliest")?;
    config.set("enable.auto.commit", "false")?;
    config.set("allow.auto.create.topics", "false")?;
    let consumer = Consumer::builder().with(|_| config).build()?;
    consumer.assign([partition.clone()]).await?;
    consumer.seek(&partition, start).await?;
    loop {
        if until == Until::Now && consumer.position(&partition).is_some_and(|at| at >= end) {
            break;
        }
        for record in &consumer.poll(POLL).await? {
            each(&record)?;
        }
    }
    // It has nothing to commit or to be late for.
    let _ = consumer.close(POLL).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_begins_at_a_time_or_so_many_records_back_whichever_is_further() {
        let since = Since { ms: 7, records: 20 };
        assert_eq!(since.offset(Some(90), 100), 80);
        assert_eq!(since.offset(Some(50), 100), 50);
        // Nothing is as new as that.
        assert_eq!(since.offset(None, 100), 80);
        assert_eq!(since.offset(None, 10), 0);
        assert_eq!(Since::time(7).offset(None, 100), 100);
    }
}
