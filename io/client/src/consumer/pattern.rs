//! Patterns of topics: a regular expression that has to match the whole name, as Java's does.

use std::sync::Arc;

use kohort_client_core::consumer::Pattern;
use regex::bytes::RegexBuilder;

use super::ConsumerError;

/// Reads a pattern. Names of topics are ASCII, so `\d` and `\w` mean what they mean there.
pub(super) fn compile(pattern: &str, exclude_internal: bool) -> Result<Pattern, ConsumerError> {
    // Alone first: one that is not closed must not be closed by what is put around it.
    let refuse = |error: regex::Error| ConsumerError::Pattern {
        pattern: pattern.to_owned(),
        why: error.to_string(),
    };
    let build = |text: &str| RegexBuilder::new(text).unicode(false).build().map_err(refuse);
    build(pattern)?;
    let regex = build(&format!("^(?:{pattern})$"))?;
    Ok(Pattern {
        text: Arc::from(pattern),
        exclude_internal,
        matches: Arc::new(move |topic| regex.is_match(topic.as_bytes())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names() {
        let orders = compile(r"orders-\d+|audit", true).expect("it is one");
        for (topic, meant) in
            [("orders-7", true), ("audit", true), ("orders-7x", false), ("my-audit", false)]
        {
            assert_eq!((orders.matches)(topic), meant, "{topic}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in ["(", ")(", "[z-a]"] {
            let error = compile(pattern, true).expect_err("it is none");
            assert!(error.to_string().contains(pattern), "{error}");
        }
    }
}
