//! The cluster's metadata: topics, their properties, producer ids.
//!
//! ```text
//! request ─► decide ─► records ─► metadata log ─► ClusterState::apply ─► Topics (in service)
//!                                     └─ replayed at start ─┘
//! ```

pub(crate) mod controller;
pub(crate) mod decide;
pub(crate) mod load;
pub(crate) mod record;
pub(crate) mod state;
pub(crate) mod topics;
