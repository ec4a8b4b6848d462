//! What every assignor promises, on random groups, and the results Kafka's documentation shows.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kohort_assignor::{
    Assignment, Assignor, ClusterTopics, CooperativeStickyAssignor, MemberSubscription,
    RangeAssignor, RoundRobinAssignor, StickyAssignor, TopicLayout, TopicPartition, by_name,
};
use proptest::prelude::*;

type Members = BTreeMap<String, MemberSubscription>;
type Assignments = BTreeMap<String, Assignment>;

const NAMES: [&str; 4] = ["range", "roundrobin", "sticky", "cooperative-sticky"];

fn cluster(topics: &[(&str, i32)]) -> ClusterTopics {
    topics.iter().copied().collect()
}

fn wants(topics: &[&str]) -> MemberSubscription {
    MemberSubscription {
        topics: topics.iter().map(|topic| Arc::from(*topic)).collect(),
        ..MemberSubscription::default()
    }
}

fn members(wanted: &[(&str, &[&str])]) -> Members {
    wanted.iter().map(|(id, topics)| ((*id).to_owned(), wants(topics))).collect()
}

/// Writes an assignment as `a: t-0 t-1 | b: u-0`.
fn show(assignments: &Assignments) -> String {
    let part = |(id, assignment): (&String, &Assignment)| {
        let names: Vec<String> = assignment.partitions.iter().map(ToString::to_string).collect();
        format!("{id}: {}", names.join(" "))
    };
    assignments.iter().map(part).collect::<Vec<_>>().join(" | ")
}

fn check(
    assignor: &dyn Assignor,
    topics: &[(&str, i32)],
    wanted: &[(&str, &[&str])],
    expected: &str,
) {
    let result = assignor.assign(&cluster(topics), &members(wanted));
    assert_eq!(show(&result), expected);
}

/// Gives each member what it got as what it owned, in the form `assignor` reads it.
fn remember(name: &str, members: &mut Members, result: &Assignments, generation: i32) {
    for (id, member) in members {
        let Some(assignment) = result.get(id) else { continue };
        let mut own = by_name(name).unwrap();
        own.on_assignment(assignment, generation);
        member.user_data = own.subscription_user_data();
        if name == CooperativeStickyAssignor::NAME {
            member.owned_partitions.clone_from(&assignment.partitions);
            member.generation_id = Some(generation);
        }
    }
}

fn owners(result: &Assignments) -> BTreeMap<TopicPartition, String> {
    let mut owners = BTreeMap::new();
    for (id, assignment) in result {
        for partition in &assignment.partitions {
            let before = owners.insert(partition.clone(), id.clone());
            assert_eq!(before, None, "{partition} was given out twice");
        }
    }
    owners
}

/// Runs cooperative rebalances until nothing is withheld; checks that no step makes two owners.
fn settle(
    name: &str,
    cluster: &ClusterTopics,
    members: &mut Members,
    generation: &mut i32,
) -> Assignments {
    let assignor = by_name(name).unwrap();
    let expected = expected_partitions(cluster, members);
    for _ in 0..3 {
        let result = assignor.assign(cluster, members);
        let given = owners(&result);
        for (id, member) in members.iter() {
            for owned in &member.owned_partitions {
                let new_owner = given.get(owned);
                assert!(
                    new_owner.is_none_or(|new_owner| new_owner == id),
                    "{owned} was given to another member while {id} still owns it"
                );
            }
        }
        *generation += 1;
        remember(name, members, &result, *generation);
        if given.len() == expected.len() {
            return result;
        }
    }
    panic!("two rebalances are enough to move everything");
}

fn expected_partitions(cluster: &ClusterTopics, members: &Members) -> BTreeSet<TopicPartition> {
    let topics: BTreeSet<&Arc<str>> = members.values().flat_map(|member| &member.topics).collect();
    topics
        .into_iter()
        .filter_map(|topic| cluster.get(topic))
        .flat_map(|(topic, layout)| {
            (0..layout.partition_count)
                .map(|partition| TopicPartition::new(topic.clone(), partition))
        })
        .collect()
}

fn counts(result: &Assignments) -> Vec<usize> {
    result.values().map(|assignment| assignment.partitions.len()).collect()
}

fn assert_level(result: &Assignments) {
    let counts = counts(result);
    assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
}

