//! The rules of the picture, one by one.

use super::*;
use kohort_protocol::messages::metadata::MetadataResponseBroker;

/// A version that tells everything.
const LATEST: i16 = 13;

fn answer(topics: Vec<MetadataResponseTopic>) -> MetadataResponse {
    let broker = |node_id| MetadataResponseBroker {
        node_id,
        host: format!("host-{node_id}"),
        port: 9092,
        ..MetadataResponseBroker::default()
    };
    MetadataResponse {
        brokers: vec![broker(1), broker(2)],
        controller_id: 1,
        cluster_id: Some("cluster".to_owned()),
        topics,
        ..MetadataResponse::default()
    }
}

fn topic(name: &str, id: u8, leaders: &[(i32, i32)]) -> MetadataResponseTopic {
    let partition =
        |(index, (leader_id, leader_epoch)): (i32, &(i32, i32))| MetadataResponsePartition {
            partition_index: index,
            leader_id: *leader_id,
            leader_epoch: *leader_epoch,
            ..MetadataResponsePartition::default()
        };
    MetadataResponseTopic {
        name: Some(name.to_owned()),
        topic_id: Uuid([id; 16]),
        partitions: (0..).zip(leaders).map(partition).collect(),
        ..MetadataResponseTopic::default()
    }
}

fn merge(view: &MetadataView, topics: Vec<MetadataResponseTopic>) -> MetadataView {
    view.merge(&answer(topics), LATEST, MetadataScope::SomeTopics).0
}

fn leader(view: &MetadataView, partition: i32) -> (i32, i32) {
    let partition = view.partition("t", partition).expect("the partition is known");
    (partition.leader, partition.leader_epoch)
}

#[test]
fn leader_epoch_never_goes_back_within_a_topic_id() {
    let view = merge(&MetadataView::default(), vec![topic("t", 1, &[(1, 5), (1, 5)])]);
    let view = merge(&view, vec![topic("t", 1, &[(2, 4), (2, 6)])]);
    assert_eq!((leader(&view, 0), leader(&view, 1)), ((1, 5), (2, 6)));
}

#[test]
fn epochs_of_brokers_before_2_4_are_none_and_their_leaders_are_taken() {
    let old = |view: &MetadataView, leader| {
        let answer = answer(vec![topic("t", 0, &[leader])]);
        view.merge(&answer, 8, MetadataScope::SomeTopics).0
    };
    let view = old(&MetadataView::default(), (1, 5));
    assert_eq!(leader(&view, 0), (1, -1));
    let view = old(&view, (2, 4));
    assert_eq!(leader(&view, 0), (2, -1), "a new leader is noticed");
    let first_reliable = answer(vec![topic("t", 0, &[(1, 6)])]);
    let told = view.merge(&first_reliable, 9, MetadataScope::SomeTopics).0;
    assert_eq!(leader(&told, 0), (1, 6));
    // While brokers are upgraded, either kind answers.
    let view = merge(&view, vec![topic("t", 0, &[(1, 6)])]);
    assert_eq!(leader(&view, 0), (1, 6));
    assert_eq!(leader(&old(&view, (2, 6)), 0), (2, -1));
}

#[test]
fn a_topic_recreated_without_an_id_is_seen_once_its_old_leader_denies() {
    let view = merge(&MetadataView::default(), vec![topic("t", 0, &[(2, 5)])]);
    let again = vec![topic("t", 0, &[(1, 0)])];
    let lagging = merge(&merge(&view, again.clone()), again.clone());
    assert_eq!(leader(&lagging, 0), (2, 5), "however often a broker says it");
    let other = lagging.with_denial("t", 0, 1);
    assert_eq!(leader(&merge(&other, again.clone()), 0), (2, 5), "that was not the leader");
    let denied = lagging.with_denial("t", 0, 2);
    assert_eq!((leader(&denied, 0), denied.version), ((2, -1), lagging.version + 1));
    let view = merge(&denied, again);
    assert_eq!(leader(&view, 0), (1, 0));
    let view = merge(&view, vec![topic("t", 0, &[(2, 1)])]);
    assert_eq!(leader(&view, 0), (2, 1), "from there on epochs count again");
    // Its first leader may be the one that is gone.
    let first = merge(&MetadataView::default(), vec![topic("t", 0, &[(2, 0)])]);
    assert_eq!(leader(&first.with_denial("t", 0, 2), 0), (2, -1));
}

