//! Partitions that a request names more than once.

use kohort_protocol::Uuid;
use std::collections::HashMap;

/// The partitions named more than once, and whether each was met.
#[derive(Debug, Default)]
pub(super) struct Repeats(HashMap<(String, Uuid, i32), bool>);

/// How a partition is named where it is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// There alone.
    Once,
    /// There and again later.
    First,
    /// There and before.
    Again,
}

impl Repeats {
    /// Looks for them among all that a request names: a topic by its name or its id, and the index.
    pub(super) fn among<'a>(mut named: impl Iterator<Item = (&'a str, Uuid, i32)>) -> Self {
        // Mostly it is one.
        let (Some(first), Some(second)) = (named.next(), named.next()) else {
            return Self::default();
        };
        let mut all = vec![first, second];
        all.extend(named);
        all.sort_unstable();
        let pairs = all.windows(2).filter(|pair| pair[0] == pair[1]);
        Self(pairs.map(|pair| ((pair[0].0.to_owned(), pair[0].1, pair[0].2), false)).collect())
    }

    /// Takes that a partition is met, in the request's order.
    pub(super) fn meet(&mut self, topic: &str, id: Uuid, index: i32) -> Named {
        if self.0.is_empty() {
            return Named::Once;
        }
        let met = self.0.get_mut(&(topic.to_owned(), id, index));
        match met.map(|met| std::mem::replace(met, true)) {
            None => Named::Once,
            Some(false) => Named::First,
            Some(true) => Named::Again,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_named_again_is_known_from_its_first_place_on() {
        let id = Uuid([1; 16]);
        let named = [("a", id, 0), ("b", id, 0), ("a", id, 1), ("a", id, 0), ("a", id, 0)];
        let mut repeats = Repeats::among(named.into_iter());
        let met = named.map(|(topic, id, index)| repeats.meet(topic, id, index));
        assert_eq!(met, [Named::First, Named::Once, Named::Once, Named::Again, Named::Again]);
    }
}