/// No partition could move to a subscriber that has two fewer.
fn assert_no_move_helps(members: &Members, result: &Assignments) {
    let mut emptiest: BTreeMap<&str, usize> = BTreeMap::new();
    for (id, member) in members {
        for topic in &member.topics {
            let least = emptiest.entry(topic).or_insert(usize::MAX);
            *least = (*least).min(result[id].partitions.len());
        }
    }
    for owner in result.values() {
        for partition in &owner.partitions {
            let least = emptiest[&*partition.topic];
            assert!(owner.partitions.len() <= least + 1, "{partition} could move");
        }
    }
}

/// No member could have a partition back that it had, for one that is new to it or because it has fewer.
fn assert_no_exchange_brings_home(members: &Members, before: &Assignments, after: &Assignments) {
    let had = owners(before);
    let is_new = |of: &TopicPartition, id: &str| had.get(of).is_none_or(|owner| owner != id);
    for (partition, away) in owners(after) {
        let Some(home) = had.get(&partition).filter(|home| **home != away) else { continue };
        let Some(member) = members.get(home) else { continue };
        if member.topics.contains(&partition.topic) {
            let has = &after[home].partitions;
            let fewer = has.len() < after[&away].partitions.len();
            assert!(!fewer, "{home} could have kept {partition}");
            let takes = |it: &&TopicPartition| members[&away].topics.contains(&it.topic);
            let exchanged = has.iter().filter(takes).find(|it| is_new(it, home));
            assert_eq!(exchanged, None, "{home} could have kept {partition}");
        }
    }
}

fn topic_set() -> impl Strategy<Value = Vec<(String, i32)>> {
    proptest::collection::vec(0..12i32, 1..6).prop_map(|counts| {
        counts.into_iter().enumerate().map(|(index, count)| (format!("t{index}"), count)).collect()
    })
}

fn group(topics: usize, alike: bool) -> impl Strategy<Value = Members> {
    let wanted = proptest::collection::vec(any::<bool>(), topics);
    proptest::collection::vec(wanted, 1..9).prop_map(move |wanted| {
        let subscription = |row: &Vec<bool>| {
            let topics = row.iter().enumerate().filter(|(_, wants)| alike || **wants);
            MemberSubscription {
                topics: topics.map(|(index, _)| Arc::from(format!("t{index}"))).collect(),
                ..MemberSubscription::default()
            }
        };
        wanted
            .iter()
            .enumerate()
            .map(|(index, row)| (format!("m{index}"), subscription(row)))
            .collect()
    })
}

fn scenario(alike: bool) -> impl Strategy<Value = (ClusterTopics, Members)> {
    topic_set().prop_flat_map(move |topics| {
        let count = topics.len();
        (Just(topics.into_iter().collect()), group(count, alike))
    })
}

