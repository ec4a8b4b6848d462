//! The cluster's metadata: topics, their properties, producer ids.
//!
//! ```text
//! request ─► decide ─► records ─► metadata log ─► ClusterState::apply ─► Topics (in service)
//!                                     └─ replayed at start ─┘
//! ```

pub(crate) mod command;
pub(crate) mod controller;
pub(crate) mod decide;
pub(crate) mod decide_configs;
pub(crate) mod load;
pub(crate) mod metadata;
pub(crate) mod record;
pub(crate) mod state;
pub(crate) mod topics;
