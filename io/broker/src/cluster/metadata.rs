//! The cluster's metadata as everybody reads it. The controller alone writes it.

use super::state::ClusterState;
use super::topics::Topics;
use crate::config::BrokerConfig;
use crate::quota::Quotas;
use kohort_coordinator::MetadataImage;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

/// The cluster's metadata as everybody reads it.
#[derive(Debug)]
pub(crate) struct Metadata {
    pub(crate) state: RwLock<ClusterState>,
    pub(crate) topics: Topics,
    pub(crate) quotas: Quotas,
    /// Counts the changes of the topics, so that coordinators learn of them.
    pub(crate) changes: watch::Sender<u64>,
    /// The topics as coordinators see them, and after which change.
    image: Mutex<Option<(u64, MetadataImage)>>,
}

impl Metadata {
    /// Puts together what was loaded.
    pub(super) fn new(state: ClusterState, topics: Topics, config: &BrokerConfig) -> Self {
        let (samples, seconds) = (config.quota_window_num, config.quota_window_size_seconds);
        let quotas = Quotas::new(state.quotas.clone(), samples, seconds);
        let (state, changes) = (RwLock::new(state), watch::Sender::new(0));
        Self { state, topics, quotas, changes, image: Mutex::default() }
    }

    /// Returns the topics as coordinators see them, made once per change however many ask.
    pub(crate) fn image(&self) -> MetadataImage {
        let mut cached = self.image.lock();
        // Read before the topics are: an image may be newer than its number says, never older.
        let change = *self.changes.borrow();
        match &*cached {
            Some((made_after, image)) if *made_after == change => image.clone(),
            _ => {
                let image = self.topics.image();
                *cached = Some((change, image.clone()));
                image
            }
        }
    }
}
