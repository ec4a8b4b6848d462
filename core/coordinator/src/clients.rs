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

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::group::ConnectionId;
use crate::shard::Timestamp;

/// The open connections of one broker, by the names their clients gave.
#[derive(Debug, Default)]
pub struct Clients {
    names: BTreeMap<ConnectionId, Name>,
    open: BTreeMap<Name, BTreeMap<ConnectionId, Open>>,
}

/// A client id and an address.
type Name = (Arc<str>, Arc<str>);

#[derive(Debug)]
struct Open {
    since: Timestamp,
    /// Whose it is has been seen, or explained by a join.
    shown: bool,
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
        let open = Open { since: now, shown: false };
        self.open.entry(name).or_default().insert(connection, open);
    }

    /// Takes in that a connection spoke for a member.
    pub fn spoke(&mut self, connection: ConnectionId) {
        let Some(name) = self.names.get(&connection) else { return };
        if let Some(open) = self.open.get_mut(name).and_then(|open| open.get_mut(&connection)) {
            open.shown = true;
        }
    }

    /// Takes in that somebody who was no member yet joined over a connection.
    pub fn began(&mut self, now: Timestamp, connection: ConnectionId) {
        let Some(name) = self.names.get(&connection) else { return };
        let Some(open) = self.open.get_mut(name) else { return };
        for open in open.values_mut().filter(|open| open.since >= now - STARTING_MS_MAX) {
            open.shown = true;
        }
    }

    /// Takes in that a connection is closed, by whomever.
    pub fn closed(&mut self, connection: ConnectionId) {
        let Some(name) = self.names.remove(&connection) else { return };
        if let Some(open) = self.open.get_mut(&name) {
            open.remove(&connection);
            if open.is_empty() {
                self.open.remove(&name);
            }
        }
    }

    /// Tells whether a member of that name, not heard of since `since`, may be coming back.
    pub fn signs(&self, client_id: &str, client_host: &str, since: Timestamp) -> bool {
        let name: Name = (client_id.into(), client_host.into());
        let open = self.open.get(&name).into_iter().flat_map(BTreeMap::values);
        open.into_iter().any(|open| !open.shown && open.since >= since - OVERLAP_MS)
    }
}

/// How long before a join the connections of a process that starts may have been opened.
const STARTING_MS_MAX: Timestamp = 10_000;

/// How much older than the end of a member's connection the next one may seem. Clients close one and
/// then open the other, but the two are heard of by different tasks.
const OVERLAP_MS: Timestamp = 200;

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
        assert!(clients.signs("app", HOST, 900));
        assert!(
            clients.signs("app", HOST, 1_100),
            "opened just before the other was seen to close"
        );
        clients.spoke(NEXT);
        assert!(!clients.signs("app", HOST, 900));
    }

    #[test]
    fn an_older_connection_another_name_and_another_host_are_no_signs() {
        let clients = with(1_000);
        assert!(!clients.signs("app", HOST, 2_000));
        assert!(!clients.signs("other", HOST, 900));
        assert!(!clients.signs("app", "/127.0.0.2", 900));
    }

    #[test]
    fn a_connection_that_closed_is_no_sign() {
        let mut clients = with(1_000);
        clients.closed(NEXT);
        assert!(!clients.signs("app", HOST, 900));
        assert!(clients.names.is_empty() && clients.open.is_empty());
    }

    #[test]
    fn the_join_of_a_new_member_explains_what_its_process_opened() {
        let mut clients = with(1_000);
        clients.opened(1_010, ConnectionId(3), "app", HOST);
        clients.opened(1_010, ConnectionId(4), "other", HOST);
        clients.began(1_020, ConnectionId(3));
        assert!(!clients.signs("app", HOST, 900));
        assert!(clients.signs("other", HOST, 900));
        clients.opened(1_030, ConnectionId(5), "app", HOST);
        assert!(clients.signs("app", HOST, 900));
    }
}
