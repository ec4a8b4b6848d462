//! IncrementalAlterConfigs (key 44): single configuration values are changed (KIP-339).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Changes single configuration values.
    pub struct IncrementalAlterConfigsRequest: IncrementalAlterConfigs [0..=1, flexible 1..] {
        /// The resources.
        resources: Vec<AlterConfigsResource> [0..],
        /// Whether to check without doing it.
        validate_only: bool [0..],
    }

    /// A resource and the changes to its configuration.
    pub struct AlterConfigsResource {
        /// The resource's type: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
        resource_type: i8 [0..],
        /// The resource's name.
        resource_name: String [0..],
        /// The configuration keys and values.
        configs: Vec<AlterableConfig> [0..],
    }

    /// One change.
    pub struct AlterableConfig {
        /// The key.
        name: String [0..],
        /// What to do: 0 set, 1 delete, 2 append to a list, 3 subtract from a list.
        config_operation: i8 [0..],
        /// The value, or null.
        value: Option<String> [0.., nullable 0..] = Some(String::new()),
    }
}

message! {
    /// Says for each resource whether it was changed.
    pub struct IncrementalAlterConfigsResponse: IncrementalAlterConfigs [0..=1, flexible 1..] {
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
