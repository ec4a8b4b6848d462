//! Which connections are signs of whom.

use super::Signs::{Hoped, Missing, Replaced};
use super::kept::DESERTED_KEPT;
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
    assert_eq!(clients.signs(900, "m", "app", HOST, 900), Hoped);
    assert_eq!(
        clients.signs(1_100, "m", "app", HOST, 1_100),
        Hoped,
        "opened just before the other was seen to close"
    );
    clients.spoke(NEXT, "n");
    assert_eq!(clients.signs(900, "m", "app", HOST, 900), Missing);
    let mut clients = with(1_000);
    clients.spoke(NEXT, "");
    assert_eq!(clients.signs(900, "m", "app", HOST, 900), Missing, "it has no id yet, and m has");
}

#[test]
fn another_name_and_another_host_are_no_signs() {
    let clients = with(1_000);
    assert_eq!(clients.signs(900, "m", "other", HOST, 900), Missing);
    assert_eq!(clients.signs(900, "m", "app", "/127.0.0.2", 900), Missing);
}

#[test]
fn a_connection_that_closed_is_no_sign() {
    let mut clients = with(1_000);
    clients.closed(1_100, NEXT, Closing::ByPeer);
    assert_eq!(clients.signs(900, "m", "app", HOST, 900), Missing);
    assert!(clients.names.is_empty() && clients.named.is_empty());
}

#[test]
fn an_older_connection_is_a_sign_if_the_member_s_own_closed_alone() {
    let mut clients = with(1_000);
    let (own, third, fourth) = (ConnectionId(1), ConnectionId(3), ConnectionId(4));
    for connection in [own, third, fourth] {
        clients.opened(1_000, connection, "app", HOST);
    }
    clients.began(1_100, own, "");
    clients.spoke(own, "m");
    clients.closed(20_000, own, Closing::ByPeer);
    assert_eq!(
        clients.signs(20_001, "m", "app", HOST, 20_001),
        Hoped,
        "it fetches over the others"
    );
    clients.spoke(NEXT, "n");
    assert_eq!(clients.signs(20_001, "m", "app", HOST, 20_001), Hoped);
    clients.closed(20_010, NEXT, Closing::ByPeer);
    let signs = clients.signs(20_010, "m", "app", HOST, 20_001);
    assert_eq!(signs, Hoped, "that was another process's");
    // That was the end of one more connection of the process, or of another that has no member.
    clients.closed(20_040, third, Closing::ByPeer);
    assert_eq!(
        clients.signs(20_001, "m", "app", HOST, 20_001),
        Missing,
        "a death closes all of a process"
    );
    assert_eq!(
        clients.signs(30_000, "m", "app", HOST, 30_000),
        Hoped,
        "long after it nothing closed"
    );
}

#[test]
fn an_older_connection_is_no_sign_if_all_closed_over_which_the_member_spoke() {
    let mut clients = with(1_000);
    for connection in [1, 3].map(ConnectionId) {
        clients.opened(1_000, connection, "app", HOST);
        clients.spoke(connection, "m");
    }
    for connection in [1, 3].map(ConnectionId) {
        clients.closed(20_000, connection, Closing::ByPeer);
    }
    assert_eq!(clients.signs(20_000, "m", "app", HOST, 20_000), Missing, "that was a death");
}

#[test]
fn an_older_connection_over_which_a_member_speaks_is_that_member_s() {
    let mut clients = with(1_000);
    clients.spoke(NEXT, "n");
    clients.opened(1_000, ConnectionId(1), "app", HOST);
    clients.closed(20_000, ConnectionId(1), Closing::ByPeer);
    assert_eq!(clients.signs(20_000, "m", "app", HOST, 20_000), Missing);
}

