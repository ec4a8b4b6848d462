//! A member and a coordinator that agree, whatever overtakes what: commits and their answers have a
//! connection of their own. The coordinator keeps to Kafka's rules for epochs, and holds answers or not.

use kohort_protocol::messages::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponseTopicPartitions,
};
use kohort_protocol::messages::metadata::{MetadataResponse, MetadataResponseTopic};

use super::sending::ASK_MS;
use super::*;
use crate::backoff::Jitter;
use crate::consumer::membership::{GroupProtocol, GroupRequest};
use crate::metadata::MetadataScope;

const T: Uuid = Uuid([1; 16]);
const HELD_NO_MORE_MS: i32 = 1;

type Partitions = BTreeSet<i32>;
type Answer = (RequestId, ConsumerGroupHeartbeatResponse);

/// What the coordinator knows of the one member there is.
#[derive(Debug, Default)]
struct Broker {
    holds: bool,
    target: Partitions,
    target_epoch: i32,
    epoch: i32,
    previous: i32,
    assigned: Partitions,
    revoking: Partitions,
    held: Option<RequestId>,
}

impl Broker {
    /// Takes a heartbeat; returns what is answered, which may be an earlier one.
    fn take(&mut self, id: RequestId, beat: &ConsumerGroupHeartbeatRequest) -> Vec<Answer> {
        let mut answers: Vec<Answer> =
            self.held.take().map(|id| (id, self.answer(None))).into_iter().collect();
        let owned: Option<Partitions> = beat
            .topic_partitions
            .as_ref()
            .map(|topics| topics.iter().flat_map(|it| it.partitions.clone()).collect());
        let owns_no_more = owned.as_ref().is_some_and(|owned| owned.is_subset(&self.assigned));
        let before = (self.epoch, self.assigned.clone());
        if beat.member_epoch == JOIN_EPOCH {
            (self.previous, self.epoch) = (0, self.target_epoch);
            (self.assigned, self.revoking) = (self.target.clone(), Partitions::new());
        } else if beat.member_epoch == self.epoch
            || (beat.member_epoch == self.previous && owns_no_more)
        {
            if owned.as_ref().is_some_and(|owned| owned.is_disjoint(&self.revoking)) {
                self.revoking.clear();
            }
            self.reconcile();
        } else {
            let error_code = ErrorCode::FENCED_MEMBER_EPOCH;
            answers.push((id, ConsumerGroupHeartbeatResponse { error_code, ..Default::default() }));
            return answers;
        }
        let changed = before != (self.epoch, self.assigned.clone());
        let tells = changed || beat.subscribed_topic_names.is_some();
        if self.holds && beat.hold_ms > ASK_MS && !tells && owned.is_none() {
            self.held = Some(id);
        } else {
            let mut answer = self.answer(tells.then(|| self.assigned.clone()));
            answer.holds = self.holds;
            answers.push((id, answer));
        }
        answers
    }

    fn reconcile(&mut self) {
        if !self.revoking.is_empty() || self.epoch == self.target_epoch {
            return;
        }
        self.revoking = self.assigned.difference(&self.target).copied().collect();
        self.previous = self.epoch;
        if self.revoking.is_empty() {
            self.epoch = self.target_epoch;
            self.assigned.clone_from(&self.target);
        } else {
            self.assigned.retain(|it| self.target.contains(it));
        }
    }

    fn answer(&self, assigned: Option<Partitions>) -> ConsumerGroupHeartbeatResponse {
        let assignment = assigned.map(|partitions| Assignment {
            topic_partitions: vec![ConsumerGroupHeartbeatResponseTopicPartitions {
                topic_id: T,
                partitions: partitions.into_iter().collect(),
            }],
        });
        ConsumerGroupHeartbeatResponse {
            member_epoch: self.epoch,
            heartbeat_interval_ms: 5_000,
            assignment,
            ..Default::default()
        }
    }

    /// Makes another target; returns the heartbeat that is answered so that the member asks again.
    fn retarget(&mut self, target: Partitions) -> Option<Answer> {
        self.target = target;
        self.target_epoch += 1;
        let mut answer = self.answer(None);
        answer.heartbeat_interval_ms = HELD_NO_MORE_MS;
        self.held.take().map(|id| (id, answer))
    }
}

struct World {
    now: Timestamp,
    random: Jitter,
    member: ConsumerMembership,
    broker: Broker,
    /// Heartbeats on their way, in their order.
    asked: Vec<(RequestId, ConsumerGroupHeartbeatRequest)>,
    /// Answers on their way, in their order.
    answered: Vec<Answer>,
    /// The epochs of commits on their way to the coordinator, and of those it refused.
    commits: Vec<i32>,
    stale: Vec<i32>,
    revoking: Vec<RequestId>,
}

