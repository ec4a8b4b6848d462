//! What is counted of one partition.

use crate::counters::Counter;

/// What is counted of one partition.
#[derive(Debug, Default)]
pub(crate) struct PartitionCounters {
    pub(crate) messages_in: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) produce_requests: Counter,
    pub(crate) failed_produce_requests: Counter,
    pub(crate) fetch_requests: Counter,
    pub(crate) failed_fetch_requests: Counter,
}

impl PartitionCounters {
    /// Returns the counters in the order of their declaration.
    pub(crate) fn all(&self) -> [&Counter; 7] {
        [
            &self.messages_in,
            &self.bytes_in,
            &self.bytes_out,
            &self.produce_requests,
            &self.failed_produce_requests,
            &self.fetch_requests,
            &self.failed_fetch_requests,
        ]
    }
}