#[test]
fn a_connection_over_which_the_member_itself_spoke_is_a_sign_while_it_is_open() {
    let mut clients = with(1_000);
    clients.spoke(NEXT, "m");
    for number in 3..6 {
        clients.opened(1_000, ConnectionId(number), "app", HOST);
        clients.closed(20_000, ConnectionId(number), Closing::ByPeer);
    }
    assert_eq!(clients.signs(20_000, "m", "app", HOST, 20_000), Hoped, "it commits over that one");
    assert_eq!(clients.signs(20_000, "l", "app", HOST, 20_000), Missing);
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
fn resets_of_all_that_is_open_under_a_name_are_a_death() {
    let of_two = || {
        let mut clients = with(1_000);
        clients.opened(1_000, ConnectionId(1), "app", HOST);
        clients
    };
    let mut clients = of_two();
    assert!(clients.closed(20_000, NEXT, Closing::Reset).is_empty());
    let both = [NEXT, ConnectionId(1)];
    assert_eq!(clients.closed(20_010, ConnectionId(1), Closing::Reset), both);
    let mut clients = of_two();
    clients.opened(1_000, ConnectionId(3), "app", HOST);
    assert!(clients.closed(20_000, NEXT, Closing::Reset).is_empty());
    assert!(clients.closed(20_010, ConnectionId(1), Closing::Reset).is_empty(), "one is left");
    let mut clients = of_two();
    assert!(clients.closed(20_000, NEXT, Closing::Reset).is_empty());
    assert!(clients.closed(30_000, ConnectionId(1), Closing::Reset).is_empty(), "it was alone");
}

#[test]
fn so_many_ends_of_connections_are_remembered() {
    let mut clients = with(1_000);
    for number in 10..100 {
        clients.opened(2_000, ConnectionId(number), "app", HOST);
        clients.closed(2_000, ConnectionId(number), Closing::ByPeer);
    }
    let kept: Vec<usize> = clients.named.values().map(|named| named.closed.len()).collect();
    assert_eq!(kept, [ENDS_KEPT]);
}

/// Members that lost their connections at 20 s; each heartbeat over one and fetched over another.
fn that_lost(members: &[&str]) -> Clients {
    let mut clients = Clients::default();
    for (number, member) in members.iter().enumerate() {
        let (own, fetches) = (ConnectionId(10 + number as u64), ConnectionId(20 + number as u64));
        clients.opened(1_000, own, "app", HOST);
        clients.opened(1_010, fetches, "app", HOST);
        clients.began(1_020, own, "");
        clients.spoke(own, member);
    }
    for number in 0..members.len() as u64 {
        clients.closed(20_000, ConnectionId(10 + number), Closing::ByPeer);
        clients.closed(20_001, ConnectionId(20 + number), Closing::ByPeer);
    }
    clients
}

#[test]
fn a_member_that_joins_again_under_another_id_has_it_on_all_its_connections() {
    let mut clients = with(1_000);
    let own = ConnectionId(1);
    clients.opened(1_000, own, "app", HOST);
    clients.spoke(own, "m");
    clients.spoke(NEXT, "m");
    clients.began(2_000, own, "");
    clients.spoke(own, "n");
    clients.closed(20_000, own, Closing::ByPeer);
    assert_eq!(clients.signs(20_000, "n", "app", HOST, 20_000), Hoped, "it commits over that one");
}

#[test]
fn a_member_that_dies_young_is_not_its_own_heir() {
    let mut clients = Clients::default();
    clients.began_at(20_000, 1, "");
    clients.spoke(ConnectionId(1), "m");
    clients.closed(20_010, ConnectionId(1), Closing::ByPeer);
    clients.opened(20_020, NEXT, "app", HOST);
    assert_eq!(clients.signs(20_010, "m", "app", HOST, 20_010), Hoped);
}

#[test]
fn a_process_that_is_started_again_is_not_its_predecessor() {
    let mut clients = that_lost(&["m"]);
    let (own, fetches) = (ConnectionId(1), ConnectionId(2));
    clients.opened(20_050, own, "app", HOST);
    assert_eq!(clients.signs(20_000, "m", "app", HOST, 20_000), Hoped, "who knows");
    clients.began(20_060, own, "");
    assert_eq!(clients.signs(20_000, "m", "app", HOST, 20_000), Replaced);
    clients.opened(20_300, fetches, "app", HOST);
    clients.spoke(own, "n");
    assert_eq!(
        clients.signs(20_000, "m", "app", HOST, 20_000),
        Replaced,
        "it only fetches over that"
    );
    assert_eq!(clients.signs(20_000, "m", "other", HOST, 20_000), Missing);
    // And so if that one dies as well, before anybody has noticed anything.
    clients.closed(20_400, own, Closing::ByPeer);
    clients.closed(20_400, fetches, Closing::ByPeer);
    clients.opened(20_500, ConnectionId(3), "app", HOST);
    assert_eq!(clients.signs(20_400, "n", "app", HOST, 20_400), Hoped);
    clients.began(20_510, ConnectionId(3), "o");
    assert_eq!(clients.signs(20_000, "m", "app", HOST, 20_000), Replaced);
    assert_eq!(clients.signs(20_400, "n", "app", HOST, 20_400), Replaced, "each has an heir");
}

#[test]
fn one_that_begins_takes_the_place_of_one() {
    let mut clients = that_lost(&["l", "m"]);
    clients.began_at(20_050, 1, "n");
    clients.opened(20_060, NEXT, "app", HOST);
    assert_eq!(
        clients.signs(20_000, "m", "app", HOST, 20_000),
        Hoped,
        "it may be l that was replaced"
    );
    assert_eq!(clients.signs(20_000, "l", "app", HOST, 20_000), Hoped);
    clients.spoke(NEXT, "l");
    assert_eq!(clients.signs(20_000, "l", "app", HOST, 20_000), Hoped);
    assert_eq!(clients.signs(20_000, "m", "app", HOST, 20_000), Replaced);
    let mut clients = that_lost(&["l", "m"]);
    clients.began_at(20_050, 1, "n");
    clients.began_at(20_050, 3, "o");
    clients.opened(20_060, NEXT, "app", HOST);
    assert_eq!(clients.signs(20_000, "m", "app", HOST, 20_000), Replaced);
    assert_eq!(clients.signs(20_000, "l", "app", HOST, 20_000), Replaced);
}

#[test]
fn each_that_was_lost_has_an_heir_that_came_after_it() {
    let mut clients = Clients::default();
    clients.began_at(1_000, 10, "z");
    clients.began_at(1_000, 11, "a");
    clients.closed(20_000, ConnectionId(10), Closing::ByPeer);
    clients.began_at(20_100, 12, "heir of z");
    clients.closed(20_900, ConnectionId(11), Closing::ByPeer);
    clients.began_at(20_950, 13, "heir of a");
    clients.opened(20_960, NEXT, "app", HOST);
    assert_eq!(clients.signs(20_970, "z", "app", HOST, 20_000), Replaced);
    assert_eq!(clients.signs(20_970, "a", "app", HOST, 20_900), Replaced);
}

#[test]
fn one_that_begins_twice_takes_the_place_of_one() {
    let mut clients = that_lost(&["l", "m"]);
    clients.began_at(20_050, 1, "n");
    clients.began(20_060, ConnectionId(1), "n");
    clients.opened(20_070, NEXT, "app", HOST);
    assert_eq!(clients.signs(20_000, "m", "app", HOST, 20_000), Hoped);
    assert_eq!(clients.signs(20_000, "l", "app", HOST, 20_000), Hoped);
}

#[test]
fn members_that_die_young_are_not_each_other_s_heirs() {
    let mut clients = Clients::default();
    clients.began_at(20_000, 1, "l");
    clients.began_at(20_005, 3, "m");
    clients.closed(20_010, ConnectionId(1), Closing::ByPeer);
    clients.closed(20_010, ConnectionId(3), Closing::ByPeer);
    clients.opened(20_020, NEXT, "app", HOST);
    clients.began_at(20_030, 4, "n");
    assert_eq!(clients.signs(20_010, "l", "app", HOST, 20_010), Hoped);
    assert_eq!(clients.signs(20_010, "m", "app", HOST, 20_010), Hoped);
}

#[test]
fn who_was_there_before_takes_nobody_s_place() {
    // One that lost its connection as well, was fenced, and begins anew.
    let mut clients = that_lost(&["l", "m"]);
    clients.began_at(20_050, 1, "l");
    clients.opened(20_060, NEXT, "app", HOST);
    assert_eq!(clients.signs(20_000, "m", "app", HOST, 20_000), Hoped);
    // One that lost no connection.
    let mut clients = that_lost(&["m"]);
    clients.began_at(10_000, 1, "l");
    clients.began(20_050, ConnectionId(1), "l");
    clients.opened(20_060, NEXT, "app", HOST);
    assert_eq!(clients.signs(20_000, "m", "app", HOST, 20_000), Hoped);
}

#[test]
fn of_members_beyond_counting_none_is_replaced() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let mut clients = that_lost(&names);
    for number in 0..9 {
        clients.began_at(20_050, 50 + number, &format!("new {number}"));
    }
    clients.opened(20_060, NEXT, "app", HOST);
    assert_eq!(clients.signs(20_000, "i", "app", HOST, 20_000), Hoped);
}

