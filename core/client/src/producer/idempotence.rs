//! Sequences: how a retried batch is written once.
//!
//! The broker takes a partition's batches from one producer id and epoch only in the order of their
//! sequences, and remembers the last five. So a retry after a lost answer is recognised, and a batch
//! whose predecessor failed is refused as out of order instead of overtaking it.
//!
//! When the broker has lost the thread (its state expired, or one of our batches failed for good and
//! left a gap), the producer raises its epoch and starts the partition's sequences over (KIP-360):
//!
//! 1. Nothing new is sent to the partition until no batch of it is under way.
//! 2. The epoch goes up by one; a new producer id is asked for when there is no higher epoch.
//! 3. The batches that still wait for a retry get sequences from 0, in their order.
//!
//! Other partitions keep the old epoch until they have nothing in flight, and adopt the new one then.

/// The producer id and epoch in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdentity {
    /// The id the broker gave out.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
}

/// What the producer knows of its own identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The producer is not idempotent: batches carry no sequences.
    Anonymous,
    /// An id has to be asked for before anything is sent.
    Wanted,
    /// Batches carry this.
    Known(ProducerIdentity),
}

impl Identity {
    /// Raises the epoch; past the highest one, a new id is wanted.
    #[must_use]
    pub fn bumped(self) -> Self {
        match self {
            Self::Known(ProducerIdentity { producer_id, epoch }) if epoch < i16::MAX => {
                Self::Known(ProducerIdentity { producer_id, epoch: epoch + 1 })
            }
            Self::Known(_) | Self::Wanted => Self::Wanted,
            Self::Anonymous => Self::Anonymous,
        }
    }
}

/// The sequences of one partition under one identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequences {
    /// Whose sequences these are; `None` before the first batch.
    pub identity: Option<ProducerIdentity>,
    /// The sequence of the next new batch.
    pub next: i32,
    /// The sequence after the last one that was acknowledged.
    pub next_acked: i32,
    /// A batch was acknowledged under this identity. Until then the broker knows nothing of it, and
    /// takes whichever sequence comes first: only one batch may be in flight.
    pub established: bool,
    /// A batch with a sequence was given up without knowing whether it was written.
    pub unresolved: bool,
    /// The sequences have to start over under a higher epoch.
    pub bump: bool,
}

impl Sequences {
    /// Returns sequences that start at 0 under `identity`.
    pub fn starting(identity: Option<ProducerIdentity>) -> Self {
        Self {
            identity,
            next: 0,
            next_acked: 0,
            established: false,
            unresolved: false,
            bump: false,
        }
    }

    /// Takes the sequences of a batch of `records` and returns the first.
    pub fn take(&mut self, records: u32) -> i32 {
        let first = self.next;
        self.next = advance(first, records);
        first
    }

    /// Notes that the batch from `first` on was written.
    pub fn acknowledge(&mut self, first: i32, records: u32) {
        self.next_acked = advance(first, records);
        self.established = true;
    }

    /// Notes that nothing is in flight any more: whatever was unresolved is now known.
    pub fn settle(&mut self) {
        if self.unresolved {
            self.unresolved = false;
            // With the last sequence acknowledged the lost answer was a yes; else there is a gap.
            self.bump |= self.next != self.next_acked;
        }
    }
}

/// Returns the sequence `by` after `sequence`; it wraps from the greatest to 0.
pub fn advance(sequence: i32, by: u32) -> i32 {
    let sum = i64::from(sequence) + i64::from(by);
    (sum % (i64::from(i32::MAX) + 1)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(advance(0, 5), 5);
        assert_eq!(advance(i32::MAX, 1), 0);
        assert_eq!(advance(i32::MAX - 1, 3), 1);
    }

    #[test]
    fn epoch_past_the_highest_asks_for_a_new_id() {
        let at = |epoch| Identity::Known(ProducerIdentity { producer_id: 9, epoch });
        assert_eq!(at(0).bumped(), at(1));
        assert_eq!(at(i16::MAX).bumped(), Identity::Wanted);
        assert_eq!(Identity::Anonymous.bumped(), Identity::Anonymous);
    }

    #[test]
    fn an_unresolved_batch_leaves_a_gap_only_if_nothing_after_it_was_acknowledged() {
        let mut sequences = Sequences::starting(None);
        sequences.take(1);
        sequences.take(1);
        sequences.unresolved = true;
        let mut written = sequences;
        written.acknowledge(1, 1);
        written.settle();
        assert!(!written.bump);
        sequences.settle();
        assert!(sequences.bump);
    }
}
