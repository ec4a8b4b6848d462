//! ListConfigResources (key 74): which resources have configuration of their own (KIP-1142).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks for resources with configuration.
    pub struct ListConfigResourcesRequest: ListConfigResources [0..=1, flexible 0..] {
        /// The types of interest; empty for all.
        resource_types: Vec<i8> [1..],
    }
}

message! {
    /// Lists resources with configuration.
    pub struct ListConfigResourcesResponse: ListConfigResources [0..=1, flexible 0..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// The resources found.
        config_resources: Vec<ConfigResource> [0..],
    }

    /// A resource with configuration.
    pub struct ConfigResource {
        /// The resource's name.
        resource_name: String [0..],
        /// The resource's type: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
        resource_type: i8 [1..] = 16,
    }
}
