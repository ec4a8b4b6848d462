//! What the coordinator's assignors promise, on groups told by hand and on random ones.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kohort_assignor::server::{
    AssignError, GroupAssignment, GroupSpec, MemberSpec, PartitionId, PartitionSet, RangeAssignor,
    ServerAssignor, UniformAssignor, by_name,
};
use kohort_protocol::Uuid;
use proptest::prelude::*;

fn id(topic: u8) -> Uuid {
    Uuid(u128::from(topic).to_be_bytes())
}

/// Reads partitions written as `1:0-3,5 2:0`.
fn partitions(text: &str) -> PartitionSet {
    let number = |text: &str| text.parse::<i32>().unwrap();
    let mut partitions = Vec::new();
    for of in text.split_whitespace() {
        let (topic, list) = of.split_once(':').unwrap();
        let topic = id(topic.parse().unwrap());
        for range in list.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let all = number(first)..=number(last);
            partitions.extend(all.map(|index| PartitionId { topic, index }));
        }
    }
    partitions.into_iter().collect()
}

/// Writes partitions as [`partitions`] reads them.
fn show(partitions: &PartitionSet) -> String {
    let mut text = Vec::new();
    for (topic, partitions) in partitions.by_topic() {
        let mut ranges: Vec<(i32, i32)> = Vec::new();
        for partition in partitions {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == partition => *last = partition,
                _ => ranges.push((partition, partition)),
            }
        }
        let ranges: Vec<String> = ranges
            .iter()
            .map(
                |(first, last)| {
                    if first == last { first.to_string() } else { format!("{first}-{last}") }
                },
            )
            .collect();
        text.push(format!("{}:{}", topic.0[15], ranges.join(",")));
    }
    text.join(" ")
}

/// Reads members written as `a = 1 2 | 1:0-2`: who wants the topics 1 and 2 and has a target so far.
fn group(members: &[&str]) -> GroupSpec {
    let member = |text: &&str| {
        let (name, rest) = text.split_once('=').unwrap();
        let (topics, target) = rest.split_once('|').unwrap_or((rest, ""));
        let (name, instance) = match name.trim().split_once('/') {
            Some((name, instance)) => (name, Some(Arc::from(instance))),
            None => (name.trim(), None),
        };
        let topics = topics.split_whitespace().map(|topic| id(topic.parse().unwrap())).collect();
        let spec = MemberSpec {
            instance_id: instance,
            topics: Arc::new(topics),
            target: Arc::new(partitions(target)),
            ..MemberSpec::default()
        };
        (Arc::from(name), spec)
    };
    GroupSpec { members: members.iter().map(member).collect() }
}

fn topics(counts: &[(u8, i32)]) -> BTreeMap<Uuid, i32> {
    counts.iter().map(|(topic, count)| (id(*topic), *count)).collect()
}

fn check(assignor: &dyn ServerAssignor, counts: &[(u8, i32)], members: &[&str], expected: &[&str]) {
    let result = assignor.assign(&group(members), &topics(counts)).unwrap();
    let shown: Vec<String> = result
        .members
        .iter()
        .map(|(id, partitions)| format!("{id} = {}", show(partitions)).trim_end().to_owned())
        .collect();
    assert_eq!(shown, expected);
}

#[test]
fn assignors_are_found_by_the_names_members_ask_for() {
    for name in ["uniform", "range"] {
        assert_eq!(by_name(name).unwrap().name(), name);
    }
    assert!(by_name("roundrobin").is_none());
}

#[test]
fn a_group_without_members_or_topics_gets_nothing() {
    for assignor in [by_name("uniform").unwrap(), by_name("range").unwrap()] {
        let nothing = assignor.assign(&GroupSpec::default(), &topics(&[])).unwrap();
        assert_eq!(nothing, GroupAssignment::default());
        check(&*assignor, &[(1, 3)], &["a =", "b = | 1:0"], &["a =", "b ="]);
    }
}

#[test]
fn a_topic_that_does_not_exist_is_an_error() {
    for members in [&["a = 9"][..], &["a = 9", "b = 1 9"]] {
        for assignor in [by_name("uniform").unwrap(), by_name("range").unwrap()] {
            let result = assignor.assign(&group(members), &topics(&[(1, 1)]));
            assert_eq!(result, Err(AssignError::UnknownTopic(id(9))));
        }
    }
}

#[test]
fn uniform_fills_members_in_turn() {
    check(
        &UniformAssignor,
        &[(1, 3), (2, 2)],
        &["a = 1 2", "b = 1 2"],
        &["a = 1:0-1", "b = 1:2 2:0-1"],
    );
}

#[test]
fn uniform_leaves_the_extra_partition_to_who_has_it() {
    check(
        &UniformAssignor,
        &[(1, 5)],
        &["a = 1 | 1:0-1", "b = 1 | 1:2-4", "c = 1"],
        &["a = 1:0-1", "b = 1:2-3", "c = 1:4"],
    );
    check(
        &UniformAssignor,
        &[(1, 5)],
        &["a = 1 | 1:0", "b = 1 | 1:1-2", "c = 1 | 1:3-4"],
        &["a = 1:0", "b = 1:1-2", "c = 1:3-4"],
    );
}