impl World {
    fn new(seed: u64, holds: bool) -> Self {
        let config = MembershipConfig {
            protocol: GroupProtocol::Consumer,
            group_id: "g".to_owned(),
            rebalance_timeout_ms: 600_000,
            heartbeat_interval_ms: 3_000,
            retry_backoff_ms: 100,
            retry_backoff_max_ms: 1_000,
            seed,
            ..MembershipConfig::default()
        };
        let mut world = Self {
            now: 0,
            random: Jitter::seeded(seed),
            member: ConsumerMembership::new(config),
            broker: Broker { holds, target_epoch: 1, ..Broker::default() },
            asked: Vec::new(),
            answered: Vec::new(),
            commits: Vec::new(),
            stale: Vec::new(),
            revoking: Vec::new(),
        };
        let topic = MetadataResponseTopic {
            name: Some("t".to_owned()),
            topic_id: T,
            ..MetadataResponseTopic::default()
        };
        let response = MetadataResponse { topics: vec![topic], ..MetadataResponse::default() };
        let view = MetadataView::default().merge(&response, 13, MetadataScope::AllTopics).0;
        world.act(|member, now| member.handle_metadata(now, &Arc::new(view)));
        let wanted = Wanted::topics([TopicName::from("t")].into());
        world.act(|member, now| member.handle_subscription(now, wanted));
        world
    }

    fn act(&mut self, act: impl FnOnce(&mut ConsumerMembership, Timestamp) -> Vec<GroupAction>) {
        let mut actions = act(&mut self.member, self.now);
        while !actions.is_empty() {
            let action = actions.remove(0);
            match action {
                GroupAction::Send {
                    id, request: GroupRequest::ConsumerHeartbeat(beat), ..
                } => {
                    self.asked.push((id, beat));
                }
                GroupAction::Revoke { ticket, .. } => self.revoking.push(ticket),
                GroupAction::FindCoordinator(id) => {
                    actions.extend(self.member.handle_coordinator(self.now, id, Ok(1)));
                }
                GroupAction::Lost { .. } | GroupAction::Failed(_) => panic!("{action:?}"),
                _ => {}
            }
        }
        // Answers that nobody waits for would let another one go on.
        let most = if self.broker.holds { 2 } else { 1 };
        assert!(self.asked.len() + self.answered.len() <= most, "{:?}", self.asked);
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random.next_u64() % below
    }

    fn step(&mut self, changes: bool) {
        match self.draw(9) {
            0 if changes => {
                let bits = self.draw(64);
                let target = (0..6).filter(|it| bits >> it & 1 == 1).collect();
                let woken = self.broker.retarget(target);
                self.answered.extend(woken);
            }
            1 | 2 if !self.asked.is_empty() => {
                let (id, beat) = self.asked.remove(0);
                let answers = self.broker.take(id, &beat);
                self.answered.extend(answers);
            }
            3 | 4 if !self.answered.is_empty() => {
                // Behind a connection that broke, the next one's answer may come first.
                let which = self.draw(self.answered.len() as u64 * 4) as usize;
                let which = if which < self.answered.len() { which } else { 0 };
                let (id, answer) = self.answered.remove(which);
                self.act(|member, now| member.handle_response(now, id, answer));
            }
            5 => self.commits.extend(self.member.identity().map(|it| it.generation)),
            6 if !self.commits.is_empty() => {
                let epoch = self.commits.remove(0);
                self.stale.extend((epoch != self.broker.epoch).then_some(epoch));
            }
            7 if !self.stale.is_empty() => {
                let epoch = self.stale.remove(0);
                let code = ErrorCode::STALE_MEMBER_EPOCH;
                self.act(|member, now| member.handle_commit_error(now, epoch, code));
            }
            7 if !self.revoking.is_empty() => {
                let ticket = self.revoking.remove(0);
                self.act(|member, now| member.handle_revoked(now, ticket));
            }
            8 if self.draw(4) == 0 => self.act(ConsumerMembership::handle_rejoin),
            8 => {
                self.now += self.draw(3_000) as i64;
                self.act(ConsumerMembership::handle_timeout);
            }
            _ => {}
        }
    }

    fn owned(&self) -> Partitions {
        self.member.owned.keys().map(|it| it.partition).collect()
    }
}

#[test]
fn nothing_is_lost_and_all_is_taken_in_whatever_overtakes_what() {
    for seed in 0..400 {
        let mut world = World::new(seed, seed % 2 == 0);
        for _ in 0..300 {
            world.step(true);
        }
        // From here on the target stays, and everything arrives.
        let settled = |World { broker, .. }: &World| {
            broker.epoch == broker.target_epoch && broker.assigned == broker.target
        };
        for steps in 0.. {
            if settled(&world) && world.owned() == world.broker.target && world.member.is_stable() {
                break;
            }
            assert!(steps < 10_000, "seed {seed}: {:?} and {:?}", world.member, world.broker);
            world.step(false);
        }
    }
}
