//! Members and topics by their numbers.

use std::sync::Arc;

/// A member's number.
pub(super) type Member = usize;

/// A topic that somebody subscribes to.
pub(super) struct Topic<'a> {
    pub(super) name: &'a Arc<str>,
    /// The number of its first partition.
    pub(super) start: usize,
    pub(super) partitions: usize,
    /// The subscribers' numbers, growing.
    pub(super) subscribers: Vec<Member>,
}
