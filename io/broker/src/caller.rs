//! What is known of a connection beside its bytes: who is behind it, and its alarm.
//!
//! The group coordinator wants to know which connections are open under which client's name, and that
//! one was closed by its peer over which members spoke. Heartbeats are many: what they cost here is one
//! look at a number.

use crate::alarm::Alarm;
use kohort_coordinator::ConnectionId;
use std::net::IpAddr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One connection, from its first request on.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) connection: ConnectionId,
    /// For the request that waits.
    pub(crate) alarm: Alarm,
    named: Once,
    /// The shards whose members spoke over it, one bit for the shards of equal number modulo 64.
    shards: AtomicU64,
    /// Somebody who may have had no id began over it, and has not spoken since.
    begun: AtomicBool,
}

impl Caller {
    pub(crate) fn new(connection: u64) -> Self {
        let connection = ConnectionId(connection);
        Self {
            connection,
            alarm: Alarm::default(),
            named: Once::new(),
            shards: AtomicU64::new(0),
            begun: AtomicBool::new(false),
        }
    }

    /// Makes the connection known if nothing did before: with the first name its client gives.
    pub(crate) fn make_known(&self, known: impl FnOnce()) {
        self.named.call_once(known);
    }

    /// Tells whether a client has given its name.
    pub(crate) fn is_known(&self) -> bool {
        self.named.is_completed()
    }

    /// Takes in that a member of a shard speaks, which may just begin. Returns whether that shows whose the
    /// connection is: it is the first time, or a member begins, or has begun and may have got its id.
    pub(crate) fn speaks_to(&self, shard: i32, begins: bool) -> bool {
        let bit = bit(shard);
        let first = self.shards.load(Ordering::Relaxed) & bit == 0
            && self.shards.fetch_or(bit, Ordering::Relaxed) & bit == 0;
        let has_begun = self.begun.load(Ordering::Relaxed);
        if has_begun != begins {
            self.begun.store(begins, Ordering::Relaxed);
        }
        first || begins || has_begun
    }

    /// Tells whether a member of that shard, or of one that shares its bit, spoke.
    pub(crate) fn spoke_to(&self, shard: i32) -> bool {
        self.shards.load(Ordering::Relaxed) & bit(shard) != 0
    }
}

/// Returns an address as Kafka writes it in group descriptions.
pub(crate) fn client_host(address: IpAddr) -> String {
    format!("/{address}")
}

fn bit(shard: i32) -> u64 {
    1 << (shard.unsigned_abs() % u64::BITS)
}
