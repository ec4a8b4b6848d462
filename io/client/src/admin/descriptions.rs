//! What a group is doing, and who is a member of what (DescribeGroups, ConsumerGroupDescribe of KIP-848).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kohort_assignor::{Assignment, MemberSubscription};
use kohort_client_core::metadata::Broker;
use kohort_protocol::messages::consumer_group_describe::{self, ConsumerGroupDescribeRequest};
use kohort_protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribedGroup, DescribedGroupMember,
};
use kohort_protocol::{ErrorCode, TopicPartition};

use super::changes::Changes;
use super::error::check;
use super::groups::{GROUPS, group_named};
use super::{Admin, AdminError, Session};
use crate::net::{NetError, Purpose};

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
    /// How often it has changed; of groups of the new protocol.
    pub epoch: Option<i32>,
    /// The epoch that the members' targets were computed for; below `epoch` while they are computed anew. Of
    /// groups of the new protocol.
    pub assignment_epoch: Option<i32>,
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
    /// The rack it is in, if it told one.
    pub rack: Option<String>,
    /// The group's epoch it has come to; of members of the new protocol.
    pub epoch: Option<i32>,
    /// The topics it subscribes to by name; empty for a classic member that is not a consumer or has left it to
    /// a pattern that matches none.
    pub subscribed_topics: Vec<String>,
    /// The expression that it has the coordinator match; of members of the new protocol.
    pub subscribed_pattern: Option<String>,
    /// What it owns; empty while the group rebalances, and for members that are not consumers.
    pub partitions: Vec<TopicPartition>,
    /// What it shall own once all members have done their part: of members of the new protocol. A classic
    /// group has no other than what its members own.
    pub target: Option<Vec<TopicPartition>>,
}

/// What consumers call their kind of group.
const CONSUMER: &str = "consumer";

impl Admin {
    /// Describes groups, each for itself.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND` for a group that is not there, whatever the broker's version. `UNSUPPORTED_VERSION` for
    /// one that may be of the new protocol where the broker speaks that as Kafka 3.7's early access did.
    pub async fn describe_groups(
        &self,
        groups: Vec<String>,
    ) -> Result<BTreeMap<String, Result<GroupDescription, AdminError>>, AdminError> {
        self.change(groups, GROUPS, |session, changes| async move {
            session.describe_groups(&changes).await
        })
        .await
    }
}

impl Session {
    async fn describe_groups(&self, changes: &Described) -> Result<(), AdminError> {
        for (broker, groups) in self.coordinators(changes).await? {
            let (groups, readable) =
                self.describe_consumer_groups(&broker, groups, changes).await?;
            if groups.is_empty() {
                continue;
            }
            let request = DescribeGroupsRequest { groups, ..Default::default() };
            for group in self.ask_coordinator(&broker, &request).await?.groups {
                let (group, mut result) = describe(&broker, group);
                if let Err(AdminError::Refused { code, message, .. }) = &mut result
                    && !readable
                    && *code == ErrorCode::GROUP_ID_NOT_FOUND
                {
                    *code = ErrorCode::UNSUPPORTED_VERSION;
                    *message = Some(EARLY_ACCESS.to_owned());
                }
                changes.note(group, result);
            }
        }
        Ok(())
    }

    /// Describes those groups that are of the new protocol and returns the others. Also returns whether the
    /// answer could be read: that of Kafka 3.7 cannot, as soon as a group has members.
    async fn describe_consumer_groups(
        &self,
        broker: &Broker,
        group_ids: Vec<String>,
        changes: &Described,
    ) -> Result<(Vec<String>, bool), AdminError> {
        let connection = self.cluster.connection_to(broker, Purpose::General).await?;
        if connection.version::<ConsumerGroupDescribeRequest>().is_err() {
            return Ok((group_ids, true));
        }
        let request =
            ConsumerGroupDescribeRequest { group_ids: group_ids.clone(), ..Default::default() };
        let answer = match connection.send(&request).await {
            Err(NetError::Malformed { .. }) => return Ok((group_ids, false)),
            answer => answer?,
        };
        let mut others = Vec::new();
        for group in answer.groups {
            let what = || group_named(&group.group_id);
            match check(group.error_code, group.error_message.clone(), what) {
                Ok(()) => {
                    let description = consumer_group(broker, group);
                    changes.note(description.group_id.clone(), Ok(description));
                }
                Err(error) if error.is_retriable() => changes.note(group.group_id, Err(error)),
                // A classic group is not found here, and where there are none the API is off.
                Err(_) => others.push(group.group_id),
            }
        }
        Ok((others, true))
    }
}

type Described = Changes<String, GroupDescription>;

/// Kafka 3.7 gave its answer, in the same version, more fields than any later release, and left the names of
/// topics out of it.
const EARLY_ACCESS: &str = "it is not a classic group, and what the broker says of groups of the new protocol \
     cannot be read; that of Kafka 3.7's early access cannot: describing them needs Kafka 3.8 or later";

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
        epoch: None,
        assignment_epoch: None,
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
    let member = |member: consumer_group_describe::Member| GroupMember {
        member_id: member.member_id,
        group_instance_id: member.instance_id,
        client_id: member.client_id,
        host: member.client_host,
        rack: member.rack_id,
        epoch: Some(member.member_epoch),
        subscribed_topics: member.subscribed_topic_names,
        subscribed_pattern: member.subscribed_topic_regex.filter(|it| !it.is_empty()),
        partitions: partitions_of(member.assignment),
        target: Some(partitions_of(member.target_assignment)),
    };
    GroupDescription {
        group_id: group.group_id,
        group_type: "consumer",
        state: group.group_state,
        protocol_type: CONSUMER.to_owned(),
        assignor: group.assignor_name,
        epoch: Some(group.group_epoch),
        assignment_epoch: Some(group.assignment_epoch),
        coordinator: coordinator.clone(),
        members: group.members.into_iter().map(member).collect(),
    }
}

fn member_of(member: DescribedGroupMember, is_consumer: bool) -> GroupMember {
    let told = |bytes| Some(bytes).filter(|bytes: &&Bytes| is_consumer && !bytes.is_empty());
    // A member may have written anything; what is no assignment owns nothing we could name.
    let mut partitions: Vec<TopicPartition> = told(&member.member_assignment)
        .and_then(|bytes| Assignment::from_bytes(bytes).ok())
        .map(|assignment| assignment.partitions)
        .unwrap_or_default();
    partitions.sort();
    let subscription = told(&member.member_metadata)
        .and_then(|bytes| MemberSubscription::from_bytes(bytes).ok())
        .unwrap_or_default();
    GroupMember {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        client_id: member.client_id,
        host: member.client_host,
        rack: subscription.rack_id.map(|rack| rack.to_string()),
        epoch: None,
        subscribed_topics: subscription.topics.iter().map(ToString::to_string).collect(),
        subscribed_pattern: None,
        partitions,
        target: None,
    }
}

fn partitions_of(assignment: consumer_group_describe::Assignment) -> Vec<TopicPartition> {
    let mut partitions: Vec<TopicPartition> = assignment
        .topic_partitions
        .into_iter()
        .flat_map(|topic| {
            let name: Arc<str> = Arc::from(topic.topic_name);
            topic.partitions.into_iter().map(move |it| TopicPartition::new(name.clone(), it))
        })
        .collect();
    partitions.sort();
    partitions
}
