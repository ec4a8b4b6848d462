//! Log compaction: of each key the latest record stays (KIP-58, KIP-534, KIP-280 left out).
//!
//! ```text
//!          cleaned before           dirty                  not to be cleaned
//!     ┌──────────┬──────────┬──────────┬──────────┬──────────────────┬──────────────┐
//!     │ segment  │ segment  │ segment  │ segment  │ within the lag … │    active    │
//!     └──────────┴──────────┴──────────┴──────────┴──────────────────┴──────────────┘
//!                     first dirty ▲       first uncleanable ▲
//! ```
//!
//! A round has two passes. The first reads the dirty part into an [`OffsetMap`]: for each key the
//! offset of its last record. The second reads the log from its start to where the map ends and
//! writes it anew, leaving out every record that the map knows a later one of. Offsets never change;
//! a log that was cleaned has gaps.
//!
//! * [`dirty`]: what there is to clean, and whether it is worth a round.
//! * [`offset_map`]: the first pass' memory, bounded.
//! * [`round`]: the two passes, batch by batch.
//! * [`transactions`]: which batches belong to aborted transactions, which markers are of no use.
//! * [`groups`]: which segments become one.
//!
//! Follows Kafka's `LogCleanerManager` and `Cleaner`. Left out: `compaction.strategy` (KIP-280 never
//! came), and the transaction index, until there are transactions.

pub mod dirty;
pub mod groups;
pub mod offset_map;
pub mod round;
pub mod transactions;

pub use dirty::{Cleanable, DirtyLog, SegmentSummary};
pub use groups::group_segments;
pub use offset_map::{MapFull, OffsetMap};
pub use round::{BatchFate, CleanPass, CleanStats, IndexPass, Indexed, RoundLimits};
pub use transactions::{AbortedTransaction, TransactionsCleaned};
