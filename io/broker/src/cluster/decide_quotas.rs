//! What a request to change quotas leads to: records to append, or why not.

use super::decide::ApiError;
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
                return Err(refused("Ignoring duplicate entity".to_owned()));
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
            let message = format!("Duplicate quota key {key} not updating quota for this entity");
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
        return Err(refused("Invalid empty client quota entity".to_owned()));
    }
    let mut entity = QuotaEntity::default();
    for (kind, name) in parts {
        let Some(part) = entity.part_mut(kind) else {
            return Err(refused(format!("Unhandled client quota entity type: {kind}")));
        };
        if *part != Part::Absent {
            let message = format!("Invalid client quota entity, duplicate entity entry {kind}");
            return Err(refused(message));
        }
        match name.as_deref() {
            Some("") => return Err(refused(format!("Empty {kind} not supported"))),
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
                "Invalid quota entity combination, IP entity should not be combined with User or \
                 ClientId"
                    .to_owned(),
            ));
        }
        Part::Named(ip) if ip.parse::<IpAddr>().is_err() => {
            return Err(refused(format!("{ip} is not a valid IP or resolvable host.")));
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
        _ => return Err(refused(format!("Invalid configuration key {key}"))),
    };
    if value.is_nan() || value <= 0.0 {
        return Err(refused(format!("Quota {key} must be greater than 0")));
    }
    let Some((most, name)) = whole_up_to else { return Ok(()) };
    if value > most {
        return Err(refused(format!("Proposed value for {key} is too large for {name}.")));
    }
    if (value % 1.0).abs() > 1e-6 {
        return Err(refused(format!("{key} cannot be a fractional value.")));
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
    fn quotas_are_refused_for_kafkas_reasons() {
        let rate = &[("producer_byte_rate", Some(5.0))];
        for (change, expected) in [
            (change(&[], rate), "Invalid empty client quota entity"),
            (change(&[("group", Some("g"))], rate), "Unhandled client quota entity type: group"),
            (change(&[("user", Some(""))], rate), "Empty user not supported"),
            (change(&[("ip", None)], rate), "Invalid configuration key producer_byte_rate"),
            (change(&[("ip", None), ("user", None)], rate), "IP entity should not be combined"),
            (change(&[("ip", Some("x y"))], rate), "x y is not a valid IP"),
            (change(&[("user", None)], &[("producer_byte_rate", Some(0.0))]), "greater than 0"),
            (change(&[("user", None)], &[("producer_byte_rate", Some(1.5))]), "fractional"),
            (change(&[("user", None)], &[("nonsense", Some(1.0))]), "Invalid configuration key"),
        ] {
            let refusal = alter_quotas(&ClusterState::default(), &[change]).remove(0).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::INVALID_REQUEST);
            let message = refusal.message.unwrap();
            assert!(message.contains(expected), "{message}");
        }
    }
}
