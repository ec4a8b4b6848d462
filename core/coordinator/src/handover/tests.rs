//! Since when partitions that moved were read by nobody, and until when.

use super::*;

fn rebalance(generation: i32, ended: Timestamp, partitions: &[i32]) -> Rebalance {
    let owner = Owner { member: "b-1".into(), client_id: "b".into(), client_host: "/h".into() };
    let moved = |partition: &i32| Move {
        topic: "t".into(),
        partition: *partition,
        from: Some("a-1".into()),
        to: Some(owner.clone()),
        unserved_since: Some(ended - 10),
    };
    Rebalance {
        group: "g".into(),
        group_type: "classic",
        generation,
        causes: Vec::new(),
        omitted_causes: 0,
        started: 0,
        joined: 0,
        ended,
        last_to_join: None,
        revocations: Vec::new(),
        omitted_revocations: 0,
        revoking: None,
        members: BTreeMap::new(),
        omitted_members: 0,
        members_before: Vec::new(),
        members_after: Vec::new(),
        leader: None,
        moves: partitions.iter().map(moved).collect(),
        omitted_moves: 0,
        continues: false,
        unfinished: false,
        is_take_over: false,
    }
}

/// A generation, what was served after how long, and what was not.
type Summary = (i32, Vec<(i32, Timestamp)>, Vec<i32>);

fn told(handovers: &[Handover]) -> Vec<Summary> {
    let served = |it: &Handover| it.served.iter().map(|(m, ms)| (m.partition, *ms)).collect();
    let unserved = |it: &Handover| it.unserved.iter().map(|moved| moved.partition).collect();
    handovers.iter().map(|it| (it.generation, served(it), unserved(it))).collect()
}

#[test]
fn a_handover_is_told_when_the_last_partition_is_fetched_by_its_owner() {
    let mut handovers = Handovers::default();
    assert_eq!(handovers.rebalanced(&rebalance(2, 100, &[0, 1])), None);
    let topic: Arc<str> = "t".into();
    assert!(handovers.fetched(103, &topic, 0, "b", "/h").is_empty());
    // Somebody else, another place, and the same once more.
    assert!(handovers.fetched(104, &topic, 1, "a", "/h").is_empty());
    assert!(handovers.fetched(104, &topic, 2, "b", "/h").is_empty());
    assert!(handovers.fetched(104, &topic, 0, "b", "/h").is_empty());
    let over = handovers.fetched(105, &topic, 1, "b", "/h");
    assert_eq!(told(&over), [(2, vec![(0, 13), (1, 15)], vec![])]);
    assert!(handovers.is_empty());
}

#[test]
fn a_rebalance_that_follows_cuts_short_only_what_it_moves() {
    let mut handovers = Handovers::default();
    let topic: Arc<str> = "t".into();
    handovers.rebalanced(&rebalance(2, 100, &[0, 1, 2]));
    handovers.fetched(105, &topic, 2, "b", "/h");
    // What was read by then is told; the rest is waited for, be there other moves or none.
    let over = handovers.rebalanced(&rebalance(3, 200, &[3]));
    assert_eq!(told(over.as_slice()), [(2, vec![(2, 15)], vec![])]);
    assert_eq!(handovers.rebalanced(&rebalance(4, 300, &[])), None);
    assert!(handovers.fetched(310, &topic, 0, "b", "/h").is_empty());
    assert!(handovers.fetched(320, &topic, 3, "b", "/h").is_empty());
    assert_eq!(handovers.poll_timeout(), Some(100 + PATIENCE_MS));
    let over = handovers.fetched(330, &topic, 1, "b", "/h");
    assert_eq!(told(&over), [(4, vec![(0, 220), (3, 130), (1, 240)], vec![])]);
}

#[test]
fn what_moves_on_unread_has_been_unread_since_it_moved_first() {
    let mut handovers = Handovers::default();
    let topic: Arc<str> = "t".into();
    handovers.rebalanced(&rebalance(2, 100, &[0]));
    let mut next = rebalance(3, 5_000, &[0]);
    next.moves[0].from = Some("b-1".into());
    let over = handovers.rebalanced(&next);
    assert_eq!(told(over.as_slice()), [(2, vec![], vec![0])]);
    let over = handovers.fetched(5_005, &topic, 0, "b", "/h");
    assert_eq!(told(&over), [(3, vec![(0, 4_915)], vec![])]);
}

