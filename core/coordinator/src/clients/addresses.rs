//! Whether what ended connections lies between their clients and the broker: a proxy, a load balancer, an address
//! translator, with whose address all who come by it come, under whatever client ids.
//!
//! ```text
//!   three members from an address lose connections at once ──► something between fell, or all of them did
//!       │ nobody else speaks from there                          │ others from there go on speaking
//!       ▼                                                        ▼
//!   the way may be closed for a while:                       a part of it fell, or some processes did,
//!   3 s to be back                                           and a way is open: 1.5 s to be back
//! ```
//!
//! Members are counted and not connections, of which a client has several.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::kept::{Deserted, remember};
use super::speaker::Speaker;
use crate::group::ConnectionId;
use crate::shard::Timestamp;

/// The addresses from which members speak, or did of late.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    known: BTreeMap<Arc<str>, Address>,
    /// Those from which nobody speaks any more.
    deserted: Deserted<Arc<str>>,
}

#[derive(Debug, Default)]
struct Address {
    /// The open connections over which members spoke, by when they were opened.
    speaking: BTreeSet<(Timestamp, ConnectionId)>,
    /// The last times at which many lost connections, and whoever lost one last.
    falls: VecDeque<Fall>,
    /// How often the last of its speaking connections closed.
    deserted: u64,
}

/// Members that lost connections one right after the other.
#[derive(Debug)]
struct Fall {
    first: Timestamp,
    last: Timestamp,
    /// Who they were; of more than [`MANY`] not all.
    members: BTreeSet<Speaker>,
}

impl Addresses {
    /// Takes in that somebody speaks over a connection.
    pub(super) fn spoke(&mut self, host: &Arc<str>, connection: ConnectionId, opened: Timestamp) {
        if let Some(address) = self.known.get_mut(host) {
            address.speaking.insert((opened, connection));
        } else {
            self.known.entry(host.clone()).or_default().speaking.insert((opened, connection));
        }
    }

    /// Takes in that a connection closed over which somebody spoke; `is_loss` tells that the broker did not close it.
    pub(super) fn closed(
        &mut self,
        now: Timestamp,
        host: &Arc<str>,
        connection: ConnectionId,
        opened: Timestamp,
        speaker: &Speaker,
        is_loss: bool,
    ) {
        let Some(address) = self.known.get_mut(host) else { return };
        address.speaking.remove(&(opened, connection));
        if is_loss {
            address.note_loss(now, speaker);
        }
        if !address.speaking.is_empty() {
            return;
        }
        address.deserted += 1;
        if let Some((oldest, times)) = self.deserted.add(host.clone(), address.deserted)
            && self
                .known
                .get(&oldest)
                .is_some_and(|it| it.speaking.is_empty() && it.deserted == times)
        {
            self.known.remove(&oldest);
        }
    }

    /// Tells whether a member that lost its connection at `since` may have lost it to something between, and
    /// may not be back yet.
    pub(super) fn may_be_cut_off(&self, now: Timestamp, host: &str, since: Timestamp) -> bool {
        let Some(address) = self.known.get(host) else { return false };
        let covers = |fall: &&Fall| {
            fall.members.len() >= MANY
                && (fall.first - APART_MS..=fall.last + APART_MS).contains(&since)
        };
        address.falls.iter().filter(covers).any(|fall| {
            let others = address.speaking.first().is_some_and(|(opened, _)| *opened < fall.first);
            now < since + if others { PARTLY_MS } else { BETWEEN_MS }
        })
    }
}

impl Address {
    fn note_loss(&mut self, now: Timestamp, speaker: &Speaker) {
        let goes_on = |fall: &&mut Fall| now - fall.last <= APART_MS;
        if let Some(fall) = self.falls.back_mut().filter(goes_on) {
            fall.last = now;
            if fall.members.len() < MANY {
                fall.members.insert(speaker.clone());
            }
            return;
        }
        // Of few it says nothing.
        if self.falls.back().is_some_and(|fall| fall.members.len() < MANY) {
            self.falls.pop_back();
        }
        let members = BTreeSet::from([speaker.clone()]);
        remember(&mut self.falls, FALLS_KEPT, Fall { first: now, last: now, members });
    }
}

/// When so many members lose connections at once it was rather what lies between than the death of all of them.
const MANY: usize = 3;

/// How far apart two of them may be: whatever falls closes its connections within a millisecond or two, and a busy
/// broker hears of it later.
const APART_MS: Timestamp = 50;

/// How many falls are remembered of an address. Nobody asks for one after three seconds.
const FALLS_KEPT: usize = 16;

/// How long clients may take to be back when the way was closed: Java waits a second at most between attempts,
/// franz-go two and a half.
const BETWEEN_MS: Timestamp = 3_000;

