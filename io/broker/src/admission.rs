//! Which connections are accepted: how many at once, how many from one address, how many a second.
//!
//! As in Kafka, one too many is closed at once, and connections that come too fast wait to be accepted.
//! Kafka makes room on a full listener by closing the connection that is idle longest; here the new one
//! is refused, so that nobody can push others out.

use crate::config::{BrokerConfig, limit_for_address};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The connections that are open, by the address they come from.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection's place. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
}

/// The limit that a refused connection met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The process may open no more files.
    OpenFiles(usize),
    /// `max.connections`.
    Total(usize),
    /// `max.connections.per.ip`, or its override for this address.
    PerAddress(usize),
}

impl Refusal {
    /// Returns the limit's name and value.
    pub(crate) fn limit(self) -> (&'static str, usize) {
        match self {
            Refusal::OpenFiles(limit) => ("open files", limit),
            Refusal::Total(limit) => ("max.connections", limit),
            Refusal::PerAddress(limit) => ("max.connections.per.ip", limit),
        }
    }
}

impl Admission {
    /// Takes a place for a connection from `address`, of which there may be `bearable` in all.
    pub(crate) fn admit(
        &self,
        address: IpAddr,
        config: &BrokerConfig,
        bearable: usize,
    ) -> Result<Place, Refusal> {
        let address = address.to_canonical();
        let mut open = self.open.lock();
        let total: usize = open.values().sum();
        let max = config.max_connections as usize;
        if total >= max {
            return Err(Refusal::Total(max));
        }
        if total >= bearable {
            return Err(Refusal::OpenFiles(bearable));
        }
        let from_there = open.get(&address).copied().unwrap_or(0);
        let limit = limit_of(address, config);
        if from_there >= limit {
            return Err(Refusal::PerAddress(limit));
        }
        open.insert(address, from_there + 1);
        Ok(Place { open: Arc::clone(&self.open), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        let Some(count) = open.get_mut(&self.address) else { return };
        *count -= 1;
        if *count == 0 {
            open.remove(&self.address);
        }
    }
}

fn limit_of(address: IpAddr, config: &BrokerConfig) -> usize {
    let overrides = config.max_connections_per_ip_overrides.iter();
    let own = overrides.filter_map(|item| limit_for_address(item)).find(|(of, _)| *of == address);
    own.map_or(config.max_connections_per_ip as usize, |(_, limit)| limit)
}

/// Counts the connections of the current second.
#[derive(Debug)]
pub(crate) struct Pace {
    second: Instant,
    accepted: i32,
}

const SECOND: Duration = Duration::from_secs(1);

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { second: now, accepted: 0 }
    }

    /// Returns until when to wait with the next connection, if `max.connection.creation.rate` is used
    /// up.
    pub(crate) fn wait(&mut self, rate: i32, now: Instant) -> Option<Instant> {
        if now >= self.second + SECOND {
            *self = Self::new(now);
        }
        (self.accepted >= rate).then(|| self.second + SECOND)
    }

    pub(crate) fn note_accepted(&mut self) {
        self.accepted = self.accepted.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn config(settings: &[(&str, &str)]) -> BrokerConfig {
        let mut all = Settings::default();
        for (name, value) in settings {
            all.set(name, value).unwrap();
        }
        all.typed()
    }

    #[test]
    fn an_address_has_its_own_limit_or_that_of_all_and_a_place_is_given_back() {
        let config = config(&[
            ("max.connections", "4"),
            ("max.connections.per.ip", "1"),
            ("max.connections.per.ip.overrides", "10.0.0.1:2,[::1]:3"),
        ]);
        let admission = Admission::default();
        let from = |address: &str| admission.admit(address.parse().unwrap(), &config, 10);
        let _one = from("10.0.0.1").unwrap();
        let two = from("::ffff:10.0.0.1").unwrap();
        assert_eq!(from("10.0.0.1").unwrap_err(), Refusal::PerAddress(2));
        let _other = from("10.0.0.2").unwrap();
        assert_eq!(from("10.0.0.2").unwrap_err(), Refusal::PerAddress(1));
        let _local = from("::1").unwrap();
        assert_eq!(from("::1").unwrap_err(), Refusal::Total(4));
        drop(two);
        from("10.0.0.1").unwrap();
        let address = "10.0.0.9".parse().unwrap();
        assert_eq!(admission.admit(address, &config, 3).unwrap_err(), Refusal::OpenFiles(3));
    }

    #[test]
    fn a_second_brings_as_many_connections_as_the_rate_allows() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        for _ in 0..2 {
            assert_eq!(pace.wait(2, begun), None);
            pace.note_accepted();
        }
        assert_eq!(pace.wait(2, begun), Some(begun + SECOND));
        assert_eq!(pace.wait(2, begun + SECOND), None);
        assert_eq!(pace.wait(0, begun + SECOND), Some(begun + 2 * SECOND));
    }
}
