//! A snapshot, taken at once or bit by bit while records go on coming, and what must hold: replayed
//! before the rest of the log it gives the same shard as the whole log.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;

use bytes::Bytes;
use kohort_assignor::server::PartitionId;
use kohort_coordinator::{
    ClassicMemberMetadata, ClassicMetadata, CommittedOffset, ConsumerRecord, CurrentAssignment,
    GroupConfig, GroupEpoch, GroupRecord, GroupShard, HardState, MemberMetadata, ResolvedRegex,
    Shard, SnapshotPosition, TargetEpoch,
};
use kohort_protocol::Uuid;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

#[derive(Debug, Clone)]
enum Step {
    Replay(GroupRecord),
    /// Takes a slice of a snapshot of about as many records, beginning one if none is under way.
    Slice(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let group = (0..5_u8).prop_map(|n| Arc::<str>::from(format!("g{n}")));
    let topic = (0..4_u8).prop_map(|n| Arc::<str>::from(format!("t{n}")));
    let key = (group.clone(), topic, 0..4_i32);
    let commit = (key.clone(), any::<(i64, bool)>()).prop_map(|((group, topic, partition), at)| {
        GroupRecord::OffsetCommit { group, topic, offsets: vec![(partition, offset(at.0, at.1))] }
    });
    let forget = key.prop_map(|(group, topic, partition)| GroupRecord::OffsetCommitTombstone {
        group,
        topic,
        partition,
    });
    let generation = (group.clone(), 0..9_i32, 0..4_u8).prop_map(|(group, generation, members)| {
        GroupRecord::GroupMetadata { group, value: Arc::new(metadata(generation, members)) }
    });
    let end = group.clone().prop_map(|group| GroupRecord::GroupMetadataTombstone { group });
    let consumer = (group, consumer_record())
        .prop_map(|(group, record)| GroupRecord::Consumer { group, record });
    prop_oneof![
        8 => commit.prop_map(Step::Replay),
        5 => forget.prop_map(Step::Replay),
        3 => generation.prop_map(Step::Replay),
        2 => end.prop_map(Step::Replay),
        8 => consumer.prop_map(Step::Replay),
        6 => (1..7_usize).prop_map(Step::Slice),
    ]
}

/// A record of a consumer group, about as often one that takes something away.
fn consumer_record() -> impl Strategy<Value = ConsumerRecord> {
    let member = (0..3_u8).prop_map(|n| Arc::<str>::from(format!("m{n}")));
    (0..7_u8, member, 1..9_i32, any::<bool>()).prop_map(|(kind, member, epoch, there)| {
        let partition = PartitionId { topic: Uuid([3; 16]), index: epoch };
        match kind {
            0 => ConsumerRecord::Epoch(there.then_some(GroupEpoch { epoch, metadata_hash: 7 })),
            1 => ConsumerRecord::OldTopics(there),
            2 => {
                let topics = [Arc::from("t")].into_iter().collect();
                let metadata =
                    MemberMetadata { topics, rebalance_timeout_ms: epoch, ..Default::default() };
                ConsumerRecord::Member(member, there.then(|| Arc::new(metadata)))
            }
            3 => ConsumerRecord::TargetEpoch(there.then_some(TargetEpoch { epoch, made_at: 5 })),
            4 => {
                let target = [partition].into_iter().collect();
                ConsumerRecord::Target(member, there.then(|| Arc::new(target)))
            }
            5 => {
                let assigned = [(partition, epoch)].into_iter().collect();
                let current = CurrentAssignment { epoch, assigned, ..Default::default() };
                ConsumerRecord::Current(member, there.then(|| Arc::new(current)))
            }
            _ => {
                let topics = [Arc::from("t")].into_iter().collect();
                let resolved = ResolvedRegex { topics, version: 0, at: epoch.into() };
                ConsumerRecord::Regex(member, there.then(|| Arc::new(resolved)))
            }
        }
    })
}

fn offset(offset: i64, own_end: bool) -> CommittedOffset {
    CommittedOffset {
        offset,
        // The version of the record that has an end of its own has neither epoch nor id.
        leader_epoch: if own_end { -1 } else { 1 },
        metadata: (offset % 2 == 0).then(|| "text".into()),
        commit_timestamp: 5,
        expire_timestamp: own_end.then_some(77),
        topic_id: if own_end { Uuid::ZERO } else { Uuid([3; 16]) },
    }
}

fn metadata(generation: i32, members: u8) -> ClassicMetadata {
    let member = |number: u8| ClassicMemberMetadata {
        member_id: format!("m{number}").into(),
        instance_id: None,
        client_id: "c".into(),
        client_host: "/h".into(),
        rebalance_timeout_ms: 1,
        session_timeout_ms: 2,
        subscription: Bytes::from_static(b"s"),
        assignment: Bytes::from_static(b"a"),
    };
    ClassicMetadata {
        generation,
        protocol_type: Some("consumer".into()),
        protocol: Some("range".into()),
        leader: Some("m0".into()),
        state_timestamp: Some(8),
        members: (0..members).map(member).collect(),
    }
}

/// A snapshot as a shell takes it: from where the log must be replayed, and what is to be replayed
/// before.
#[derive(Debug)]
struct Taking {
    covers: usize,
    position: SnapshotPosition,
    content: Vec<GroupRecord>,
}

#[test]
fn a_snapshot_and_the_rest_of_the_log_are_as_good_as_the_log() {
    let config = ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let result = runner.run(&vec(step(), 1..120), |steps| {
        let mut live = GroupShard::new(GroupConfig::default(), 0);
        let mut log: Vec<GroupRecord> = Vec::new();
        let mut taking: Option<Taking> = None;
        for step in steps {
            match step {
                Step::Replay(record) => {
                    live.replay(&record);
                    log.push(record);
                }
                Step::Slice(records) => {
                    let now = taking.take().unwrap_or_else(|| Taking {
                        covers: log.len(),
                        position: SnapshotPosition::default(),
                        content: Vec::new(),
                    });
                    taking = slice(&live, now, records, &log);
                }
            }
        }
        // At once, and however the log goes on.
        prop_assert_eq!(rebuilt(live.snapshot().iter()), live.hard_state());
        while let Some(now) = taking {
            taking = slice(&live, now, 2, &log);
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

/// Takes a slice. When it is the last, checks the snapshot.
fn slice(
    live: &GroupShard,
    mut taking: Taking,
    records: usize,
    log: &[GroupRecord],
) -> Option<Taking> {
    let (slice, rest) = live.snapshot_slice(&taking.position, records);
    // What there is of one consumer group is never parted.
    let parted = slice.iter().filter(|record| !matches!(record, GroupRecord::Consumer { .. }));
    assert!(parted.count() <= records.max(1), "{} records", slice.len());
    taking.content.extend(slice);
    if let Some(position) = rest {
        assert_ne!(position, taking.position, "a slice goes on");
        return Some(Taking { position, ..taking });
    }
    let rest = &log[taking.covers..];
    assert_eq!(rebuilt(taking.content.iter().chain(rest)), live.hard_state());
    None
}

/// Replays records through their bytes.
fn rebuilt<'a>(records: impl Iterator<Item = &'a GroupRecord>) -> HardState {
    let mut shard = GroupShard::new(GroupConfig::default(), 0);
    for (key, value) in records.flat_map(|record| record.encoded().unwrap()) {
        shard.replay(&GroupRecord::decode(&key, value.as_ref()).unwrap());
    }
    shard.hard_state()
}
