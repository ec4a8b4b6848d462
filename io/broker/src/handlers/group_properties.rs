//! Properties of groups and of subscriptions to client metrics, as Kafka 4.3 has them. They are
//! described; setting them comes with the protocols they are about.

use crate::config::Kind;

/// One property.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupProperty {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: &'static str,
    /// The broker's property that gives the default, if one does.
    pub(crate) broker: Option<&'static str>,
    pub(crate) doc: &'static str,
}

const INT: i64 = i32::MAX as i64;

const fn property(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    broker: Option<&'static str>,
    doc: &'static str,
) -> GroupProperty {
    GroupProperty { name, kind, default, broker, doc }
}

/// A group's properties.
#[rustfmt::skip]
pub(crate) const GROUP_PROPERTIES: &[GroupProperty] = &[
    property("consumer.assignment.interval.ms", Kind::Int(0, INT), "1000", Some("group.consumer.assignment.interval.ms"), "How long at least lies between two assignments of a consumer group."),
    property("consumer.heartbeat.interval.ms", Kind::Int(1, INT), "5000", Some("group.consumer.heartbeat.interval.ms"), "How often a consumer group's members are to say that they live."),
    property("consumer.session.timeout.ms", Kind::Int(1, INT), "45000", Some("group.consumer.session.timeout.ms"), "After which silence a consumer group's member is put out."),
    property("share.assignment.interval.ms", Kind::Int(0, INT), "1000", Some("group.share.assignment.interval.ms"), "How long at least lies between two assignments of a share group."),
    property("share.auto.offset.reset", Kind::Text, "latest", None, "Where a share group begins that has no offset."),
    property("share.delivery.count.limit", Kind::Int(2, 10), "5", Some("group.share.delivery.count.limit"), "How often a share group is given a record at most."),
    property("share.heartbeat.interval.ms", Kind::Int(1, INT), "5000", Some("group.share.heartbeat.interval.ms"), "How often a share group's members are to say that they live."),
    property("share.isolation.level", Kind::Text, "read_uncommitted", None, "Whether a share group sees records of transactions that are not committed."),
    property("share.partition.max.record.locks", Kind::Int(100, 10_000), "2000", Some("group.share.partition.max.record.locks"), "How many records of a partition a share group holds at once."),
    property("share.record.lock.duration.ms", Kind::Int(1000, 3_600_000), "30000", Some("group.share.record.lock.duration.ms"), "How long a share group's member holds a record."),
    property("share.renew.acknowledge.enable", Kind::Bool, "true", None, "Whether a share group's member may hold a record for longer."),
    property("share.session.timeout.ms", Kind::Int(1, INT), "45000", Some("group.share.session.timeout.ms"), "After which silence a share group's member is put out."),
    property("streams.assignment.interval.ms", Kind::Int(0, INT), "1000", Some("group.streams.assignment.interval.ms"), "How long at least lies between two assignments of a streams group."),
    property("streams.heartbeat.interval.ms", Kind::Int(1, INT), "5000", Some("group.streams.heartbeat.interval.ms"), "How often a streams group's members are to say that they live."),
    property("streams.initial.rebalance.delay.ms", Kind::Int(0, INT), "3000", Some("group.streams.initial.rebalance.delay.ms"), "How long an empty streams group waits for more members."),
    property("streams.num.standby.replicas", Kind::Int(0, INT), "0", Some("group.streams.num.standby.replicas"), "How many idle copies of its state a streams group keeps."),
    property("streams.session.timeout.ms", Kind::Int(1, INT), "45000", Some("group.streams.session.timeout.ms"), "After which silence a streams group's member is put out."),
];

/// The properties of a subscription to client metrics.
pub(crate) const CLIENT_METRICS: &[GroupProperty] = &[
    property("interval.ms", Kind::Int(100, 3_600_000), "300000", None, "How often clients push."),
    property("match", Kind::List(&[]), "", None, "Which clients the subscription is for."),
    property("metrics", Kind::List(&[]), "", None, "Which metrics are pushed."),
];
