//! Quotas as they are set: for whom, what, how much; and which one counts for a client.
//!
//! A quota is set for a user, a client id, both, or an address, each by name or as the default of its
//! kind. The one that counts is the first of KIP-55's list: the pair named, the user with the default
//! client, the user, the default user with the client, both defaults, the default user, the client, the
//! default client. Who shares a rate follows from it: a pair's quota is each pair's own, a user's is
//! shared by all of the user's clients, a client id's by all who use it.

use std::collections::BTreeMap;

/// One part of the name a quota is set under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Part {
    /// The quota does not ask for it.
    #[default]
    Absent,
    /// Whoever has no quota of their own.
    Default,
    Named(String),
}

impl From<Option<String>> for Part {
    fn from(name: Option<String>) -> Self {
        name.map_or(Part::Default, Part::Named)
    }
}

/// Whom a quota is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct QuotaEntity {
    pub(crate) user: Part,
    pub(crate) client_id: Part,
    pub(crate) ip: Part,
}

/// The kinds of parts, as the wire names them.
pub(crate) const USER: &str = "user";
pub(crate) const CLIENT_ID: &str = "client-id";
pub(crate) const IP: &str = "ip";

impl QuotaEntity {
    /// Returns the part of that kind, if there is such a kind.
    pub(crate) fn part_mut(&mut self, kind: &str) -> Option<&mut Part> {
        match kind {
            USER => Some(&mut self.user),
            CLIENT_ID => Some(&mut self.client_id),
            IP => Some(&mut self.ip),
            _ => None,
        }
    }

    /// Lists the parts that are not absent: kind, and name or null for the default.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&'static str, Option<&str>)> {
        [(USER, &self.user), (CLIENT_ID, &self.client_id), (IP, &self.ip)].into_iter().filter_map(
            |(kind, part)| match part {
                Part::Absent => None,
                Part::Default => Some((kind, None)),
                Part::Named(name) => Some((kind, Some(name.as_str()))),
            },
        )
    }
}

/// Every quota that is set, by whom it is for.
pub(crate) type QuotaRules = BTreeMap<QuotaEntity, BTreeMap<String, f64>>;

/// Those who share a rate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Sharers {
    pub(crate) user: Option<String>,
    pub(crate) client_id: Option<String>,
}

/// Returns the quota named `key` that counts for a client, and who shares it.
pub(crate) fn bound(
    rules: &QuotaRules,
    key: &str,
    user: &str,
    client_id: &str,
) -> Option<(Sharers, f64)> {
    let named = |name: &str| Part::Named(name.to_owned());
    let (a_user, a_client) = (named(user), named(client_id));
    let absent = Part::Absent;
    let candidates = [
        (&a_user, &a_client),
        (&a_user, &Part::Default),
        (&a_user, &absent),
        (&Part::Default, &a_client),
        (&Part::Default, &Part::Default),
        (&Part::Default, &absent),
        (&absent, &a_client),
        (&absent, &Part::Default),
    ];
    candidates.into_iter().find_map(|(user_part, client_part)| {
        let (by_user, by_client) = (user_part.clone(), client_part.clone());
        let entity = QuotaEntity { user: by_user, client_id: by_client, ip: Part::Absent };
        let bound = *rules.get(&entity)?.get(key)?;
        let sharers = Sharers {
            user: (*user_part != Part::Absent).then(|| user.to_owned()),
            client_id: (*client_part != Part::Absent).then(|| client_id.to_owned()),
        };
        Some((sharers, bound))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_quota_counts_and_says_who_shares_it() {
        let named = |name: &str| Part::Named(name.to_owned());
        let order = [
            (named("u"), named("c")),
            (named("u"), Part::Default),
            (named("u"), Part::Absent),
            (Part::Default, named("c")),
            (Part::Default, Part::Default),
            (Part::Default, Part::Absent),
            (Part::Absent, named("c")),
            (Part::Absent, Part::Default),
        ];
        let mut rules = QuotaRules::new();
        // From the last of the list to the first, each new one counts over those before.
        for (number, (user, client_id)) in order.into_iter().enumerate().rev() {
            let shared = (user != Part::Absent, client_id != Part::Absent);
            let entity = QuotaEntity { user, client_id, ip: Part::Absent };
            rules.insert(entity, BTreeMap::from([("k".to_owned(), number as f64)]));
            let (sharers, found) = bound(&rules, "k", "u", "c").unwrap();
            assert!((found - number as f64).abs() < 0.1);
            assert_eq!((sharers.user.is_some(), sharers.client_id.is_some()), shared);
        }
        assert_eq!(bound(&rules, "other", "u", "c"), None);
    }
}