#[test]
fn uniform_divides_what_a_leaver_had_and_moves_nothing_else() {
    check(
        &UniformAssignor,
        &[(1, 6), (2, 6)],
        &["a = 1 2 | 1:0-3", "c = 1 2 | 2:2-5"],
        &["a = 1:0-5", "c = 2:0-5"],
    );
}

#[test]
fn uniform_forgets_topics_nobody_wants_any_more_and_takes_new_partitions() {
    check(
        &UniformAssignor,
        &[(1, 4), (2, 4)],
        &["a = 1 | 1:0 2:0-3", "b = 1 | 1:1"],
        &["a = 1:0,2", "b = 1:1,3"],
    );
}

#[test]
fn uniform_ignores_what_a_damaged_target_says() {
    check(
        &UniformAssignor,
        &[(1, 4)],
        &["a = 1 | 1:0-1", "b = 1 | 1:1-2,9", "c = 1 | 7:0"],
        &["a = 1:0-1", "b = 1:2", "c = 1:3"],
    );
    check(
        &UniformAssignor,
        &[(1, 4), (2, 1)],
        &["a = 1 2 | 1:0-1", "b = 1 | 1:1-2,9", "c = 1 | 7:0"],
        &["a = 1:0 2:0", "b = 1:1-2", "c = 1:3"],
    );
}

#[test]
fn uniform_gives_topics_with_few_subscribers_out_first() {
    check(&UniformAssignor, &[(1, 3), (2, 3)], &["a = 1 2", "b = 2"], &["a = 1:0-2", "b = 2:0-2"]);
}

#[test]
fn uniform_gives_topics_with_the_most_partitions_for_each_subscriber_out_first() {
    // Topic 2 has one and a half of them, topic 1 one and a third.
    check(
        &UniformAssignor,
        &[(1, 4), (2, 3)],
        &["a = 1 2", "b = 1 2", "c = 1"],
        &["a = 2:0,2", "b = 1:2 2:1", "c = 1:0-1,3"],
    );
}

#[test]
fn range_gives_the_same_partitions_of_each_topic_to_the_same_member() {
    check(
        &RangeAssignor,
        &[(1, 4), (2, 4)],
        &["a = 1 2", "b = 1 2", "c = 1 2"],
        &["a = 1:0-1 2:0-1", "b = 1:2 2:2", "c = 1:3 2:3"],
    );
}

#[test]
fn range_serves_static_members_first() {
    check(
        &RangeAssignor,
        &[(1, 3), (2, 1)],
        &["a = 1", "c/i2 = 1 2", "d/i1 = 1 2"],
        &["a = 1:2", "c = 1:1", "d = 1:0 2:0"],
    );
}

#[test]
fn who_keeps_what_it_had_shares_it() {
    let before = group(&["a = 1 | 1:0-1", "b = 1 | 1:2-3", "c = 1 | 1:4-5"]);
    let mut after = before.clone();
    after.members.remove("c");
    let result = UniformAssignor.assign(&after, &topics(&[(1, 6)])).unwrap();
    assert_eq!(show(&result.members["a"]), "1:0-1,4");
    let result = UniformAssignor.assign(&before, &topics(&[(1, 6)])).unwrap();
    assert!(Arc::ptr_eq(&result.members["a"], &before.members["a"].target));
}

/// A change of a random group.
#[derive(Debug, Clone)]
enum Change {
    Join(u8, BTreeSet<u8>),
    Leave(u8),
    Resubscribe(BTreeSet<u8>),
    Grow(u8, u8),
}

const TOPICS: std::ops::RangeInclusive<u8> = 1..=6;

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let some_topics = || prop::collection::btree_set(TOPICS, 0..5);
    let change = prop_oneof![
        4 => (0..12_u8, some_topics()).prop_map(|(member, topics)| Change::Join(member, topics)),
        2 => (0..12_u8).prop_map(Change::Leave),
        1 => some_topics().prop_map(Change::Resubscribe),
        1 => (TOPICS, 1..9_u8).prop_map(|(topic, by)| Change::Grow(topic, by)),
    ];
    prop::collection::vec(change, 1..25)
}