#[test]
fn an_answer_with_a_partition_that_nobody_leads_is_worth_asking_again() {
    for (leaders, leaderless) in [([0, 1], false), ([-1, 1], true), ([0, -1], true)] {
        let topics = vec![topic("t", 1, &leaders.map(|leader| (leader, 0))), topic("u", 2, &[])];
        let (_, errors) =
            MetadataView::default().merge(&answer(topics), LATEST, MetadataScope::SomeTopics);
        assert_eq!(errors.leaderless, leaderless, "{leaders:?}");
    }
}

#[test]
fn a_denial_changes_nothing_where_an_id_tells_a_recreated_topic() {
    let view = merge(&MetadataView::default(), vec![topic("t", 1, &[(2, 5)])]);
    let denied = view.with_denial("t", 0, 2);
    assert_eq!((leader(&denied, 0), denied.version), ((2, 5), view.version));
}

#[test]
fn a_recreated_topic_starts_its_epochs_over() {
    let view = merge(&MetadataView::default(), vec![topic("t", 1, &[(1, 5)])]);
    for scope in [MetadataScope::SomeTopics, MetadataScope::AllTopics] {
        let view = view.merge(&answer(vec![topic("t", 2, &[(2, 0)])]), LATEST, scope).0;
        assert_eq!(leader(&view, 0), (2, 0));
        assert!(view.topic_by_id(Uuid([1; 16])).is_none(), "{scope:?}");
        assert!(view.topic_by_id(Uuid([2; 16])).is_some());
    }
}

#[test]
fn only_an_answer_for_all_topics_removes_those_it_does_not_mention() {
    let view = merge(&MetadataView::default(), vec![topic("t", 1, &[(1, 0)])]);
    let some = merge(&view, vec![topic("u", 2, &[(1, 0)])]);
    assert!(some.topic("t").is_some() && some.topic("u").is_some());
    let all =
        some.merge(&answer(vec![topic("u", 2, &[(1, 0)])]), LATEST, MetadataScope::AllTopics).0;
    assert!(all.topic("t").is_none() && all.topic("u").is_some());
}

#[test]
fn an_error_of_a_topic_is_told_and_forgotten_with_the_topic() {
    let error_code = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
    let failed = answer(vec![MetadataResponseTopic { error_code, ..topic("t", 0, &[]) }]);
    let (view, errors) = MetadataView::default().merge(&failed, LATEST, MetadataScope::SomeTopics);
    assert_eq!(errors.topics, [("t".into(), error_code)]);
    let all = view.merge(&answer(Vec::new()), LATEST, MetadataScope::AllTopics).0;
    assert_eq!(all.topic_error("t"), None, "it is not there any more");
}

#[test]
fn a_retriable_topic_error_keeps_what_is_known_and_a_final_one_forgets_it() {
    let view = merge(&MetadataView::default(), vec![topic("t", 1, &[(1, 0)])]);
    let failed = |error_code| vec![MetadataResponseTopic { error_code, ..topic("t", 0, &[]) }];
    let kept = merge(&view, failed(ErrorCode::LEADER_NOT_AVAILABLE));
    assert!(kept.topic("t").is_some());
    assert_eq!(kept.topic_error("t"), Some(ErrorCode::LEADER_NOT_AVAILABLE));
    assert!(merge(&kept, vec![topic("t", 1, &[(1, 0)])]).topic_error("t").is_none());
    let all = answer(failed(ErrorCode::LEADER_NOT_AVAILABLE));
    assert!(view.merge(&all, LATEST, MetadataScope::AllTopics).0.topic("t").is_some());
    for last in [ErrorCode::TOPIC_AUTHORIZATION_FAILED, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION] {
        let gone = merge(&view, failed(last));
        assert!(gone.topic("t").is_none());
    }
}

