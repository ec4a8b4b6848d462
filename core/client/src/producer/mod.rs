//! A producer's decisions: which batch a record joins, when a batch is sent, what a failure means.
//!
//! [`Accumulator`] holds the batches of every partition. Records are encoded into the open batch as
//! they are appended; [`Accumulator::poll`] says what to send now and when to ask again; the answer
//! of each batch comes back through [`Accumulator::complete`] or [`Accumulator::fail`]. The sequences
//! that make retries idempotent (KIP-98, KIP-360) are kept in [`idempotence`].
//!
//! Left out: transactions.

mod accumulator;
mod ahead;
pub mod idempotence;
mod node_times;
mod partition;
pub mod partitioner;
mod sending;
mod settling;
mod spare;
mod split;

pub use accumulator::{Accumulator, AccumulatorConfig, Appended, Refused, TopicSlot};
pub use partition::{Failure, GivenUp, OutBatch, Payload, Verdict};
pub use sending::{Polled, Room, SendRequest};
