//! Which connections are open, and under which name: what is known of clients before they say which
//! member they are.
//!
//! A member whose connection closed may be dead, or may be about to come back over another one. A
//! connection shows which member it speaks for only when it asks something as that member; until
//! then its client id and its address are all there is to go by. So a *sign* of a member is a
//! connection under the member's client id and from its address, opened about when the member's own
//! closed or later, which has not yet shown whose it is.
//!
//! A process that starts opens connections of which only one ever speaks for its member (the others
//! fetch). Its first join explains them all: from then on they are signs of nobody else.
//!
//! A process that dies loses all its connections at once, and its system closes them in order, but resets
//! those that held bytes it had not read. So a reset may be a death if another connection under the name
//! closed in order just then; alone it is what networks do. And if the member's connection closed *alone*, and
//! others under its name, over which no member ever spoke, are open still, then that process lives, however
//! long it takes to come back: it may be paused. And it lives as long as any connection is open over which
//! the member itself spoke: clients commit over another than they heartbeat over.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::group::ConnectionId;
use crate::shard::Timestamp;

/// The open connections of one broker, by the names their clients gave.
#[derive(Debug, Default)]
pub struct Clients {
    names: BTreeMap<ConnectionId, Name>,
    named: BTreeMap<Name, Named>,
}

/// A client id and an address.
type Name = (Arc<str>, Arc<str>);

/// The connections under one name; there is at least one.
#[derive(Debug, Default)]
struct Named {
    open: BTreeMap<ConnectionId, Open>,
    /// The last ones that closed.
    closed: VecDeque<Closed>,
}

#[derive(Debug)]
struct Closed {
    at: Timestamp,
    connection: ConnectionId,
    how: Closing,
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

#[derive(Debug)]
struct Open {
    since: Timestamp,
    /// A member spoke over it.
    spoke: bool,
    /// Which one was first, if it had an id.
    member: Option<Arc<str>>,
    /// A join of the process it may belong to has explained it.
    explained: bool,
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
        let name: Name = (client_id.into(), client_host.into());
        self.names.insert(connection, name.clone());
        let open = Open { since: now, spoke: false, member: None, explained: false };
        self.named.entry(name).or_default().open.insert(connection, open);
    }

    /// Takes in that a connection spoke for a member; its id is empty if it has none yet.
    pub fn spoke(&mut self, connection: ConnectionId, member: &str) {
        let Some(name) = self.names.get(&connection) else { return };
        let named = self.named.get_mut(name);
        if let Some(open) = named.and_then(|named| named.open.get_mut(&connection)) {
            open.spoke = true;
            if open.member.is_none() && !member.is_empty() {
                open.member = Some(member.into());
            }
        }
    }

    /// Takes in that somebody who was no member yet joined over a connection.
    pub fn began(&mut self, now: Timestamp, connection: ConnectionId, member: &str) {
        self.spoke(connection, member);
        let Some(name) = self.names.get(&connection) else { return };
        let Some(named) = self.named.get_mut(name) else { return };
        for open in named.open.values_mut().filter(|open| open.since >= now - STARTING_MS_MAX) {
            open.explained = true;
        }
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
        named.open.remove(&connection);
        if named.closed.len() == CLOSED_KEPT {
            named.closed.pop_front();
        }
        named.closed.push_back(Closed { at: now, connection, how });
        let ended = named.ended_with(now, connection, how);
        if named.open.is_empty() {
            self.named.remove(&name);
        }
        ended
    }

    /// Tells whether a member, not heard of since `since`, may be coming back.
    pub fn signs(
        &self,
        member: &str,
        client_id: &str,
        client_host: &str,
        since: Timestamp,
    ) -> bool {
        let name: Name = (client_id.into(), client_host.into());
        let Some(named) = self.named.get(&name) else { return false };
        let closed_alone = named.closed_about(since).count() <= 1;
        named.open.values().any(|open| match &open.member {
            Some(own) => **own == *member,
            None if open.spoke => false,
            None if open.since >= since - OVERLAP_MS => !open.explained,
            None => closed_alone,
        })
    }
}

impl Named {
    /// Returns the ends that are told of by the end of one connection.
    fn ended_with(
        &self,
        now: Timestamp,
        connection: ConnectionId,
        how: Closing,
    ) -> Vec<ConnectionId> {
        let ends = |how| self.closed_about(now).filter(move |closed| closed.how == how);
        match how {
            Closing::ByPeer => {
                ends(Closing::Reset).map(|it| it.connection).chain([connection]).collect()
            }
            Closing::Reset if ends(Closing::ByPeer).next().is_some() => vec![connection],
            Closing::Reset | Closing::ByBroker => Vec::new(),
        }
    }

    fn closed_about(&self, time: Timestamp) -> impl Iterator<Item = &Closed> {
        self.closed.iter().filter(move |closed| (closed.at - time).abs() <= TOGETHER_MS)
    }
}

/// How long before a join the connections of a process that starts may have been opened.
const STARTING_MS_MAX: Timestamp = 10_000;

/// How much older than the end of a member's connection the next one may seem. Clients close one and
/// then open the other, but the two are heard of by different tasks.
const OVERLAP_MS: Timestamp = 200;

/// How far apart the connections of a process that dies may seem to close: the system closes them within
/// milliseconds, and a busy broker hears of it later.
const TOGETHER_MS: Timestamp = 1_000;