#[test]
fn a_connection_that_the_broker_closed_since_is_the_sign_it_was() {
    let mut clients = with(1_000);
    clients.began_at(1_000, 1, "m");
    clients.closed(20_000, ConnectionId(1), Closing::ByPeer);
    assert_eq!(clients.signs(20_001, "m", "app", HOST, 20_000), Hoped);
    clients.closed(26_000, NEXT, Closing::ByBroker);
    let signs = clients.signs(26_001, "m", "app", HOST, 20_000);
    assert_eq!(signs, Hoped, "it may be paused, and was idle therefore");
    let signs = clients.signs(26_001, "m", "app", HOST, 26_001);
    assert_eq!(signs, Missing, "closed before the member's own");
}

#[test]
fn many_members_that_are_lost_at_once_are_given_time_to_come_back() {
    let clients = that_lost(&["l", "m", "n"]);
    assert_eq!(clients.signs(22_999, "m", "app", HOST, 20_000), Hoped);
    assert_eq!(clients.signs(23_000, "m", "app", HOST, 20_000), Missing);
    let clients = that_lost(&["l", "m"]);
    assert_eq!(clients.signs(20_500, "m", "app", HOST, 20_000), Missing);
}

#[test]
fn members_of_any_client_ids_are_cut_off_together_by_what_lies_between() {
    let ids = ["one", "two", "three"];
    let that_lost = |lost: &[&str]| {
        let mut clients = Clients::default();
        for (connection, id) in (1..).map(ConnectionId).zip(ids) {
            clients.opened(1_000, connection, id, HOST);
            clients.began(1_010, connection, id);
        }
        for (connection, _) in (1..).map(ConnectionId).zip(lost) {
            clients.closed(20_000, connection, Closing::ByPeer);
        }
        clients
    };
    let clients = that_lost(&ids);
    assert_eq!(clients.signs(22_999, "two", "two", HOST, 20_000), Hoped);
    assert_eq!(clients.signs(23_000, "two", "two", HOST, 20_000), Missing);
    let clients = that_lost(&ids[..2]);
    assert_eq!(clients.signs(20_500, "two", "two", HOST, 20_000), Missing, "two may die at once");
    // One that is started again is its predecessor's successor, whatever lies between.
    let mut clients = that_lost(&ids);
    clients.opened(20_100, ConnectionId(9), "two", HOST);
    clients.began(20_100, ConnectionId(9), "another");
    assert_eq!(clients.signs(20_500, "two", "two", HOST, 20_000), Replaced);
}