proptest! {
    #[test]
    fn every_partition_of_a_subscribed_topic_has_one_owner_who_wants_it(
        (cluster, members) in scenario(false),
        name in proptest::sample::select(&NAMES[..]),
    ) {
        let assignor = by_name(name).unwrap();
        let result = assignor.assign(&cluster, &members);
        let owners = owners(&result);
        let given: BTreeSet<_> = owners.keys().cloned().collect();
        prop_assert_eq!(given, expected_partitions(&cluster, &members));
        for (partition, owner) in &owners {
            prop_assert!(members[owner].topics.contains(&partition.topic));
        }
        prop_assert_eq!(result.len(), members.len());
        prop_assert_eq!(assignor.assign(&cluster, &members), result, "the same again");
    }

    #[test]
    fn equal_subscriptions_are_served_evenly(
        (cluster, members) in scenario(true),
        name in proptest::sample::select(&NAMES[1..]),
    ) {
        assert_level(&by_name(name).unwrap().assign(&cluster, &members));
    }

    #[test]
    fn a_leaving_member_moves_only_its_own_partitions(
        (cluster, mut members) in scenario(true),
        name in proptest::sample::select(&NAMES[2..]),
        who: prop::sample::Index,
    ) {
        let mut generation = 0;
        let before = owners(&settle(name, &cluster, &mut members, &mut generation));
        let leaver = members.keys().nth(who.index(members.len())).unwrap().clone();
        members.remove(&leaver);
        if !members.is_empty() {
            let result = settle(name, &cluster, &mut members, &mut generation);
            assert_level(&result);
            for (partition, owner) in owners(&result) {
                prop_assert!(before[&partition] == leaver || before[&partition] == owner);
            }
        }
    }

    #[test]
    fn a_joining_member_gets_its_share_and_nothing_else_moves(
        (cluster, mut members) in scenario(true),
        name in proptest::sample::select(&NAMES[2..]),
        id in "[a-z]{3}",
    ) {
        let mut generation = 0;
        let before = owners(&settle(name, &cluster, &mut members, &mut generation));
        let newcomer = MemberSubscription {
            topics: members.values().next().unwrap().topics.clone(),
            ..MemberSubscription::default()
        };
        members.insert(id.clone(), newcomer);
        let result = settle(name, &cluster, &mut members, &mut generation);
        assert_level(&result);
        for (partition, owner) in owners(&result) {
            prop_assert!(owner == id || before[&partition] == owner);
        }
    }

    #[test]
    fn mixed_subscriptions_end_where_no_single_move_helps_and_then_rest(
        (cluster, mut members) in scenario(false),
        name in proptest::sample::select(&NAMES[2..]),
        who: prop::sample::Index,
    ) {
        let mut generation = 0;
        let first = settle(name, &cluster, &mut members, &mut generation);
        assert_no_move_helps(&members, &first);
        let again = settle(name, &cluster, &mut members, &mut generation);
        prop_assert_eq!(&first, &again, "an unchanged group is left alone");
        let leaver = members.keys().nth(who.index(members.len())).unwrap().clone();
        members.remove(&leaver);
        if !members.is_empty() {
            let result = settle(name, &cluster, &mut members, &mut generation);
            assert_no_move_helps(&members, &result);
        }
    }

    #[test]
    fn mixed_subscriptions_move_nothing_that_an_exchange_could_have_kept(
        (cluster, mut members) in scenario(false),
        (_, changed) in scenario(false),
    ) {
        let sticky = StickyAssignor::default();
        let before = sticky.assign(&cluster, &members);
        remember("sticky", &mut members, &before, 1);
        // Every other member stays as it is; of the others some come, and some want other topics.
        for (id, member) in changed.into_iter().step_by(2) {
            members.entry(id).or_default().topics = member.topics;
        }
        let after = sticky.assign(&cluster, &members);
        assert_no_move_helps(&members, &after);
        assert_no_exchange_brings_home(&members, &before, &after);
    }

    #[test]
    fn arbitrary_claims_never_break_an_assignment(
        (cluster, mut members) in scenario(false),
        claims in proptest::collection::vec(
            (proptest::collection::vec((0..6u8, -2..14i32), 0..20), -2..4i32), 9),
        data in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        for (member, (owned, generation)) in members.values_mut().zip(claims) {
            member.owned_partitions =
                owned.iter().map(|(t, p)| TopicPartition::new(format!("t{t}"), *p)).collect();
            let mut own = StickyAssignor::default();
            own.on_assignment(&Assignment::from(member.owned_partitions.clone()), generation);
            member.user_data = own.subscription_user_data();
            member.generation_id = (generation >= 0).then_some(generation);
        }
        let sticky = StickyAssignor::default().assign(&cluster, &members);
        assert_no_move_helps(&members, &sticky);
        let given: BTreeSet<_> = owners(&sticky).into_keys().collect();
        prop_assert_eq!(given, expected_partitions(&cluster, &members));
        owners(&CooperativeStickyAssignor::default().assign(&cluster, &members));
        members.values_mut().next().unwrap().user_data = Some(data.into());
        owners(&StickyAssignor::default().assign(&cluster, &members));
    }
}

#[test]
fn range_gives_the_first_members_the_larger_ranges_of_each_topic() {
    check(
        &RangeAssignor,
        &[("t0", 3), ("t1", 3)],
        &[("a", &["t0", "t1"]), ("b", &["t0", "t1"])],
        "a: t0-0 t0-1 t1-0 t1-1 | b: t0-2 t1-2",
    );
    check(
        &RangeAssignor,
        &[("t0", 2)],
        &[("a", &["t0", "unknown"]), ("b", &["t0"]), ("c", &["t0"]), ("d", &["unknown"])],
        "a: t0-0 | b: t0-1 | c:  | d: ",
    );
    check(
        &RangeAssignor,
        &[("t", 6)],
        &[("a", &["t"]), ("b", &["t"]), ("c", &["t"]), ("d", &["t"])],
        "a: t-0 t-1 | b: t-2 t-3 | c: t-4 | d: t-5",
    );
}