/// How many ends of connections are remembered under a name. Of more within two seconds none was alone.
const CLOSED_KEPT: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "/127.0.0.1";
    const NEXT: ConnectionId = ConnectionId(2);

    fn with(opened: Timestamp) -> Clients {
        let mut clients = Clients::default();
        clients.opened(opened, NEXT, "app", HOST);
        clients
    }

    #[test]
    fn a_new_connection_is_a_sign_until_it_shows_whose_it_is() {
        let mut clients = with(1_000);
        assert!(clients.signs("m", "app", HOST, 900));
        assert!(
            clients.signs("m", "app", HOST, 1_100),
            "opened just before the other was seen to close"
        );
        clients.spoke(NEXT, "n");
        assert!(!clients.signs("m", "app", HOST, 900));
    }

    #[test]
    fn another_name_and_another_host_are_no_signs() {
        let clients = with(1_000);
        assert!(!clients.signs("m", "other", HOST, 900));
        assert!(!clients.signs("m", "app", "/127.0.0.2", 900));
    }

    #[test]
    fn a_connection_that_closed_is_no_sign() {
        let mut clients = with(1_000);
        clients.closed(1_100, NEXT, Closing::ByPeer);
        assert!(!clients.signs("m", "app", HOST, 900));
        assert!(clients.names.is_empty() && clients.named.is_empty());
    }

    #[test]
    fn an_older_connection_is_a_sign_if_the_member_s_own_closed_alone() {
        let mut clients = with(1_000);
        let (own, third) = (ConnectionId(1), ConnectionId(3));
        clients.opened(1_000, own, "app", HOST);
        clients.opened(1_000, third, "app", HOST);
        clients.began(1_100, own, "");
        clients.spoke(own, "m");
        clients.closed(20_000, own, Closing::ByPeer);
        assert!(clients.signs("m", "app", HOST, 20_001), "it fetches over the others");
        clients.spoke(NEXT, "n");
        assert!(clients.signs("m", "app", HOST, 20_001));
        // That was the end of one more connection of the process that has one left.
        clients.closed(20_300, NEXT, Closing::ByPeer);
        assert!(!clients.signs("m", "app", HOST, 20_001), "a death closes all of a process");
        assert!(clients.signs("m", "app", HOST, 30_000), "long after it nothing closed");
    }

    #[test]
    fn an_older_connection_over_which_a_member_speaks_is_that_member_s() {
        let mut clients = with(1_000);
        clients.spoke(NEXT, "n");
        clients.opened(1_000, ConnectionId(1), "app", HOST);
        clients.closed(20_000, ConnectionId(1), Closing::ByPeer);
        assert!(!clients.signs("m", "app", HOST, 20_000));
    }

    #[test]
    fn a_connection_over_which_the_member_itself_spoke_is_a_sign_while_it_is_open() {
        let mut clients = with(1_000);
        clients.spoke(NEXT, "m");
        for number in 3..6 {
            clients.opened(1_000, ConnectionId(number), "app", HOST);
            clients.closed(20_000, ConnectionId(number), Closing::ByPeer);
        }
        assert!(clients.signs("m", "app", HOST, 20_000), "it commits over that one");
        assert!(!clients.signs("l", "app", HOST, 20_000));
    }

    #[test]
    fn a_reset_is_a_death_if_another_connection_closes_in_order_with_it() {
        let (own, third) = (ConnectionId(1), ConnectionId(3));
        let of_three = || {
            let mut clients = with(1_000);
            clients.opened(1_000, own, "app", HOST);
            clients.opened(1_000, third, "app", HOST);
            clients
        };
        let mut clients = of_three();
        assert!(
            clients.closed(20_000, own, Closing::Reset).is_empty(),
            "the network did it, for all we know"
        );
        assert_eq!(clients.closed(20_010, third, Closing::ByPeer), [own, third]);
        let mut clients = of_three();
        assert_eq!(clients.closed(20_000, third, Closing::ByPeer), [third]);
        assert_eq!(clients.closed(20_010, own, Closing::Reset), [own]);
        let mut clients = of_three();
        assert!(clients.closed(20_000, own, Closing::Reset).is_empty());
        assert!(clients.closed(20_010, third, Closing::ByBroker).is_empty());
        assert_eq!(clients.closed(30_000, NEXT, Closing::ByPeer), [NEXT], "long after it");
    }

    #[test]
    fn so_many_ends_of_connections_are_remembered() {
        let mut clients = with(1_000);
        for number in 10..100 {
            clients.opened(2_000, ConnectionId(number), "app", HOST);
            clients.closed(2_000, ConnectionId(number), Closing::ByPeer);
        }
        let kept: Vec<usize> = clients.named.values().map(|named| named.closed.len()).collect();
        assert_eq!(kept, [CLOSED_KEPT]);
    }

    #[test]
    fn the_join_of_a_new_member_explains_what_its_process_opened() {
        let mut clients = with(1_000);
        clients.opened(1_010, ConnectionId(3), "app", HOST);
        clients.opened(1_010, ConnectionId(4), "other", HOST);
        clients.began(1_020, ConnectionId(3), "n");
        assert!(!clients.signs("m", "app", HOST, 900));
        assert!(clients.signs("m", "other", HOST, 900));
        clients.opened(1_030, ConnectionId(5), "app", HOST);
        assert!(clients.signs("m", "app", HOST, 900));
    }
}
