//! ApiVersions (key 18): which APIs, versions and features a broker has (KIP-35, KIP-511,
//! KIP-584).
//!
//! A broker that does not know the version asked for answers in version 0, with its own list.

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks a broker what it can do, and says who asks.
    pub struct ApiVersionsRequest: ApiVersions [0..=4, flexible 3..] {
        /// The name of the client library.
        client_software_name: String [3..],
        /// The version of the client library.
        client_software_version: String [3..],
    }
}

message! {
    /// Lists what the broker can do.
    pub struct ApiVersionsResponse: ApiVersions [0..=4, flexible 3..] {
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// The APIs and their versions.
        api_keys: Vec<ApiVersion> [0..],
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [1..],
        /// The features the broker supports.
        supported_features: Vec<SupportedFeatureKey> [3.., tag 0],
        /// The epoch of the features in force, or -1 if it is not known.
        finalized_features_epoch: i64 [3.., tag 1] = -1,
        /// The features in force.
        finalized_features: Vec<FinalizedFeatureKey> [3.., tag 2],
        /// Whether a controller can take over from ZooKeeper; Kafka 4 leaves it false.
        zk_migration_ready: bool [3.., tag 3],
    }

    /// One API and the versions the broker takes.
    pub struct ApiVersion {
        /// The API's number.
        api_key: i16 [0..],
        /// The lowest version.
        min_version: i16 [0..],
        /// The highest version.
        max_version: i16 [0..],
    }

    /// A feature and the levels the broker supports.
    pub struct SupportedFeatureKey {
        /// The feature.
        name: String [3..],
        /// The lowest version.
        min_version: i16 [3..],
        /// The highest version.
        max_version: i16 [3..],
    }

    /// A feature and the levels in force across the cluster.
    pub struct FinalizedFeatureKey {
        /// The feature.
        name: String [3..],
        /// The highest level.
        max_version_level: i16 [3..],
        /// The lowest level.
        min_version_level: i16 [3..],
    }
}
