//! What is to be reached, beside what is measured.

use crate::broker::Kind;
use crate::hub::Client;

/// Returns the goal of an event among members.
pub(super) fn of(kind: Kind, client: Client, protocol: &str, event: &str) -> &'static str {
    let death = event.starts_with("SIGKILL");
    let rolling = event.starts_with("rolling");
    match (kind, client, protocol) {
        (Kind::Kohort, Client::Kohort, _) if death => "p99 < 1",
        (Kind::Kohort, Client::Kohort, _) => "p99 <= 0.05, kept never pause",
        (Kind::Kohort, _, "consumer") if death => "p99 < 1",
        (Kind::Kohort, _, "consumer") => "<= 0.6",
        (Kind::Kohort, _, _) if death => "their heartbeat (3) + 0.7",
        (Kind::Kafka, Client::Kohort, _) if rolling => "unserved <= 1",
        (Kind::Kafka, Client::Kohort, _) if death => "the session (45)",
        (Kind::Kafka, Client::Kohort, _) => "one heartbeat, kept never pause",
        _ => "-",
    }
}

/// Returns the goal of a restart of the broker.
pub(super) fn restart(kind: Kind, client: Client) -> &'static str {
    match (kind, client) {
        (Kind::Kohort, _) => {
            "start and first record < 0.5 + the client's back-off; 0 moved; 0 committed"
        }
        (Kind::Kafka, Client::Kohort) => "first record <= 0.2; 0 committed",
        (Kind::Kafka, _) => "-",
    }
}
