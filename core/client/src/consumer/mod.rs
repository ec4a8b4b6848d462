//! A consumer's decisions: membership, positions, fetching, committing, and what may be delivered.
//!
//! [`ConsumerMachine`] puts the parts together and is what the shell drives: it takes events with
//! the time and returns [`Action`]s. The parts know nothing of each other:
//!
//! | module | decides |
//! |---|---|
//! | [`membership`] | joining, heartbeats, giving back, leaving: classic groups, and consumer groups (KIP-848) |
//! | [`subscription`] | which topics are wanted, and when the group has to rebalance for them |
//! | [`positions`] | where reading starts, goes on, and is reset |
//! | [`fetcher`] | which partitions to fetch from which broker |
//! | [`committer`] | which offsets to commit, in which order commits complete |
//! | [`buffer`] | what the application may take now; shared with it, hence apart |
//! | [`offsets`] | how questions about offsets look on the wire |
//! | [`missing`] | which partitions their topics do not have |
//! | [`stalls`] | which partitions wait, and for what |
//! | [`reader`] | checking, decompressing and walking records, on the application's side |

pub mod buffer;
pub mod committer;
pub mod fetcher;
pub mod group_protocol;
pub mod machine;
pub mod membership;
pub mod missing;
pub mod offsets;
pub mod positions;
pub mod reader;
pub mod stalls;
pub mod subscription;
pub mod types;
mod walk;

pub use machine::{Action, ConsumerMachine, MachineConfig};
pub use subscription::{Pattern, Regex};
pub use types::{
    AssignmentEpoch, IsolationLevel, OffsetAndMetadata, OffsetReset, Position, PositionEpoch,
    RequestId, Timestamp, TopicName, TopicPartition,
};
