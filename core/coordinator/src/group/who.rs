//! By what people know a member: its id may be a bare UUID, and says nothing once the member is gone.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What a member said of itself when it joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The client id it joined with.
    pub client_id: Arc<str>,
    /// The address it joined from.
    pub client_host: Arc<str>,
    /// The name of a static member.
    pub instance_id: Option<Arc<str>>,
}

/// Members by their ids.
pub(crate) type Roll = BTreeMap<Arc<str>, Who>;
