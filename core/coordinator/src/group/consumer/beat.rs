//! What a heartbeat says of its member, and what is wrong with one whatever its group is.
//!
//! What a heartbeat leaves out stays as it was. A member says everything about itself when it is not sure what
//! of it has arrived.

use std::sync::Arc;

use kohort_assignor::server::{PartitionId, PartitionSet};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatRequestTopicPartitions,
};

use super::record::MemberMetadata;
use super::refusal::Refusal;
use super::state::{JOIN_EPOCH, LEAVE_EPOCH, LEAVE_STATIC_EPOCH, Member};
use crate::config::GroupConfig;
use crate::group::record::LONGEST_NAME;
use crate::group::request::{RequestContext, check_group_id};

/// A heartbeat on its way through the group.
#[derive(Clone, Copy)]
pub(super) struct Beat<'a> {
    pub(super) context: &'a RequestContext,
    pub(super) request: &'a ConsumerGroupHeartbeatRequest,
}

impl Beat<'_> {
    pub(super) fn joins(&self) -> bool {
        self.request.member_epoch == JOIN_EPOCH
    }

    /// Tells whether the member says everything about itself, which it does when it is not sure what
    /// of it has arrived.
    pub(super) fn is_full(&self) -> bool {
        let request = self.request;
        let subscribes =
            request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some();
        request.rebalance_timeout_ms != UNCHANGED
            && subscribes
            && request.topic_partitions.is_some()
    }

    pub(super) fn owned(&self) -> Option<PartitionSet> {
        let partitions = |of: &ConsumerGroupHeartbeatRequestTopicPartitions| {
            let topic = of.topic_id;
            of.partitions.clone().into_iter().map(move |index| PartitionId { topic, index })
        };
        let topics = self.request.topic_partitions.as_ref()?;
        Some(topics.iter().flat_map(partitions).collect())
    }

    /// Returns how long the member may take to give partitions up.
    pub(super) fn revocation_ms(&self, before: &Member) -> i32 {
        let given = self.request.rebalance_timeout_ms;
        if given == UNCHANGED { before.metadata.rebalance_timeout_ms } else { given }
    }

    /// Returns the member's metadata with what the heartbeat changes; what it leaves out stays.
    pub(super) fn metadata(&self, before: &MemberMetadata) -> MemberMetadata {
        let Self { context, request } = *self;
        let mut metadata = MemberMetadata {
            client_id: context.client_id.clone(),
            client_host: context.client_host.clone(),
            classic: None,
            ..before.clone()
        };
        let replace = |old: &mut Option<Arc<str>>, new: &Option<String>| {
            if let Some(new) = new {
                *old = Some(new.as_str().into());
            }
        };
        replace(&mut metadata.instance_id, &request.instance_id);
        replace(&mut metadata.rack_id, &request.rack_id);
        replace(&mut metadata.assignor, &request.server_assignor);
        replace(&mut metadata.regex, &request.subscribed_topic_regex);
        metadata.regex = metadata.regex.filter(|regex| !regex.is_empty());
        if request.rebalance_timeout_ms != UNCHANGED {
            metadata.rebalance_timeout_ms = request.rebalance_timeout_ms;
        }
        if let Some(names) = &request.subscribed_topic_names {
            metadata.topics = names.iter().map(|name| name.as_str().into()).collect();
        }
        metadata
    }

    /// Tells whether the heartbeat says nothing about the member that is not known.
    pub(super) fn repeats(&self, known: &MemberMetadata) -> bool {
        let Self { context, request } = *self;
        let same = |new: &Option<String>, old: &Option<Arc<str>>| {
            new.is_none() || new.as_deref() == old.as_deref()
        };
        let timeout = request.rebalance_timeout_ms;
        same(&request.instance_id, &known.instance_id)
            && same(&request.rack_id, &known.rack_id)
            && same(&request.server_assignor, &known.assignor)
            && request.subscribed_topic_names.is_none()
            && request.subscribed_topic_regex.is_none()
            && (timeout == UNCHANGED || timeout == known.rebalance_timeout_ms)
            && context.client_id == known.client_id
            && context.client_host == known.client_host
            && !known.is_classic()
    }
}

/// Checks what can be said about a heartbeat without its group.
pub(super) fn check(
    config: &GroupConfig,
    context: &RequestContext,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<(), Refusal> {
    let invalid = |why: &str| Err(Refusal::new(ErrorCode::INVALID_REQUEST, why));
    let epoch = request.member_epoch;
    let brings_its_id = context.api_version >= FIRST_VERSION_WITH_OWN_IDS;
    if is_blank(&request.member_id) && (brings_its_id || epoch > 0 || epoch == LEAVE_EPOCH) {
        return invalid("the member id is empty");
    }
    if is_blank(&request.group_id) {
        return invalid("the group id is empty");
    }
    if let Err(error) = check_group_id(&request.group_id) {
        return Err(Refusal::new(error, "the group id is too long"));
    }
    let named = [&request.instance_id, &request.rack_id];
    if named.iter().any(|name| name.as_deref().is_some_and(is_blank)) {
        return invalid("an instance id or rack that is given is empty");
    }
    let options = [&request.instance_id, &request.rack_id, &request.subscribed_topic_regex];
    let names = options.iter().filter_map(|name| name.as_deref());
    let names = names.chain([&*request.member_id, &context.client_id]);
    if names.map(str::len).any(|length| length > LONGEST_NAME) {
        return invalid("a name is too long");
    }
    match epoch {
        JOIN_EPOCH => {
            if request.rebalance_timeout_ms == UNCHANGED {
                return invalid(
                    "a member that joins says how long it may take to give up partitions",
                );
            }
            if request.topic_partitions.as_ref().is_none_or(|topics| !topics.is_empty()) {
                return invalid("a member that joins owns nothing, and says so");
            }
            if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none()
            {
                return invalid("a member that joins says what it subscribes to");
            }
        }
        LEAVE_STATIC_EPOCH if request.instance_id.is_none() => {
            return invalid("only a member with an instance id leaves for a while");
        }
        ..LEAVE_STATIC_EPOCH => return invalid("there is no such member epoch"),
        _ => {}
    }
    if let Some(assignor) = request.server_assignor.as_deref()
        && !config.consumer_assignors.iter().any(|name| **name == *assignor)
    {
        let offered = config.consumer_assignors.join(", ");
        let why = format!("the assignor {assignor} is not offered; these are: {offered}");
        return Err(Refusal::new(ErrorCode::UNSUPPORTED_ASSIGNOR, why));
    }
    Ok(())
}

/// Tells whether there is nothing to a name but spaces and control characters, as Java's `trim` sees it.
fn is_blank(name: &str) -> bool {
    name.bytes().all(|byte| byte <= b' ')
}

/// From version 1 on clients make their own member ids (KIP-1082).
const FIRST_VERSION_WITH_OWN_IDS: i16 = 1;
/// What a rebalance timeout says that did not change.
const UNCHANGED: i32 = -1;
