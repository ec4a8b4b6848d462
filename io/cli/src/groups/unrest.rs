//! Which rebalances speak of unrest. Three of them within five minutes are too many: FLAPPING.

use kohort_broker::group_events::RebalanceEvent;

/// Tells whether a rebalance speaks of unrest. A group that only grows is none: its members are started one after
/// another. Nor is a cooperative rebalance two, though it takes two generations: in the first some give up
/// what others are given in the next. The end of one that was told in parts is no other, and a static member
/// that takes over what it had disturbs nobody.
pub(crate) fn unsettles(event: &RebalanceEvent) -> bool {
    if event.take_over || (event.causes.is_empty() && event.continues) {
        return false;
    }
    if event.causes.is_empty() {
        // By what another Kafka's log tells, only who came and went are causes.
        let hands_out = !event.moved.is_empty() && event.moved.iter().all(|it| it.from.is_none());
        return !hands_out;
    }
    let grows = |what: &str| matches!(what, "joined" | "gave-up-partitions");
    event.omitted_causes > 0 || !event.causes.iter().all(|cause| grows(&cause.what))
}

#[cfg(test)]
mod tests {
    use kohort_broker::group_events::{CauseEvent, MovedPartition};

    use super::*;

    #[test]
    fn a_group_that_grows_and_a_second_step_of_a_rebalance_are_no_unrest() {
        let event = |causes: &[&str], moved_from: &[Option<&str>]| RebalanceEvent {
            version: 1,
            group: "g".to_owned(),
            protocol: "classic".to_owned(),
            generation: 2,
            causes: causes
                .iter()
                .map(|what| CauseEvent {
                    at_ms: 1_000,
                    what: (*what).to_owned(),
                    member: None,
                    text: String::new(),
                })
                .collect(),
            started_ms: 1_000,
            joined_ms: 1_000,
            ended_ms: 1_000,
            moved: moved_from
                .iter()
                .map(|from| MovedPartition {
                    topic: "t".to_owned(),
                    partition: 0,
                    from: from.map(str::to_owned),
                    to: None,
                    unserved_since_ms: None,
                })
                .collect(),
            ..RebalanceEvent::default()
        };
        let quiet = [event(&["joined"], &[Some("a")]), event(&["gave-up-partitions"; 2], &[None])];
        assert!(quiet.iter().all(|event| !unsettles(event)));
        assert!(!unsettles(&event(&["joined", "gave-up-partitions"], &[])));
        assert!(!unsettles(&event(&[], &[None, None])), "another Kafka's second generation");
        for unrest in [&["expired"][..], &["joined", "left"], &["leader-rejoined"], &["gone"]] {
            assert!(unsettles(&event(unrest, &[])), "{unrest:?}");
        }
        assert!(!unsettles(&RebalanceEvent { continues: true, ..event(&[], &[]) }));
        let replaced = event(&["static-member-replaced"], &[Some("a")]);
        assert!(unsettles(&replaced), "with a new assignment");
        assert!(!unsettles(&RebalanceEvent { take_over: true, ..replaced }));
        assert!(unsettles(&event(&[], &[])), "a leader that rejoins, on another Kafka");
    }
}
