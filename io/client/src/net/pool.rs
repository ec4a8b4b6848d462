//! The connections of one client: one for each node and purpose.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kohort_client_core::backoff::{Backoff, Jitter};
use kohort_client_core::metadata::Broker;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::timers::after;
use super::{BrokerConnection, ConnectionOptions, NetError, Throttles};

/// What a connection is for. Those of different purposes never wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Metadata, produce, admin: asked and answered at once.
    General,
    /// Fetch: the broker may hold the answer back until there are records.
    Fetch,
    /// Group and transaction coordination: the broker may hold a join back, and a heartbeat must
    /// not wait behind anything.
    Coordinator,
}

/// The connections of one client. Clones share them.
#[derive(Debug, Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: ConnectionOptions,
    backoff: Backoff,
    jitter: Mutex<Jitter>,
    slots: Mutex<BTreeMap<(i32, Purpose), Arc<Slot>>>,
}

#[derive(Debug, Default)]
struct Slot {
    state: Mutex<State>,
    /// Held while connecting, so that many callers make one attempt.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<BrokerConnection>,
    failures: u32,
    /// How many attempts in a row took too long.
    timeouts: u32,
    not_before: Option<Instant>,
    /// What the last attempt met, if it failed.
    failure: Option<NetError>,
}

impl Pool {
    /// Returns a pool without connections. `seed` decides the jitter of the back-off.
    pub fn new(options: ConnectionOptions, backoff: Backoff, seed: u64) -> Self {
        let jitter = Mutex::new(Jitter::seeded(seed));
        Self { inner: Arc::new(Inner { options, backoff, jitter, slots: Mutex::default() }) }
    }

    /// Returns what brokers throttled.
    pub fn throttles(&self) -> &Throttles {
        &self.inner.options.throttles
    }

    /// Returns the open connection to a broker, if there is one to its present address.
    pub fn existing(&self, broker: &Broker, purpose: Purpose) -> Option<BrokerConnection> {
        let slot = self.inner.slots.lock().get(&(broker.id, purpose)).cloned()?;
        slot.usable(broker)
    }

    /// Returns a connection to a broker, opening it if need be. After a failed attempt the next one
    /// waits for the back-off first.
    ///
    /// Cancel-safe: an attempt that is dropped counts as none.
    ///
    /// # Errors
    /// Why the node cannot be connected to.
    pub async fn connection(
        &self,
        broker: &Broker,
        purpose: Purpose,
    ) -> Result<BrokerConnection, NetError> {
        let slot = self.inner.slots.lock().entry((broker.id, purpose)).or_default().clone();
        if let Some(connection) = slot.usable(broker) {
            return Ok(connection);
        }
        let _connecting = slot.connecting.lock().await;
        if let Some(connection) = slot.usable(broker) {
            return Ok(connection);
        }
        let not_before = slot.state.lock().not_before;
        if let Some(not_before) = not_before {
            tokio::time::sleep_until(not_before).await;
        }
        let mut options = self.inner.options.clone();
        options.setup_timeout = self.setup_timeout(slot.state.lock().timeouts);
        let opened = BrokerConnection::open(&broker.host, broker.port, options).await;
        let mut state = slot.state.lock();
        match opened {
            Ok(connection) => {
                tracing::debug!(node = broker.id, address = %connection.address(), ?purpose, "connected");
                state.failures = 0;
                state.timeouts = 0;
                state.not_before = None;
                state.failure = None;
                if let Some(old) = state.connection.replace(connection.clone()) {
                    part_with(old, purpose);
                }
                Ok(connection)
            }
            Err(error) => {
                state.failures += 1;
                state.timeouts = if error.took_too_long() { state.timeouts + 1 } else { 0 };
                let delay = self.inner.backoff.delay(state.failures, &mut self.inner.jitter.lock());
                tracing::debug!(node = broker.id, %error, ?delay, "cannot connect");
                state.not_before = Some(after(Instant::now(), delay));
                state.connection = None;
                state.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    /// How long an attempt may take after so many that took too long: twice as long each time.
    fn setup_timeout(&self, timeouts: u32) -> Duration {
        let ConnectionOptions { setup_timeout, setup_timeout_max, .. } = self.inner.options;
        let factor = 1_u32.checked_shl(timeouts).unwrap_or(u32::MAX);
        setup_timeout.saturating_mul(factor).min(setup_timeout_max.max(setup_timeout))
    }

    /// Returns how long the back-off still keeps us from connecting to a broker.
    pub fn wait(&self, node: i32, purpose: Purpose) -> Duration {
        let slot = self.inner.slots.lock().get(&(node, purpose)).cloned();
        let not_before = slot.and_then(|slot| slot.state.lock().not_before);
        not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()))
    }

    /// Returns what keeps us from nodes that could not be connected to; nothing if the last attempt to
    /// connect to any one succeeded.
    pub fn failures(&self) -> Option<Vec<NetError>> {
        let slots: Vec<_> = self.inner.slots.lock().values().cloned().collect();
        let mut failures = Vec::new();
        for slot in slots {
            let state = slot.state.lock();
            if state.connection.is_some() {
                return None;
            }
            failures.extend(state.failure.clone());
        }
        Some(failures)
    }

    /// Gives the connections of node `from` to node `to`: a bootstrap address has turned out to be
    /// that node's.
    pub fn rename(&self, from: i32, to: i32) {
        let mut slots = self.inner.slots.lock();
        for purpose in [Purpose::General, Purpose::Fetch, Purpose::Coordinator] {
            if let Some(slot) = slots.remove(&(from, purpose)) {
                slots.entry((to, purpose)).or_insert(slot);
            }
        }
    }

    /// Parts with the connections to nodes that `keep` refuses, because metadata no longer names them.
    pub fn retain(&self, keep: impl Fn(i32) -> bool) {
        self.inner.slots.lock().retain(|(node, purpose), slot| {
            let keep = keep(*node);
            if let Some(connection) = slot.state.lock().connection.take_if(|_| !keep) {
                part_with(connection, *purpose);
            }
            keep
        });
    }
}

/// Lets go of a connection that metadata has no use for. That says nothing of what is under way over it: the
/// broker may be at work, and a request that is cut off is sent again, which creates a topic twice.
/// So it ends by itself, after its last answer or when its time is up.
///
/// Fetches and joins are cut off. They change nothing that asking again would not, and a broker that
/// is dead would hold them for as long as they may take, while another could answer.
fn part_with(connection: BrokerConnection, purpose: Purpose) {
    match purpose {
        Purpose::General => drop(connection),
        Purpose::Fetch | Purpose::Coordinator => connection.close(),
    }
}

impl Slot {
    fn usable(&self, broker: &Broker) -> Option<BrokerConnection> {
        let state = self.state.lock();
        let usable =
            |it: &&BrokerConnection| !it.is_closed() && it.is_to(&broker.host, broker.port);
        state.connection.as_ref().filter(usable).cloned()
    }
}
