//! Groups: who is a member of what, and in which state.

use std::collections::BTreeMap;
use std::sync::Arc;

use kohort_assignor::Assignment;
use kohort_client_core::metadata::Broker;
use kohort_protocol::messages::consumer_group_describe::{self, ConsumerGroupDescribeRequest};
use kohort_protocol::messages::delete_groups::DeleteGroupsRequest;
use kohort_protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribedGroup, DescribedGroupMember,
};
use kohort_protocol::messages::list_groups::{ListGroupsRequest, ListedGroup};
use kohort_protocol::{ErrorCode, Request, TopicPartition};

use super::changes::{Changes, Rules};
use super::error::{check, unanswered};
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

/// A group and its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its id.
    pub group_id: String,
    /// `classic`, or `consumer` for one of the new protocol (KIP-848).
    pub group_type: &'static str,
    /// Its state in Kafka's words: `Stable`, `Empty`, and `PreparingRebalance` or `CompletingRebalance`
    /// of a classic group, `Assigning` or `Reconciling` of one of the new protocol.
    pub state: String,
    /// What kind of members it has.
    pub protocol_type: String,
    /// The assignor the members agreed on; empty while they have not.
    pub assignor: String,
    /// The broker that coordinates it.
    pub coordinator: Broker,
    /// Its members.
    pub members: Vec<GroupMember>,
}

/// One member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// The id the coordinator gave it.
    pub member_id: String,
    /// The name of a static member (KIP-345).
    pub group_instance_id: Option<String>,
    /// The `client.id` it gave.
    pub client_id: String,
    /// The address it came from.
    pub host: String,
    /// What it owns; empty while the group rebalances, and for members that are not consumers.
    pub partitions: Vec<TopicPartition>,
}

/// What consumers call their kind of group.
const CONSUMER: &str = "consumer";

