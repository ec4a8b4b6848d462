//! Choosing partitions in a way of one's own.

use std::fmt::Debug;

pub use kohort_client_core::producer::partitioner::{TopicPartitions, partition_for_key};

/// Chooses the partition of each record that does not name one itself; see
/// [`ProducerBuilder::partitioner`](super::ProducerBuilder::partitioner).
///
/// ```
/// use kohort::producer::{Partitioner, TopicPartitions};
///
/// /// Keeps partition 0 for records whose key says that they are urgent.
/// #[derive(Debug)]
/// struct UrgentFirst;
///
/// impl Partitioner for UrgentFirst {
///     fn partition(
///         &mut self,
///         _topic: &str,
///         key: Option<&[u8]>,
///         _value: Option<&[u8]>,
///         _view: TopicPartitions<'_>,
///     ) -> Option<i32> {
///         key.is_some_and(|key| key.starts_with(b"urgent")).then_some(0)
///     }
/// }
///
/// # fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let producer = kohort::producer::Producer::builder()
///     .set("bootstrap.servers", "localhost:9092")
///     .partitioner(UrgentFirst)
///     .build()?;
/// # Ok(()) }
/// ```
pub trait Partitioner: Debug + Send + 'static {
    /// Returns the partition, or `None` to leave the record to the default: by its key, or, without a
    /// key, to the partition whose batch is being filled.
    ///
    /// It is called while no other record can be taken in, so it should be quick; and once more for the
    /// same record when that had to wait for room.
    fn partition(
        &mut self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        view: TopicPartitions<'_>,
    ) -> Option<i32>;
}

/// Deals records out to the partitions one by one, whatever their keys. Batches are filled slowly that
/// way: the default, which fills one batch after the other, spreads records as evenly and costs less.
#[derive(Debug, Default)]
pub struct RoundRobin {
    next: u32,
}

impl Partitioner for RoundRobin {
    fn partition(
        &mut self,
        _: &str,
        _: Option<&[u8]>,
        _: Option<&[u8]>,
        view: TopicPartitions<'_>,
    ) -> Option<i32> {
        let turn = self.next;
        self.next = turn.wrapping_add(1);
        match view.available {
            [] => Some((turn % view.partition_count.unsigned_abs()).cast_signed()),
            available => Some(available[turn as usize % available.len()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_robin_deals_out_to_partitions_with_a_leader() {
        let mut dealer = RoundRobin::default();
        let mut deal = |available: &[i32]| {
            let view = TopicPartitions { partition_count: 4, available };
            dealer.partition("t", None, None, view).unwrap()
        };
        assert_eq!([deal(&[0, 2]), deal(&[0, 2]), deal(&[0, 2])], [0, 2, 0]);
        assert_eq!([deal(&[]), deal(&[])], [3, 0]);
    }
}
