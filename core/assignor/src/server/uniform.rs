//! As even as possible, moving as little as possible.

use super::{
    AssignError, GroupAssignment, GroupSpec, ServerAssignor, Topics, heterogeneous, homogeneous,
};

/// Kafka's `uniform`, its default.
///
/// Where all members subscribe to the same topics, they differ by one partition at most and no more
/// moves than that takes. Where they do not, each topic's partitions are spread over its subscribers
/// as evenly as what else these have allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UniformAssignor;

impl UniformAssignor {
    /// The name members ask for it by.
    pub const NAME: &str = "uniform";
}

impl ServerAssignor for UniformAssignor {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn assign(
        &self,
        group: &GroupSpec,
        topics: &dyn Topics,
    ) -> Result<GroupAssignment, AssignError> {
        if group.is_homogeneous() {
            homogeneous::assign(group, topics)
        } else {
            heterogeneous::assign(group, topics)
        }
    }
}