#[test]
fn round_robin_deals_over_all_topics_and_passes_over_who_is_not_subscribed() {
    check(
        &RoundRobinAssignor,
        &[("t0", 3), ("t1", 3)],
        &[("a", &["t0", "t1"]), ("b", &["t0", "t1"])],
        "a: t0-0 t0-2 t1-1 | b: t0-1 t1-0 t1-2",
    );
    check(
        &RoundRobinAssignor,
        &[("t0", 1), ("t1", 2), ("t2", 3)],
        &[("a", &["t0"]), ("b", &["t0", "t1"]), ("c", &["t0", "t1", "t2"])],
        "a: t0-0 | b: t1-0 | c: t1-1 t2-0 t2-1 t2-2",
    );
    check(
        &RoundRobinAssignor,
        &[("t0", 3), ("t1", 1)],
        &[("a", &["t0"]), ("b", &["t0"]), ("c", &["t1"])],
        "a: t0-0 t0-2 | b: t0-1 | c: t1-0",
    );
}

#[test]
fn static_members_are_served_by_instance_id_before_all_others() {
    let mut group = members(&[("a", &["t"]), ("b", &["t"]), ("c", &["t"])]);
    group.get_mut("b").unwrap().group_instance_id = Some("z".to_owned());
    group.get_mut("c").unwrap().group_instance_id = Some("y".to_owned());
    let cluster = cluster(&[("t", 3)]);
    for assignor in [by_name("range").unwrap(), by_name("roundrobin").unwrap()] {
        assert_eq!(show(&assignor.assign(&cluster, &group)), "a: t-2 | b: t-1 | c: t-0");
    }
}

#[test]
fn sticky_levels_what_subscriptions_allow() {
    check(
        &StickyAssignor::default(),
        &[("t0", 1), ("t1", 2), ("t2", 3)],
        &[("a", &["t0"]), ("b", &["t0", "t1"]), ("c", &["t0", "t1", "t2"])],
        "a: t0-0 | b: t1-0 t1-1 | c: t2-0 t2-1 t2-2",
    );
}

#[test]
fn sticky_levels_along_a_chain_of_members_where_no_single_move_helps() {
    let cluster = cluster(&[("t", 3), ("u", 3)]);
    let mut group = members(&[("a", &["t"]), ("b", &["t", "u"]), ("c", &["u"])]);
    let own = |topic: &str, partitions: &[i32]| -> Assignment {
        let partitions = partitions.iter().map(|p| TopicPartition::new(topic, *p));
        Assignment::from(partitions.collect::<Vec<_>>())
    };
    let before = [("a", own("t", &[0, 1, 2])), ("b", own("u", &[0, 1])), ("c", own("u", &[2]))];
    let before: Assignments = before.map(|(id, part)| (id.to_owned(), part)).into();
    remember("sticky", &mut group, &before, 1);
    let result = StickyAssignor::default().assign(&cluster, &group);
    assert_eq!(show(&result), "a: t-0 t-1 | b: t-2 u-0 | c: u-1 u-2");
}

#[test]
fn sticky_levels_for_many_who_join_at_once_with_no_move_among_the_others() {
    for (partitions, members) in [(20, 200), (30, 600)] {
        let cluster: ClusterTopics =
            (0..100).map(|topic| (format!("t{topic}"), partitions)).collect();
        let member = |member: usize| {
            let topics = (0..100).filter(|topic| !(member * 7 + topic).is_multiple_of(3));
            let topics = topics.map(|topic| Arc::from(format!("t{topic}"))).collect();
            (
                format!("m{member:04}"),
                MemberSubscription { topics, ..MemberSubscription::default() },
            )
        };
        let mut group: Members = (0..60).map(member).collect();
        let before = StickyAssignor::default().assign(&cluster, &group);
        remember("sticky", &mut group, &before, 1);
        group.extend((60..members).map(member));
        let after = StickyAssignor::default().assign(&cluster, &group);
        assert_level(&after);
        let (before, after) = (owners(&before), owners(&after));
        let is_old = |id: &String| id.as_str() < "m0060";
        let moved = after.iter().filter(|(partition, owner)| before[*partition] != **owner);
        let among_old: Vec<_> = moved.filter(|(_, owner)| is_old(owner)).collect();
        assert!(among_old.is_empty(), "went from an old member to another: {among_old:?}");
    }
}