/// Lives through the changes, and has `rule` look at each new target with the group it is for.
fn live(
    assignor: &dyn ServerAssignor,
    alike: bool,
    changes: Vec<Change>,
    mut rule: impl FnMut(&GroupSpec, &BTreeMap<Uuid, i32>, &GroupAssignment),
) {
    let mut topics: BTreeMap<Uuid, i32> =
        TOPICS.map(|topic| (id(topic), i32::from(topic))).collect();
    let mut group = GroupSpec::default();
    let mut common: Arc<BTreeSet<Uuid>> = Arc::new([id(2), id(5)].into());
    for change in changes {
        let ids = |topics: BTreeSet<u8>| -> Arc<BTreeSet<Uuid>> {
            Arc::new(topics.into_iter().map(id).collect())
        };
        match change {
            Change::Join(member, wanted) => {
                let topics = if alike { common.clone() } else { ids(wanted) };
                group.members.entry(format!("m{member:02}").into()).or_default().topics = topics;
            }
            Change::Leave(member) => {
                group.members.remove(format!("m{member:02}").as_str());
            }
            Change::Resubscribe(wanted) if alike => {
                common = ids(wanted);
                for member in group.members.values_mut() {
                    member.topics = common.clone();
                }
            }
            Change::Resubscribe(wanted) => {
                if let Some(mut member) = group.members.first_entry() {
                    member.get_mut().topics = ids(wanted);
                }
            }
            Change::Grow(topic, by) => *topics.get_mut(&id(topic)).unwrap() += i32::from(by),
        }
        let target = assignor.assign(&group, &topics).unwrap();
        expect_complete(&group, &topics, &target);
        rule(&group, &topics, &target);
        for (member, partitions) in target.members {
            group.members.get_mut(&member).unwrap().target = partitions;
        }
        let again = assignor.assign(&group, &topics).unwrap();
        for (id, member) in &group.members {
            assert_eq!(again.members[id], member.target, "{id} moves though nothing changed");
        }
    }
}

/// Every partition of each subscribed topic has one owner, who subscribes to it.
fn expect_complete(group: &GroupSpec, topics: &BTreeMap<Uuid, i32>, target: &GroupAssignment) {
    assert!(group.members.keys().eq(target.members.keys()), "everyone is in the target");
    let mut owned = BTreeSet::new();
    for (member, partitions) in &target.members {
        for partition in partitions.iter() {
            let wants = group.members[member].topics.contains(&partition.topic);
            assert!(wants, "{member} did not ask for {partition:?}");
            assert!(owned.insert(partition), "{partition:?} is given twice");
        }
    }
    let wanted: BTreeSet<Uuid> =
        group.members.values().flat_map(|member| member.topics.iter().copied()).collect();
    let all = wanted
        .iter()
        .flat_map(|topic| (0..topics[topic]).map(|index| PartitionId { topic: *topic, index }));
    assert!(all.eq(owned), "everything is given out and nothing else");
}

fn kept(old: &PartitionSet, new: &PartitionSet) -> usize {
    old.iter().filter(|partition| new.contains(*partition)).count()
}

proptest! {
    #[test]
    fn uniform_is_even_and_moves_no_more_than_it_must_when_all_want_the_same(changes in changes()) {
        live(&UniformAssignor, true, changes, |group, topics, target| {
            let count = group.members.len();
            if count == 0 {
                return;
            }
            let wanted = &group.members.first_key_value().unwrap().1.topics;
            let total: i32 = wanted.iter().map(|topic| topics[topic]).sum();
            let (quota, extras) = (total as usize / count, total as usize % count);
            for partitions in target.members.values() {
                assert!((quota..=quota + 1).contains(&partitions.len()));
            }
            // What members could keep at best: all up to the quota, and so many one more.
            let had = |member: &MemberSpec| -> usize {
                member.target.iter().filter(|partition| wanted.contains(&partition.topic)).count()
            };
            let surplus = group.members.values().filter(|member| had(member) > quota).count();
            let best: usize =
                group.members.values().map(|member| had(member).min(quota)).sum::<usize>()
                    + surplus.min(extras);
            let kept: usize =
                group.members.iter().map(|(id, of)| kept(&of.target, &target.members[id])).sum();
            assert_eq!(kept, best);
        });
    }

    #[test]
    fn uniform_evens_out_what_members_want_together(changes in changes()) {
        live(&UniformAssignor, false, changes, |group, _, target| {
            for (id, member) in &group.members {
                for (topic, _) in target.members[id].by_topic() {
                    let others = group.members.iter().filter(|(_, of)| of.topics.contains(&topic));
                    let fewest = others.map(|(id, _)| target.members[id].len()).min().unwrap();
                    assert!(target.members[id].len() <= fewest + 1, "{member:?} has too much");
                }
            }
        });
    }

    #[test]
    fn range_gives_neighbours_in_even_parts(alike in any::<bool>(), changes in changes()) {
        live(&RangeAssignor, alike, changes, |group, topics, target| {
            for (id, member) in &group.members {
                for topic in &*member.topics {
                    let subscribers =
                        group.members.values().filter(|of| of.topics.contains(topic)).count();
                    let quota = topics[topic] as usize / subscribers;
                    let all = target.members[id].iter();
                    let part: Vec<i32> =
                        all.filter(|one| one.topic == *topic).map(|one| one.index).collect();
                    assert!((quota..=quota + 1).contains(&part.len()));
                    if let (Some(first), Some(last)) = (part.first(), part.last()) {
                        assert_eq!((last - first + 1) as usize, part.len(), "no gap");
                    }
                }
            }
        });
    }
}
