//! Where requests wait for a partition to move on.
//!
//! A delayed Fetch registers one [`Waiter`] with every partition it reads and looks again each time
//! one of them has advanced. Nothing polls: an idle broker does nothing. How many wait is bounded by
//! the number of connections, since a connection has at most one Fetch under way.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// The requests that wait for one partition.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    waiting: Mutex<Vec<Arc<Notify>>>,
    /// The length of `waiting`, so that an advance nobody waits for takes no lock.
    count: AtomicUsize,
}

impl Waiters {
    /// Wakes everybody who waits. Called from the log's thread: it never blocks for long.
    pub(crate) fn wake(&self) {
        if self.count.load(Ordering::SeqCst) > 0 {
            for waiter in &*self.waiting.lock() {
                waiter.notify_one();
            }
        }
    }

    fn add(&self, waiter: &Arc<Notify>) {
        let mut waiting = self.waiting.lock();
        waiting.push(Arc::clone(waiter));
        self.count.store(waiting.len(), Ordering::SeqCst);
    }

    fn remove(&self, waiter: &Arc<Notify>) {
        let mut waiting = self.waiting.lock();
        if let Some(at) = waiting.iter().position(|other| Arc::ptr_eq(other, waiter)) {
            waiting.swap_remove(at);
        }
        self.count.store(waiting.len(), Ordering::SeqCst);
    }
}

/// One waiting request. It is registered from its making to its end.
///
/// Registering comes before looking, or an advance between the two would go unseen:
/// 1. the request looks and finds nothing; 2. the partition advances and wakes nobody; 3. the
///    request registers and waits for an advance that has been.
#[derive(Debug)]
pub(crate) struct Waiter {
    notify: Arc<Notify>,
    places: Vec<Arc<Waiters>>,
}

impl Waiter {
    /// Registers with all of `places`.
    pub(crate) fn register(places: Vec<Arc<Waiters>>) -> Self {
        let notify = Arc::new(Notify::new());
        for place in &places {
            place.add(&notify);
        }
        Self { notify, places }
    }

    /// Waits until one of the places has moved since the last time this returned.
    pub(crate) async fn moved(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        for place in &self.places {
            place.remove(&self.notify);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_advance_between_registering_and_waiting_is_not_lost() {
        let place = Arc::new(Waiters::default());
        let waiter = Waiter::register(vec![Arc::clone(&place)]);
        place.wake();
        waiter.moved().await;
    }

    #[test]
    fn a_waiter_leaves_every_place_when_it_ends() {
        let places = [Arc::new(Waiters::default()), Arc::new(Waiters::default())];
        let first = Waiter::register(places.to_vec());
        let second = Waiter::register(vec![Arc::clone(&places[0])]);
        drop(first);
        assert_eq!(places[0].count.load(Ordering::SeqCst), 1);
        assert_eq!(places[1].count.load(Ordering::SeqCst), 0);
        drop(second);
        assert!(places[0].waiting.lock().is_empty());
    }
}
