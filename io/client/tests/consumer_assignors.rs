//! Assignors of an application's own, in classic groups.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kohort::TopicPartition;
use kohort::assignor::{
    Assignment, Assignor, ClusterTopics, MemberId, MemberSubscription, RebalanceProtocol,
};
use kohort::consumer::{MembershipError, PollError};

use support::{PATIENCE, bootstrap, create_topic, member, partitions, poll_until, unique};

/// Gives everything to the member with the highest weight, which each member tells the others.
#[derive(Debug)]
struct Heaviest {
    weight: u8,
    assigned_in: Arc<AtomicI32>,
}

impl Assignor for Heaviest {
    fn name(&self) -> &'static str {
        "heaviest"
    }

    fn protocols(&self) -> &[RebalanceProtocol] {
        &[RebalanceProtocol::Eager]
    }

    fn subscription_user_data(&self) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(&[self.weight]))
    }

    fn assign(
        &self,
        topics: &ClusterTopics,
        members: &BTreeMap<MemberId, MemberSubscription>,
    ) -> BTreeMap<MemberId, Assignment> {
        let weight = |it: &MemberSubscription| it.user_data.clone().unwrap()[0];
        let (heaviest, _) = members.iter().max_by_key(|(_, it)| weight(it)).unwrap();
        let share = |(id, member): (&MemberId, &MemberSubscription)| {
            let mut assignment = Assignment::default();
            for (topic, layout) in member.topics.iter().filter_map(|topic| topics.get(topic)) {
                let all = (0..layout.partition_count).filter(|_| id == heaviest);
                assignment.partitions.extend(all.map(|it| TopicPartition::new(topic.clone(), it)));
            }
            (id.clone(), assignment)
        };
        members.iter().map(share).collect()
    }

    fn on_assignment(&mut self, _: &Assignment, generation_id: i32) {
        self.assigned_in.store(generation_id, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn an_assignor_of_ones_own_divides_by_what_the_members_say_of_themselves() {
    let servers = bootstrap();
    let topic = unique("weights");
    create_topic(&servers, &topic, 3).await;
    let assigned_in = Arc::new(AtomicI32::new(-1));
    let start = |weight| {
        let assignor = Heaviest { weight, assigned_in: assigned_in.clone() };
        let consumer = member(&servers, &topic).assignor(assignor).build().unwrap();
        consumer.subscribe([&topic]).unwrap();
        consumer
    };
    let light = start(1);
    let all = partitions(&topic, 3);
    poll_until(&[&light], "the only one has all", || light.assignment() == all).await;
    let heavy = start(9);
    poll_until(&[&light, &heavy], "the heavier one has all", || heavy.assignment() == all).await;
    assert!(light.assignment().is_empty());
    assert!(assigned_in.load(Ordering::SeqCst) >= 2, "members hear of each generation");
    assert!(heavy.close(PATIENCE).await.is_ok());
    poll_until(&[&light], "the lighter one has all", || light.assignment() == all).await;
    assert!(light.close(PATIENCE).await.is_ok());
}

/// Panics in one of the things it is asked for.
#[derive(Debug)]
struct Panics {
    at: &'static str,
}

impl Panics {
    fn pass(&self, at: &str) {
        assert_ne!(self.at, at, "a mistake of the application's");
    }
}

impl Assignor for Panics {
    fn name(&self) -> &'static str {
        "panics"
    }

    fn protocols(&self) -> &[RebalanceProtocol] {
        &[RebalanceProtocol::Eager]
    }

    fn subscription_user_data(&self) -> Option<Bytes> {
        self.pass("user data");
        None
    }

    fn assign(
        &self,
        _: &ClusterTopics,
        members: &BTreeMap<MemberId, MemberSubscription>,
    ) -> BTreeMap<MemberId, Assignment> {
        self.pass("assign");
        members.keys().map(|member| (member.clone(), Assignment::default())).collect()
    }

    fn on_assignment(&mut self, _: &Assignment, _: i32) {
        self.pass("on assignment");
    }
}

#[tokio::test]
async fn an_assignor_that_panics_keeps_its_member_out_of_the_group_and_poll_says_why() {
    let servers = bootstrap();
    for at in ["user data", "assign", "on assignment"] {
        let topic = unique("panics");
        create_topic(&servers, &topic, 1).await;
        let consumer = member(&servers, &topic).assignor(Panics { at }).build().unwrap();
        consumer.subscribe([&topic]).unwrap();
        let told = consumer.poll(PATIENCE).await;
        let Err(PollError::Group(MembershipError::Assignor { group_id, why })) = told else {
            panic!("{at}: {told:?}")
        };
        assert_eq!(group_id, topic);
        assert!(why.starts_with("assignor `panics` panicked: "), "{why}");
        assert!(why.contains("a mistake of the application's"), "{why}");
        // It is tried again, and told again, and the consumer goes on with what needs no group.
        assert!(matches!(consumer.poll(PATIENCE).await, Err(PollError::Group(_))));
        assert!(consumer.health().await.unwrap().group.is_some());
        consumer.assign(partitions(&topic, 1)).await.unwrap();
        assert!(consumer.poll(Duration::from_millis(10)).await.unwrap().is_empty());
        assert!(consumer.close(PATIENCE).await.is_ok());
    }
}
