//! A partition log's rules, as plain values: no file, no clock, no thread.
//!
//! ```text
//! producer's bytes ─► validator ─► producer_state ─► (io/storage appends) ─► roll, sparse_index
//! ```
//!
//! * [`validator`]: what a broker accepts of a Produce request, and what it rewrites.
//! * [`producer_state`]: idempotence: sequences, epochs, duplicates answered with the old offset.
//! * [`batch_order`]: which batches of a segment are not where they belong.
//! * [`epoch_cache`]: which leader epoch began where (KIP-101, KIP-320).
//! * [`sparse_index`]: from an offset or a time to a place in a segment.
//! * [`roll`]: when a segment is full.
//! * [`cleaner`]: compaction: of each key the latest record stays.
//! * [`retention`]: when a segment is old enough to go.
//!
//! `io/storage` carries the decisions out. Left out until they are needed: the transaction index and
//! the last stable offset.

pub mod batch_order;
pub mod cleaner;
pub mod config;
pub mod epoch_cache;
pub mod producer_state;
pub mod retention;
pub mod roll;
pub mod sparse_index;
pub mod validator;

pub use config::PartitionConfig;

/// Milliseconds since 1970 in UTC.
pub type Timestamp = i64;
