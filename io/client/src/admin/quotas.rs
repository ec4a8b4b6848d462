//! Quotas of users, clients and addresses (KIP-546).

use std::collections::BTreeMap;
use std::fmt;

use kohort_protocol::messages::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasRequestEntityData,
    AlterClientQuotasRequestEntryData, OpData,
};
use kohort_protocol::messages::describe_client_quotas::{
    ComponentData, DescribeClientQuotasRequest,
};

use super::error::{check, unanswered};
use super::{Admin, AdminError, Session};

/// Whom a quota is for: a user, a client id, both, or an address. A part without a name is the
/// default for all that have none of their own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct QuotaEntity {
    parts: BTreeMap<String, Option<String>>,
}

impl QuotaEntity {
    /// A user.
    pub fn user(name: impl Into<String>) -> Self {
        Self::default().with(USER, Some(name.into()))
    }

    /// Users without a quota of their own.
    pub fn default_user() -> Self {
        Self::default().with(USER, None)
    }

    /// A client id.
    pub fn client_id(id: impl Into<String>) -> Self {
        Self::default().with(CLIENT_ID, Some(id.into()))
    }

    /// Client ids without a quota of their own.
    pub fn default_client_id() -> Self {
        Self::default().with(CLIENT_ID, None)
    }

    /// An address.
    pub fn ip(address: impl Into<String>) -> Self {
        Self::default().with(IP, Some(address.into()))
    }

    /// Adds a part, such as the client id of a user.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.parts.extend(other.parts);
        self
    }

    /// Returns the kinds of the parts with their names.
    pub fn parts(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.parts.iter().map(|(kind, name)| (kind.as_str(), name.as_deref()))
    }

    fn with(mut self, kind: &str, name: Option<String>) -> Self {
        self.parts.insert(kind.to_owned(), name);
        self
    }
}

impl fmt::Display for QuotaEntity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the quotas of")?;
        for (kind, name) in self.parts() {
            write!(
                f,
                " {kind} {}",
                name.map_or("by default".to_owned(), |name| format!("`{name}`"))
            )?;
        }
        Ok(())
    }
}

/// A change of one quota.
#[derive(Debug, Clone, PartialEq)]
pub enum QuotaChange {
    /// Sets it: `producer_byte_rate`, `consumer_byte_rate`, `request_percentage`,
    /// `controller_mutation_rate` or `connection_creation_rate`.
    Set(String, f64),
    /// Removes it.
    Remove(String),
}

/// Which quotas to describe; the default is all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QuotaFilter {
    parts: Vec<(String, Match)>,
    strict: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Match {
    Name(String),
    Default,
    Any,
}

impl QuotaFilter {
    /// Narrows to quotas with every part of an entity.
    #[must_use]
    pub fn of(mut self, entity: &QuotaEntity) -> Self {
        for (kind, name) in entity.parts() {
            let part = name.map_or(Match::Default, |name| Match::Name(name.to_owned()));
            self.parts.push((kind.to_owned(), part));
        }
        self
    }

    /// Narrows to quotas of users.
    #[must_use]
    pub fn any_user(self) -> Self {
        self.any(USER)
    }

    /// Narrows to quotas of client ids.
    #[must_use]
    pub fn any_client_id(self) -> Self {
        self.any(CLIENT_ID)
    }

    /// Narrows to quotas of entities that have no other parts.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    fn any(mut self, kind: &str) -> Self {
        self.parts.push((kind.to_owned(), Match::Any));
        self
    }
}

const USER: &str = "user";
const CLIENT_ID: &str = "client-id";
const IP: &str = "ip";

impl Admin {
    /// Returns the quotas that a filter names, by entity and by Kafka's name of the quota.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for a filter that the broker cannot match.
    pub async fn describe_quotas(
        &self,
        filter: QuotaFilter,
    ) -> Result<BTreeMap<QuotaEntity, BTreeMap<String, f64>>, AdminError> {
        self.run(move |session| {
            let filter = filter.clone();
            async move { session.describe_quotas(filter).await }
        })
        .await
    }

    /// Sets and removes quotas, for each entity all or none.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for an entity with a quota that does not exist, or not for what the entity is.
    pub async fn alter_quotas(
        &self,
        changes: BTreeMap<QuotaEntity, Vec<QuotaChange>>,
    ) -> Result<BTreeMap<QuotaEntity, Result<(), AdminError>>, AdminError> {
        self.run(move |session| {
            let changes = changes.clone();
            async move { session.alter_quotas(changes).await }
        })
        .await
    }
}

impl Session {
    async fn describe_quotas(
        &self,
        filter: QuotaFilter,
    ) -> Result<BTreeMap<QuotaEntity, BTreeMap<String, f64>>, AdminError> {
        let component = |(entity_type, part): (String, Match)| {
            let (match_type, name) = match part {
                Match::Name(name) => (0, Some(name)),
                Match::Default => (1, None),
                Match::Any => (2, None),
            };
            ComponentData { entity_type, match_type, r#match: name }
        };
        let request = DescribeClientQuotasRequest {
            components: filter.parts.into_iter().map(component).collect(),
            strict: filter.strict,
        };
        let answer = self.ask_any(&request).await?;
        check(answer.error_code, answer.error_message, || "the quotas".to_owned())?;
        let entry = |entry: kohort_protocol::messages::describe_client_quotas::EntryData| {
            let parts = entry.entity.into_iter().map(|it| (it.entity_type, it.entity_name));
            let values = entry.values.into_iter().map(|it| (it.key, it.value));
            (QuotaEntity { parts: parts.collect() }, values.collect())
        };
        Ok(answer.entries.unwrap_or_default().into_iter().map(entry).collect())
    }

    async fn alter_quotas(
        &self,
        changes: BTreeMap<QuotaEntity, Vec<QuotaChange>>,
    ) -> Result<BTreeMap<QuotaEntity, Result<(), AdminError>>, AdminError> {
        let part = |(entity_type, entity_name): (String, Option<String>)| {
            AlterClientQuotasRequestEntityData { entity_type, entity_name }
        };
        let op = |change: QuotaChange| match change {
            QuotaChange::Set(key, value) => OpData { key, value, remove: false },
            QuotaChange::Remove(key) => OpData { key, value: 0.0, remove: true },
        };
        let mut results: BTreeMap<QuotaEntity, Result<(), AdminError>> = changes
            .keys()
            .map(|entity| (entity.clone(), Err(unanswered(entity.to_string()))))
            .collect();
        let entry =
            |(entity, ops): (QuotaEntity, Vec<QuotaChange>)| AlterClientQuotasRequestEntryData {
                entity: entity.parts.into_iter().map(part).collect(),
                ops: ops.into_iter().map(op).collect(),
            };
        let request = AlterClientQuotasRequest {
            entries: changes.into_iter().map(entry).collect(),
            validate_only: false,
        };
        for entry in self.ask_any(&request).await?.entries {
            let parts = entry.entity.into_iter().map(|it| (it.entity_type, it.entity_name));
            let entity = QuotaEntity { parts: parts.collect() };
            let result = check(entry.error_code, entry.error_message, || entity.to_string());
            results.insert(entity, result);
        }
        Ok(results)
    }
}