#[test]
fn cooperative_moves_a_partition_in_two_rebalances() {
    let cluster = cluster(&[("t", 4)]);
    let assignor = CooperativeStickyAssignor::default();
    let mut group = members(&[("a", &["t"])]);
    let first = assignor.assign(&cluster, &group);
    assert_eq!(show(&first), "a: t-0 t-1 t-2 t-3");
    remember("cooperative-sticky", &mut group, &first, 1);
    group.insert("b".to_owned(), wants(&["t"]));
    let second = assignor.assign(&cluster, &group);
    assert_eq!(show(&second), "a: t-0 t-1 | b: ");
    remember("cooperative-sticky", &mut group, &second, 2);
    assert_eq!(show(&assignor.assign(&cluster, &group)), "a: t-0 t-1 | b: t-2 t-3");
}

#[test]
fn the_newer_generation_wins_a_partition_and_a_draw_gives_it_to_nobody_at_first() {
    let cluster = cluster(&[("t", 2)]);
    let claim = |generation, partitions: &[i32]| MemberSubscription {
        owned_partitions: partitions.iter().map(|p| TopicPartition::new("t", *p)).collect(),
        generation_id: Some(generation),
        ..wants(&["t"])
    };
    let group = |a, b| BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]);
    let assignor = CooperativeStickyAssignor::default();
    let newer = group(claim(4, &[0, 1]), claim(5, &[1]));
    assert_eq!(show(&assignor.assign(&cluster, &newer)), "a: t-0 | b: t-1");
    let older = group(claim(5, &[1]), claim(4, &[0, 1]));
    assert_eq!(show(&assignor.assign(&cluster, &older)), "a: t-1 | b: t-0");
    let draw = group(claim(5, &[0, 1]), claim(5, &[1]));
    assert_eq!(show(&assignor.assign(&cluster, &draw)), "a: t-0 | b: ");
    let draw = group(claim(5, &[0]), claim(5, &[0]));
    assert_eq!(show(&assignor.assign(&cluster, &draw)), "a:  | b: t-1", "nor to the first of them");
    let twice = group(claim(5, &[0, 0]), claim(5, &[1]));
    assert_eq!(show(&assignor.assign(&cluster, &twice)), "a: t-0 | b: t-1", "of one member");
}

#[test]
fn an_older_leaders_protocol_takes_the_generation_from_the_user_data() {
    let mut a = wants(&["t"]);
    a.owned_partitions = vec![TopicPartition::new("t", 0)];
    a.user_data = Some(bytes::Bytes::from_static(&[0, 0, 0, 9]));
    let mut b = a.clone();
    b.user_data = Some(bytes::Bytes::from_static(&[0, 0, 0, 10]));
    let group = BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]);
    let result = CooperativeStickyAssignor::default().assign(&cluster(&[("t", 1)]), &group);
    assert_eq!(show(&result), "a:  | b: t-0");
    let mut own = CooperativeStickyAssignor::default();
    own.on_assignment(&Assignment::default(), 9);
    assert_eq!(own.subscription_user_data().as_deref(), Some(&[0, 0, 0, 9][..]));
}

/// A topic `t` of which each partition has a replica in each of these racks.
fn in_racks(partitions: &[&[&str]]) -> ClusterTopics {
    let racks = |names: &&[&str]| names.iter().map(|name| Arc::from(*name)).collect();
    let replica_racks: Vec<BTreeSet<Arc<str>>> = partitions.iter().map(racks).collect();
    let mut cluster = ClusterTopics::new();
    let partition_count = replica_racks.len() as i32;
    cluster.insert_layout("t", TopicLayout { partition_count, replica_racks });
    cluster
}

fn members_in_racks(racks: &[(&str, &str)]) -> Members {
    let wanted: Vec<(&str, &[&str])> = racks.iter().map(|(id, _)| (*id, &["t"][..])).collect();
    let mut group = members(&wanted);
    for (id, rack) in racks {
        group.get_mut(*id).unwrap().rack_id = Some(Arc::from(*rack));
    }
    group
}