#[test]
fn an_answer_without_brokers_keeps_the_known_ones_and_what_else_is_known_of_the_cluster() {
    let view = merge(&MetadataView::default(), vec![]);
    let empty = MetadataResponse::default();
    let (next, _) = view.merge(&empty, LATEST, MetadataScope::SomeTopics);
    let of_cluster =
        |view: &MetadataView| (view.brokers().count(), view.controller_id, view.cluster_id.clone());
    assert_eq!(of_cluster(&next), (2, 1, Some("cluster".to_owned())));
}

#[test]
fn a_leader_told_by_an_answer_is_taken_only_with_a_newer_epoch() {
    let view = merge(&MetadataView::default(), vec![topic("t", 1, &[(1, 5)])]);
    assert_eq!(leader(&view.with_leader("t", 0, 2, 5), 0), (1, 5));
    assert_eq!(leader(&view.with_leader("t", 0, 2, 6), 0), (2, 6));
    assert_eq!(leader(&view.with_leader("t", 9, 2, 6), 0), (1, 5));
}

#[test]
fn brokers_that_an_answer_names_are_news_unless_they_are_known() {
    let view = merge(&MetadataView::default(), vec![]);
    let named = |id| Broker { id, host: "elsewhere".to_owned(), port: 1, rack: None };
    let known = view.with_brokers(&[named(1)]);
    assert_eq!((known.version, known.broker(1)), (view.version, view.broker(1)));
    let more = view.with_brokers(&[named(1), named(3), named(4)]);
    assert_eq!((more.version, more.broker(3)), (view.version + 1, Some(&named(3))));
}

#[test]
fn of_topics_that_nobody_wants_any_more_nothing_is_kept() {
    let error_code = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
    let failed = MetadataResponseTopic { error_code, ..topic("u", 0, &[]) };
    let all = answer(vec![topic("t", 1, &[(1, 5)]), topic("v", 3, &[(1, 5)]), failed]);
    let all = MetadataView::default().merge(&all, LATEST, MetadataScope::AllTopics).0;
    let kept = all.retain_topics(|name| name == "v");
    let names: Vec<_> = kept.topics().map(|topic| &*topic.name).collect();
    assert_eq!((names, kept.topic_error("u")), (vec!["v"], None));
    assert!(!kept.says_gone("t"), "it was not asked about");
    let again = merge(&kept, vec![topic("t", 2, &[(1, 0)])]);
    assert!(again.topic_by_id(Uuid([1; 16])).is_none(), "that was another topic");
    assert!(again.topic_by_id(Uuid([3; 16])).is_some());
}

#[test]
fn a_leader_is_found_while_there_is_one_and_its_address_is_known() {
    let view = merge(&MetadataView::default(), vec![topic("t", 1, &[(2, 5), (-1, 5), (7, 5)])]);
    let addresses = [0, 1, 2, 3].map(|index| view.leader("t", index).map(Broker::address));
    assert_eq!(addresses, [Some("host-2:9092".to_owned()), None, None, None]);
    let local = Broker { id: 1, host: "::1".to_owned(), port: 9092, rack: None };
    assert_eq!(local.address(), "[::1]:9092");
}

#[test]
fn partitions_come_in_any_order_and_those_behind_a_hole_are_not_known_yet() {
    let mut mixed = topic("t", 1, &[(1, 5), (2, 5), (1, 5)]);
    mixed.partitions.reverse();
    let view = merge(&MetadataView::default(), vec![mixed]);
    assert_eq!([0, 1, 2].map(|index| leader(&view, index).0), [1, 2, 1]);
    let mut holed = topic("t", 1, &[(1, 5), (2, 5), (1, 5)]);
    holed.partitions.remove(1);
    let view = merge(&MetadataView::default(), vec![holed]);
    assert!(view.partition("t", 0).is_some());
    assert!(view.lacks("t", 1) && view.lacks("t", 2));
}

#[test]
fn within_an_epoch_the_latest_answer_says_who_is_in_sync() {
    let in_sync = |nodes: &[i32]| {
        let mut answer = topic("t", 1, &[(1, 5)]);
        answer.partitions[0].isr_nodes = nodes.to_vec();
        answer
    };
    let view = merge(&MetadataView::default(), vec![in_sync(&[1, 2])]);
    let view = merge(&view, vec![in_sync(&[1])]);
    assert_eq!(view.partition("t", 0).map(|it| &*it.in_sync_replicas), Some(&[1][..]));
}
