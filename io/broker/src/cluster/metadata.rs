//! The cluster's metadata as everybody reads it. The controller alone writes it.

use super::record::ResourceKind;
use super::state::ClusterState;
use super::topics::Topics;
use crate::config::{BrokerConfig, Settings, group_properties};
use crate::quota::Quotas;
use kohort_coordinator::{GroupProperties, MetadataImage};
use kohort_protocol::Uuid;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::watch;

/// The cluster's metadata as everybody reads it.
#[derive(Debug)]
pub(crate) struct Metadata {
    pub(crate) state: RwLock<ClusterState>,
    pub(crate) topics: Topics,
    /// Topics that are not there and may come back: their records were found, and set aside.
    set_aside: Arc<BTreeSet<Uuid>>,
    pub(crate) quotas: Quotas,
    /// Counts the changes of the topics and of groups' properties, so that coordinators learn of them.
    pub(crate) changes: watch::Sender<u64>,
    /// What was set at start, which bounds groups' properties.
    settings: Settings,
    /// Topics and groups' properties as coordinators see them, and after which change.
    image: Mutex<Option<(u64, MetadataImage)>>,
}

impl Metadata {
    /// Puts together what was loaded.
    pub(super) fn new(
        state: ClusterState,
        topics: Topics,
        set_aside: BTreeSet<Uuid>,
        config: &BrokerConfig,
        settings: Settings,
    ) -> Self {
        let (samples, seconds) = (config.quota_window_num, config.quota_window_size_seconds);
        let quotas = Quotas::new(state.quotas.clone(), samples, seconds);
        let (state, changes) = (RwLock::new(state), watch::Sender::new(0));
        let set_aside = Arc::new(set_aside);
        Self { state, topics, set_aside, quotas, changes, settings, image: Mutex::default() }
    }

    /// Returns what coordinators know of the cluster, made once per change however many ask.
    pub(crate) fn image(&self) -> MetadataImage {
        let mut cached = self.image.lock();
        // Read before the topics are: an image may be newer than its number says, never older.
        let change = *self.changes.borrow();
        match &*cached {
            Some((made_after, image)) if *made_after == change => image.clone(),
            _ => {
                let image = self.topics.image().with_set_aside(Arc::clone(&self.set_aside));
                let image = image.with_groups(self.group_properties());
                *cached = Some((change, image.clone()));
                image
            }
        }
    }

    fn group_properties(&self) -> impl Iterator<Item = (Arc<str>, GroupProperties)> {
        let state = self.state.read();
        let groups = state.configs.iter().filter(|(of, _)| of.kind == ResourceKind::Group);
        let properties: Vec<_> = groups
            .map(|(of, own)| (Arc::from(of.name.as_str()), group_properties(own, &self.settings)))
            .collect();
        properties.into_iter()
    }
}
