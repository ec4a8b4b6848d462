//! The cluster's metadata: topics, their properties, producer ids, quotas and users' credentials.
//!
//! ```text
//! request ─► decide ─► records ─► metadata log ─► ClusterState::apply ─► Topics (in service)
//!                                     └─ replayed at start ─┘
//! ```

pub(crate) mod api_error;
mod broker_values;
pub(crate) mod command;
pub(crate) mod controller;
pub(crate) mod decide;
pub(crate) mod decide_configs;
pub(crate) mod decide_quotas;
pub(crate) mod load;
pub(crate) mod metadata;
pub(crate) mod record;
pub(crate) mod remake;
pub(crate) mod scram;
mod scram_credential;
pub(crate) mod state;
pub(crate) mod topic_name;
pub(crate) mod topics;
