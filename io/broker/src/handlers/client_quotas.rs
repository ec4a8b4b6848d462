//! DescribeClientQuotas (key 48) and AlterClientQuotas (key 49), versions 0–1: quotas of users, clients
//! and addresses (KIP-546).
//!
//! * 1 is flexible.
//! * Changes are checked, durable before the answer, and in force with it.

use crate::cluster::api_error::ApiError;
use crate::cluster::decide_quotas::{QuotaChange, alter_quotas};
use crate::node::Node;
use crate::quota::rules::{CLIENT_ID, IP, QuotaEntity, USER};
use crate::request::{Answer, Context};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::alter_client_quotas::{
    AlterClientQuotasRequestEntityData, AlterClientQuotasResponseEntityData,
    AlterClientQuotasResponseEntryData,
};
use kohort_protocol::messages::describe_client_quotas::{
    ComponentData, EntityData, EntryData, ValueData,
};
use kohort_protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) fn alter(
    node: &Arc<Node>,
    context: Context,
    request: AlterClientQuotasRequest,
) -> Answer {
    let node = Arc::clone(node);
    context.answer_later(async move {
        let mut entities = Vec::with_capacity(request.entries.len());
        let mut changes = Vec::with_capacity(request.entries.len());
        for entry in request.entries {
            let ops = entry.ops.into_iter().map(|op| (op.key, (!op.remove).then_some(op.value)));
            let named = entry
                .entity
                .iter()
                .map(|part| (part.entity_type.clone(), part.entity_name.clone()));
            changes.push(QuotaChange { entity: named.collect(), ops: ops.collect() });
            entities.push(entry.entity);
        }
        let decide =
            move |state: &crate::cluster::state::ClusterState| alter_quotas(state, &changes);
        let results = node.controller.decide(entities.len(), decide, request.validate_only).await;
        let entries = entities.into_iter().zip(results).map(|(entity, result)| {
            let (error_code, error_message) = match result {
                Ok(()) => (ErrorCode::NONE, None),
                Err(error) => (error.code, error.message),
            };
            let entity = entity.into_iter().map(echo).collect();
            AlterClientQuotasResponseEntryData { error_code, error_message, entity }
        });
        AlterClientQuotasResponse {
            entries: entries.collect(),
            ..AlterClientQuotasResponse::default()
        }
    })
}

fn echo(part: AlterClientQuotasRequestEntityData) -> AlterClientQuotasResponseEntityData {
    let AlterClientQuotasRequestEntityData { entity_type, entity_name } = part;
    AlterClientQuotasResponseEntityData { entity_type, entity_name }
}

pub(crate) fn describe(
    node: &Arc<Node>,
    context: Context,
    request: DescribeClientQuotasRequest,
) -> Answer {
    let filter = match Filter::new(&request.components, request.strict) {
        Ok(filter) => filter,
        Err(error) => {
            return context.answer(&DescribeClientQuotasResponse {
                error_code: error.code,
                error_message: error.message,
                entries: None,
                ..DescribeClientQuotasResponse::default()
            });
        }
    };
    let state = node.metadata.state.read();
    let found = state.quotas.iter().filter(|(entity, _)| filter.takes(entity));
    let entries = found.map(|(entity, quotas)| EntryData {
        entity: entity
            .parts()
            .map(|(kind, name)| EntityData {
                entity_type: kind.to_owned(),
                entity_name: name.map(str::to_owned),
            })
            .collect(),
        values: quotas.iter().map(|(key, &value)| ValueData { key: key.clone(), value }).collect(),
    });
    context.answer(&DescribeClientQuotasResponse {
        entries: Some(entries.collect()),
        ..DescribeClientQuotasResponse::default()
    })
}

/// What the parts of an entity must be.
struct Filter<'a> {
    parts: BTreeMap<&'a str, Wanted<'a>>,
    strict: bool,
}

#[derive(Clone, Copy)]
enum Wanted<'a> {
    Any,
    /// This name, or null for the default.
    Exactly(Option<&'a str>),
}

impl<'a> Filter<'a> {
    fn new(components: &'a [ComponentData], strict: bool) -> Result<Self, ApiError> {
        let refused = |message: String| ApiError::new(ErrorCode::INVALID_REQUEST, message);
        let mut parts = BTreeMap::new();
        for component in components {
            let kind = component.entity_type.as_str();
            if kind.is_empty() {
                return Err(refused("the filter names no type of entity".to_owned()));
            }
            if parts.contains_key(kind) {
                return Err(refused(format!("the filter names {kind} twice")));
            }
            if ![USER, CLIENT_ID, IP].contains(&kind) {
                let message = format!("there are no quotas for a {kind}");
                return Err(ApiError::new(ErrorCode::UNSUPPORTED_VERSION, message));
            }
            let wanted = match (component.match_type, component.r#match.as_deref()) {
                (0, Some(name)) => Wanted::Exactly(Some(name)),
                (1, None) => Wanted::Exactly(None),
                (2, None) => Wanted::Any,
                (0, None) => {
                    let message = "an exact match needs a name";
                    return Err(refused(message.to_owned()));
                }
                (given @ (1 | 2), Some(_)) => {
                    let name = if given == 1 { "DEFAULT" } else { "SPECIFIED" };
                    return Err(refused(format!("a match of {name} takes no name")));
                }
                (other, _) => return Err(refused(format!("there is no match type {other}"))),
            };
            parts.insert(kind, wanted);
        }
        if parts.contains_key(IP) && parts.len() > 1 {
            return Err(refused(
                "a filter is for addresses, or for users and client ids, not for both".to_owned(),
            ));
        }
        Ok(Self { parts, strict })
    }

    fn takes(&self, entity: &QuotaEntity) -> bool {
        let own: BTreeMap<&str, Option<&str>> = entity.parts().collect();
        let fits = |(kind, wanted): (&&str, &Wanted<'_>)| match (own.get(kind), wanted) {
            (None, _) => false,
            (Some(_), Wanted::Any) => true,
            (Some(name), Wanted::Exactly(wanted)) => name == wanted,
        };
        (!self.strict || own.len() == self.parts.len()) && self.parts.iter().all(fits)
    }
}
