//! One group from its first member to its end, the same on both brokers, told as a list of steps.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use kohort_protocol::ErrorCode;
use serde_json::Value;

use super::classic::Classic;
use super::member::{Beat, Member, Partition};
use super::side::{Learnt, Side};

/// A life under way.
pub(super) struct Life<'a> {
    sides: &'a mut [Side; 2],
    dice: Dice,
    group: String,
    members: Vec<Member>,
    /// Members of the classic protocol, if this group has such.
    classics: Vec<Classic>,
    /// The topics this group lives on.
    topics: Vec<&'static str>,
    /// Under which id the static member is in the group, whatever it believes itself.
    registered: Option<String>,
    /// Whether somebody left since the last heartbeat that was answered: ours has a new target then,
    /// Kafka only with the next heartbeat.
    left: bool,
    /// What Kafka told each member last to own.
    told: BTreeMap<String, Value>,
    /// What ours may tell once more in the next answer.
    repeatable: Option<Value>,
    /// Whether the sides went apart as they are meant to.
    over: bool,
    steps: Vec<String>,
    answers: usize,
}

impl<'a> Life<'a> {
    pub(super) fn new(sides: &'a mut [Side; 2], seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d);
        // Under range the order of topics does not matter; under uniform there is one.
        let range = dice.one_in(2);
        let topics = if range { vec!["apples", "berries", "cherries"] } else { vec!["cherries"] };
        let member = |letter: u8| Member {
            id: char::from(letter).to_string(),
            instance: (letter == b'd').then(|| "static".to_owned()),
            assignor: Some(if range { "range" } else { "uniform" }),
            ..Member::default()
        };
        let members = (b'a'..=b'e').map(member).collect();
        let group = format!("life-{seed}");
        Self {
            sides,
            dice,
            group,
            members,
            classics: Vec::new(),
            topics,
            registered: None,
            left: false,
            told: BTreeMap::new(),
            repeatable: None,
            over: false,
            steps: Vec::new(),
            answers: 0,
        }
    }

    /// Lets classic members live in the group as well.
    pub(super) fn with_classic_members(mut self, letters: &[char]) -> Self {
        for side in &mut *self.sides {
            side.classic_ids.clear();
        }
        self.members.truncate(2);
        for member in &mut self.members {
            member.assignor = Some("range");
        }
        self.topics = vec!["apples", "berries"];
        self.group = format!("mixed-{}-{}", letters.len(), self.group);
        self.classics = letters.iter().map(|letter| Classic::new(*letter)).collect();
        self
    }

    /// Returns how many answers were compared.
    pub(super) fn answers(&self) -> usize {
        self.answers
    }

    /// Lives; fails with the first answers that differ and the steps before them.
    pub(super) fn live(&mut self) -> Result<()> {
        self.describe()?;
        for _ in 0..STEPS {
            self.step()?;
            if self.over {
                return Ok(());
            }
        }
        self.end()
    }

    fn step(&mut self) -> Result<()> {
        let who = self.dice.below(self.members.len());
        if let (true, Some(one)) = (self.left, self.members.iter().position(|one| one.joined)) {
            return self.beat(one);
        }
        if self.classics.len() > 1 && !self.members[ANCHOR].joined {
            return self.join(ANCHOR);
        }
        if !self.classics.is_empty() && self.dice.below(5) < 2 {
            let which = self.dice.below(self.classics.len());
            return self.step_of_a_classic_member(which);
        }
        match self.dice.below(100) {
            _ if !self.members[who].joined && self.dice.below(3) > 0 => self.join(who),
            0..40 => self.beat(who),
            40..46 => self.lose_an_answer(who),
            46..53 => self.resubscribe(who),
            53..59 if self.classics.len() > 1 && who == ANCHOR => self.beat(who),
            53..59 => self.leave(who),
            59..63 => self.join(who),
            63..70 => self.beat_in_a_wrong_epoch(who),
            70..73 => self.beat_as_nobody(),
            73..77 => self.ask_in_a_wrong_way(who),
            77..87 => self.commit(who),
            87..92 => self.fetch(who),
            92..94 => self.delete(),
            94..96 => self.take_a_static_member_s_place(),
            _ => self.describe(),
        }
    }

