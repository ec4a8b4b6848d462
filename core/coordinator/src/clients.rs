//! Which connections are open, and under which name: what is known of clients before they say which
//! member they are.
//!
//! A member whose connection closed may be dead, or may be about to come back over another one. A
//! connection shows which member it speaks for only when it asks something as that member; until
//! then its client id and its address are all there is to go by. So a *sign* of a member is a
//! connection under the member's client id and from its address, opened about when the member's own
//! closed or later, which has not yet shown whose it is.
//!
//! A process that starts opens connections of which only some ever speak for its member (the others
//! fetch), and it may open those after its member has joined. So a process that is killed and started again
//! would keep its dead predecessor in the group by them. It is told by count: if under a name as many members
//! *began* since the connections closed as had spoken over them and are not heard over others, each of the
//! lost ones was *replaced*, and what is new is its heir's. As long as fewer began, as when a proxy closed
//! everybody's connections and one more process starts, nobody knows whose place the new ones take.
//!
//! A process that dies loses all its connections at once, and its system closes them in order, but resets
//! those that held bytes it had not read. So a reset may be a death if another connection under the name
//! closed in order just then, or if all were reset; alone it is what networks do. And if the member's
//! connection closed *alone*, and others under its name, over which no member ever spoke, are open still,
//! then that process lives, however long it takes to come back: it may be paused. And it lives as long as
//! any connection is open over which the member itself spoke: clients commit over another than they
//! heartbeat over. What the broker closes after the member's connection, being idle, goes on saying so: the
//! process that is paused sends nothing over it, and its death would have closed it before.
//!
//! Where three or more members from an address lose their connections at once, it was rather what lies between:
//! a proxy with whose address all of them come. [`Addresses`] has how long they are waited for.
//!
//! A client that loses one connection after the other waits before it opens the next; [`Losses`] has how
//! long.

mod addresses;
mod kept;
mod speaker;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use self::addresses::Addresses;
use self::kept::{Deserted, remember};
use self::speaker::Speaker;
use crate::group::ConnectionId;
use crate::losses::Losses;
use crate::shard::Timestamp;

/// The open connections of one broker, by the names their clients gave.
#[derive(Debug, Default)]
pub struct Clients {
    names: BTreeMap<ConnectionId, Name>,
    named: BTreeMap<Name, Named>,
    /// The names that have lost their last connection.
    deserted: Deserted<Name>,
    losses: Losses,
    addresses: Addresses,
    /// When the first connection was opened: the broker started just before.
    started: Option<Timestamp>,
}

/// A client id and an address.
type Name = (Arc<str>, Arc<str>);

/// The connections under one name.
#[derive(Debug, Default)]
struct Named {
    open: BTreeMap<ConnectionId, Open>,
    /// The last ones that closed.
    closed: VecDeque<Closed>,
    /// The last ones that the broker closed, as they were when it did.
    closed_by_broker: VecDeque<(Timestamp, Open)>,
    /// The last members that began.
    begun: VecDeque<Begun>,
    /// How often the last of the open connections closed.
    deserted: u64,
}

#[derive(Debug)]
struct Open {
    since: Timestamp,
    /// A member spoke over it.
    spoke: bool,
    /// Which one was last, if it had an id.
    member: Option<Arc<str>>,
}

#[derive(Debug)]
struct Closed {
    at: Timestamp,
    connection: ConnectionId,
    how: Closing,
    /// Whoever spoke over it.
    speaker: Option<Speaker>,
}

#[derive(Debug)]
struct Begun {
    at: Timestamp,
    connection: ConnectionId,
    /// When that was opened.
    opened: Timestamp,
    who: Speaker,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The peer closed it in order, as the system does for a process that dies.
    ByPeer,
    /// It was reset: by the network, or by the system of a process that died with bytes unread.
    Reset,
    /// The broker closed it.
    ByBroker,
}

/// What there is of a member that was not heard of since its connection closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signs {
    /// Nothing.
    Missing,
    /// It may be coming back.
    Hoped,
    /// Its process was started again: whatever is new under its name is its successor's.
    Replaced,
}

impl Clients {
    /// Takes in that a connection is open, as soon as its client has said its name.
    pub fn opened(
        &mut self,
        now: Timestamp,
        connection: ConnectionId,
        client_id: &str,
        client_host: &str,
    ) {
        self.started.get_or_insert(now);
        let name: Name = (client_id.into(), client_host.into());
        self.names.insert(connection, name.clone());
        let open = Open { since: now, spoke: false, member: None };
        self.named.entry(name).or_default().open.insert(connection, open);
    }

