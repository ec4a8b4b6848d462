//! What the demo asks of the broker itself: a topic, the records, and at the end the group's lag.

use std::time::Duration;

use anyhow::Context as _;
use kohort::TopicPartition;
use kohort::admin::{Admin, NewTopic, OffsetSpec};
use kohort::config::{AdminConfig, Properties as _};
use kohort::producer::{Producer, ProducerRecord};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::data::Row;

/// How long the feeding takes: long enough to watch, short enough to wait for.
const FEEDING: Duration = Duration::from_secs(18);
/// How often a handful of records is sent.
const STEP: Duration = Duration::from_millis(10);
/// How long the last records may take to be acknowledged.
const CLOSE_DEADLINE: Duration = Duration::from_secs(20);

fn admin(address: &str) -> anyhow::Result<Admin> {
    Ok(Admin::new(AdminConfig::from_pairs([("bootstrap.servers", address)])?)?)
}

/// Creates the topic.
pub(crate) async fn create_topic(
    address: &str,
    topic: &str,
    partitions: i32,
) -> anyhow::Result<()> {
    admin(address)?.create_topic(NewTopic::new(topic).partitions(partitions)).await?;
    Ok(())
}

/// Produces all rows at an even pace and reports where each was written, once it was.
pub(crate) async fn feed(
    address: String,
    topic: &'static str,
    rows: Vec<Row>,
    acks: mpsc::Sender<(i32, i64)>,
) -> anyhow::Result<()> {
    let producer = Producer::builder()
        .set("bootstrap.servers", &address)
        .set("client.id", "demo-feeder")
        .set("compression.type", "lz4")
        .build()?;
    let steps = (FEEDING.as_millis() / STEP.as_millis()).max(1) as usize;
    let per_step = rows.len().div_ceil(steps).max(1);
    // Deliveries are awaited in the order of sending, beside the sending.
    let (deliveries, mut delivered) = mpsc::channel(DELIVERIES_MAX);
    let confirm = tokio::spawn(async move {
        while let Some(delivery) = delivered.recv().await {
            let delivery: kohort::producer::Delivery = delivery;
            let written = delivery.await.context("a record was not written")?;
            if acks.send((written.partition, written.offset)).await.is_err() {
                break;
            }
        }
        anyhow::Ok(())
    });
    let mut next = Instant::now();
    for step in rows.chunks(per_step) {
        for row in step {
            let record = ProducerRecord::to(topic).key(&row.key).value(&row.json);
            let delivery = producer.send(record).await?;
            if deliveries.send(delivery).await.is_err() {
                break;
            }
        }
        next += STEP;
        sleep_until(next).await;
    }
    drop(deliveries);
    producer.close(CLOSE_DEADLINE).await?;
    confirm.await.context("awaiting the acknowledgements failed")?
}

/// Records sent but not yet acknowledged; beyond it the feeder waits.
const DELIVERIES_MAX: usize = 4096;

/// Returns how far the group's committed offsets are behind the ends, as the broker has them;
/// `None` if a partition with records has no committed offset.
pub(crate) async fn group_lag(
    address: &str,
    group: &str,
    topic: &str,
    partitions: i32,
) -> anyhow::Result<Option<i64>> {
    let admin = admin(address)?;
    let committed = admin.group_offsets(group).await?;
    let all = (0..partitions).map(|p| (TopicPartition::new(topic, p), OffsetSpec::Latest));
    let mut lag = 0;
    for (partition, end) in admin.list_offsets(all.collect()).await? {
        let end = end?.offset.unwrap_or(0);
        match committed.get(&partition) {
            Some(committed) => lag += end - committed.offset,
            None if end == 0 => {}
            None => return Ok(None),
        }
    }
    Ok(Some(lag))
}
