//! As even as possible, and then as little movement as possible (KIP-54).
//!
//! Members of an eager group give up everything before they join, so each tells the leader in its
//! user data what it had, and in which generation. Data of two generations may claim the same
//! partition; the newer claim wins.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use kohort_protocol::TopicPartition;

use crate::consumer_protocol::by_topic;
use crate::sticky_core::{Claims, NO_GENERATION, Problem};
use crate::{Assignment, Assignor, ClusterTopics, MemberId, MemberSubscription, RebalanceProtocol};

/// Kafka's `sticky`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StickyAssignor {
    last: Option<Claims>,
}

impl StickyAssignor {
    /// The name members agree on.
    pub const NAME: &str = "sticky";
}

impl Assignor for StickyAssignor {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn protocols(&self) -> &[RebalanceProtocol] {
        &[RebalanceProtocol::Eager]
    }

    fn subscription_user_data(&self) -> Option<Bytes> {
        self.last.as_ref().map(encode_user_data)
    }

    fn assign(
        &self,
        topics: &ClusterTopics,
        members: &BTreeMap<MemberId, MemberSubscription>,
    ) -> BTreeMap<MemberId, Assignment> {
        let claims: Vec<Claims> = members
            .values()
            .map(|member| {
                let data = member.user_data.as_deref().unwrap_or_default();
                // What cannot be read claims nothing, like a member that is new.
                decode_user_data(data).unwrap_or_default()
            })
            .collect();
        let problem = Problem::new(topics, members, &claims);
        problem.assignments(&problem.solve())
    }

    fn on_assignment(&mut self, assignment: &Assignment, generation_id: i32) {
        self.last = Some(Claims { partitions: assignment.partitions.clone(), generation_id });
    }
}

/// Writes version 1 of the user data: topics with their partitions, then the generation.
fn encode_user_data(claims: &Claims) -> Bytes {
    let mut data = BytesMut::new();
    let topics = by_topic(&claims.partitions);
    data.put_i32(topics.len() as i32);
    for (topic, partitions) in topics {
        data.put_i16(topic.len() as i16);
        data.put_slice(topic.as_bytes());
        data.put_i32(partitions.len() as i32);
        for partition in partitions {
            data.put_i32(partition);
        }
    }
    data.put_i32(claims.generation_id);
    data.freeze()
}

/// Reads version 1, or version 0, which ends before the generation.
fn decode_user_data(mut data: &[u8]) -> Option<Claims> {
    let mut partitions = Vec::new();
    for _ in 0..take_i32(&mut data)? {
        let (len, rest) = data.split_first_chunk()?;
        let len = usize::try_from(i16::from_be_bytes(*len)).ok()?;
        let (topic, rest) = rest.split_at_checked(len)?;
        data = rest;
        let topic: Arc<str> = Arc::from(str::from_utf8(topic).ok()?);
        for _ in 0..take_i32(&mut data)? {
            partitions.push(TopicPartition::new(topic.clone(), take_i32(&mut data)?));
        }
    }
    Some(Claims { partitions, generation_id: take_i32(&mut data).unwrap_or(NO_GENERATION) })
}

fn take_i32(data: &mut &[u8]) -> Option<i32> {
    let (value, rest) = data.split_first_chunk()?;
    *data = rest;
    Some(i32::from_be_bytes(*value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_has_the_bytes_kafka_gives_it() {
        let claims = Claims {
            partitions: vec![TopicPartition::new("t", 2), TopicPartition::new("t", 5)],
            generation_id: 7,
        };
        let bytes = encode_user_data(&claims);
        assert_eq!(
            bytes[..],
            [0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 7]
        );
        assert_eq!(decode_user_data(&bytes), Some(claims.clone()));
        let version_0 = &bytes[..bytes.len() - 4];
        let old = Claims { generation_id: NO_GENERATION, ..claims };
        assert_eq!(decode_user_data(version_0), Some(old));
        assert_eq!(decode_user_data(&bytes[..10]), None);
        assert_eq!(decode_user_data(&[]), None);
    }
}
