//! What a partition is doing, or why nothing is done with it: the names of all reasons.

use std::fmt;

use kohort_protocol::ErrorCode;

use super::plan::source;
use super::{Fetcher, Flight};
use crate::consumer::positions::{Positions, Slot};
use crate::consumer::types::{Timestamp, TopicPartition};
use crate::metadata::MetadataView;

/// What a partition is doing, or why it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchStatus {
    /// A fetch that names it is in flight, and nothing was wrong with the one before.
    InFlight,
    /// Data waits for the application; more is fetched once it has been taken.
    Buffered,
    /// The application paused it.
    Paused,
    /// It is being given back.
    Revoking,
    /// Its committed offset, or an offset by time, is being looked up.
    FindingPosition,
    /// Its leader changed: whether the new one still has what was read is being asked (KIP-320).
    Validating,
    /// It has no offset and no policy: the application has to seek.
    NoOffset,
    /// It has no leader, or the leader's address is unknown.
    NoLeader,
    /// The cluster cannot or will not describe its topic.
    NoTopic(ErrorCode),
    /// The cluster describes its topic, which has no such partition as far as is known.
    NoPartition,
    /// Its broker refuses it, or sends what cannot be read, and is asked again and again while this lasts.
    Refused(ErrorCode),
    /// Its broker did not answer the latest fetch, and is asked again and again while this lasts; or it has
    /// taken seconds longer for the one in flight than it was to wait for records.
    NoAnswer,
    /// Something makes it wait a moment.
    BackingOff,
    /// The broker holds an earlier fetch that does not name it; it is in the next one.
    BrokerBusy,
    /// The application has so much of its broker's other partitions to take that the broker is left alone.
    ApplicationBehind,
    /// The byte budget is spent: the application has to drop records it holds.
    BudgetSpent,
    /// It is fetched with the next plan.
    Due,
}

impl FetchStatus {
    /// Whether it waits for something: it is neither being fetched nor buffered nor paused.
    pub fn is_waiting(self) -> bool {
        !matches!(self, Self::InFlight | Self::Buffered | Self::Paused)
    }

    /// Returns a name for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::InFlight => "in flight",
            Self::Buffered => "buffered",
            Self::Paused => "paused",
            Self::Revoking => "revoking",
            Self::FindingPosition => "finding position",
            Self::Validating => "validating",
            Self::NoOffset => "no offset",
            Self::NoLeader => "no leader",
            Self::NoTopic(_) => "no topic",
            Self::NoPartition => "no partition",
            Self::Refused(_) => "refused",
            Self::NoAnswer => "no answer",
            Self::BackingOff => "backing off",
            Self::BrokerBusy => "broker busy",
            Self::ApplicationBehind => "application behind",
            Self::BudgetSpent => "budget spent",
            Self::Due => "due",
        }
    }
}

impl fmt::Display for FetchStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTopic(code) | Self::Refused(code) => write!(f, "{} ({code})", self.name()),
            _ => f.write_str(self.name()),
        }
    }
}

/// How much longer than asked a broker may take before that is worth telling: a network that swallows everything
/// ends no connection, and it is long until the request has timed out. No answer is to take so long by its size
/// (`pace.rs`).
const LATE_MS: i64 = 5_000;

impl Fetcher {
    /// Names what a partition is doing.
    pub fn status(
        &self,
        now: Timestamp,
        partition: &TopicPartition,
        positions: &Positions,
        view: &MetadataView,
        buffered: usize,
    ) -> Option<FetchStatus> {
        let slot = positions.get(partition)?;
        let in_flight = |(_, flight): &(&i32, &Flight)| {
            flight.partitions.get(partition).is_some_and(|asked| asked.is_for(slot))
        };
        if let Some((node, flight)) = self.in_flight.iter().find(in_flight) {
            let gives = slot.paused || slot.revoking || buffered > 0;
            let late = flight.sent_at + i64::from(self.config.max_wait_ms) + LATE_MS;
            let late = (now >= late).then_some(FetchStatus::NoAnswer);
            let trouble = self.trouble(*node, partition, slot).or(late).filter(|_| !gives);
            return Some(trouble.unwrap_or(FetchStatus::InFlight));
        }
        let no_topic = view.topic(&partition.topic).is_none();
        let no_topic = no_topic.then(|| view.topic_error(&partition.topic)).flatten();
        Some(if slot.revoking {
            FetchStatus::Revoking
        } else if slot.paused {
            FetchStatus::Paused
        } else if let Some(code) = no_topic {
            FetchStatus::NoTopic(code)
        } else if view.lacks(&partition.topic, partition.partition) {
            FetchStatus::NoPartition
        } else if slot.is_undecided() {
            FetchStatus::NoOffset
        } else if slot.is_validating() {
            FetchStatus::Validating
        } else if slot.fetch_position().is_none() {
            FetchStatus::FindingPosition
        } else if self.is_full(buffered, slot, self.credit_apart(positions)) {
            FetchStatus::Buffered
        } else if now < slot.retry_at() {
            self.refusal(partition, slot).unwrap_or(FetchStatus::BackingOff)
        } else {
            match source(now, view, partition, slot) {
                None => FetchStatus::NoLeader,
                Some((node, _)) if self.in_flight.contains_key(&node) => FetchStatus::BrokerBusy,
                Some((node, _)) if self.retry_at.get(&node).is_some_and(|at| now < *at) => {
                    self.trouble(node, partition, slot).unwrap_or(FetchStatus::BackingOff)
                }
                Some(_) if buffered > 0 => FetchStatus::Buffered,
                Some((node, _)) if self.behind.contains(&node) => FetchStatus::ApplicationBehind,
                Some(_) => FetchStatus::Due,
            }
        })
    }

    /// Returns what was wrong with the latest fetch, if anything was: one that fails each time is in flight
    /// for most of the time, and nothing comes of it.
    fn trouble(&self, node: i32, partition: &TopicPartition, slot: &Slot) -> Option<FetchStatus> {
        let of_node =
            |why: &Option<ErrorCode>| why.map_or(FetchStatus::NoAnswer, FetchStatus::Refused);
        self.failing.get(&node).map(of_node).or_else(|| self.refusal(partition, slot))
    }

    fn refusal(&self, partition: &TopicPartition, slot: &Slot) -> Option<FetchStatus> {
        let (_, code) = self.refusals.get(partition).filter(|(epoch, _)| *epoch == slot.epoch)?;
        Some(FetchStatus::Refused(*code))
    }
}
