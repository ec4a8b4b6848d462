//! Member ids, without more of their random half than a reader needs.

/// Returns a member id with as much of its UUID as tells it from others.
pub(crate) fn short(id: &str) -> String {
    match split(id) {
        Some((name, uuid)) => format!("{name}{}..", &uuid[..TELLING]),
        None => id.to_owned(),
    }
}

/// Shortens the member ids in a sentence.
pub(crate) fn shortened(text: &str) -> String {
    text.split(' ').map(short).collect::<Vec<_>>().join(" ")
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

/// Characters of it that tell one member of a group from another.
const TELLING: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_what_a_person_gave_them() {
        let text = "leader m-1-06225775-8a42-4e1c-892f-86f54b35b073 rejoined";
        assert_eq!(shortened(text), "leader m-1-062257.. rejoined");
        assert_eq!(client_ids(text), "leader m-1 rejoined");
        for plain in [
            "",
            "-",
            "m-1",
            "06225775-8a42-4e1c-892f-86f54b35b07é",
            "no uuid in it at all, but long",
        ] {
            assert_eq!((shortened(plain), client_ids(plain)), (plain.to_owned(), plain.to_owned()));
        }
    }
}