#[test]
fn sticky_gives_what_is_free_to_members_near_it_within_the_same_quotas() {
    let group = members_in_racks(&[("a", "r1"), ("b", "r2")]);
    let sticky = StickyAssignor::default();
    let cluster = in_racks(&[&["r1"], &["r1"], &["r2"], &["r2"]]);
    assert_eq!(show(&sticky.assign(&cluster, &group)), "a: t-0 t-1 | b: t-2 t-3");
    // Three are near `a`: one of them has to go elsewhere.
    let cluster = in_racks(&[&["r1"], &["r1"], &["r1"], &["r2"]]);
    assert_eq!(show(&sticky.assign(&cluster, &group)), "a: t-0 t-1 | b: t-2 t-3");
    // Those that few are near come first: `b` has a choice, and `a` has not.
    let cluster = in_racks(&[&["r1", "r2"], &["r1", "r2"], &["r2"], &["r2"]]);
    assert_eq!(show(&sticky.assign(&cluster, &group)), "a: t-0 t-1 | b: t-2 t-3");
    // Every rack has every partition: racks do not matter.
    let cluster = in_racks(&[&["r1", "r2"], &["r1", "r2"], &["r1", "r2"], &["r1", "r2"]]);
    assert_eq!(show(&sticky.assign(&cluster, &group)), "a: t-0 t-2 | b: t-1 t-3");
}

#[test]
fn sticky_keeps_only_what_is_near() {
    let mut group = members_in_racks(&[("a", "r1"), ("b", "r2")]);
    let cooperative = CooperativeStickyAssignor::default();
    let owned = |list: &[i32]| list.iter().map(|it| TopicPartition::new("t", *it)).collect();
    for (id, partitions) in [("a", [0, 2]), ("b", [1, 3])] {
        let member = group.get_mut(id).unwrap();
        member.owned_partitions = owned(&partitions);
        member.generation_id = Some(1);
    }
    let cluster = in_racks(&[&["r1"], &["r1"], &["r2"], &["r2"]]);
    // What moves is withheld until its owner has given it back.
    assert_eq!(show(&cooperative.assign(&cluster, &group)), "a: t-0 | b: t-3");
}

#[test]
fn sticky_leaves_what_is_far_from_everybody_with_room_where_it_was() {
    let mut group = members_in_racks(&[("a", "r2"), ("b", "r3"), ("c", "r2")]);
    let parts: [(&str, &[i32]); 3] = [("a", &[2, 6]), ("b", &[1, 3]), ("c", &[0, 4, 5])];
    let own =
        |part: &[i32]| -> Vec<_> { part.iter().map(|it| TopicPartition::new("t", *it)).collect() };
    let before: Assignments =
        parts.map(|(id, part)| (id.to_owned(), Assignment::from(own(part)))).into();
    remember("sticky", &mut group, &before, 1);
    let far: &[&str] = &[];
    let cluster = in_racks(&[&["r2"], far, &["r1", "r2"], &["r3"], &["r1", "r2"], far, &["r2"]]);
    let after = StickyAssignor::default().assign(&cluster, &group);
    assert_eq!(show(&after), show(&before));
}

#[test]
fn sticky_minds_racks_when_members_want_different_topics() {
    let mut group = members_in_racks(&[("a", "r1"), ("b", "r2"), ("c", "r2")]);
    group.get_mut("c").unwrap().topics = vec![Arc::from("u")];
    let cluster = in_racks(&[&["r2"], &["r1"], &["r2"], &["r1"]]);
    let sticky = StickyAssignor::default();
    // What is free goes to those near it.
    let free = sticky.assign(&cluster, &group);
    assert_eq!(show(&free), "a: t-1 t-3 | b: t-0 t-2 | c: ");
    // Of what `a` has too much the partitions near `b` move.
    let all = Assignment::from((0..4).map(|it| TopicPartition::new("t", it)).collect::<Vec<_>>());
    remember("sticky", &mut group, &[("a".to_owned(), all)].into(), 1);
    assert_eq!(show(&sticky.assign(&cluster, &group)), "a: t-1 t-3 | b: t-0 t-2 | c: ");
    // Three are near `a`: the counts are level all the same.
    let cluster = in_racks(&[&["r1"], &["r1"], &["r1"], &["r2"]]);
    for member in group.values_mut() {
        member.user_data = None;
    }
    assert_eq!(show(&sticky.assign(&cluster, &group)), "a: t-0 t-1 | b: t-2 t-3 | c: ");
}

#[test]
fn sticky_lets_a_member_without_a_rack_keep_what_it_has() {
    for nowhere in [None, Some(Arc::from(""))] {
        let mut group = members_in_racks(&[("a", "r1"), ("b", "r2")]);
        group.get_mut("a").unwrap().rack_id = nowhere;
        let own =
            |list: [i32; 2]| Assignment::from(list.map(|it| TopicPartition::new("t", it)).to_vec());
        let before = [("a", own([2, 3])), ("b", own([0, 1]))];
        let before: Assignments = before.map(|(id, part)| (id.to_owned(), part)).into();
        remember("sticky", &mut group, &before, 1);
        let cluster = in_racks(&[&["r1"], &["r1"], &["r2"], &["r2"]]);
        let after = StickyAssignor::default().assign(&cluster, &group);
        assert_eq!(show(&after), "a: t-2 t-3 | b: t-0 t-1");
    }
}

