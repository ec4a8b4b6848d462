//! The deliveries of many records, batch by batch.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::SendError;
use super::delivery::{Completion, Delivery, NO_WAKER, Outcome, register};

/// Collects the deliveries of many records and tells of them batch by batch: for whoever sends many, and
/// wants to know of each batch rather than of each record.
///
/// ```no_run
/// # async fn f(producer: kohort::producer::Producer) -> Result<(), Box<dyn std::error::Error>> {
/// use kohort::producer::{Deliveries, ProducerRecord};
///
/// let mut deliveries = Deliveries::new();
/// for number in 0..1_000_000_u32 {
///     let value = number.to_be_bytes();
///     deliveries.add(producer.send(ProducerRecord::to("numbers").value(&value)).await?);
///     while let Some(batch) = deliveries.ended() {
///         println!("{} records written", batch?.records);
///     }
/// }
/// while let Some(batch) = deliveries.next().await {
///     println!("{} records written", batch?.records);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Default)]
pub struct Deliveries {
    runs: VecDeque<Run>,
    records: u64,
}

/// Records that lie side by side in one batch.
#[derive(Debug)]
struct Run {
    completion: Arc<Completion>,
    records: Range<u32>,
    waker: u32,
}

/// Where records of one batch were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchMetadata {
    /// Their topic.
    pub topic: Arc<str>,
    /// Their partition.
    pub partition: i32,
    /// The offset of the first, or -1 where the broker does not say; the others follow it.
    pub first_offset: i64,
    /// How many they are.
    pub records: u32,
}

impl Deliveries {
    /// Returns an empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record's delivery. It takes memory only where it is of another batch than those before, or
    /// not the next one in it.
    pub fn add(&mut self, delivery: Delivery) {
        let (completion, index) = delivery.into_parts();
        self.records += 1;
        for run in self.runs.iter_mut().rev().take(LOOKED_BACK) {
            if Arc::ptr_eq(&run.completion, &completion) && run.records.end == index {
                run.records.end += 1;
                return;
            }
        }
        self.runs.push_back(Run { completion, records: index..index + 1, waker: NO_WAKER });
    }

    /// Returns how many records are not at their end yet, or not told of.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Waits for the records that were added first and returns how they fared; `None` when there are no
    /// more. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<BatchMetadata, SendError>> {
        poll_fn(|cx| self.poll_next(Some(cx))).await
    }

    /// Returns how the records that were added first fared, if that is known.
    pub fn ended(&mut self) -> Option<Result<BatchMetadata, SendError>> {
        match self.poll_next(None) {
            Poll::Ready(ended) => ended,
            Poll::Pending => None,
        }
    }

    fn poll_next(
        &mut self,
        cx: Option<&mut Context<'_>>,
    ) -> Poll<Option<Result<BatchMetadata, SendError>>> {
        loop {
            let Some(run) = self.runs.front_mut() else { return Poll::Ready(None) };
            let records = run.records.end - run.records.start;
            let completion = run.completion.clone();
            let parts = match &mut *completion.outcome.lock() {
                Outcome::Pending(wakers) => {
                    if let Some(cx) = cx {
                        register(wakers, &mut run.waker, cx.waker());
                    }
                    return Poll::Pending;
                }
                Outcome::Written { base_offset, .. } => {
                    let first_offset = match *base_offset {
                        -1 => -1,
                        base => base + i64::from(run.records.start),
                    };
                    let (topic, partition) = (completion.topic.clone(), completion.partition);
                    let ended = BatchMetadata { topic, partition, first_offset, records };
                    self.told(records);
                    return Poll::Ready(Some(Ok(ended)));
                }
                Outcome::Failed(error) => {
                    let error = error.clone();
                    self.told(records);
                    return Poll::Ready(Some(Err(error)));
                }
                Outcome::Split(parts) => parts.clone(),
            };
            self.follow(&parts);
        }
    }

    fn told(&mut self, records: u32) {
        self.records -= u64::from(records);
        self.runs.pop_front();
    }

    /// Puts the parts of a split batch in the place of the first run, which is of it.
    fn follow(&mut self, parts: &[(u32, Arc<Completion>)]) {
        let Some(Run { records, .. }) = self.runs.pop_front() else { return };
        let mut end = records.end;
        for (first, part) in parts.iter().rev() {
            let start = records.start.max(*first);
            if start < end {
                let records = start - first..end - first;
                let completion = part.clone();
                self.runs.push_front(Run { completion, records, waker: NO_WAKER });
                end = start;
            }
        }
    }
}

/// How many batches are looked through for the one a record is in: as many as a topic commonly has
/// partitions whose batches are open at once.
const LOOKED_BACK: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn completion() -> Arc<Completion> {
        Arc::new(Completion::new(Arc::from("t"), 0))
    }

    fn told(deliveries: &mut Deliveries) -> Option<(i64, u32)> {
        deliveries.ended().map(|it| it.map(|it| (it.first_offset, it.records)).unwrap())
    }

    #[test]
    fn records_side_by_side_in_a_batch_are_told_of_together() {
        let (one, other) = (completion(), completion());
        let mut deliveries = Deliveries::new();
        for index in 0..3 {
            deliveries.add(Delivery::new(one.clone(), index, 0));
            deliveries.add(Delivery::new(other.clone(), 5 + index, 0));
        }
        assert_eq!((deliveries.records(), told(&mut deliveries)), (6, None));
        other.written(100, -1);
        assert_eq!(told(&mut deliveries), None, "the first comes first");
        one.written(10, -1);
        assert_eq!(told(&mut deliveries), Some((10, 3)));
        assert_eq!(told(&mut deliveries), Some((105, 3)));
        assert_eq!((deliveries.records(), told(&mut deliveries)), (0, None));
    }

    #[test]
    fn records_of_a_split_batch_are_told_of_with_its_parts() {
        let whole = completion();
        let mut deliveries = Deliveries::new();
        for index in 1..5 {
            deliveries.add(Delivery::new(whole.clone(), index, 0));
        }
        let parts = [completion(), completion(), completion()];
        whole.split([0, 3, 5].into_iter().zip(parts.clone()).collect());
        parts[0].written(10, -1);
        parts[1].written(90, -1);
        assert_eq!(told(&mut deliveries), Some((11, 2)));
        assert_eq!(told(&mut deliveries), Some((90, 2)));
        assert!(deliveries.is_empty());
    }
}
