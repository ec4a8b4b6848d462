//! The partitions of a folder, by topic id and index.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::partition_log::PartitionLog;
use crate::wal::entry::PartitionKey;

/// The partitions of a folder.
#[derive(Default)]
pub(crate) struct Partitions(RwLock<BTreeMap<PartitionKey, Arc<PartitionLog>>>);

impl Partitions {
    pub(crate) fn new(map: BTreeMap<PartitionKey, Arc<PartitionLog>>) -> Partitions {
        Partitions(RwLock::new(map))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.read().len()
    }

    /// Returns all partitions, in order of topic id and index.
    pub(crate) fn all(&self) -> Vec<Arc<PartitionLog>> {
        self.read().values().cloned().collect()
    }

    /// Returns all partitions and those that are being deleted, each once.
    pub(crate) fn all_with(
        &self,
        deleting: &Mutex<BTreeMap<PartitionKey, Arc<PartitionLog>>>,
    ) -> Vec<Arc<PartitionLog>> {
        let partitions = self.read();
        partitions.values().chain(deleting.lock().values()).cloned().collect()
    }
}

impl Deref for Partitions {
    type Target = RwLock<BTreeMap<PartitionKey, Arc<PartitionLog>>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl std::fmt::Debug for Partitions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} partitions", self.len())
    }
}