    /// Joins or, when in the group already, begins anew.
    fn join(&mut self, who: usize) -> Result<()> {
        let topics = self.some_topics();
        let member = &mut self.members[who];
        if member.instance.is_some() && self.registered.as_ref() == Some(&member.id) {
            // Ours lets it in, Kafka does not: see the list of what is meant to differ.
            return self.leave(who);
        }
        member.drop_out();
        member.topics = topics;
        let beat = Beat { epoch: 0, ..self.whole(who) };
        self.send(who, &beat, true)
    }

    fn beat(&mut self, who: usize) -> Result<()> {
        let mut beat = match self.dice.below(3) {
            0 => self.whole(who),
            _ => self.minimal(who),
        };
        match self.dice.below(5) {
            // Nothing is told of what is owned, or what was owned before.
            0 => beat.owned = None,
            1 => beat.owned = Some(self.members[who].owned.clone()),
            2 => {
                self.members[who].give_up();
                beat.owned = Some(self.members[who].owned.clone());
            }
            _ => {
                self.members[who].settle();
                beat.owned = Some(self.members[who].owned.clone());
            }
        }
        self.send(who, &beat, true)
    }

    /// The answer is lost: the member does not learn from it.
    fn lose_an_answer(&mut self, who: usize) -> Result<()> {
        let beat = self.whole(who);
        self.send(who, &beat, false)
    }

    fn resubscribe(&mut self, who: usize) -> Result<()> {
        self.members[who].topics = self.some_topics();
        let mut beat = self.minimal(who);
        beat.topics = Some(self.members[who].topics.clone());
        self.send(who, &beat, true)
    }

    fn leave(&mut self, who: usize) -> Result<()> {
        let mut beat = self.minimal(who);
        let for_a_while = self.members[who].instance.is_some() && self.dice.one_in(2);
        beat.epoch = if for_a_while { -2 } else { -1 };
        self.send(who, &beat, true)?;
        self.members[who].drop_out();
        Ok(())
    }

    fn beat_in_a_wrong_epoch(&mut self, who: usize) -> Result<()> {
        let mut beat = self.whole(who);
        beat.epoch += [-1, 1, -2, 5][self.dice.below(4)];
        if beat.epoch <= 0 {
            beat.epoch = 1;
        }
        if self.dice.one_in(2) {
            beat.owned = Some(BTreeSet::new());
        }
        self.send(who, &beat, false)
    }

    fn beat_as_nobody(&mut self) -> Result<()> {
        let mut beat = self.minimal(0);
        "nobody".clone_into(&mut beat.member);
        beat.epoch = [1, 3, -1, -2][self.dice.below(4)];
        if self.dice.one_in(2) {
            beat.instance = Some("static".to_owned());
        }
        self.send(0, &beat, false)
    }

    /// What no client may ask.
    fn ask_in_a_wrong_way(&mut self, who: usize) -> Result<()> {
        let mut beat = Beat { epoch: 0, ..self.whole(who) };
        match self.dice.below(9) {
            0 => beat.member = String::new(),
            1 => beat.group = String::new(),
            2 => beat.instance = Some(String::new()),
            3 => beat.rack = Some(String::new()),
            4 => beat.timeout = -1,
            5 => beat.owned = None,
            6 => beat.owned = Some([("apples".to_owned(), 0)].into()),
            7 => beat.topics = None,
            _ => {
                beat.assignor = Some("mine".to_owned());
                beat.epoch = self.members[who].epoch;
            }
        }
        self.send(who, &beat, false)
    }

    /// A static member starts anew under another id while the old one may still be there.
    fn take_a_static_member_s_place(&mut self) -> Result<()> {
        let Some(who) = self.members.iter().position(|member| member.instance.is_some()) else {
            return Ok(());
        };
        let id = &mut self.members[who].id;
        *id = if id == "d" { "f".to_owned() } else { "d".to_owned() };
        self.join(who)
    }

