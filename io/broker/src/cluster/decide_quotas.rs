//! What a request to change quotas leads to: records to append, or why not.

use super::api_error::ApiError;
use super::record::MetadataRecord;
use super::state::ClusterState;
use crate::quota::rules::{Part, QuotaEntity};
use kohort_protocol::ErrorCode;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Quotas of one entity to set, or with `None` to remove.
#[derive(Debug, Clone)]
pub(crate) struct QuotaChange {
    /// The parts of the entity: kind, and name or null for the default.
    pub(crate) entity: Vec<(String, Option<String>)>,
    pub(crate) ops: Vec<(String, Option<f64>)>,
}

/// The longest name of a user or client that is kept, as the log's strings have it.
const NAME_MAX: usize = i16::MAX as usize;

/// Returns for each change the records that make it.
pub(crate) fn alter_quotas(
    state: &ClusterState,
    changes: &[QuotaChange],
) -> Vec<Result<Vec<MetadataRecord>, ApiError>> {
    let mut seen = BTreeSet::new();
    changes
        .iter()
        .map(|change| {
            let entity = entity(&change.entity)?;
            if !seen.insert(entity.clone()) {
                return Err(refused("this entity comes twice in the request".to_owned()));
            }
            alter_one(state, entity, &change.ops)
        })
        .collect()
}

fn alter_one(
    state: &ClusterState,
    entity: QuotaEntity,
    ops: &[(String, Option<f64>)],
) -> Result<Vec<MetadataRecord>, ApiError> {
    let current = state.quotas.get(&entity);
    let mut keys = BTreeSet::new();
    let mut records = Vec::new();
    for (key, value) in ops {
        if !keys.insert(key) {
            let message = format!("{key} comes twice for this entity: nothing is changed");
            return Err(refused(message));
        }
        if let Some(value) = *value {
            check_value(&entity, key, value)?;
        }
        let now = current.and_then(|quotas| quotas.get(key)).copied();
        if now != *value {
            let (entity, key) = (entity.clone(), key.clone());
            records.push(MetadataRecord::ClientQuota { entity, key, value: *value });
        }
    }
    Ok(records)
}

fn entity(parts: &[(String, Option<String>)]) -> Result<QuotaEntity, ApiError> {
    if parts.is_empty() {
        return Err(refused("a quota must be for a user, a client id or an address".to_owned()));
    }
    let mut entity = QuotaEntity::default();
    for (kind, name) in parts {
        let Some(part) = entity.part_mut(kind) else {
            return Err(refused(format!("there are no quotas for a {kind}")));
        };
        if *part != Part::Absent {
            let message = format!("the entity names a {kind} twice");
            return Err(refused(message));
        }
        match name.as_deref() {
            Some("") => {
                return Err(refused(format!("the {kind} is empty: null stands for the default")));
            }
            Some(name) if name.len() > NAME_MAX => {
                return Err(refused(format!("The name of the {kind} is too long")));
            }
            _ => *part = Part::from(name.clone()),
        }
    }
    match &entity.ip {
        Part::Absent => return Ok(entity),
        _ if entity.user != Part::Absent || entity.client_id != Part::Absent => {
            return Err(refused(
                "a quota is for an address, or for a user and client id, not for both".to_owned(),
            ));
        }
        Part::Named(ip) if ip.parse::<IpAddr>().is_err() => {
            return Err(refused(format!("{ip} is neither an address nor a host that is known")));
        }
        _ => {}
    }
    Ok(entity)
}

fn check_value(entity: &QuotaEntity, key: &str, value: f64) -> Result<(), ApiError> {
    let whole_up_to = match (key, &entity.ip) {
        ("connection_creation_rate", Part::Default | Part::Named(_)) => {
            Some((f64::from(i32::MAX), "an INT"))
        }
        ("producer_byte_rate" | "consumer_byte_rate", Part::Absent) => {
            Some((i64::MAX as f64, "a LONG"))
        }
        ("request_percentage" | "controller_mutation_rate", Part::Absent) => None,
        _ => return Err(refused(format!("{key} is no quota of such an entity"))),
    };
    if value.is_nan() || value <= 0.0 {
        return Err(refused(format!("{key} must be above 0")));
    }
    let Some((most, name)) = whole_up_to else { return Ok(()) };
    if value > most {
        return Err(refused(format!("{key} is more than {name} holds")));
    }
    if (value % 1.0).abs() > 1e-6 {
        return Err(refused(format!("{key} must be a whole number")));
    }
    Ok(())
}

