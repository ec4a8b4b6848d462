//! Writes Fetch responses without copying their records.
//!
//! The general encoder writes a message into one buffer, records and all. Here what surrounds the
//! records goes into one small buffer, which is cut where records belong; the socket is then given the
//! pieces in turn, those in files straight from there. The bytes are the same, which a test holds
//! against the general encoder.

use crate::outgoing::Piece;
use bytes::{BufMut, Bytes, BytesMut};
use kohort_protocol::frame::LENGTH_BYTES;
use kohort_protocol::header::encode_response_header;
use kohort_protocol::messages::FetchResponse;
use kohort_protocol::messages::fetch::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use kohort_protocol::{ApiKey, EncodeError, Message, Writer};
use kohort_storage::Records;
use std::vec;

/// Records up to this size are copied: a piece of its own costs more than that.
const COPIED_RECORDS: usize = 2048;
/// Bytes around the records of one partition, about.
const AROUND_RECORDS: usize = 64;

/// Writes a response as its whole frame, in pieces. The response itself has no records; `records` are
/// those of its partitions, in their order.
pub(crate) fn encode(
    response: &FetchResponse,
    records: Vec<Records>,
    version: i16,
    correlation_id: i32,
) -> Result<Vec<Piece>, EncodeError> {
    let flexible = version >= FetchResponse::FLEXIBLE_FROM;
    let mut writer = Writer::with_capacity(36 + AROUND_RECORDS * records.len());
    // The frame's length, to be filled in.
    writer.put_i32(0);
    encode_response_header(&mut writer, ApiKey::Fetch, version, correlation_id);
    writer.set_flexible(flexible);
    let mut pieces = Pieces { writer, records: records.into_iter(), cuts: Vec::new(), apart: 0 };
    pieces.put_body(response, version)?;
    Ok(pieces.into_frame())
}

struct Pieces {
    writer: Writer,
    /// The records of the partitions still to be written.
    records: vec::IntoIter<Records>,
    /// Where in the writer's bytes which records belong.
    cuts: Vec<(usize, Records)>,
    /// How many bytes the records that were not copied take.
    apart: usize,
}

impl Pieces {
    fn put_body(&mut self, response: &FetchResponse, version: i16) -> Result<(), EncodeError> {
        debug_assert!(response.node_endpoints.is_empty(), "a single node names no others");
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
        // None, not null, which librdkafka takes for a broken response.
        let records = self.records.next().unwrap_or_default();
        writer.put_array_length(Some(records.len()))?;
        match records {
            Records::Memory(parts) if records_len(&parts) <= COPIED_RECORDS => {
                for part in parts {
                    writer.put_slice(&part);
                }
            }
            records => {
                self.apart += records.len();
                self.cuts.push((self.writer.len(), records));
            }
        }
        if self.writer.is_flexible() {
            self.put_tags(partition);
        }
        Ok(())
    }

    /// Writes the tagged fields of a partition, of which only those that differ from their defaults
    /// are sent.
    fn put_tags(&mut self, partition: &PartitionData) {
        let plain = PartitionData::default();
        debug_assert!(partition.snapshot_id == plain.snapshot_id, "there are no snapshots");
        let diverging = (partition.diverging_epoch != plain.diverging_epoch)
            .then_some(&partition.diverging_epoch);
        let leader =
            (partition.current_leader != plain.current_leader).then_some(&partition.current_leader);
        let writer = &mut self.writer;
        writer.put_uvarint(u32::from(diverging.is_some()) + u32::from(leader.is_some()));
        if let Some(EpochEndOffset { epoch, end_offset }) = diverging {
            put_tag_head(writer, 0, 4 + 8 + 1);
            writer.put_i32(*epoch);
            writer.put_i64(*end_offset);
            writer.put_uvarint(0);
        }
        if let Some(LeaderIdAndEpoch { leader_id, leader_epoch }) = leader {
            put_tag_head(writer, 1, 4 + 4 + 1);
            writer.put_i32(*leader_id);
            writer.put_i32(*leader_epoch);
            writer.put_uvarint(0);
        }
    }

    fn put_no_tags(&mut self) {
        if self.writer.is_flexible() {
            self.writer.put_uvarint(0);
        }
    }

    fn into_frame(self) -> Vec<Piece> {
        let around = self.writer.into_bytes();
        let length = u32::try_from(around.len() + self.apart - LENGTH_BYTES)
            .expect("fetch.max.bytes keeps responses far below 4 GiB");
        let mut around = around.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        (&mut around[..LENGTH_BYTES]).put_u32(length);
        let around = around.freeze();
        let mut pieces = Vec::with_capacity(1 + 2 * self.cuts.len());
        let mut from = 0;
        for (at, records) in self.cuts {
            pieces.push(Piece::Bytes(around.slice(from..at)));
            match records {
                Records::Memory(parts) => pieces.extend(parts.into_iter().map(Piece::Bytes)),
                Records::File(file) => pieces.push(Piece::File(file)),
            }
            from = at;
        }
        pieces.push(Piece::Bytes(around.slice(from..)));
        pieces
    }
}

fn records_len(parts: &[Bytes]) -> usize {
    parts.iter().map(Bytes::len).sum()
}

fn put_tag_head(writer: &mut Writer, tag: u32, size: u32) {
    writer.put_uvarint(tag);
    writer.put_uvarint(size);
}

#[cfg(test)]
mod tests {
    use super::*;
    use kohort_protocol::frame::encode_response;
    use kohort_protocol::messages::fetch::AbortedTransaction;
    use kohort_protocol::{ErrorCode, Uuid};

    fn partition(index: i32, records: usize) -> PartitionData {
        PartitionData {
            partition_index: index,
            error_code: ErrorCode(index as i16),
            high_watermark: 7,
            last_stable_offset: 6,
            log_start_offset: 5,
            aborted_transactions: (index > 0)
                .then(|| vec![AbortedTransaction { producer_id: 1, first_offset: 2 }]),
            records: Some(vec![index as u8; records].into()),
            ..PartitionData::default()
        }
    }

    /// Returns a response's records, each in two parts.
    fn records(response: &FetchResponse) -> Vec<Records> {
        let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
        let parts = partitions.map(|partition| {
            let mut first = partition.records.clone().unwrap();
            let second = first.split_off(first.len() / 2);
            Records::Memory(vec![first, second])
        });
        parts.collect()
    }

    fn concat(pieces: Vec<Piece>) -> Vec<u8> {
        let mut all = Vec::new();
        for piece in pieces {
            let Piece::Bytes(bytes) = piece else { panic!("{piece:?} is not in memory") };
            all.extend_from_slice(&bytes);
        }
        all
    }

    #[test]
    fn the_bytes_are_those_of_the_general_encoder_in_every_version() {
        let sizes = [0, 1, 10, COPIED_RECORDS + 1, 100_000];
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
                response.responses[0].partitions[3].diverging_epoch =
                    EpochEndOffset { epoch: 3, end_offset: 1 << 40 };
            }
            for version in FetchResponse::VERSIONS.iter() {
                let pieces = encode(&response, records(&response), version, 42).unwrap();
                let expected = encode_response(&response, version, 42).unwrap();
                assert_eq!(concat(pieces), expected, "version {version}");
            }
        }
    }
}
