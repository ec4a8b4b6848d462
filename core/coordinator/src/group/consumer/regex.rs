//! Patterns of topics (RE2, matched against the whole name).
//!
//! Kafka compiles them with RE2/J and looks for topics on another thread, since a pattern may take long
//! there. Ours take time in proportion to the names' length, whatever the pattern, and its compiled form
//! is bounded, so a pattern is resolved in the heartbeat that brings it, and again when topics come or
//! go. A topic name is ASCII, and so are the classes: `\w` is what it is in RE2.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};

use crate::metadata::MetadataImage;

/// Tells what is wrong with a pattern, if anything is.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    if stacks_repetitions(&without_quotes(pattern)) {
        return Err("what is repeated may not be repeated again without brackets".to_owned());
    }
    compile(pattern).map(|_| ()).map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => format!("it would take more than {limit} bytes"),
        error => error.to_string(),
    })
}

/// Returns the topics that the pattern stands for; none if it is none.
pub(super) fn matching(pattern: &str, image: &MetadataImage) -> BTreeSet<Arc<str>> {
    let Ok(regex) = compile(pattern) else {
        // It was checked when it came. A log may hold what another build took.
        return BTreeSet::new();
    };
    let matches = image.topics().filter(|topic| regex.is_match(topic.name.as_bytes()));
    matches.map(|topic| topic.name.clone()).collect()
}

fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    let translated = without_quotes(pattern);
    // Alone first: with brackets around it, a pattern with a bracket too many might pass.
    build(&translated)?;
    build(&format!(r"\A(?:{translated})\z"))
}

fn build(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).unicode(false).size_limit(COMPILED_BYTES_MAX).build()
}

/// Replaces what stands between `\Q` and `\E`, which RE2 takes literally, by the same with escapes.
fn without_quotes(pattern: &str) -> String {
    let mut translated = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        translated.push_str(before);
        if let Some(quoted) = escape.strip_prefix(r"\Q") {
            let (literal, after) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
            translated.push_str(&regex::escape(literal));
            rest = after;
        } else {
            // The escaped character goes with its backslash: in `\\Q` it is the backslash that is meant.
            let mut characters = escape.chars();
            let end = characters.by_ref().take(2).map(char::len_utf8).sum();
            let _ = write!(translated, "{}", &escape[..end]);
            rest = &escape[end..];
        }
    }
    translated + rest
}

/// Tells whether the pattern has one repetition right after another, as `a**`, which RE2 refuses: elsewhere
/// that means something else.
fn stacks_repetitions(pattern: &str) -> bool {
    let mut rest = pattern;
    let mut repeated = false;
    while let Some(first) = rest.chars().next() {
        let repetition = repetition_length(rest);
        if repetition.is_some() && repeated {
            return true;
        }
        repeated = repetition.is_some();
        let length = repetition.unwrap_or_else(|| match first {
            '\\' => escape_length(rest),
            '[' => class_length(rest),
            '(' if rest.starts_with("(?") => 2,
            first => first.len_utf8(),
        });
        rest = &rest[length..];
    }
    false
}

/// Returns how long the repetition is that the text begins with, if it is one.
fn repetition_length(text: &str) -> Option<usize> {
    let length = match text.as_bytes().first()? {
        b'*' | b'+' | b'?' => 1,
        b'{' => {
            let end = text.find('}')?;
            let counts = &text[1..end];
            let digits = |count: &str| count.bytes().all(|byte| byte.is_ascii_digit());
            let (least, most) = counts.split_once(',').unwrap_or((counts, ""));
            (!least.is_empty() && digits(least) && digits(most)).then_some(end + 1)?
        }
        _ => return None,
    };
    // One that takes as little as it can.
    Some(length + usize::from(text[length..].starts_with('?')))
}

/// Returns how long the escape is that the text begins with, with the name of its class in braces.
fn escape_length(text: &str) -> usize {
    let end = text.chars().take(2).map(char::len_utf8).sum();
    let is_named = [r"\p{", r"\P{", r"\x{"].iter().any(|named| text.starts_with(named));
    if is_named { text.find('}').map_or(text.len(), |at| at + 1) } else { end }
}

/// Returns how long the class is that the text begins with. A bracket that comes first is one of its
/// characters.
fn class_length(text: &str) -> usize {
    let inside = text[1..].strip_prefix('^').unwrap_or(&text[1..]);
    let inside = inside.strip_prefix(']').unwrap_or(inside);
    let mut at = text.len() - inside.len();
    while let Some(next) = text[at..].chars().next() {
        let rest = &text[at..];
        at += match next {
            ']' => return at + 1,
            '\\' => escape_length(rest),
            '[' if rest.starts_with("[:") => rest.find(":]").map_or(1, |end| end + 2),
            next => next.len_utf8(),
        };
    }
    at
}

/// How large a pattern may be once it is compiled, which bounds what compiling it costs; far above what any
/// sensible pattern takes.
const COMPILED_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::TopicImage;
    use kohort_protocol::Uuid;

    fn matched(pattern: &str, topics: &[&str]) -> Vec<String> {
        let image = (1..).zip(topics).map(|(id, name)| TopicImage {
            name: (*name).into(),
            id: Uuid([id; 16]),
            partitions: 1,
        });
        let matched = matching(pattern, &image.collect());
        matched.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_pattern_is_matched_against_the_whole_name() {
        let topics = ["orders", "orders-1", "my-orders", "order"];
        assert_eq!(matched("orders", &topics), ["orders"]);
        assert_eq!(matched("orders.*", &topics), ["orders", "orders-1"]);
        assert_eq!(matched("my-orders|order", &topics), ["my-orders", "order"]);
        assert_eq!(matched("^order$", &topics), ["order"]);
        assert!(matched("", &topics).is_empty());
    }

    #[test]
    fn what_is_quoted_is_literal() {
        let topics = ["a.b", "axb", r"Q"];
        assert_eq!(matched(r"\Qa.b\E", &topics), ["a.b"]);
        assert_eq!(matched(r"\Qa.b", &topics), ["a.b"]);
        assert_eq!(matched(r"a\.b|\Q\E[Q]", &topics), ["Q", "a.b"]);
        assert!(matched(r"\\Q", &topics).is_empty(), "an escaped backslash begins no quote");
    }

    #[test]
    fn a_repetition_is_not_repeated() {
        for pattern in
            ["a**", "a+*", "a?+", "a??*", "a{2}{3}", "a{2,}*", "a*{2,3}", r"\d++", "[a]*?*"]
        {
            assert!(check(pattern).is_err(), "{pattern}");
        }
        let right = [
            "a*?b*",
            "a{2}?",
            "(a*)*",
            r"a\**",
            r"a*\*",
            "[*+]+",
            "[]*]+",
            "[^]*]*",
            "[[:alpha:]*]?",
            r"[\]*]*",
            r"\x{61}*",
            "(?i:a*)+",
            r"a*\Q*\E*",
        ];
        for pattern in right {
            assert_eq!(check(pattern), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        for pattern in ["(", "a)", "a)(b", "[", "*", "(?=a)", r"(a)\1", "a{1001}{1001}"] {
            assert!(check(pattern).is_err(), "{pattern}");
        }
        for pattern in ["", ".*", r"\w+-\d{1,3}", "(?i)ORDERS", "(?P<name>a)b", r"\pL?"] {
            let result = check(pattern);
            assert!(result.is_ok() || pattern.contains('p'), "{pattern}: {result:?}");
        }
    }
}