fn refused(message: String) -> ApiError {
    ApiError::new(ErrorCode::INVALID_REQUEST, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(entity: &[(&str, Option<&str>)], ops: &[(&str, Option<f64>)]) -> QuotaChange {
        let owned = |name: Option<&str>| name.map(str::to_owned);
        QuotaChange {
            entity: entity.iter().map(|(kind, name)| ((*kind).to_owned(), owned(*name))).collect(),
            ops: ops.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect(),
        }
    }

    #[test]
    fn what_does_not_change_needs_no_record() {
        let mut state = ClusterState::default();
        let set = change(&[("user", None)], &[("producer_byte_rate", Some(5.0))]);
        let records = alter_quotas(&state, std::slice::from_ref(&set)).remove(0).unwrap();
        assert_eq!(records.len(), 1);
        state.apply(&records[0]);
        assert_eq!(alter_quotas(&state, &[set]), [Ok(vec![])]);
        let remove = change(&[("user", None)], &[("producer_byte_rate", None)]);
        let records = alter_quotas(&state, &[remove]).remove(0).unwrap();
        state.apply(&records[0]);
        assert_eq!(state, ClusterState::default());
    }

    #[test]
    fn quotas_are_refused_with_the_reason() {
        let rate = &[("producer_byte_rate", Some(5.0))];
        for (change, expected) in [
            (change(&[], rate), "a quota must be for a user, a client id or an address"),
            (change(&[("group", Some("g"))], rate), "no quotas for a group"),
            (change(&[("user", Some(""))], rate), "the user is empty"),
            (change(&[("ip", None)], rate), "producer_byte_rate is no quota"),
            (change(&[("ip", None), ("user", None)], rate), "not for both"),
            (change(&[("ip", None), ("client-id", None)], rate), "not for both"),
            (change(&[("user", None)], &[("request_percentage", Some(f64::NAN))]), "above 0"),
            (change(&[("ip", Some("x y"))], rate), "x y is neither"),
            (change(&[("user", None)], &[("producer_byte_rate", Some(0.0))]), "above 0"),
            (change(&[("user", None)], &[("producer_byte_rate", Some(1.5))]), "whole number"),
            (change(&[("user", None)], &[("producer_byte_rate", Some(1e20))]), "than a LONG holds"),
            (change(&[("user", None)], &[("nonsense", Some(1.0))]), "nonsense is no quota"),
            (change(&[("user", None), ("user", Some("u"))], rate), "names a user twice"),
            (change(&[("user", Some(&"u".repeat(NAME_MAX + 1)))], rate), "user is too long"),
            (change(&[("user", None)], &[rate[0], rate[0]]), "comes twice for this entity"),
            (change(&[("ip", None)], &[("connection_creation_rate", Some(3e9))]), "an INT holds"),
        ] {
            let refusal = alter_quotas(&ClusterState::default(), &[change]).remove(0).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::INVALID_REQUEST);
            let message = refusal.message.unwrap();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn an_entity_named_again_is_refused_where_it_is_and_kept_as_it_was_first() {
        let set = |name, bound| change(&[("user", name)], &[("producer_byte_rate", Some(bound))]);
        let changes = [set(Some("u"), 1.0), set(None, 1.0), set(Some("u"), 2.0)];
        let outcomes = alter_quotas(&ClusterState::default(), &changes);
        let codes = outcomes.iter().map(|one| one.as_ref().map(Vec::len).map_err(|it| it.code));
        assert!(codes.eq([Ok(1), Ok(1), Err(ErrorCode::INVALID_REQUEST)]), "{outcomes:?}");
    }
}
