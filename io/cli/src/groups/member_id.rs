//! Member ids, without more of their random half than a reader needs.
//!
//! In the classic protocol an id begins with what a person chose, the client id or the instance id. In the consumer
//! protocol it is random from end to end, a UUID as it is written or in Java's base64. The events say who has
//! it, and so it is told:
//!
//! ```text
//! orders-06225775-8a42-4e1c-892f-86f54b35b073     orders-062257..
//! kQot7IkCTMG-642hZY7sZw    of client orders      orders-kQot7I..
//!                           with instance id i-1  orders/i-1-kQot7I..
//! ```

use std::collections::BTreeMap;

use kohort_broker::group_events::MemberEvent;

/// How the members that an event names are told.
#[derive(Debug)]
pub(crate) struct Names(BTreeMap<String, String>);

impl Names {
    /// Takes in who the members are. Ids that begin alike are told whole.
    pub(crate) fn new(members: &BTreeMap<String, MemberEvent>) -> Self {
        let mut alike: BTreeMap<String, Vec<&String>> = BTreeMap::new();
        for (id, who) in members {
            alike.entry(name(id, who)).or_default().push(id);
        }
        let names = alike.into_iter().flat_map(|(name, ids)| {
            let is_one = ids.len() == 1;
            ids.into_iter()
                .map(move |id| (id.clone(), if is_one { name.clone() } else { id.clone() }))
        });
        Self(names.collect())
    }

    /// Returns how a member is told.
    pub(crate) fn of(&self, id: &str) -> String {
        self.0.get(id).cloned().unwrap_or_else(|| short(id))
    }

    /// Tells the members in a sentence by their names.
    pub(crate) fn in_text(&self, text: &str) -> String {
        text.split(' ').map(|word| self.of(word)).collect::<Vec<_>>().join(" ")
    }
}

fn name(id: &str, who: &MemberEvent) -> String {
    if !is_random(id) {
        return short(id);
    }
    let client = Some(who.client_id.as_str()).filter(|client| !client.is_empty());
    let chosen = client.into_iter().chain(who.instance_id.as_deref()).collect::<Vec<_>>().join("/");
    let random = &id[..TELLING];
    if chosen.is_empty() { format!("{random}..") } else { format!("{chosen}-{random}..") }
}

/// Tells whether nobody chose any of an id.
fn is_random(id: &str) -> bool {
    let is_base64 = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    let is_short = id.len() == BASE64_UUID && id.bytes().all(is_base64);
    is_short || split(id).is_some_and(|(chosen, _)| chosen.is_empty())
}

/// Returns a member id with as much of its UUID as tells it from others.
fn short(id: &str) -> String {
    match split(id) {
        Some((name, uuid)) => format!("{name}{}..", &uuid[..TELLING]),
        None => id.to_owned(),
    }
}

/// Leaves nothing of the member ids in a sentence but the client ids they begin with.
pub(crate) fn client_ids(text: &str) -> String {
    let word = |word| split(word).map_or(word, |(name, _)| name.strip_suffix('-').unwrap_or(name));
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Splits an id into what stands before its UUID, and that.
fn split(id: &str) -> Option<(&str, &str)> {
    let (name, uuid) = id.split_at_checked(id.len().checked_sub(UUID)?)?;
    let fits = |(at, c): (usize, char)| match at {
        8 | 13 | 18 | 23 => c == '-',
        _ => c.is_ascii_hexdigit(),
    };
    uuid.chars().enumerate().all(fits).then_some((name, uuid))
}

/// Characters of `123e4567-e89b-12d3-a456-426614174000`.
const UUID: usize = 36;

/// Characters of the same as Java and librdkafka write it: base64 without padding.
const BASE64_UUID: usize = 22;

/// Characters of it that tell one member of a group from another.
const TELLING: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(members: &[(&str, &str, Option<&str>)]) -> Names {
        let member = |(id, client, instance): &(&str, &str, Option<&str>)| {
            let who = MemberEvent {
                client_id: (*client).to_owned(),
                client_host: "/h".to_owned(),
                instance_id: instance.map(str::to_owned),
            };
            ((*id).to_owned(), who)
        };
        Names::new(&members.iter().map(member).collect())
    }

    #[test]
    fn ids_keep_what_a_person_gave_them() {
        let text = "leader m-1-06225775-8a42-4e1c-892f-86f54b35b073 rejoined";
        assert_eq!(names(&[]).in_text(text), "leader m-1-062257.. rejoined");
        assert_eq!(client_ids(text), "leader m-1 rejoined");
        for plain in [
            "",
            "-",
            "m-1",
            "06225775-8a42-4e1c-892f-86f54b35b07é",
            "no uuid in it at all, but long",
        ] {
            let nobody = names(&[]);
            assert_eq!(
                (nobody.in_text(plain), client_ids(plain)),
                (plain.to_owned(), plain.to_owned())
            );
        }
    }

    #[test]
    fn an_id_that_says_nothing_is_told_with_who_has_it() {
        let (uuid, base64) = ("06225775-8a42-4e1c-892f-86f54b35b073", "kQot7IkCTMG-642hZY7sZw");
        let names = names(&[
            (uuid, "orders", None),
            (base64, "orders", Some("i-1")),
            ("m-1", "orders", None),
        ]);
        let text = format!("static member i-1 came back as {base64} in place of {uuid}");
        let told = "static member i-1 came back as orders/i-1-kQot7I.. in place of orders-062257..";
        assert_eq!((names.in_text(&text), names.of("m-1")), (told.to_owned(), "m-1".to_owned()));
        assert_eq!(names.of("someone-else-kQot7I"), "someone-else-kQot7I", "who is not known");
    }

    #[test]
    fn ids_that_begin_alike_are_told_whole() {
        let (a, b) = ("062257AAAAAAAAAAAAAAAA", "062257BBBBBBBBBBBBBBBB");
        let names = names(&[
            (a, "orders", None),
            (b, "orders", None),
            ("0622570000000000000000", "bills", None),
        ]);
        assert_eq!([names.of(a), names.of(b)], [a, b]);
        assert_eq!(names.of("0622570000000000000000"), "bills-062257..");
    }
}
