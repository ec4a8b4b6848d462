//! Writes Fetch responses without copying their records.
//!
//! The general encoder writes a message into one buffer, records and all. Here what surrounds the
//! records goes into one small buffer, which is cut where records belong; the socket is then given the
//! pieces in turn. The bytes are the same, which a test holds against the general encoder; the rare
//! response with tagged fields is left to that one.

use bytes::Bytes;
use kohort_protocol::header::encode_response_header;
use kohort_protocol::messages::FetchResponse;
use kohort_protocol::messages::fetch::{FetchableTopicResponse, PartitionData};
use kohort_protocol::{ApiKey, EncodeError, Message, Writer};

/// Records up to this size are copied: a piece of its own costs more than that.
const COPIED_RECORDS: usize = 2048;
/// Bytes around the records of one partition, about.
const AROUND_RECORDS: usize = 64;

/// Writes a response as its whole frame, in pieces.
pub(crate) fn encode(
    response: &FetchResponse,
    version: i16,
    correlation_id: i32,
) -> Result<Vec<Bytes>, EncodeError> {
    let partitions: usize = response.responses.iter().map(|topic| topic.partitions.len()).sum();
    let flexible = version >= FetchResponse::FLEXIBLE_FROM;
    let mut writer = Writer::with_capacity(32 + AROUND_RECORDS * partitions);
    encode_response_header(&mut writer, ApiKey::Fetch, version, correlation_id);
    writer.set_flexible(flexible);
    let mut pieces = Pieces { writer, cuts: Vec::new(), apart: 0 };
    if has_tagged_fields(response) {
        response.encode(&mut pieces.writer, version)?;
    } else {
        pieces.put_body(response, version)?;
    }
    Ok(pieces.into_frame())
}

struct Pieces {
    writer: Writer,
    /// Where in the writer's bytes which records belong.
    cuts: Vec<(usize, Bytes)>,
    /// How many bytes the records that were not copied take.
    apart: usize,
}

impl Pieces {
    fn put_body(&mut self, response: &FetchResponse, version: i16) -> Result<(), EncodeError> {
        let writer = &mut self.writer;
        writer.put_i32(response.throttle_time_ms);
        if version >= 7 {
            writer.put_i16(response.error_code.0);
            writer.put_i32(response.session_id);
        }
        writer.put_array_length(Some(response.responses.len()))?;
        for topic in &response.responses {
            self.put_topic(topic, version)?;
        }
        self.put_no_tags();
        Ok(())
    }

    fn put_topic(
        &mut self,
        topic: &FetchableTopicResponse,
        version: i16,
    ) -> Result<(), EncodeError> {
        if version >= 13 {
            self.writer.put_slice(&topic.topic_id.0);
        } else {
            self.writer.put_string(Some(&topic.topic))?;
        }
        self.writer.put_array_length(Some(topic.partitions.len()))?;
        for partition in &topic.partitions {
            self.put_partition(partition, version)?;
        }
        self.put_no_tags();
        Ok(())
    }

    fn put_partition(
        &mut self,
        partition: &PartitionData,
        version: i16,
    ) -> Result<(), EncodeError> {
        let writer = &mut self.writer;
        writer.put_i32(partition.partition_index);
        writer.put_i16(partition.error_code.0);
        writer.put_i64(partition.high_watermark);
        writer.put_i64(partition.last_stable_offset);
        if version >= 5 {
            writer.put_i64(partition.log_start_offset);
        }
        writer.put_array_length(partition.aborted_transactions.as_ref().map(Vec::len))?;
        for aborted in partition.aborted_transactions.iter().flatten() {
            writer.put_i64(aborted.producer_id);
            writer.put_i64(aborted.first_offset);
            if writer.is_flexible() {
                writer.put_uvarint(0);
            }
        }
        if version >= 11 {
            writer.put_i32(partition.preferred_read_replica);
        }
        writer.put_array_length(partition.records.as_ref().map(Bytes::len))?;
        if let Some(records) = &partition.records {
            if records.len() <= COPIED_RECORDS {
                writer.put_slice(records);
            } else {
                self.apart += records.len();
                self.cuts.push((writer.len(), records.clone()));
            }
        }
        self.put_no_tags();
        Ok(())
    }

    fn put_no_tags(&mut self) {
        if self.writer.is_flexible() {
            self.writer.put_uvarint(0);
        }
    }

    fn into_frame(self) -> Vec<Bytes> {
        let around = self.writer.into_bytes();
        let length = u32::try_from(around.len() + self.apart)
            .expect("fetch.max.bytes keeps responses far below 4 GiB");
        let mut pieces = Vec::with_capacity(2 + 2 * self.cuts.len());
        pieces.push(Bytes::copy_from_slice(&length.to_be_bytes()));
        let mut from = 0;
        for (at, records) in self.cuts {
            pieces.push(around.slice(from..at));
            pieces.push(records);
            from = at;
        }
        pieces.push(around.slice(from..));
        pieces
    }
}

fn has_tagged_fields(response: &FetchResponse) -> bool {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    let plain = PartitionData::default();
    !response.node_endpoints.is_empty()
        || partitions.into_iter().any(|partition| {
            partition.diverging_epoch != plain.diverging_epoch
                || partition.current_leader != plain.current_leader
                || partition.snapshot_id != plain.snapshot_id
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kohort_protocol::frame::encode_response;
    use kohort_protocol::messages::fetch::{AbortedTransaction, LeaderIdAndEpoch};
    use kohort_protocol::{ErrorCode, Uuid};

    fn partition(index: i32, records: Option<usize>) -> PartitionData {
        PartitionData {
            partition_index: index,
            error_code: ErrorCode(index as i16),
            high_watermark: 7,
            last_stable_offset: 6,
            log_start_offset: 5,
            aborted_transactions: (index > 0)
                .then(|| vec![AbortedTransaction { producer_id: 1, first_offset: 2 }]),
            records: records.map(|size| vec![index as u8; size].into()),
            ..PartitionData::default()
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_general_encoder_in_every_version() {
        let sizes = [None, Some(0), Some(10), Some(COPIED_RECORDS + 1), Some(100_000)];
        let partitions: Vec<_> =
            sizes.iter().zip(0..).map(|(size, index)| partition(index, *size)).collect();
        let mut response = FetchResponse {
            throttle_time_ms: 3,
            error_code: ErrorCode::NONE,
            session_id: 9,
            responses: vec![
                FetchableTopicResponse {
                    topic: "t".to_owned(),
                    topic_id: Uuid([3; 16]),
                    partitions,
                },
                FetchableTopicResponse::default(),
            ],
            ..FetchResponse::default()
        };
        for tagged in [false, true] {
            if tagged {
                response.responses[0].partitions[0].current_leader =
                    LeaderIdAndEpoch { leader_id: 1, leader_epoch: 2 };
            }
            for version in FetchResponse::VERSIONS.iter() {
                let pieces = encode(&response, version, 42).unwrap();
                let expected = encode_response(&response, version, 42).unwrap();
                assert_eq!(pieces.concat(), expected, "version {version}");
            }
        }
    }
}