impl Admin {
    /// Lists the groups of every broker, by id.
    ///
    /// # Errors
    /// Fails if one broker cannot be asked: a list that silently lacks groups is worse than none.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, AdminError> {
        self.run(|session| async move { session.list_groups().await }).await
    }

    /// Describes groups, each for itself.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND` for a group that is not there, whatever the broker's version.
    pub async fn describe_groups(
        &self,
        groups: Vec<String>,
    ) -> Result<BTreeMap<String, Result<GroupDescription, AdminError>>, AdminError> {
        self.run(move |session| {
            let groups = groups.clone();
            async move { session.describe_groups(groups).await }
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
        let rules =
            Rules { what: |group: &String| group_named(group), passes: AdminError::is_retriable };
        self.change(groups, rules, |session, changes| async move {
            session.delete_groups(&changes).await
        })
        .await
    }
}

impl Session {
    async fn list_groups(&self) -> Result<Vec<GroupListing>, AdminError> {
        let (view, _) = self.metadata(Some(Vec::new())).await?;
        let mut groups = BTreeMap::new();
        for broker in view.brokers() {
            let connection = self.cluster.connection_to(broker, Purpose::General).await?;
            let answer = connection.send(&ListGroupsRequest::default()).await?;
            check(answer.error_code, None, || format!("the groups of {}", broker.address()))?;
            for group in answer.groups {
                groups.insert(group.group_id.clone(), GroupListing::from(group));
            }
        }
        Ok(groups.into_values().collect())
    }

    async fn describe_groups(
        &self,
        groups: Vec<String>,
    ) -> Result<BTreeMap<String, Result<GroupDescription, AdminError>>, AdminError> {
        let mut described = all_unanswered(&groups);
        for (broker, groups) in self.coordinators(&groups).await? {
            let groups = self.describe_consumer_groups(&broker, groups, &mut described).await?;
            if groups.is_empty() {
                continue;
            }
            let request = DescribeGroupsRequest { groups, ..Default::default() };
            let answer = self.ask_coordinator(&broker, &request).await?;
            for group in answer.groups {
                match describe(&broker, group) {
                    (_, Err(error)) if error.is_retriable() => return Err(error),
                    (group, result) => described.insert(group, result),
                };
            }
        }
        Ok(described)
    }

    /// Describes those groups that are of the new protocol and returns the others.
    async fn describe_consumer_groups(
        &self,
        broker: &Broker,
        group_ids: Vec<String>,
        described: &mut BTreeMap<String, Result<GroupDescription, AdminError>>,
    ) -> Result<Vec<String>, AdminError> {
        let connection = self.cluster.connection_to(broker, Purpose::General).await?;
        if connection.version::<ConsumerGroupDescribeRequest>().is_err() {
            return Ok(group_ids);
        }
        let request = ConsumerGroupDescribeRequest { group_ids, ..Default::default() };
        let mut others = Vec::new();
        for group in connection.send(&request).await?.groups {
            let what = || group_named(&group.group_id);
            match check(group.error_code, group.error_message.clone(), what) {
                Ok(()) => {
                    let description = consumer_group(broker, group);
                    described.insert(description.group_id.clone(), Ok(description));
                }
                Err(error) if error.is_retriable() => return Err(error),
                // A classic group is not found here, and where there are none the API is off.
                Err(_) => others.push(group.group_id),
            }
        }
        Ok(others)
    }

    async fn delete_groups(&self, changes: &Changes<String, ()>) -> Result<(), AdminError> {
        for (broker, groups_names) in self.coordinators(&changes.remaining()).await? {
            let request = DeleteGroupsRequest { groups_names };
            for group in self.ask_coordinator(&broker, &request).await?.results {
                let what = || group_named(&group.group_id);
                let result = check(group.error_code, None, what);
                changes.note(group.group_id, result);
            }
        }
        Ok(())
    }

    /// Sorts groups by the broker that coordinates them.
    pub(super) async fn coordinators(
        &self,
        groups: &[String],
    ) -> Result<Vec<(Broker, Vec<String>)>, AdminError> {
        let keys: Vec<&str> = groups.iter().map(String::as_str).collect();
        let found = self.cluster.find_coordinators(CoordinatorKind::Group, &keys).await?;
        let mut by_broker: BTreeMap<i32, (Broker, Vec<String>)> = BTreeMap::new();
        for (group, broker) in found {
            let broker = broker?;
            by_broker.entry(broker.id).or_insert_with(|| (broker, Vec::new())).1.push(group);
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

fn all_unanswered<T>(groups: &[String]) -> BTreeMap<String, Result<T, AdminError>> {
    groups.iter().map(|group| (group.clone(), Err(unanswered(group_named(group))))).collect()
}

fn group_named(group: &str) -> String {
    format!("group `{group}`")
}

fn describe(
    coordinator: &Broker,
    group: DescribedGroup,
) -> (String, Result<GroupDescription, AdminError>) {
    let what = || group_named(&group.group_id);
    // Up to version 5 a missing group is answered as a dead one, without an error.
    let missing = group.error_code.is_ok() && group.group_state == "Dead";
    let code = if missing { ErrorCode::GROUP_ID_NOT_FOUND } else { group.error_code };
    if let Err(error) = check(code, group.error_message.clone(), what) {
        return (group.group_id, Err(error));
    }
    let is_consumer = group.protocol_type == CONSUMER;
    let members = group.members.into_iter().map(|member| member_of(member, is_consumer)).collect();
    let description = GroupDescription {
        group_id: group.group_id.clone(),
        group_type: "classic",
        state: group.group_state,
        protocol_type: group.protocol_type,
        assignor: group.protocol_data,
        coordinator: coordinator.clone(),
        members,
    };
    (group.group_id, Ok(description))
}

/// Describes a group of the new protocol.
fn consumer_group(
    coordinator: &Broker,
    group: consumer_group_describe::DescribedGroup,
) -> GroupDescription {
    let member = |member: consumer_group_describe::Member| {
        let owned = member.assignment.topic_partitions.into_iter().flat_map(|topic| {
            let name: Arc<str> = Arc::from(topic.topic_name);
            topic.partitions.into_iter().map(move |it| TopicPartition::new(name.clone(), it))
        });
        let mut partitions: Vec<TopicPartition> = owned.collect();
        partitions.sort();
        GroupMember {
            member_id: member.member_id,
            group_instance_id: member.instance_id,
            client_id: member.client_id,
            host: member.client_host,
            partitions,
        }
    };
    GroupDescription {
        group_id: group.group_id,
        group_type: "consumer",
        state: group.group_state,
        protocol_type: CONSUMER.to_owned(),
        assignor: group.assignor_name,
        coordinator: coordinator.clone(),
        members: group.members.into_iter().map(member).collect(),
    }
}

fn member_of(member: DescribedGroupMember, is_consumer: bool) -> GroupMember {
    let assignment =
        Some(&member.member_assignment).filter(|bytes| is_consumer && !bytes.is_empty());
    // A member may have written anything; what is no assignment owns nothing we could name.
    let mut partitions: Vec<TopicPartition> = assignment
        .and_then(|bytes| Assignment::from_bytes(bytes).ok())
        .map(|assignment| assignment.partitions)
        .unwrap_or_default();
    partitions.sort();
    GroupMember {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        client_id: member.client_id,
        host: member.client_host,
        partitions,
    }
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