    fn commit(&mut self, who: usize) -> Result<()> {
        let member = &self.members[who];
        let wrong = [0, 0, 0, -1, 1][self.dice.below(5)];
        let epoch = member.epoch + wrong;
        let mut places: Vec<Partition> =
            member.owned.iter().chain(&member.assigned).cloned().collect();
        places.push(("apples".to_owned(), 0));
        let place = places[self.dice.below(places.len())].clone();
        let (id, offset) = (member.id.clone(), self.dice.below(1000) as i64);
        let version = [8, 9, 9, 10][self.dice.below(4)];
        let group = self.group.clone();
        let told =
            format!("{id} commits {place:?} at {offset} in epoch {epoch}, version {version}");
        self.compare(told, |side| side.commit(&group, (&id, epoch), &place, offset, version))?;
        Ok(())
    }

    fn fetch(&mut self, who: usize) -> Result<()> {
        let member = &self.members[who];
        let wrong = [0, 0, 0, -1, 1][self.dice.below(5)];
        let (id, epoch) = (member.id.clone(), member.epoch + wrong);
        let anybody = self.dice.one_in(3);
        let version = [8, 9, 10][self.dice.below(3)];
        let topic = self.topics[self.dice.below(self.topics.len())];
        let group = self.group.clone();
        let told = format!(
            "{} fetches the offsets of {topic} in epoch {epoch}, version {version}",
            if anybody { "somebody" } else { &id },
        );
        self.compare(told, |side| {
            let member = (!anybody && version > 8).then_some((&*id, epoch));
            side.fetch(&group, member, topic, version)
        })?;
        Ok(())
    }

    fn describe(&mut self) -> Result<()> {
        if self.left {
            return Ok(());
        }
        let group = self.group.clone();
        self.compare("describe".to_owned(), |side| side.describe(&group))?;
        Ok(())
    }

    fn delete(&mut self) -> Result<()> {
        let group = self.group.clone();
        self.compare("delete the group".to_owned(), |side| side.delete(&group))?;
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.describe()?;
        for classic in std::mem::take(&mut self.classics) {
            let group = self.group.clone();
            let told = format!("{} leaves", classic.letter);
            self.compare(told, |side| classic.leave(side, &group))?;
        }
        for who in 0..self.members.len() {
            let mut beat = self.minimal(who);
            if let (Some(_), Some(id)) = (&beat.instance, &self.registered) {
                beat.member.clone_from(id);
            }
            beat.epoch = -1;
            self.send(who, &beat, true)?;
            self.members[who].drop_out();
            if let Some(other) = self.members.iter().position(|member| member.joined) {
                let beat = self.whole(other);
                self.send(other, &beat, true)?;
            }
            self.describe()?;
        }
        self.left = false;
        self.delete()?;
        self.describe()
    }

    /// Topics grow, go, and are made anew while two members are at work.
    pub(super) fn live_while_topics_change(&mut self) -> Result<()> {
        const TOPIC: &str = "damsons";
        self.topics = vec![TOPIC];
        "topics".clone_into(&mut self.group);
        for side in &mut *self.sides {
            side.create_topic(TOPIC, 2)?;
            side.await_topic(TOPIC)?;
        }
        self.members.truncate(2);
        for who in 0..2 {
            self.members[who].assignor = Some("range");
            self.members[who].topics = vec![TOPIC.to_owned(), "apples".to_owned()];
            let beat = Beat { epoch: 0, ..self.whole(who) };
            self.send(who, &beat, true)?;
        }
        self.settle()?;
        let grow: fn(&mut Side) -> Result<()> = |side| side.grow_topic(TOPIC, 5);
        let delete: fn(&mut Side) -> Result<()> = |side| side.delete_topic(TOPIC);
        let create: fn(&mut Side) -> Result<()> = |side| side.create_topic(TOPIC, 3);
        for change in [grow, delete, create] {
            let beat = self.minimal(0);
            for side in &mut *self.sides {
                let epoch = side.epoch(&self.group)?;
                change(side)?;
                side.beat_until_epoch_is_not(&beat, epoch)?;
            }
            self.settle()?;
        }
        self.end()
    }