#[test]
fn a_member_that_loses_one_connection_after_the_other_is_waited_for_longer() {
    let mut clients = Clients::default();
    let mut lose = |number, opened, closed| {
        clients.opened(opened, ConnectionId(number), "app", HOST);
        clients.spoke(ConnectionId(number), "m");
        clients.closed(closed, ConnectionId(number), Closing::ByPeer);
        [999, 1_000].map(|later| clients.signs(closed + later, "m", "app", HOST, closed))
    };
    assert_eq!(lose(1, 1_000, 60_000), [Missing, Missing]);
    assert_eq!(lose(2, 60_100, 62_000), [Hoped, Missing]);
}

#[test]
fn a_member_from_before_the_start_may_have_waited_long_before_it_came() {
    let lost_early = |came_after, joins| {
        let start = 1_000_000;
        let mut clients = Clients::default();
        clients.opened(start, ConnectionId(1), "another", HOST);
        let came = start + came_after;
        clients.opened(came, NEXT, "app", HOST);
        if joins {
            clients.began(came + 10, NEXT, "m");
        }
        clients.spoke(NEXT, "m");
        clients.closed(came + 8_000, NEXT, Closing::ByPeer);
        clients.signs(came + 8_500, "m", "app", HOST, came + 8_000)
    };
    assert_eq!(lost_early(0, false), Hoped);
    assert_eq!(lost_early(19_999, false), Hoped);
    assert_eq!(lost_early(20_000, false), Missing, "it had come before, if it was there");
    assert_eq!(lost_early(0, true), Missing, "it is new");
}

/// Has so many others come and go, each under a name of its own.
fn come_and_go(clients: &mut Clients, others: usize) {
    for number in 0..others as u64 {
        let name = number.to_string();
        clients.opened(21_000, ConnectionId(100 + number), &name, HOST);
        clients.spoke(ConnectionId(100 + number), "n");
        clients.closed(21_000, ConnectionId(100 + number), Closing::ByPeer);
    }
}

#[test]
fn so_many_names_are_remembered() {
    let mut clients = that_lost(&["m"]);
    come_and_go(&mut clients, 2 * DESERTED_KEPT);
    assert_eq!(clients.named.len(), DESERTED_KEPT);
    assert_eq!(clients.deserted.len(), DESERTED_KEPT);
    clients.began_at(22_000, 1, "n");
    clients.opened(22_000, NEXT, "app", HOST);
    assert_eq!(clients.signs(20_000, "m", "app", HOST, 20_000), Hoped, "it is forgotten");
}

#[test]
fn a_name_that_is_used_again_is_not_forgotten() {
    let mut clients = that_lost(&["m"]);
    clients.opened(20_500, NEXT, "app", HOST);
    come_and_go(&mut clients, 2 * DESERTED_KEPT);
    assert_eq!(clients.closed(22_000, NEXT, Closing::ByPeer), [NEXT]);
}

impl Clients {
    fn began_at(&mut self, now: Timestamp, connection: u64, member: &str) {
        self.opened(now, ConnectionId(connection), "app", HOST);
        self.began(now, ConnectionId(connection), member);
    }
}
