//! Java's properties files, as Kafka's `server.properties` is one.
//!
//! The syntax is that of `java.util.Properties`: a logical line is `name=value`, `name:value` or
//! `name value`; blank lines and those that begin with `#` or `!` say nothing; a backslash at the
//! end joins the next line; `\t`, `\n`, `\r`, `\f` and `\uXXXX` stand for characters, and a
//! backslash before anything else is dropped. A name without a value has an empty one.
//!
//! Java reads such files as Latin-1. Files people write today are UTF-8, so that is tried first;
//! ASCII, which nearly all are, is both.

use super::ConfigError;
use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

/// One property of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where it begins, from 1.
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) value: String,
}

/// Returns a file's text, without the byte order mark that some editors of Windows begin it with.
pub(super) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
    }
}

/// Reads every property, in the order of the file.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, ConfigError> {
    // A lone carriage return ends a line too, as old Macs had it.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = text.split('\n').zip(1..);
    let mut entries = Vec::new();
    while let Some((first, line)) = lines.next() {
        let first = first.trim_start_matches(BLANKS);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        while is_continued(&logical) {
            logical.pop();
            // A comment sign on a joined line is text, as in Java.
            let Some((more, _)) = lines.next() else { break };
            logical.push_str(more.trim_start_matches(BLANKS));
        }
        entries.push(entry(line, &logical)?);
    }
    Ok(entries)
}

const BLANKS: [char; 3] = [' ', '\t', '\u{c}'];

/// An odd number of backslashes at the end: an even number stands for backslashes.
fn is_continued(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn entry(line: usize, logical: &str) -> Result<Entry, ConfigError> {
    let mut rest = logical.chars().peekable();
    let name = unescaped(&mut rest, line, |c| matches!(c, '=' | ':') || BLANKS.contains(&c))?;
    while rest.next_if(|c| BLANKS.contains(c)).is_some() {}
    if rest.next_if(|c| matches!(c, '=' | ':')).is_some() {
        while rest.next_if(|c| BLANKS.contains(c)).is_some() {}
    }
    let value = unescaped(&mut rest, line, |_| false)?;
    Ok(Entry { line, name, value })
}

/// Takes characters until an unescaped one for which `is_end`.
fn unescaped(
    chars: &mut Peekable<Chars<'_>>,
    line: usize,
    is_end: impl Fn(char) -> bool,
) -> Result<String, ConfigError> {
    // Collected as UTF-16, since two `\u` may make one character.
    let mut units: Vec<u16> = Vec::new();
    while let Some(c) = chars.next_if(|c| !is_end(*c)) {
        let literal = match c {
            '\\' => match chars.next() {
                Some('u') => {
                    units.push(utf16_unit(chars, line)?);
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some(other) => other,
                None => break,
            },
            c => c,
        };
        units.extend_from_slice(literal.encode_utf16(&mut [0; 2]));
    }
    Ok(String::from_utf16_lossy(&units))
}

fn utf16_unit(chars: &mut Peekable<Chars<'_>>, line: usize) -> Result<u16, ConfigError> {
    let digits: String = chars.by_ref().take(4).collect();
    let hexadecimal = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| hexadecimal);
    unit.ok_or_else(|| ConfigError::BadEscape { line, escape: format!("\\u{digits}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(usize, String, String)> {
        let entries = parse(text).unwrap();
        entries.into_iter().map(|entry| (entry.line, entry.name, entry.value)).collect()
    }

    fn check(text: &str, expected: &[(usize, &str, &str)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(line, name, value)| (*line, (*name).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(pairs(text), expected, "{text:?}");
    }

    #[test]
    fn names_end_at_the_first_separator_and_values_at_the_lines_end() {
        check(
            "a=1\nb:2\nc 3\nd = 4\ne\t:\t5 \nf",
            &[
                (1, "a", "1"),
                (2, "b", "2"),
                (3, "c", "3"),
                (4, "d", "4"),
                (5, "e", "5 "),
                (6, "f", ""),
            ],
        );
        check("listeners=PLAINTEXT://:9092", &[(1, "listeners", "PLAINTEXT://:9092")]);
        check("a==b", &[(1, "a", "=b")]);
    }

    #[test]
    fn comments_and_blank_lines_say_nothing() {
        check("# a=1\r\n  ! b=2\r\n\r\n \t\r\nc=3 # kept\r\n", &[(5, "c", "3 # kept")]);
        check("# joins nothing \\\na=1", &[(2, "a", "1")]);
    }

    #[test]
    fn a_backslash_at_the_end_joins_lines() {
        check("a=1,\\\n   2,\\\r\n  #3\nb=4", &[(1, "a", "1,2,#3"), (4, "b", "4")]);
        check("a=x\\\\\nb=2", &[(1, "a", "x\\"), (2, "b", "2")]);
        check("a=1\\", &[(1, "a", "1")]);
    }

    #[test]
    fn escapes_stand_for_characters() {
        check(r"a\ b\=c\:d=\t\n\q\\", &[(1, "a b=c:d", "\t\nq\\")]);
        check(r"a=\u00e9\uD83D\uDE00", &[(1, "a", "é😀")]);
        assert_eq!(
            parse("a=1\nb=\\u12x4"),
            Err(ConfigError::BadEscape { line: 2, escape: "\\u12x4".to_owned() })
        );
        assert!(parse("b=\\u1").is_err());
    }

    #[test]
    fn a_file_is_utf_8_if_it_can_be_and_latin_1_if_not() {
        assert_eq!(decode("a=é".as_bytes()), "a=é");
        assert_eq!(decode(b"a=\xe9"), "a=é");
    }

    #[test]
    fn a_byte_order_mark_belongs_to_no_name() {
        assert_eq!(decode("\u{feff}a=é".as_bytes()), "a=é");
        assert_eq!(decode(b"\xef\xbb\xbfa=\xe9"), "a=é");
    }
}
