//! What the cleaner must know of transactions, which it meets batch by batch in the log's order.
//!
//! Records of aborted transactions go at once. A marker stays until all records of its transaction are
//! gone, or a reader would take what is left of an aborted transaction for part of the next one.

use std::collections::{BTreeMap, BTreeSet};

use kohort_protocol::records::{BatchHeader, ControlRecord, MarkerKind};

/// A transaction that was aborted, as a transaction index names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose it was.
    pub producer_id: i64,
    /// The offset of its first record in the partition.
    pub first_offset: i64,
}

/// The transactions met so far in one pass over a log.
#[derive(Debug, Default)]
pub struct TransactionsCleaned {
    /// Not reached yet, by first offset and producer.
    ahead: BTreeSet<(i64, i64)>,
    /// Reached, by producer, and whether a batch of it was met.
    aborted: BTreeMap<i64, bool>,
    /// Producers of whom a batch was met that is not of an aborted transaction.
    committed: BTreeSet<i64>,
}

impl TransactionsCleaned {
    /// Makes aborted transactions known, before the pass comes to them.
    pub fn add_aborted(&mut self, transactions: impl IntoIterator<Item = AbortedTransaction>) {
        let keys =
            transactions.into_iter().map(|aborted| (aborted.first_offset, aborted.producer_id));
        self.ahead.extend(keys);
    }

    /// Takes note of a batch of records. Returns whether it is of an aborted transaction.
    pub fn is_aborted(&mut self, batch: &BatchHeader) -> bool {
        self.reach(batch.last_offset());
        if !batch.is_transactional() {
            return false;
        }
        if let Some(met) = self.aborted.get_mut(&batch.producer_id) {
            *met = true;
            return true;
        }
        self.committed.insert(batch.producer_id);
        false
    }

    /// Takes note of a control batch, whose first record says `what`; nothing if it has none any more.
    /// Returns whether it is of no use: no record of the transaction it ends was met.
    pub fn is_useless_marker(&mut self, batch: &BatchHeader, what: Option<ControlRecord>) -> bool {
        self.reach(batch.last_offset());
        match what {
            Some(ControlRecord::EndTransaction(marker)) => match marker.kind {
                MarkerKind::Abort => self.aborted.remove(&batch.producer_id) != Some(true),
                MarkerKind::Commit => !self.committed.remove(&batch.producer_id),
            },
            Some(ControlRecord::Other(_)) => false,
            None => true,
        }
    }

    fn reach(&mut self, offset: i64) {
        while let Some(&(first_offset, producer_id)) = self.ahead.first()
            && first_offset <= offset
        {
            self.ahead.pop_first();
            self.aborted.entry(producer_id).or_insert(false);
        }
    }
}
