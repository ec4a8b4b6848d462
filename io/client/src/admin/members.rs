//! Taking members out of a group (LeaveGroup since version 3, KIP-345).

use std::collections::BTreeMap;

use kohort_protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use kohort_protocol::{Message as _, VersionRange};

use super::changes::{Changes, Rules};
use super::error::check;
use super::{Admin, AdminError, Session};
use crate::net::Purpose;

/// Which member of a group is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberToRemove {
    /// A static member, by its `group.instance.id`.
    Instance(String),
    /// Any member, by the id the coordinator gave it.
    Member(String),
}

impl Admin {
    /// Takes members out of a group, each for itself: static members that will not come back, above all, whose
    /// partitions nobody reads until their session is over. A member that still runs joins again.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER_ID` for a member that the group does not have.
    pub async fn remove_members(
        &self,
        group: &str,
        members: Vec<MemberToRemove>,
    ) -> Result<BTreeMap<MemberToRemove, Result<(), AdminError>>, AdminError> {
        let group = group.to_owned();
        let rules = Rules { what: named, passes: AdminError::is_retriable, denial: None };
        self.change(members, rules, move |session, changes| {
            let group = group.clone();
            async move { session.remove_members(group, &changes).await }
        })
        .await
    }
}

impl Session {
    async fn remove_members(
        &self,
        group: String,
        changes: &Changes<MemberToRemove, ()>,
    ) -> Result<(), AdminError> {
        let broker = self.coordinator(&group).await?;
        let connection = self.cluster.connection_to(&broker, Purpose::General).await?;
        let version = connection.version_within::<LeaveGroupRequest>(MANY)?;
        let members = changes.remaining().into_iter().map(identity).collect();
        let request = LeaveGroupRequest { group_id: group.clone(), members, ..Default::default() };
        let timeout = self.config.common.request_timeout;
        let answer = connection.send_at(version, &request, timeout).await?;
        check(answer.error_code, None, || format!("group `{group}`"))?;
        for member in answer.members {
            let member_removed = match member.group_instance_id.filter(|it| !it.is_empty()) {
                Some(instance) => MemberToRemove::Instance(instance),
                None => MemberToRemove::Member(member.member_id),
            };
            let what = || format!("{} of group `{group}`", named(&member_removed));
            let result = check(member.error_code, None, what);
            changes.note(member_removed, result);
        }
        Ok(())
    }
}

/// The versions of LeaveGroup by which others than oneself leave.
const MANY: VersionRange = VersionRange::new(3, LeaveGroupRequest::VERSIONS.max);

fn identity(member: MemberToRemove) -> MemberIdentity {
    // Java's words, by which a coordinator can tell a removal from a leave (KIP-800).
    let reason = Some("member was removed by an admin".to_owned());
    match member {
        MemberToRemove::Instance(instance) => {
            MemberIdentity { group_instance_id: Some(instance), reason, ..Default::default() }
        }
        MemberToRemove::Member(member_id) => {
            MemberIdentity { member_id, reason, ..Default::default() }
        }
    }
}

fn named(member: &MemberToRemove) -> String {
    match member {
        MemberToRemove::Instance(instance) => format!("instance `{instance}`"),
        MemberToRemove::Member(id) => format!("member `{id}`"),
    }
}