    /// Takes in that a connection spoke for a member; its id is empty if it has none yet.
    pub fn spoke(&mut self, connection: ConnectionId, member: &str) {
        let Some(name) = self.names.get(&connection) else { return };
        let Some(named) = self.named.get_mut(name) else { return };
        let Some(open) = named.open.get_mut(&connection) else { return };
        if !std::mem::replace(&mut open.spoke, true) {
            self.addresses.spoke(&name.1, connection, open.since);
        }
        if member.is_empty() || open.member.as_deref() == Some(member) {
            return;
        }
        let member: Arc<str> = member.into();
        if let old @ Some(_) = open.member.replace(member.clone()) {
            // It has joined under another id, and speaks over its other connections under that.
            for open in named.open.values_mut().filter(|open| open.member == old) {
                open.member = Some(member.clone());
            }
        }
        let here = |begun: &&mut Begun| begun.who == Speaker::Over(connection);
        if let Some(begun) = named.begun.iter_mut().find(here) {
            begun.who = Speaker::Member(member);
        }
    }

    /// Takes in that somebody who was no member yet joined over a connection.
    pub fn began(&mut self, now: Timestamp, connection: ConnectionId, member: &str) {
        self.spoke(connection, member);
        let Some(name) = self.names.get(&connection) else { return };
        let Some(named) = self.named.get_mut(name) else { return };
        let Some(open) = named.open.get(&connection) else { return };
        let who = if member.is_empty() {
            Speaker::Over(connection)
        } else {
            Speaker::Member(member.into())
        };
        named.begun.retain(|begun| begun.who != who);
        remember(
            &mut named.begun,
            ENDS_KEPT,
            Begun { at: now, connection, opened: open.since, who },
        );
    }

    /// Takes in that a connection is closed, and returns those by whose end a process may have died: this
    /// one, and others that were reset just before.
    pub fn closed(
        &mut self,
        now: Timestamp,
        connection: ConnectionId,
        how: Closing,
    ) -> Vec<ConnectionId> {
        let Some(name) = self.names.remove(&connection) else { return Vec::new() };
        let Some(named) = self.named.get_mut(&name) else { return Vec::new() };
        let Some(open) = named.open.remove(&connection) else { return Vec::new() };
        let speaker = open.spoke.then(|| match &open.member {
            Some(member) => Speaker::Member(member.clone()),
            None => Speaker::Over(connection),
        });
        if let Some(member) = &open.member {
            let starting =
                self.started.is_some_and(|started| open.since - started < RETURNING_MS_MAX);
            self.losses.add(now, member, open.since, starting && named.begun.is_empty());
        }
        if let Some(speaker) = &speaker {
            let is_loss = how != Closing::ByBroker;
            self.addresses.closed(now, &name.1, connection, open.since, speaker, is_loss);
        }
        if how == Closing::ByBroker {
            remember(&mut named.closed_by_broker, ENDS_KEPT, (now, open));
        }
        let ended = named.ended_with(now, connection, how, speaker.as_ref());
        remember(&mut named.closed, ENDS_KEPT, Closed { at: now, connection, how, speaker });
        if named.open.is_empty() {
            self.desert(name);
        }
        ended
    }

    /// Takes in that the last connection under a name closed. What is known of the name is needed if a process
    /// is started again under it, but not of any number of names.
    fn desert(&mut self, name: Name) {
        let Some(named) = self.named.get_mut(&name) else { return };
        if named.closed.iter().all(|closed| closed.speaker.is_none())
            && named.closed_by_broker.is_empty()
        {
            self.named.remove(&name);
            return;
        }
        named.deserted += 1;
        if let Some((oldest, times)) = self.deserted.add(name, named.deserted)
            && self.named.get(&oldest).is_some_and(|it| it.open.is_empty() && it.deserted == times)
        {
            self.named.remove(&oldest);
        }
    }

    /// Tells what there is of a member that was not heard of since `since`.
    pub fn signs(
        &self,
        now: Timestamp,
        member: &str,
        client_id: &str,
        client_host: &str,
        since: Timestamp,
    ) -> Signs {
        let name: Name = (client_id.into(), client_host.into());
        let may_wait = self.losses.may_wait(now, member, since);
        let Some(named) = self.named.get(&name) else {
            return if may_wait { Signs::Hoped } else { Signs::Missing };
        };
        let own = Speaker::Member(member.into());
        let closed_alone = named.died_at(since, ALONE_MS, Some(&own)).count() <= 1;
        let replaced = named.has_replaced(member, since);
        let closed = named.closed_by_broker.iter().filter(|(at, _)| *at >= since);
        let mut there = named.open.values().chain(closed.map(|(_, open)| open));
        let holds = there.any(|open| match &open.member {
            Some(own) => **own == *member,
            None if open.spoke => false,
            None if open.since >= since - OVERLAP_MS => !replaced,
            None => closed_alone,
        });
        let cut_off = self.addresses.may_be_cut_off(now, client_host, since);
        let hoped = holds || ((may_wait || cut_off) && !replaced);
        match (hoped, replaced) {
            (true, _) => Signs::Hoped,
            (false, true) => Signs::Replaced,
            (false, false) => Signs::Missing,
        }
    }
}

