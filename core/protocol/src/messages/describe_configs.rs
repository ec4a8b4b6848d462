//! DescribeConfigs (key 32): the configuration of topics, brokers and groups (KIP-133, KIP-226).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks for the configuration of resources.
    pub struct DescribeConfigsRequest: DescribeConfigs [1..=4, flexible 4..] {
        /// The resources.
        resources: Vec<DescribeConfigsResource> [1..],
        /// Whether to list the values behind each value.
        include_synonyms: bool [1..],
        /// Whether to tell what each key is for.
        include_documentation: bool [3..],
    }

    /// A resource, and which of its keys are of interest.
    pub struct DescribeConfigsResource {
        /// The resource's type: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
        resource_type: i8 [1..],
        /// The resource's name.
        resource_name: String [1..],
        /// The keys of interest, or null for all.
        configuration_keys: Option<Vec<String>> [1.., nullable 1..] = Some(Vec::new()),
    }
}

message! {
    /// Lists the configuration of each resource.
    pub struct DescribeConfigsResponse: DescribeConfigs [1..=4, flexible 4..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [1..],
        /// The configuration of each resource.
        results: Vec<DescribeConfigsResult> [1..],
    }

    /// The configuration of one resource.
    pub struct DescribeConfigsResult {
        /// What went wrong, if anything did.
        error_code: ErrorCode [1..],
        /// What went wrong in words, or null.
        error_message: Option<String> [1.., nullable 1..] = Some(String::new()),
        /// The resource's type: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
        resource_type: i8 [1..],
        /// The resource's name.
        resource_name: String [1..],
        /// The configuration keys and values.
        configs: Vec<DescribeConfigsResourceResult> [1..],
    }

    /// One configuration key: its value and where it comes from.
    pub struct DescribeConfigsResourceResult {
        /// The key.
        name: String [1..],
        /// The value, or null.
        value: Option<String> [1.., nullable 1..] = Some(String::new()),
        /// Whether the value cannot be changed.
        read_only: bool [1..],
        /// Where the value comes from: 1 topic, 2 one broker, 3 all brokers, 4 static, 5 default, 6
        /// logger, 7 client metrics, 8 group.
        config_source: i8 [1..] = -1,
        /// Whether the value is secret and therefore null.
        is_sensitive: bool [1..],
        /// The values behind this one, the strongest first.
        synonyms: Vec<DescribeConfigsSynonym> [1..],
        /// The value's type: 1 boolean, 2 string, 3 int, 4 short, 5 long, 6 double, 7 list, 8
        /// class, 9 password.
        config_type: i8 [3..],
        /// What the key is for, or null.
        documentation: Option<String> [3.., nullable 3..] = Some(String::new()),
    }

    /// A key that would give the value if those before it were not set.
    pub struct DescribeConfigsSynonym {
        /// The key.
        name: String [1..],
        /// The value, or null.
        value: Option<String> [1.., nullable 1..] = Some(String::new()),
        /// Where the value comes from, as in `config_source`.
        source: i8 [1..],
    }
}
