//! Groups: which there are, who coordinates each, and their end.

use std::collections::BTreeMap;
use std::sync::Arc;

use kohort_client_core::metadata::Broker;
use kohort_protocol::messages::delete_groups::DeleteGroupsRequest;
use kohort_protocol::messages::list_groups::{ListGroupsRequest, ListedGroup};
use kohort_protocol::{Message as _, Request, TopicPartition, VersionRange};

use super::changes::{Changes, Rules};
use super::error::check;
use super::{Admin, AdminError, Session};
use crate::cluster::CoordinatorKind;
use crate::net::Purpose;

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    /// Its id.
    pub group_id: String,
    /// What kind of members it has: `consumer`, `connect`, or empty for offsets without members.
    pub protocol_type: String,
    /// Its state in Kafka's words (`Stable`, `Empty`, ..); empty from a broker before Kafka 2.6.
    pub state: String,
    /// `classic` or `consumer` (KIP-848); empty from a broker before Kafka 3.8.
    pub group_type: String,
}

/// Which groups to list: those in one of these states and of one of these types. An empty list leaves all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupFilter {
    states: Vec<String>,
    types: Vec<String>,
}

impl GroupFilter {
    /// Adds a state in Kafka's words: `Stable`, `Empty`, .. Brokers take these since Kafka 2.6 (KIP-518).
    #[must_use]
    pub fn state(mut self, state: impl Into<String>) -> Self {
        self.states.push(state.into());
        self
    }

    /// Adds a type: `classic` or `consumer`. Brokers take these since Kafka 3.8 (KIP-848).
    #[must_use]
    pub fn group_type(mut self, group_type: impl Into<String>) -> Self {
        self.types.push(group_type.into());
        self
    }

    /// The versions of ListGroups that know what is filtered by: an older one would leave it out, and the
    /// broker list everything.
    fn versions(&self) -> VersionRange {
        let least = match (self.states.is_empty(), self.types.is_empty()) {
            (_, false) => 5,
            (false, true) => 4,
            (true, true) => ListGroupsRequest::VERSIONS.min,
        };
        VersionRange::new(least, ListGroupsRequest::VERSIONS.max)
    }
}

impl Admin {
    /// Lists the groups of every broker, by id.
    ///
    /// # Errors
    /// Fails if one broker cannot be asked: a list that silently lacks groups is worse than none.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, AdminError> {
        self.list_groups_with(GroupFilter::default()).await
    }

    /// Lists the groups that a filter leaves, by id.
    ///
    /// # Errors
    /// As [`list_groups`](Self::list_groups), and [`NetError::UnsupportedVersion`](crate::net::NetError) from a broker
    /// that cannot filter so.
    pub async fn list_groups_with(
        &self,
        filter: GroupFilter,
    ) -> Result<Vec<GroupListing>, AdminError> {
        self.run(move |session| {
            let filter = filter.clone();
            async move { session.list_groups(filter).await }
        })
        .await
    }

    /// Deletes groups with their offsets, each for itself.
    ///
    /// # Errors
    /// `NON_EMPTY_GROUP` for a group with members.
    pub async fn delete_groups(
        &self,
        groups: Vec<String>,
    ) -> Result<BTreeMap<String, Result<(), AdminError>>, AdminError> {
        self.change(groups, GROUPS, |session, changes| async move {
            session.delete_groups(&changes).await
        })
        .await
    }
}

impl Session {
    async fn list_groups(&self, filter: GroupFilter) -> Result<Vec<GroupListing>, AdminError> {
        let versions = filter.versions();
        let request =
            ListGroupsRequest { states_filter: filter.states, types_filter: filter.types };
        let timeout = self.config.common.request_timeout;
        let (view, _) = self.metadata(Some(Vec::new())).await?;
        let mut groups = BTreeMap::new();
        for broker in view.brokers() {
            let connection = self.cluster.connection_to(broker, Purpose::General).await?;
            let version = connection.version_within::<ListGroupsRequest>(versions)?;
            let answer = connection.send_at(version, &request, timeout).await?;
            check(answer.error_code, None, || format!("the groups of {}", broker.address()))?;
            for group in answer.groups {
                groups.insert(group.group_id.clone(), GroupListing::from(group));
            }
        }
        Ok(groups.into_values().collect())
    }

    async fn delete_groups(&self, changes: &Changes<String, ()>) -> Result<(), AdminError> {
        for (broker, groups_names) in self.coordinators(changes).await? {
            let request = DeleteGroupsRequest { groups_names };
            for group in self.ask_coordinator(&broker, &request).await?.results {
                let what = || group_named(&group.group_id);
                let result = check(group.error_code, None, what);
                changes.note(group.group_id, result);
            }
        }
        Ok(())
    }

    /// Sorts the remaining groups by the broker that coordinates them, and notes why the others have none.
    pub(super) async fn coordinators<T>(
        &self,
        changes: &Changes<String, T>,
    ) -> Result<Vec<(Broker, Vec<String>)>, AdminError> {
        let groups = changes.remaining();
        let keys: Vec<&str> = groups.iter().map(String::as_str).collect();
        let found = self.cluster.find_coordinators(CoordinatorKind::Group, &keys).await?;
        let mut by_broker: BTreeMap<i32, (Broker, Vec<String>)> = BTreeMap::new();
        for (group, broker) in found {
            match broker {
                Ok(broker) => {
                    let of_broker = || (broker.clone(), Vec::new());
                    by_broker.entry(broker.id).or_insert_with(of_broker).1.push(group);
                }
                Err(error) => changes.note(group, Err(error.into())),
            }
        }
        Ok(by_broker.into_values().collect())
    }

    /// Returns the coordinator of one group.
    pub(super) async fn coordinator(&self, group: &str) -> Result<Broker, AdminError> {
        Ok(self.cluster.find_coordinator(CoordinatorKind::Group, group).await?)
    }

    /// Asks a broker that was found to be a coordinator.
    pub(super) async fn ask_coordinator<R: Request>(
        &self,
        broker: &Broker,
        request: &R,
    ) -> Result<R::Response, AdminError> {
        let connection = self.cluster.connection_to(broker, Purpose::General).await?;
        Ok(connection.send(request).await?)
    }
}

/// What passes by itself may be asked for again.
pub(super) const GROUPS: Rules<String> =
    Rules { what: |group| group_named(group), passes: AdminError::is_retriable, denial: None };

pub(super) fn group_named(group: &str) -> String {
    format!("group `{group}`")
}

impl From<ListedGroup> for GroupListing {
    fn from(group: ListedGroup) -> Self {
        Self {
            group_id: group.group_id,
            protocol_type: group.protocol_type,
            state: group.group_state,
            group_type: group.group_type,
        }
    }
}

/// Groups topics for requests that list partitions under their topic.
pub(super) fn by_topic<T>(
    partitions: impl IntoIterator<Item = (TopicPartition, T)>,
) -> BTreeMap<Arc<str>, Vec<(i32, T)>> {
    let mut topics: BTreeMap<Arc<str>, Vec<(i32, T)>> = BTreeMap::new();
    for (partition, value) in partitions {
        topics.entry(partition.topic).or_default().push((partition.partition, value));
    }
    topics
}