/// How long if others from the same address speak on, so that the way is open, or another one is: what is back in
/// a third of a second is found by then by every client we know, as they double waits of 50 to 250 ms.
const PARTLY_MS: Timestamp = 1_500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::kept::DESERTED_KEPT;

    const HOST: &str = "/10.0.0.1";

    /// An address from which so many members speak, each over a connection of its number.
    fn with(members: u64) -> Addresses {
        let mut addresses = Addresses::default();
        for number in 0..members {
            addresses.spoke(&HOST.into(), ConnectionId(number), 1_000);
        }
        addresses
    }

    impl Addresses {
        fn lose(&mut self, now: Timestamp, number: u64, member: &str) {
            let who = Speaker::Member(member.into());
            self.closed(now, &HOST.into(), ConnectionId(number), 1_000, &who, true);
        }

        /// Until when a member that lost its connection then may be cut off.
        fn held_until(&self, since: Timestamp) -> Timestamp {
            let held = |now: &Timestamp| self.may_be_cut_off(*now, HOST, since);
            (since..).step_by(500).find(|now| !held(now)).unwrap_or(since)
        }
    }

    #[test]
    fn members_that_fall_one_right_after_the_other_fell_together() {
        let mut addresses = with(4);
        for (number, member) in [(0, "a"), (1, "b"), (2, "c"), (3, "d")] {
            addresses.lose(20_000 + 50 * number as i64, number, member);
        }
        assert_eq!(addresses.held_until(20_000), 23_000);
        assert_eq!(addresses.held_until(20_150), 23_150);
        assert_eq!(addresses.held_until(20_201), 20_201, "long after them");
        assert_eq!(addresses.held_until(19_949), 19_949, "long before them");
        let mut addresses = with(3);
        for (number, member) in [(0, "a"), (1, "b"), (2, "c")] {
            addresses.lose(20_000 + 51 * number as i64, number, member);
        }
        assert_eq!(addresses.held_until(20_051), 20_051, "apart");
    }

    #[test]
    fn members_are_counted_and_not_connections() {
        let mut addresses = with(6);
        for (number, member) in [(0, "a"), (1, "a"), (2, "a"), (3, "b"), (4, "b")] {
            addresses.lose(20_000, number, member);
        }
        assert_eq!(addresses.held_until(20_000), 20_000);
    }

    #[test]
    fn who_speaks_on_shows_that_a_way_is_open() {
        let mut addresses = with(4);
        for (number, member) in [(0, "a"), (1, "b"), (2, "c")] {
            addresses.lose(20_000, number, member);
        }
        assert_eq!(addresses.held_until(20_000), 21_500);
        // Who came since says nothing: others may wait longer before they come.
        addresses.lose(20_040, 3, "d");
        addresses.spoke(&HOST.into(), ConnectionId(9), 20_300);
        assert_eq!(addresses.held_until(20_000), 23_000);
    }

    #[test]
    fn what_the_broker_closes_and_what_falls_elsewhere_does_not_count() {
        let mut addresses = with(3);
        addresses.spoke(&"/10.0.0.2".into(), ConnectionId(3), 1_000);
        addresses.lose(20_000, 0, "a");
        addresses.lose(20_000, 1, "b");
        let who = Speaker::Member("c".into());
        addresses.closed(20_000, &HOST.into(), ConnectionId(2), 1_000, &who, false);
        addresses.closed(20_000, &"/10.0.0.2".into(), ConnectionId(3), 1_000, &who, true);
        assert_eq!(addresses.held_until(20_000), 20_000);
    }

    #[test]
    fn members_that_fall_one_by_one_do_not_make_a_fall_of_many_forgotten() {
        let others = 20;
        let mut addresses = with(3 + others);
        for (number, member) in [(0, "a"), (1, "b"), (2, "c")] {
            addresses.lose(20_000, number, member);
        }
        for number in 0..others {
            addresses.lose(20_100 + 100 * number as i64, 3 + number, &number.to_string());
        }
        assert_eq!(addresses.held_until(20_000), 23_000);
    }

    #[test]
    fn an_address_that_is_used_again_is_not_forgotten() {
        let mut addresses = with(1);
        addresses.lose(20_000, 0, "a");
        addresses.spoke(&HOST.into(), ConnectionId(1), 20_500);
        let who = Speaker::Member("b".into());
        for number in 2..2 * DESERTED_KEPT as u64 {
            let host: Arc<str> = number.to_string().into();
            addresses.spoke(&host, ConnectionId(number), 1_000);
            addresses.closed(21_000, &host, ConnectionId(number), 1_000, &who, true);
        }
        assert!(addresses.known.contains_key(HOST));
    }

    #[test]
    fn so_many_addresses_and_falls_are_remembered() {
        let mut addresses = with(0);
        let who = Speaker::Member("a".into());
        for number in 0..2 * DESERTED_KEPT as u64 {
            let host: Arc<str> = number.to_string().into();
            addresses.spoke(&host, ConnectionId(number), 1_000);
            addresses.closed(20_000, &host, ConnectionId(number), 1_000, &who, true);
        }
        assert_eq!((addresses.known.len(), addresses.deserted.len()), (1_000, 1_000));
        for number in 0..1_000 {
            addresses.spoke(&HOST.into(), ConnectionId(number), 1_000);
            addresses.lose(20_000 + 100 * (number as i64 / 3), number, &number.to_string());
        }
        let kept =
            |it: &Address| (it.falls.len(), it.falls.iter().map(|it| it.members.len()).max());
        assert_eq!(addresses.known.get(HOST).map(kept), Some((FALLS_KEPT, Some(MANY))));
    }
}