#[test]
fn what_is_carried_on_is_bounded_and_has_the_time_that_it_had() {
    let mut handovers = Handovers::default();
    let many: Vec<i32> = (0..Rebalance::MAX_MOVES as i32).collect();
    handovers.rebalanced(&rebalance(2, 100, &many));
    // One of the new rebalance takes the place of one that is not moved.
    let over = handovers.rebalanced(&rebalance(3, 200, &[-1]));
    assert_eq!(told(over.as_slice()), [(2, vec![], vec![many.len() as i32 - 1])]);
    assert!(handovers.handle_timeout(100 + PATIENCE_MS).is_empty());
    let over = handovers.handle_timeout(200 + PATIENCE_MS);
    assert_eq!(over[0].unserved.len(), Rebalance::MAX_MOVES);
    assert!(handovers.is_empty());
}

#[test]
fn what_nobody_fetches_is_told_when_it_moves_again_or_after_a_while() {
    let mut handovers = Handovers::default();
    handovers.rebalanced(&rebalance(2, 100, &[0]));
    let over = handovers.rebalanced(&rebalance(3, 200, &[0, 1]));
    assert_eq!(told(over.as_slice()), [(2, vec![], vec![0])]);
    assert_eq!(handovers.poll_timeout(), Some(200 + PATIENCE_MS));
    assert!(handovers.handle_timeout(201).is_empty());
    let over = handovers.handle_timeout(200 + PATIENCE_MS);
    assert_eq!(told(&over), [(3, vec![], vec![0, 1])]);
    assert_eq!(handovers.rebalanced(&rebalance(4, 300, &[])), None);
    assert!(handovers.is_empty());
}

/// What somebody is given at `at`, which its last owner gave up ten milliseconds before.
fn given(at: Timestamp, partitions: &[i32]) -> Given {
    Given { group: "g".into(), at, moves: rebalance(0, at, partitions).moves }
}

#[test]
fn a_partition_that_is_fetched_before_its_move_is_told_need_not_be_named_again() {
    let mut handovers = Handovers::default();
    let topic: Arc<str> = "t".into();
    handovers.given(&given(100, &[0, 1, 2]));
    assert!(handovers.awaits_fetches());
    assert!(handovers.fetched(130, &topic, 1, "b", "/h").is_empty());
    assert!(handovers.fetched(104, &topic, 0, "a", "/h").is_empty());
    assert!(handovers.fetched(120, &topic, 0, "b", "/h").is_empty());
    // It is told three seconds later, with another move; only the last two have to be seen yet.
    let mut told_later = rebalance(2, 3_000, &[0, 1, 2, 3]);
    for moved in &mut told_later.moves[..3] {
        moved.unserved_since = Some(90);
    }
    assert_eq!(handovers.rebalanced(&told_later), None);
    assert!(handovers.fetched(3_005, &topic, 0, "b", "/h").is_empty());
    assert!(handovers.fetched(3_005, &topic, 3, "b", "/h").is_empty());
    let over = handovers.fetched(3_010, &topic, 2, "b", "/h");
    assert_eq!(told(&over), [(2, vec![(0, 30), (1, 40), (3, 15), (2, 2_920)], vec![])]);
    assert!(handovers.is_empty());
}

#[test]
fn a_handover_of_which_all_was_seen_before_is_told_at_once() {
    let mut handovers = Handovers::default();
    handovers.given(&given(100, &[0]));
    handovers.fetched(120, &"t".into(), 0, "b", "/h");
    assert!(!handovers.awaits_fetches(), "nobody's fetch is waited for");
    assert_eq!(handovers.rebalanced(&rebalance(2, 3_000, &[0])), None);
    assert_eq!(told(&handovers.handle_timeout(3_000)), [(2, vec![(0, 30)], vec![])]);
    assert!(handovers.is_empty());
}