impl Named {
    /// Returns the ends that are told of by the end of one connection.
    fn ended_with(
        &self,
        now: Timestamp,
        connection: ConnectionId,
        how: Closing,
        speaker: Option<&Speaker>,
    ) -> Vec<ConnectionId> {
        let ends =
            |how| self.died_at(now, AT_ONCE_MS, speaker).filter(move |closed| closed.how == how);
        match how {
            Closing::ByPeer => {
                ends(Closing::Reset).map(|it| it.connection).chain([connection]).collect()
            }
            Closing::Reset if ends(Closing::ByPeer).next().is_some() => vec![connection],
            Closing::Reset if self.open.is_empty() && ends(Closing::Reset).next().is_some() => {
                ends(Closing::Reset).map(|it| it.connection).chain([connection]).collect()
            }
            Closing::Reset | Closing::ByBroker => Vec::new(),
        }
    }

    /// Tells whether others have begun in the place of a member and of all that were lost with it.
    fn has_replaced(&self, member: &str, since: Timestamp) -> bool {
        let mut lost: BTreeMap<&Speaker, Timestamp> = BTreeMap::new();
        for closed in self.closed_within(since, TOGETHER_MS) {
            if let Some(speaker) = closed.speaker.as_ref().filter(|it| !self.is_heard(it)) {
                lost.insert(speaker, closed.at);
            }
        }
        let oldest = self.closed.front().map_or(since, |closed| closed.at);
        let all_known = self.closed.len() < ENDS_KEPT || oldest < since - TOGETHER_MS;
        if !all_known || !lost.keys().any(|speaker| speaker.is(member)) {
            return false;
        }
        // Each has an heir of its own: who was lost last looks for one first, as it has the fewest to choose from.
        let mut heirs: Vec<&Begun> = self.begun.iter().filter(|it| self.is_new(it)).collect();
        let mut ends: Vec<Timestamp> = lost.values().copied().collect();
        ends.sort_unstable();
        ends.into_iter().rev().all(|end| {
            // An heir that was lost as well may have been there before, and may be who was lost.
            let succeeds = |heir: &&Begun| {
                heir.opened >= end - OVERLAP_MS && (heir.at >= end || !lost.contains_key(&heir.who))
            };
            let found = heirs.iter().rposition(succeeds);
            found.map(|index| heirs.remove(index)).is_some()
        })
    }

    /// Tells whether somebody who begins was not there before: who was lost and begins anew, as a fenced
    /// member does, takes nobody's place.
    fn is_new(&self, begun: &Begun) -> bool {
        let was_there = |closed: &Closed| {
            closed.speaker.as_ref() == Some(&begun.who)
                && closed.connection != begun.connection
                && closed.at <= begun.at
        };
        !self.closed.iter().any(was_there)
    }

    fn is_heard(&self, speaker: &Speaker) -> bool {
        let mut speaking = self.open.values().filter_map(|open| open.member.as_ref());
        speaking.any(|member| speaker.is(member))
    }

    /// Returns the ends of connections, other than by the broker, that the death of the process of which one
    /// had that speaker would explain: what speaks for another member is another process's.
    fn died_at(
        &self,
        time: Timestamp,
        apart_ms: Timestamp,
        speaker: Option<&Speaker>,
    ) -> impl Iterator<Item = &Closed> {
        let lost = self.closed_within(time, apart_ms).filter(|it| it.how != Closing::ByBroker);
        lost.filter(move |closed| match (&closed.speaker, speaker) {
            (Some(Speaker::Member(one)), Some(Speaker::Member(other))) => one == other,
            _ => true,
        })
    }

    fn closed_within(&self, time: Timestamp, apart_ms: Timestamp) -> impl Iterator<Item = &Closed> {
        self.closed.iter().filter(move |closed| (closed.at - time).abs() <= apart_ms)
    }
}

/// How much older than the end of a member's connection the next one may seem. Clients close one and
/// then open the other, but the two are heard of by different tasks.
const OVERLAP_MS: Timestamp = 200;

/// How far apart the connections of a process that dies may seem to close: the system closes them within a
/// millisecond, and a busy broker hears of it later. Where others have connections under the name there is
/// much to take for a death, so that one that takes longer is rather not seen. That none of them is
/// missed when it is counted who was replaced takes more.
const ALONE_MS: Timestamp = 50;
const AT_ONCE_MS: Timestamp = 200;
const TOGETHER_MS: Timestamp = 1_000;

/// How long after the broker's start the connections of those who were members before may be opened.
const RETURNING_MS_MAX: Timestamp = 20_000;

/// How many ends of connections, and how many members that began, are remembered under a name. Of more ends
/// within two seconds none was alone, and nobody knows who was lost.
const ENDS_KEPT: usize = 16;

#[cfg(test)]
mod tests;
