//! The numbers by which responses say what went wrong.

use std::fmt;

/// An error code of the protocol. Codes we have no name for are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ErrorCode(pub i16);

impl ErrorCode {
    /// Says whether nothing went wrong.
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "" => write!(f, "error code {}", self.0),
            name => f.pad(name),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Declares the codes: number, name, and `retriable` where trying again may succeed.
macro_rules! error_codes {
    ($($(#[$meta:meta])* $number:literal $name:ident $($retriable:ident)?,)*) => {
        impl ErrorCode {
            $(
                $(#[$meta])*
                pub const $name: Self = Self($number);
            )*

            /// Every code Kafka 4.3 has, in ascending order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns Kafka's name for the code, or an empty string if it has none.
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($number => stringify!($name),)*
                    _ => "",
                }
            }

            /// Says whether Kafka's clients try again after this code.
            pub const fn is_retriable(self) -> bool {
                match self.0 {
                    $($number => error_codes!(@ $($retriable)?),)*
                    _ => false,
                }
            }
        }
    };
    (@) => { false };
    (@ retriable) => { true };
}

error_codes! {
    /// The broker failed in a way it has no code for.
    -1 UNKNOWN_SERVER_ERROR,
    /// Nothing went wrong.
    0 NONE,
    /// The partition does not have the offset asked for.
    1 OFFSET_OUT_OF_RANGE,
    /// A record batch is damaged, or has no key in a compacted topic.
    2 CORRUPT_MESSAGE retriable,
    /// The broker has no such topic or partition.
    3 UNKNOWN_TOPIC_OR_PARTITION retriable,
    /// The size asked for makes no sense.
    4 INVALID_FETCH_SIZE,
    /// The partition has no leader just now.
    5 LEADER_NOT_AVAILABLE retriable,
    /// The broker is not, or no longer, the one for this partition.
    6 NOT_LEADER_OR_FOLLOWER retriable,
    /// The time given was not enough.
    7 REQUEST_TIMED_OUT retriable,
    /// The broker is not there.
    8 BROKER_NOT_AVAILABLE,
    /// The replica is not on this broker.
    9 REPLICA_NOT_AVAILABLE retriable,
    /// A batch is larger than the topic takes.
    10 MESSAGE_TOO_LARGE,
    /// The controller has been replaced.
    11 STALE_CONTROLLER_EPOCH,
    /// The text committed with an offset is too long.
    12 OFFSET_METADATA_TOO_LARGE,
    /// The connection broke before the answer came.
    13 NETWORK_EXCEPTION retriable,
    /// The coordinator still reads its state.
    14 COORDINATOR_LOAD_IN_PROGRESS retriable,
    /// There is no coordinator just now.
    15 COORDINATOR_NOT_AVAILABLE retriable,
    /// The broker does not look after this group or transactional id.
    16 NOT_COORDINATOR retriable,
    /// The name is no topic name, or the topic is not to be used so.
    17 INVALID_TOPIC_EXCEPTION,
    /// The batches together are larger than a segment.
    18 RECORD_LIST_TOO_LARGE,
    /// Too few replicas are in sync to write.
    19 NOT_ENOUGH_REPLICAS retriable,
    /// The records were written, to fewer replicas than required.
    20 NOT_ENOUGH_REPLICAS_AFTER_APPEND retriable,
    /// `acks` is none of -1, 0 and 1.
    21 INVALID_REQUIRED_ACKS,
    /// The group has moved on from this generation.
    22 ILLEGAL_GENERATION,
    /// The member speaks nothing the rest of the group speaks.
    23 INCONSISTENT_GROUP_PROTOCOL,
    /// The name is no group name.
    24 INVALID_GROUP_ID,
    /// The group has no such member.
    25 UNKNOWN_MEMBER_ID,
    /// The session timeout is outside what the broker allows.
    26 INVALID_SESSION_TIMEOUT,
    /// The group rebalances; the member has to rejoin.
    27 REBALANCE_IN_PROGRESS,
    /// The commit would be too large to store.
    28 INVALID_COMMIT_OFFSET_SIZE,
    /// The caller may not do this with the topic.
    29 TOPIC_AUTHORIZATION_FAILED,
    /// The caller may not do this with the group.
    30 GROUP_AUTHORIZATION_FAILED,
    /// The caller may not do this with the cluster.
    31 CLUSTER_AUTHORIZATION_FAILED,
    /// A record's time is out of the range the topic takes.
    32 INVALID_TIMESTAMP,
    /// The broker does not have the mechanism.
    33 UNSUPPORTED_SASL_MECHANISM,
    /// The request does not fit into the authentication at this point.
    34 ILLEGAL_SASL_STATE,
    /// The broker does not have this version of the API.
    35 UNSUPPORTED_VERSION,
    /// There is a topic of this name.
    36 TOPIC_ALREADY_EXISTS,
    /// The number of partitions makes no sense.
    37 INVALID_PARTITIONS,
    /// The number of replicas makes no sense for this cluster.
    38 INVALID_REPLICATION_FACTOR,
    /// The brokers chosen for partitions make no sense.
    39 INVALID_REPLICA_ASSIGNMENT,
    /// A configuration key or value is wrong.
    40 INVALID_CONFIG,
    /// The broker is not the controller.
    41 NOT_CONTROLLER retriable,
    /// The request contradicts itself or the protocol.
    42 INVALID_REQUEST,
    /// The partition's records are too old for this.
    43 UNSUPPORTED_FOR_MESSAGE_FORMAT,
    /// A policy of the cluster forbids it.
    44 POLICY_VIOLATION,
    /// Batches of the producer are missing before this one.
    45 OUT_OF_ORDER_SEQUENCE_NUMBER,
    /// The batch was written long ago.
    46 DUPLICATE_SEQUENCE_NUMBER,
    /// A newer instance of the producer has taken over.
    47 INVALID_PRODUCER_EPOCH,
    /// The transaction is not in a state for this.
    48 INVALID_TXN_STATE,
    /// The producer id does not belong to the transactional id.
    49 INVALID_PRODUCER_ID_MAPPING,
    /// The transaction timeout is longer than the broker allows.
    50 INVALID_TRANSACTION_TIMEOUT,
    /// The transaction before is still being ended.
    51 CONCURRENT_TRANSACTIONS retriable,
    /// The coordinator that wrote the marker has been replaced.
    52 TRANSACTION_COORDINATOR_FENCED,
    /// The caller may not use the transactional id.
    53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    /// The broker checks no access rules.
    54 SECURITY_DISABLED,
    /// It was not tried, because something else in the request failed.
    55 OPERATION_NOT_ATTEMPTED,
    /// The disk failed.
    56 KAFKA_STORAGE_ERROR retriable,
    /// The broker has no such data folder.
    57 LOG_DIR_NOT_FOUND,
    /// The client could not prove who it is.
    58 SASL_AUTHENTICATION_FAILED,
    /// The partition does not remember the producer.
    59 UNKNOWN_PRODUCER_ID,
    /// The partition is being moved.
    60 REASSIGNMENT_IN_PROGRESS,
    /// Delegation tokens are switched off.
    61 DELEGATION_TOKEN_AUTH_DISABLED,
    /// There is no such delegation token.
    62 DELEGATION_TOKEN_NOT_FOUND,
    /// The delegation token is somebody else's.
    63 DELEGATION_TOKEN_OWNER_MISMATCH,
    /// Tokens cannot be asked for over this kind of connection.
    64 DELEGATION_TOKEN_REQUEST_NOT_ALLOWED,
    /// The caller may not do this with the token.
    65 DELEGATION_TOKEN_AUTHORIZATION_FAILED,
    /// The delegation token has expired.
    66 DELEGATION_TOKEN_EXPIRED,
    /// This kind of principal is not supported.
    67 INVALID_PRINCIPAL_TYPE,
    /// The group still has members.
    68 NON_EMPTY_GROUP,
    /// There is no such group.
    69 GROUP_ID_NOT_FOUND,
    /// The broker has no such fetch session.
    70 FETCH_SESSION_ID_NOT_FOUND retriable,
    /// The fetch session is at another epoch.
    71 INVALID_FETCH_SESSION_EPOCH retriable,
    /// The leader cannot be reached through this listener.
    72 LISTENER_NOT_FOUND retriable,
    /// The broker is configured to delete no topics.
    73 TOPIC_DELETION_DISABLED,
    /// The client knows an older leader of the partition.
    74 FENCED_LEADER_EPOCH retriable,
    /// The client knows a newer leader than the broker does.
    75 UNKNOWN_LEADER_EPOCH retriable,
    /// The client's version of the API does not know the codec.
    76 UNSUPPORTED_COMPRESSION_TYPE,
    /// The broker has registered anew since.
    77 STALE_BROKER_EPOCH,
    /// The new leader does not know the high watermark yet.
    78 OFFSET_NOT_AVAILABLE retriable,
    /// The member must join again with the id it was given.
    79 MEMBER_ID_REQUIRED,
    /// The preferred leader is not there.
    80 PREFERRED_LEADER_NOT_AVAILABLE retriable,
    /// The group is full.
    81 GROUP_MAX_SIZE_REACHED,
    /// Another member has taken over the instance id.
    82 FENCED_INSTANCE_ID,
    /// No replica that may lead is there.
    83 ELIGIBLE_LEADERS_NOT_AVAILABLE retriable,
    /// The partition has the leader it should have.
    84 ELECTION_NOT_NEEDED retriable,
    /// The partition is not being moved.
    85 NO_REASSIGNMENT_IN_PROGRESS,
    /// The group still reads the topic.
    86 GROUP_SUBSCRIBED_TO_TOPIC,
    /// A record breaks the rules of its topic.
    87 INVALID_RECORD,
    /// An open transaction may still change the offset.
    88 UNSTABLE_OFFSET_COMMIT retriable,
    /// A quota is used up.
    89 THROTTLING_QUOTA_EXCEEDED retriable,
    /// A newer producer with the transactional id has taken over.
    90 PRODUCER_FENCED,
    /// There is no such resource.
    91 RESOURCE_NOT_FOUND,
    /// The request names a resource twice.
    92 DUPLICATE_RESOURCE,
    /// The credential does not meet the requirements.
    93 UNACCEPTABLE_CREDENTIAL,
    /// Sender and receiver know different sets of voters.
    94 INCONSISTENT_VOTER_SET,
    /// The feature level cannot be reached from the present one.
    95 INVALID_UPDATE_VERSION,
    /// The features could not be changed.
    96 FEATURE_UPDATE_FAILED,
    /// A forwarded request names its sender in a form we cannot read.
    97 PRINCIPAL_DESERIALIZATION_FAILURE,
    /// There is no such snapshot.
    98 SNAPSHOT_NOT_FOUND,
    /// The snapshot does not have the position.
    99 POSITION_OUT_OF_RANGE,
    /// The broker knows no topic of this id.
    100 UNKNOWN_TOPIC_ID retriable,
    /// A broker of this id is alive already.
    101 DUPLICATE_BROKER_REGISTRATION,
    /// No broker of this id has registered.
    102 BROKER_ID_NOT_REGISTERED,
    /// The log belongs to another topic of the same name.
    103 INCONSISTENT_TOPIC_ID retriable,
    /// The request is meant for another cluster.
    104 INCONSISTENT_CLUSTER_ID,
    /// There is no such transactional id.
    105 TRANSACTIONAL_ID_NOT_FOUND,
    /// The fetch session changed between names and ids.
    106 FETCH_SESSION_TOPIC_ID_ERROR retriable,
    /// The replica may not be counted as in sync.
    107 INELIGIBLE_REPLICA,
    /// The change made another replica the leader.
    108 NEW_LEADER_ELECTED,
    /// The offset is in tiered storage only.
    109 OFFSET_MOVED_TO_TIERED_STORAGE,
    /// The member's epoch is not the coordinator's; it has to join anew.
    110 FENCED_MEMBER_EPOCH,
    /// The instance id is still in use by another member.
    111 UNRELEASED_INSTANCE_ID,
    /// The group coordinator has no such assignor.
    112 UNSUPPORTED_ASSIGNOR,
    /// The member's epoch is old; it has to try again with the new one.
    113 STALE_MEMBER_EPOCH,
    /// The request was sent to the wrong kind of node.
    114 MISMATCHED_ENDPOINT_TYPE,
    /// The node does not know this kind of endpoint.
    115 UNSUPPORTED_ENDPOINT_TYPE,
    /// There is no controller of this id.
    116 UNKNOWN_CONTROLLER_ID,
    /// The telemetry subscription has changed.
    117 UNKNOWN_SUBSCRIPTION_ID,
    /// The telemetry is larger than the broker takes.
    118 TELEMETRY_TOO_LARGE,
    /// The broker's registration is refused by the controller.
    119 INVALID_REGISTRATION,
    /// The transaction failed; the producer has to abort it and may go on.
    120 TRANSACTION_ABORTABLE,
    /// The record is not in a state to be acknowledged so.
    121 INVALID_RECORD_STATE,
    /// The broker has no such share session.
    122 SHARE_SESSION_NOT_FOUND retriable,
    /// The share session is at another epoch.
    123 INVALID_SHARE_SESSION_EPOCH retriable,
    /// The share coordinator knows a newer state.
    124 FENCED_STATE_EPOCH,
    /// The voter's key is not the one expected.
    125 INVALID_VOTER_KEY,
    /// The voter is in the set already.
    126 DUPLICATE_VOTER,
    /// The voter is not in the set.
    127 VOTER_NOT_FOUND,
    /// The pattern is not a regular expression.
    128 INVALID_REGULAR_EXPRESSION,
    /// The client must start over from its bootstrap servers.
    129 REBOOTSTRAP_REQUIRED,
    /// The streams topology makes no sense.
    130 STREAMS_INVALID_TOPOLOGY,
    /// The epoch of the streams topology makes no sense.
    131 STREAMS_INVALID_TOPOLOGY_EPOCH,
    /// The epoch of the streams topology is old.
    132 STREAMS_TOPOLOGY_FENCED,
    /// The broker takes no more share sessions.
    133 SHARE_SESSION_LIMIT_REACHED retriable,
}