#[test]
fn what_is_given_on_unread_has_been_unread_since_it_was_given_first() {
    let mut handovers = Handovers::default();
    let topic: Arc<str> = "t".into();
    let to_c = |mut moves: Vec<Move>| {
        let owner = Owner { member: "c-1".into(), client_id: "c".into(), client_host: "/h".into() };
        for moved in &mut moves {
            moved.to = Some(owner.clone());
        }
        moves
    };
    // Within one rebalance, where only the first owner is named; and after one that is told.
    handovers.given(&given(100, &[0, 1]));
    handovers.fetched(200, &topic, 1, "b", "/h");
    let again = given(1_000, &[0, 1]);
    handovers.given(&Given { moves: to_c(again.moves), ..again });
    handovers.fetched(1_001, &topic, 0, "b", "/h");
    handovers.fetched(1_002, &topic, 0, "c", "/h");
    handovers.fetched(1_003, &topic, 1, "c", "/h");
    let mut rebalanced = rebalance(2, 2_000, &[0, 1]);
    rebalanced.moves = to_c(rebalanced.moves);
    assert_eq!(handovers.rebalanced(&rebalanced), None);
    assert_eq!(told(&handovers.handle_timeout(2_000)), [(2, vec![(0, 912), (1, 13)], vec![])]);

    handovers.rebalanced(&rebalance(3, 5_000, &[0]));
    let mut again = given(6_000, &[0]);
    again.moves[0].from = Some("b-1".into());
    handovers.given(&Given { moves: to_c(again.moves), ..again });
    assert_eq!(told(&handovers.handle_timeout(6_000)), [(3, vec![], vec![0])]);
    handovers.fetched(6_010, &topic, 0, "c", "/h");
    let mut rebalanced = rebalance(4, 7_000, &[0]);
    rebalanced.moves = to_c(rebalanced.moves);
    handovers.rebalanced(&rebalanced);
    assert_eq!(told(&handovers.handle_timeout(7_000)), [(4, vec![(0, 1_020)], vec![])]);
}

#[test]
fn what_is_taken_away_unread_is_unread_until_somebody_else_reads_it() {
    let mut handovers = Handovers::default();
    handovers.rebalanced(&rebalance(2, 100, &[0]));
    let mut taken = rebalance(3, 5_000, &[0]);
    (taken.moves[0].from, taken.moves[0].to) = (Some("b-1".into()), None);
    assert_eq!(told(handovers.rebalanced(&taken).as_slice()), [(2, vec![], vec![0])]);
    assert!(!handovers.awaits_fetches(), "nobody has it");
    handovers.rebalanced(&rebalance(4, 6_000, &[0]));
    let over = handovers.fetched(6_010, &"t".into(), 0, "b", "/h");
    assert_eq!(told(&over), [(4, vec![(0, 5_920)], vec![])]);
    assert!(handovers.is_empty());
}

#[test]
fn what_is_given_and_never_told_is_forgotten() {
    let mut handovers = Handovers::default();
    handovers.given(&given(100, &(0..2 * Rebalance::MAX_MOVES as i32).collect::<Vec<_>>()));
    assert_eq!(handovers.untold.values().map(|it| it.places.len()).max(), Some(1_000));
    assert_eq!(handovers.poll_timeout(), Some(100 + UNTOLD_MS_MAX));
    assert!(handovers.handle_timeout(100 + UNTOLD_MS_MAX).is_empty());
    assert!(handovers.is_empty());
    for number in 0..2 * GROUPS_MAX {
        let group: Arc<str> = number.to_string().into();
        handovers.given(&Given { group, ..given(100, &[0]) });
    }
    assert_eq!(handovers.untold.len(), GROUPS_MAX);
    // And so is what was given back to whom it was taken from: that is no move.
    handovers.rebalanced(&Rebalance { group: "0".into(), ..rebalance(2, 200, &[]) });
    assert_eq!(handovers.untold.len(), GROUPS_MAX - 1);
}

#[test]
fn a_handover_says_who_the_members_are_that_it_names() {
    let who =
        |name: &str| Who { client_id: name.into(), client_host: "/h".into(), instance_id: None };
    let known = [("a-1", "a"), ("b-1", "b"), ("z-1", "z")];
    let members = known.map(|(id, name)| (Arc::from(id), who(name)));
    let first = Rebalance { members: BTreeMap::from(members), ..rebalance(2, 100, &[0, 1]) };
    let mut handovers = Handovers::default();
    assert_eq!(handovers.rebalanced(&first), None);
    // The second one moves nothing and does not say who they are; they are remembered.
    assert_eq!(handovers.rebalanced(&rebalance(3, 200, &[2])), None);
    let topic: Arc<str> = "t".into();
    for partition in 0..2 {
        assert!(handovers.fetched(300, &topic, partition, "b", "/h").is_empty());
    }
    let told = handovers.fetched(300, &topic, 2, "b", "/h").remove(0);
    let named: Vec<_> = told.members.keys().map(|id| &**id).collect();
    assert_eq!(named, ["a-1", "b-1"]);
}

#[test]
fn what_is_not_served_is_told_with_the_time_of_day() {
    let handover_of = |ended| Handover {
        group: "g".into(),
        group_type: "classic",
        generation: 2,
        served: Vec::new(),
        unserved: rebalance(2, ended, &[0, 1]).moves,
        members: BTreeMap::new(),
    };
    assert_eq!(handover_of(1_000).moved_by(500), handover_of(1_500));
}
