//! What is kept of a rebalance under way, so that it can be told when it has ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::group::causes::{Causes, Place};
use crate::group::who::Roll;
use crate::shard::Timestamp;

/// A rebalance that has not ended, as it will be told when it has.
#[derive(Debug)]
pub(crate) struct RebalanceInProgress {
    pub(super) causes: Causes,
    pub(super) joined: Timestamp,
    pub(super) last_to_join: Option<(Arc<str>, Timestamp)>,
    /// When each member rejoined or was gone: what it lost by the rebalance it has not served since.
    pub(super) given_up: GivenUp,
    /// Who the members are that went meanwhile.
    pub(super) gone: Roll,
    /// How the group was before, if that is not what the log says.
    pub(super) before: Option<Before>,
    /// Whether a part of it is told already.
    pub(super) continues: bool,
}

/// Who was in a group, and who had what.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) members: Vec<Arc<str>>,
    pub(super) roll: Roll,
    pub(super) owners: Owners,
}

/// Who has each partition.
pub(super) type Owners = BTreeMap<Place, Arc<str>>;

/// Why a partition may have lost its owner before the rebalance ended, for each member.
pub(super) type GivenUp = BTreeMap<Arc<str>, Timestamp>;
