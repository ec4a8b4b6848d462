//! What the shards of a broker have in common.

use super::{ShardLoad, Turns};
use crate::group_events::GroupEvents;
use kohort_coordinator::Clients;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What the shards of a broker have in common.
#[derive(Debug, Default)]
pub(crate) struct SharedByShards {
    pub(super) turns: Turns,
    /// Set before the shards are stopped if they are to save what spares the next start work.
    pub(super) orderly: AtomicBool,
    loads: Mutex<Vec<ShardLoad>>,
    /// Who is connected.
    pub(crate) clients: Mutex<Clients>,
    /// Where rebalances are told, if they are.
    pub(crate) events: Option<Arc<GroupEvents>>,
    /// How many members the consumer groups of all shards have: how often they may heartbeat depends on
    /// it.
    consumer_members: AtomicUsize,
}

impl SharedByShards {
    pub(crate) fn new(events: Option<Arc<GroupEvents>>) -> Self {
        Self { events, ..Self::default() }
    }

    /// Lets the shards write snapshots when they are stopped.
    pub(crate) fn stop_orderly(&self) {
        self.orderly.store(true, Ordering::Relaxed);
    }

    /// Returns what the latest load of each shard took, in no order.
    pub(crate) fn loads(&self) -> Vec<ShardLoad> {
        self.loads.lock().clone()
    }

    /// Takes one shard's members into account: it had `before` and has `after`. Returns how many the
    /// others have.
    pub(super) fn count_members(&self, before: usize, after: usize) -> usize {
        let all = &self.consumer_members;
        if after > before {
            all.fetch_add(after - before, Ordering::Relaxed);
        } else if after < before {
            all.fetch_sub(before - after, Ordering::Relaxed);
        }
        all.load(Ordering::Relaxed).saturating_sub(after)
    }

    pub(super) fn note_load(&self, load: ShardLoad) {
        let mut loads = self.loads.lock();
        loads.retain(|other| other.partition != load.partition);
        loads.push(load);
    }
}
