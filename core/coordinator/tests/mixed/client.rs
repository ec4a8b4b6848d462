//! What a client of either protocol makes of its answers.

use std::collections::BTreeSet;

use bytes::Bytes;
use kohort_protocol::messages::consumer_protocol::ConsumerProtocolAssignment;
use kohort_protocol::messages::{
    ConsumerGroupHeartbeatResponse, JoinGroupResponse, SyncGroupResponse,
};
use kohort_protocol::{ErrorCode, Uuid};

use crate::holdings::Holdings;

/// What a client believes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Client {
    /// Whether it speaks the classic protocol.
    pub(crate) classic: bool,
    pub(crate) incarnation: usize,
    pub(crate) subscription: usize,
    /// Its member id, which a classic member is given.
    pub(crate) member_id: String,
    /// Its epoch or generation; 0 when it is not in the group.
    pub(crate) epoch: i32,
    pub(crate) holdings: Holdings,
    /// Whether it says everything about itself next time, because an answer was lost.
    pub(crate) unsure: bool,
    /// Of the classic protocol.
    pub(crate) phase: Phase,
    /// As the leader: everybody's subscription.
    pub(crate) members: Vec<(String, Bytes)>,
}

/// What a classic member has to do next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Join,
    Sync,
    Heartbeat,
    /// Wait for an answer.
    Wait,
}

impl Client {
    pub(crate) fn id(&self, index: usize) -> String {
        if self.classic { self.member_id.clone() } else { self.new_id(index) }
    }

    /// The id of a client of the new protocol, of its own making.
    pub(crate) fn new_id(&self, index: usize) -> String {
        format!("m{index}.{}", self.incarnation)
    }

    pub(crate) fn topics(&self) -> Vec<String> {
        SUBSCRIPTIONS[self.subscription].iter().map(|name| (*name).to_owned()).collect()
    }

    pub(crate) fn hear(&mut self, response: &ConsumerGroupHeartbeatResponse) {
        match response.error_code {
            ErrorCode::NONE => {
                self.epoch = response.member_epoch;
                self.unsure = false;
                self.holdings.hear(response);
            }
            ErrorCode::FENCED_MEMBER_EPOCH
            | ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::GROUP_ID_NOT_FOUND => self.lose(),
            _ => self.unsure = true,
        }
    }

    pub(crate) fn joined(&mut self, response: JoinGroupResponse) {
        match response.error_code {
            ErrorCode::NONE => {
                self.member_id = response.member_id;
                self.epoch = response.generation_id;
                let member =
                    |it: kohort_protocol::messages::join_group::JoinGroupResponseMember| {
                        (it.member_id, it.metadata)
                    };
                self.members = response.members.into_iter().map(member).collect();
                self.phase = Phase::Sync;
            }
            ErrorCode::MEMBER_ID_REQUIRED => {
                self.member_id = response.member_id;
                self.phase = Phase::Join;
            }
            error => self.refused(error),
        }
    }

    pub(crate) fn synced(&mut self, response: &SyncGroupResponse) {
        if !response.error_code.is_ok() {
            self.refused(response.error_code);
            return;
        }
        let mut given = BTreeSet::new();
        if !response.assignment.is_empty() {
            let assignment = ConsumerProtocolAssignment::from_bytes(&response.assignment).unwrap();
            for of in assignment.assigned_partitions {
                given.extend(of.partitions.into_iter().map(|it| (topic_id(&of.topic), it)));
            }
        }
        // Who gave something up lets the others have it by joining again.
        let gave_up = self.holdings.owned.difference(&given).next().is_some();
        self.phase = if gave_up { Phase::Join } else { Phase::Heartbeat };
        self.holdings.owned = given;
    }

    /// Takes in the error of a classic member's request.
    pub(crate) fn refused(&mut self, error: ErrorCode) {
        match error {
            ErrorCode::NONE => {}
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION => {
                let id = std::mem::take(&mut self.member_id);
                self.lose();
                if error == ErrorCode::ILLEGAL_GENERATION {
                    self.member_id = id;
                }
            }
            ErrorCode::NOT_COORDINATOR if self.phase == Phase::Heartbeat => {}
            _ => self.phase = Phase::Join,
        }
    }

    /// It has lost its partitions, and begins anew.
    pub(crate) fn lose(&mut self) {
        *self = Self {
            classic: self.classic,
            incarnation: self.incarnation,
            subscription: self.subscription,
            ..Self::default()
        };
    }
}

pub(crate) fn topic_id(name: &str) -> Uuid {
    Uuid([name.len() as u8; 16])
}

/// Topics and their partitions.
pub(crate) const TOPICS: [(&str, i32); 2] = [("a", 3), ("bb", 2)];
pub(crate) const SUBSCRIPTIONS: [&[&str]; 2] = [&["a", "bb"], &["a"]];