    /// Has everybody give up and take what they are to, and compares all that is said meanwhile.
    fn settle(&mut self) -> Result<()> {
        for _ in 0..4 {
            for who in 0..self.members.len() {
                self.members[who].settle();
                let beat = self.whole(who);
                self.send(who, &beat, true)?;
            }
            self.describe()?;
        }
        Ok(())
    }

    fn step_of_a_classic_member(&mut self, which: usize) -> Result<()> {
        let mut classic = self.classics[which].clone();
        let letter = classic.letter;
        let group = self.group.clone();
        if !classic.joined || self.dice.one_in(6) {
            classic.wants(self.some_topics());
            let mut next = None;
            self.compare(format!("{letter} joins, {classic:?}"), |side| {
                let (answer, after) = classic.join(side, &group)?;
                next.get_or_insert(after);
                Ok(answer)
            })?;
            self.left = false;
            if let Some(next) = next {
                self.classics[which] = next;
            }
            return if self.dice.one_in(5) { Ok(()) } else { self.sync_of_a_classic_member(which) };
        }
        match self.dice.below(10) {
            0..5 => {
                let late = i32::from(self.dice.one_in(6));
                let mut error = None;
                self.compare(
                    format!("{letter} beats in generation {}+{late}", classic.generation),
                    |side| {
                        let (answer, code) = classic.beat(side, &group, late)?;
                        error.get_or_insert(code);
                        Ok(answer)
                    },
                )?;
                if error.is_some_and(|error| !error.is_ok()) && late == 0 {
                    self.classics[which].joined = false;
                }
                Ok(())
            }
            5..7 => self.sync_of_a_classic_member(which),
            7..9 => {
                let offset = self.dice.below(1000) as i64;
                self.compare(format!("{letter} commits {offset}"), |side| {
                    classic.commit(side, &group, offset)
                })
            }
            _ => {
                self.compare(format!("{letter} leaves"), |side| classic.leave(side, &group))?;
                self.left = true;
                self.classics[which] = Classic::new(letter);
                Ok(())
            }
        }
    }

    fn sync_of_a_classic_member(&mut self, which: usize) -> Result<()> {
        let classic = self.classics[which].clone();
        let late = if self.dice.one_in(8) { -1 } else { 0 };
        let group = self.group.clone();
        let told = format!("{} syncs in generation {}{late}", classic.letter, classic.generation);
        self.compare(told, |side| Ok(classic.sync(side, &group, late)?.0))
    }

    /// A heartbeat that tells everything, as after a reconnection.
    fn whole(&self, who: usize) -> Beat {
        let member = &self.members[who];
        Beat {
            timeout: 60_000,
            topics: Some(member.topics.clone()),
            assignor: member.assignor.map(str::to_owned),
            owned: Some(member.owned.clone()),
            ..self.minimal(who)
        }
    }

    /// A heartbeat that tells only that the member lives.
    fn minimal(&self, who: usize) -> Beat {
        let member = &self.members[who];
        Beat {
            group: self.group.clone(),
            member: member.id.clone(),
            epoch: member.epoch,
            instance: member.instance.clone(),
            timeout: -1,
            ..Beat::default()
        }
    }

    fn some_topics(&mut self) -> Vec<String> {
        let mut topics: Vec<String> = Vec::new();
        for topic in self.topics.clone() {
            if !self.dice.one_in(3) {
                topics.push(topic.to_owned());
            }
        }
        // A topic that is not there is no fault.
        if self.topics.len() > 1 && self.dice.one_in(8) {
            topics.push("nowhere".to_owned());
        }
        topics
    }