#[test]
fn sticky_forgets_racks_where_they_cannot_help() {
    let stays = |cluster: ClusterTopics, racks: [&str; 2]| {
        let mut group = members_in_racks(&[("a", racks[0]), ("b", racks[1])]);
        let own = |it| Assignment::from(vec![TopicPartition::new("t", it)]);
        let before = [("a", own(1)), ("b", own(0))].map(|(id, part)| (id.to_owned(), part));
        remember("sticky", &mut group, &before.into(), 1);
        let after = StickyAssignor::default().assign(&cluster, &group);
        assert_eq!(show(&after), "a: t-1 | b: t-0");
    };
    // No member is where a replica is.
    stays(in_racks(&[&["r1"], &["r2"]]), ["r8", "r9"]);
    // Every rack has every partition, and only one member is in none of them.
    stays(in_racks(&[&["r1", "r2"], &["r1", "r2"]]), ["r9", "r2"]);
}

#[test]
fn sticky_is_level_whatever_the_racks_are() {
    let mut state = 7_u64;
    let mut dice = move |sides: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % sides
    };
    for _ in 0..500 {
        let names = ["r1", "r2", "r3"];
        let racks: Vec<Vec<&str>> =
            (0..dice(12)).map(|_| names.into_iter().filter(|_| dice(2) == 0).collect()).collect();
        let racks: Vec<&[&str]> = racks.iter().map(Vec::as_slice).collect();
        let ids = ["a", "b", "c", "d", "e"];
        let who: Vec<(&str, &str)> = ids[..=(dice(4) as usize)]
            .iter()
            .map(|id| (*id, ["", "r1", "r2", "r4"][dice(4) as usize]))
            .collect();
        let mut group = members_in_racks(&who);
        let mut before = Assignments::new();
        for partition in 0..racks.len() {
            let owner = ids[dice(5) as usize].to_owned();
            let part = before.entry(owner).or_default();
            part.partitions.push(TopicPartition::new("t", partition as i32));
        }
        remember("sticky", &mut group, &before, 1);
        let cluster = in_racks(&racks);
        let result = StickyAssignor::default().assign(&cluster, &group);
        assert_eq!(owners(&result).len(), racks.len(), "{group:?} {cluster:?}");
        assert_level(&result);
    }
}

#[test]
fn range_prefers_replicas_in_the_members_rack_and_keeps_topics_together() {
    let racks = |names: &[&str]| -> BTreeSet<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    };
    let layout = |replica_racks: Vec<BTreeSet<Arc<str>>>| TopicLayout {
        partition_count: replica_racks.len() as i32,
        replica_racks,
    };
    let mut group = members(&[("a", &["t", "u"]), ("b", &["t", "u"])]);
    group.get_mut("a").unwrap().rack_id = Some(Arc::from("r2"));
    group.get_mut("b").unwrap().rack_id = Some(Arc::from("r1"));

    let mut cluster = ClusterTopics::new();
    cluster.insert_layout(
        "t",
        layout(vec![racks(&["r1"]), racks(&["r1"]), racks(&["r2"]), racks(&["r2"])]),
    );
    assert_eq!(show(&RangeAssignor.assign(&cluster, &group)), "a: t-2 t-3 | b: t-0 t-1");

    // The second topic has its first partition elsewhere, so partition 0 of both has no match.
    cluster.insert_layout(
        "u",
        layout(vec![racks(&["r3"]), racks(&["r1"]), racks(&["r2"]), racks(&["r2"])]),
    );
    assert_eq!(
        show(&RangeAssignor.assign(&cluster, &group)),
        "a: t-2 t-3 u-2 u-3 | b: t-0 t-1 u-0 u-1"
    );

    // Every rack has every partition: racks do not matter.
    let everywhere = || racks(&["r1", "r2"]);
    let mut cluster = ClusterTopics::new();
    cluster.insert_layout("t", layout(vec![everywhere(), everywhere()]));
    assert_eq!(show(&RangeAssignor.assign(&cluster, &group)), "a: t-0 | b: t-1");
    let stranger = members_in_racks(&[("a", "r9"), ("b", "r1")]);
    assert_eq!(show(&RangeAssignor.assign(&cluster, &stranger)), "a: t-0 | b: t-1");
}

