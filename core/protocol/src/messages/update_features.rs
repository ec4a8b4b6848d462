//! UpdateFeatures (key 57): raises or lowers the levels of the cluster's features (KIP-584).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks for other levels.
    pub struct UpdateFeaturesRequest: UpdateFeatures [0..=2, flexible 0..] {
        /// How long the answer may take, in milliseconds.
        timeout_ms: i32 [0..] = 60_000,
        /// The features and their new levels.
        feature_updates: Vec<FeatureUpdateKey> [0..],
        /// Whether to check without doing it.
        validate_only: bool [1..],
    }

    /// A feature and its new level.
    pub struct FeatureUpdateKey {
        /// The feature's name.
        feature: String [0..],
        /// The level it is to have; below 1 it is dropped.
        max_version_level: i16 [0..],
        /// Whether the level may go down.
        allow_downgrade: bool [0..=0],
        /// Which way the level may go: 1 up, 2 down if nothing is lost, 3 down all the same.
        upgrade_type: i8 [1..] = 1,
    }
}

message! {
    /// Says whether the levels were changed.
    pub struct UpdateFeaturesResponse: UpdateFeatures [0..=2, flexible 0..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// What went wrong in words, or null.
        error_message: Option<String> [0.., nullable 0..] = Some(String::new()),
        /// The outcome for each feature.
        results: Vec<UpdatableFeatureResult> [0..=1],
    }

    /// The outcome for one feature.
    pub struct UpdatableFeatureResult {
        /// The feature's name.
        feature: String [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// What went wrong in words, or null.
        error_message: Option<String> [0.., nullable 0..] = Some(String::new()),
    }
}
