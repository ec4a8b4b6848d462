//! Which versions of each API a broker speaks (KIP-35, KIP-511).

use std::collections::BTreeMap;

use kohort_protocol::messages::api_versions::ApiVersionsResponse;
use kohort_protocol::{ApiKey, Request, VersionRange};

/// What a broker said it serves when the connection was opened.
#[derive(Debug, Clone, Default)]
pub struct ApiVersions {
    ranges: BTreeMap<i16, VersionRange>,
    features: BTreeMap<String, i16>,
}

impl ApiVersions {
    /// Reads a broker's answer.
    pub(crate) fn new(response: &ApiVersionsResponse) -> Self {
        let range = |api: &kohort_protocol::messages::api_versions::ApiVersion| {
            (api.api_key, VersionRange::new(api.min_version, api.max_version))
        };
        let features = response
            .finalized_features
            .iter()
            .map(|feature| (feature.name.clone(), feature.max_version_level))
            .collect();
        Self { ranges: response.api_keys.iter().map(range).collect(), features }
    }

    /// Returns the versions of an API the broker serves, if it serves it at all.
    pub fn range(&self, api: ApiKey) -> Option<VersionRange> {
        self.ranges.get(&(api as i16)).copied()
    }

    /// Returns the highest version of `R` inside `wanted` that both sides know.
    pub fn highest<R: Request>(&self, wanted: VersionRange) -> Option<i16> {
        let ours = R::VERSIONS.intersect(wanted)?;
        Some(ours.intersect(self.range(R::API_KEY)?)?.max)
    }

    /// Returns the level of a feature the cluster has finalized, such as `group.version`; 0 if it
    /// has not.
    pub fn feature(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }
}