#[test]
fn range_takes_a_member_without_a_rack_to_be_near_everything() {
    for nowhere in [None, Some(Arc::from(""))] {
        let mut group = members_in_racks(&[("a", "r1"), ("b", "r1")]);
        group.get_mut("a").unwrap().rack_id = nowhere;
        let cluster = in_racks(&[&["r1"], &["r2"]]);
        assert_eq!(show(&RangeAssignor.assign(&cluster, &group)), "a: t-0 | b: t-1");
    }
}

#[test]
fn range_keeps_topics_together_only_where_a_member_is_near_all_of_them() {
    let mut group = members(&[("a", &["t", "u"]), ("b", &["t", "u"])]);
    group.get_mut("a").unwrap().rack_id = Some(Arc::from("r2"));
    group.get_mut("b").unwrap().rack_id = Some(Arc::from("r1"));
    let mut cluster = in_racks(&[&["r1"], &["r2"]]);
    let (_, layout) =
        in_racks(&[&["r2"], &["r2"]]).get("t").map(|(n, l)| (n.clone(), l.clone())).unwrap();
    cluster.insert_layout("u", layout);
    // Nobody is near partition 0 of both; of partition 1 `a` is.
    assert_eq!(show(&RangeAssignor.assign(&cluster, &group)), "a: t-1 u-1 | b: t-0 u-0");
}

#[test]
fn subscriptions_and_assignments_survive_their_bytes() {
    let subscription = MemberSubscription {
        owned_partitions: vec![TopicPartition::new("t", 1), TopicPartition::new("u", 0)],
        user_data: Some(bytes::Bytes::from_static(b"data")),
        generation_id: Some(3),
        rack_id: Some(Arc::from("r1")),
        ..wants(&["t", "u"])
    };
    let bytes = subscription.to_bytes(3).unwrap();
    assert_eq!(MemberSubscription::from_bytes(&bytes).unwrap(), subscription);
    let oldest = subscription.to_bytes(0).unwrap();
    let plain =
        MemberSubscription { user_data: subscription.user_data.clone(), ..wants(&["t", "u"]) };
    assert_eq!(MemberSubscription::from_bytes(&oldest).unwrap(), plain);
    let owned_partitions = subscription.owned_partitions.clone();
    let with_owned = MemberSubscription { owned_partitions, ..plain };
    let first = subscription.to_bytes(1).unwrap();
    assert_eq!(MemberSubscription::from_bytes(&first).unwrap(), with_owned);
    let with_generation = MemberSubscription { generation_id: Some(0), ..with_owned };
    let second = with_generation.to_bytes(2).unwrap();
    assert_eq!(MemberSubscription::from_bytes(&second).unwrap(), with_generation);
    let nowhere = MemberSubscription { rack_id: Some(Arc::from("")), ..with_generation.clone() };
    let third = nowhere.to_bytes(3).unwrap();
    assert_eq!(MemberSubscription::from_bytes(&third).unwrap(), with_generation);

    let assignment = Assignment { partitions: subscription.owned_partitions, user_data: None };
    let bytes = assignment.to_bytes(Assignment::VERSION).unwrap();
    assert_eq!(Assignment::from_bytes(&bytes).unwrap(), assignment);
    assert_eq!(Assignment::from_bytes(&bytes::Bytes::new()).unwrap(), Assignment::default());
}

#[test]
fn ten_thousand_partitions_and_a_thousand_members_are_no_burden() {
    let cluster: ClusterTopics = (0..100).map(|topic| (format!("t{topic}"), 100)).collect();
    for alike in [true, false] {
        let mut group: Members = (0..1000)
            .map(|member| {
                let topics: Vec<Arc<str>> = (0..100)
                    .filter(|topic| alike || (member * 7 + topic) % 3 != 0)
                    .map(|topic| Arc::from(format!("t{topic}")))
                    .collect();
                (
                    format!("m{member:04}"),
                    MemberSubscription { topics, ..MemberSubscription::default() },
                )
            })
            .collect();
        for name in NAMES {
            let result = by_name(name).unwrap().assign(&cluster, &group);
            assert_eq!(owners(&result).len(), 10_000);
            if name == "sticky" {
                remember(name, &mut group, &result, 1);
                group.pop_first();
                let result = by_name(name).unwrap().assign(&cluster, &group);
                assert_no_move_helps(&group, &result);
            }
        }
    }
}
