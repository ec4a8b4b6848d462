//! The configuration in force, shared by everything that reads it.

use super::{BrokerConfig, Settings};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Settings and the typed values that follow from them, replaced together.
#[derive(Debug)]
pub(crate) struct LiveConfig {
    current: RwLock<(Arc<Settings>, Arc<BrokerConfig>)>,
}

impl LiveConfig {
    /// Starts with what was set at start.
    pub(crate) fn new(settings: Settings) -> Self {
        let typed = Arc::new(settings.typed());
        Self { current: RwLock::new((Arc::new(settings), typed)) }
    }

    /// Returns the typed values in force.
    pub(crate) fn typed(&self) -> Arc<BrokerConfig> {
        Arc::clone(&self.current.read().1)
    }

    /// Returns the settings in force.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.current.read().0)
    }

    /// Takes in what was altered while the broker ran, for this broker or for all.
    pub(crate) fn alter(&self, for_all: bool, values: BTreeMap<String, String>) {
        let mut settings = (*self.settings()).clone();
        settings.replace_dynamic(for_all, values);
        let typed = Arc::new(settings.typed());
        *self.current.write() = (Arc::new(settings), typed);
    }
}
