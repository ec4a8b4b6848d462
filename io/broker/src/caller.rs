//! What is known of a connection beside its bytes: who is behind it, and its alarm.
//!
//! The group coordinator wants to know which connections are open under which client's name, and that
//! one was closed by its peer over which members spoke. Heartbeats are many: what they cost here is one
//! look at a number.

use crate::alarm::Alarm;
use kohort_coordinator::ConnectionId;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The two ends of a connection, and its number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) connection: u64,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) listener: usize,
}

/// One connection, from its first request on.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) connection: ConnectionId,
    /// Its two ends.
    pub(crate) ends: Ends,
    /// For the request that waits.
    pub(crate) alarm: Alarm,
    known: OnceLock<Known>,
    /// The shards whose members spoke over it, one bit for the shards of equal number modulo 64.
    shards: AtomicU64,
    /// Somebody who may have had no id began over it, and has not spoken since.
    begun: AtomicBool,
}

/// Who is behind a connection, made once for all of its requests.
#[derive(Debug)]
pub(crate) struct Known {
    /// The first name that the client gave.
    client_id: Option<Arc<str>>,
    /// Where it is, as Kafka writes it in group descriptions.
    pub(crate) host: Arc<str>,
}

impl Known {
    /// Returns the name that a request gives, which nearly always is the first one's.
    pub(crate) fn name(&self, client_id: Option<&str>) -> Option<Arc<str>> {
        if self.client_id.as_deref() == client_id {
            return self.client_id.clone();
        }
        client_id.map(Arc::from)
    }
}

impl Caller {
    pub(crate) fn new(ends: Ends) -> Self {
        Self {
            connection: ConnectionId(ends.connection),
            ends,
            alarm: Alarm::default(),
            known: OnceLock::new(),
            shards: AtomicU64::new(0),
            begun: AtomicBool::new(false),
        }
    }

    /// Returns who the client is. With the first name it gives, `opened` hears of it.
    pub(crate) fn known_as(&self, client_id: Option<&str>, opened: impl FnOnce(&Known)) -> &Known {
        self.known.get_or_init(|| {
            let host = client_host(self.ends.peer.ip()).into();
            let known = Known { client_id: client_id.map(Arc::from), host };
            opened(&known);
            known
        })
    }

    /// Returns who the client is, if it has given its name.
    pub(crate) fn known(&self) -> Option<&Known> {
        self.known.get()
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

fn client_host(address: IpAddr) -> String {
    format!("/{address}")
}

fn bit(shard: i32) -> u64 {
    1 << (shard.unsigned_abs() % u64::BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_client_is_known_by_its_first_name_and_a_request_has_its_own() {
        let end = (Ipv4Addr::LOCALHOST, 1).into();
        let caller = Caller::new(Ends { connection: 7, peer: end, local: end, listener: 0 });
        assert!(caller.known().is_none());
        let mut opened = 0;
        for name in [Some("first"), Some("second"), None, Some("first")] {
            let known = caller.known_as(name, |_| opened += 1);
            assert_eq!((&*known.host, known.client_id.as_deref()), ("/127.0.0.1", Some("first")));
            assert_eq!(known.name(name).as_deref(), name);
        }
        assert_eq!(opened, 1);
    }
}