    /// Sends a heartbeat, and has the member learn from the answer unless it is lost.
    fn send(&mut self, who: usize, beat: &Beat, arrives: bool) -> Result<()> {
        // In version 0 the broker makes the id of who has none.
        let version = i16::from(beat.member.is_empty() || !self.dice.one_in(4));
        let told = format!(
            "{} beats in epoch {}, version {version}{}{}{}{}{}{}",
            beat.member,
            beat.epoch,
            beat.instance.as_ref().map(|it| format!(", instance {it:?}")).unwrap_or_default(),
            beat.topics.as_ref().map(|it| format!(", topics {it:?}")).unwrap_or_default(),
            beat.assignor.as_ref().map(|it| format!(", assignor {it}")).unwrap_or_default(),
            beat.owned.as_ref().map(|it| format!(", owning {it:?}")).unwrap_or_default(),
            if beat.timeout == -1 { "" } else { ", timeout" },
            if arrives { "" } else { "; the answer is lost" },
        );
        let mut learnt = None;
        let mut says = Value::Null;
        self.repeatable = self.told.get(&beat.member).filter(|_| beat.owned.is_none()).cloned();
        self.compare(told, |side| {
            let (mut answer, told) = side.beat(beat, version)?;
            if let Some(Learnt { error: ErrorCode::GROUP_ID_NOT_FOUND, .. }) = learnt
                && beat.epoch != 0
                && answer["error"] == "UNKNOWN_MEMBER_ID"
            {
                // It may come back: see the list of what is meant to differ.
                answer["error"] = "GROUP_ID_NOT_FOUND".into();
            }
            if learnt.is_none() {
                says.clone_from(&answer["assignment"]);
                learnt = Some(told);
            }
            Ok(answer)
        })?;
        if !says.is_null() {
            self.told.insert(beat.member.clone(), says);
        }
        let Some(learnt) = learnt else { return Ok(()) };
        if learnt.error.is_ok() {
            self.left = beat.epoch == -1;
            if beat.instance.is_some() {
                self.registered = (beat.epoch >= 0).then(|| beat.member.clone());
            }
        }
        if arrives {
            self.learn(who, learnt);
        }
        Ok(())
    }

    fn learn(&mut self, who: usize, learnt: Learnt) {
        let member = &mut self.members[who];
        match learnt.error {
            ErrorCode::NONE if learnt.epoch > 0 => {
                member.joined = true;
                member.epoch = learnt.epoch;
                if let Some(assignment) = learnt.assignment {
                    member.assigned = assignment;
                }
            }
            ErrorCode::NONE
            | ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::FENCED_MEMBER_EPOCH
            | ErrorCode::FENCED_INSTANCE_ID
            | ErrorCode::GROUP_ID_NOT_FOUND => member.drop_out(),
            _ => {}
        }
    }

    /// Asks both sides, Kafka first, and compares what they answer.
    fn compare(
        &mut self,
        told: String,
        mut ask: impl FnMut(&mut Side) -> Result<Value>,
    ) -> Result<()> {
        self.steps.push(told);
        let [theirs, ours] = &mut *self.sides;
        let (theirs, mut ours) = (ask(theirs)?, ask(ours)?);
        self.answers += 1;
        // Who has partitions to give up is told again: see the list of what is meant to differ.
        if let Some(repeated) = self.repeatable.take()
            && theirs["assignment"].is_null()
            && ours["assignment"] == repeated
        {
            ours["assignment"] = Value::Null;
        }
        self.over = is_taken_in_the_epoch_before(&theirs, &ours);
        if theirs == ours || self.over {
            if let Some(step) = self.steps.last_mut() {
                step.push_str(&format!("\n      {}", brief(&theirs)));
            }
            return Ok(());
        }
        let from = self.steps.len().saturating_sub(SHOWN);
        bail!("  {}\n      Kafka  {theirs}\n      kohort {ours}", self.steps[from..].join("\n  "))
    }
}

/// Kafka forgets the epoch before with each heartbeat of a member that waits for partitions, ours does
/// not: see the list of what is meant to differ.
fn is_taken_in_the_epoch_before(theirs: &Value, ours: &Value) -> bool {
    theirs["error"] == "FENCED_MEMBER_EPOCH" && ours["error"] == "NONE"
}

/// The start of a long answer.
fn brief(answer: &Value) -> String {
    answer.to_string().chars().take(BRIEF).collect()
}

/// A seeded source of choices (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % limit.max(1) as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// The member that stays where there are several classic ones.
const ANCHOR: usize = 0;
/// How many steps a life has before its end.
const STEPS: usize = 60;
/// How many steps are shown before a difference.
const SHOWN: usize = 14;
const BRIEF: usize = 400;
