//! AlterConfigs (key 33): the configuration of topics and brokers is replaced as a whole.
//!
//! What is not listed goes back to its default, which is why IncrementalAlterConfigs came after
//! it.

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Replaces the whole configuration of each resource listed.
    pub struct AlterConfigsRequest: AlterConfigs [0..=2, flexible 2..] {
        /// The resources.
        resources: Vec<AlterConfigsResource> [0..],
        /// Whether to check without doing it.
        validate_only: bool [0..],
    }

    /// A resource and its new configuration.
    pub struct AlterConfigsResource {
        /// The resource's type: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
        resource_type: i8 [0..],
        /// The resource's name.
        resource_name: String [0..],
        /// The configuration keys and values.
        configs: Vec<AlterableConfig> [0..],
    }

    /// One configuration key and its new value.
    pub struct AlterableConfig {
        /// The key.
        name: String [0..],
        /// The value, or null.
        value: Option<String> [0.., nullable 0..] = Some(String::new()),
    }
}

message! {
    /// Says for each resource whether it was changed.
    pub struct AlterConfigsResponse: AlterConfigs [0..=2, flexible 2..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// The outcome for each.
        responses: Vec<AlterConfigsResourceResponse> [0..],
    }

    /// The outcome for one resource.
    pub struct AlterConfigsResourceResponse {
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// What went wrong in words, or null.
        error_message: Option<String> [0.., nullable 0..] = Some(String::new()),
        /// The resource's type: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
        resource_type: i8 [0..],
        /// The resource's name.
        resource_name: String [0..],
    }
}
