//! The `client.id` of a client that nobody named, as Java makes it: the role, a consumer's group, and a
//! number that counts per process. Several processes of a host share such names, as with Java.

use std::sync::atomic::{AtomicU64, Ordering};

use super::table::Table;
use super::{AdminConfig, CommonConfig, ConsumerConfig, ProducerConfig};

impl ConsumerConfig {
    /// Names the client `consumer-<group>-<n>`, a static member `consumer-<group>-<instance>`, unless it has
    /// a name or was told to have none.
    pub(crate) fn with_client_id(mut self) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let Self { group_id, group_instance_id, common, .. } = &mut self;
        common.name(|| {
            let number = || group_instance_id.clone().unwrap_or_else(|| take(&NEXT));
            match group_id {
                Some(group) => format!("consumer-{group}-{}", number()),
                None => format!("consumer-{}", take(&NEXT)),
            }
        });
        self
    }
}

impl ProducerConfig {
    /// Names the client `producer-<n>` likewise.
    pub(crate) fn with_client_id(mut self) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        self.common.name(|| format!("producer-{}", take(&NEXT)));
        self
    }
}

impl AdminConfig {
    /// Names the client `adminclient-<n>` likewise.
    pub(crate) fn with_client_id(mut self) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        self.common.name(|| format!("adminclient-{}", take(&NEXT)));
        self
    }
}

impl CommonConfig {
    fn name(&mut self, name: impl FnOnce() -> String) {
        if !self.is_set("client.id") {
            self.client_id = name();
        }
    }
}

fn take(next: &AtomicU64) -> String {
    next.fetch_add(1, Ordering::Relaxed).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Properties;

    /// Splits a name into its stem and its number.
    fn numbered(name: &str) -> (&str, u64) {
        let (stem, number) = name.rsplit_once('-').unwrap();
        (stem, number.parse().unwrap())
    }

    #[test]
    fn clients_that_nobody_named_are_told_apart_by_role_group_and_number() {
        let consumer = |config: ConsumerConfig| config.with_client_id().common.client_id;
        let of_group = || ConsumerConfig::default().group_id(Some("g".to_owned()));
        let (first, second) = (consumer(of_group()), consumer(of_group()));
        assert_eq!((numbered(&first).0, numbered(&second).0), ("consumer-g", "consumer-g"));
        assert!(numbered(&first).1 < numbered(&second).1);
        assert_eq!(numbered(&consumer(ConsumerConfig::default())).0, "consumer");
        let member = of_group().group_instance_id(Some("west".to_owned()));
        assert_eq!(consumer(member), "consumer-g-west");
        let producer = ProducerConfig::default().with_client_id().common.client_id;
        assert_eq!(numbered(&producer).0, "producer");
        let admin = AdminConfig::default().with_client_id().common.client_id;
        assert_eq!(numbered(&admin).0, "adminclient");
    }

    #[test]
    fn a_client_id_that_was_set_stays_though_it_be_empty() {
        for name in ["", "orders"] {
            let named = AdminConfig::from_pairs([("client.id", name)]).unwrap();
            assert_eq!(named.with_client_id().common.client_id, name);
            let mut typed = ProducerConfig::default();
            typed.common = typed.common.client_id(name.to_owned());
            assert_eq!(typed.with_client_id().common.client_id, name);
        }
    }
}
