//! Java's `.properties` format.

use super::ConfigError;

/// Reads the pairs of a file, in its order. A line without a separator is refused, where Java takes
/// it for a name without a value: it is a mistake more often than not.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, ConfigError> {
    let mut pairs = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut logical = line.trim_start().to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while is_continued(&logical) {
            logical.pop();
            let Some(next) = lines.next() else { break };
            logical.push_str(next.trim_start());
        }
        let broken = || ConfigError::NotAProperty { line: name_only(&logical) };
        let at = separator(&logical).ok_or_else(broken)?;
        let (name, value) = logical.split_at(at);
        let value = value.trim_start();
        let value = value.strip_prefix(['=', ':']).unwrap_or(value).trim();
        pairs.push((unescape(name.trim()), unescape(value)));
    }
    Ok(pairs)
}

/// An odd number of backslashes at the end: the last one is not itself escaped.
fn is_continued(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Where the name ends: at the first `=`, `:` or blank that no backslash precedes.
fn separator(line: &str) -> Option<usize> {
    let mut escaped = false;
    line.char_indices().find_map(|(at, c)| {
        let found = !escaped && (matches!(c, '=' | ':') || c.is_whitespace());
        escaped = !escaped && c == '\\';
        found.then_some(at)
    })
}

/// What an error may show of a line: not a value that could be a secret.
fn name_only(line: &str) -> String {
    line.split_whitespace().next().unwrap_or_default().to_owned()
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.clone().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                if let Some(code) = code.filter(|_| digits.len() == 4) {
                    out.push(code);
                    chars.nth(3);
                } else {
                    out.push('u');
                }
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        pairs(text).unwrap()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn names_and_values_are_separated_as_in_java() {
        let text = "# who\na=1\n b : 2\nc 3\n! what\n\nd==\ne=x=y:z\n";
        let expected = [("a", "1"), ("b", "2"), ("c", "3"), ("d", "="), ("e", "x=y:z")];
        assert_eq!(read(text), expected.map(|(name, value)| pair(name, value)));
    }

    #[test]
    fn a_certificate_may_span_lines() {
        let text =
            "ssl.keystore.key=-----BEGIN X-----\\n\\\n    AAAA\\n\\\n    -----END X-----\na=b";
        let expected =
            [pair("ssl.keystore.key", "-----BEGIN X-----\nAAAA\n-----END X-----"), pair("a", "b")];
        assert_eq!(read(text), expected);
    }

    #[test]
    fn escapes_are_taken_away_and_nothing_else() {
        assert_eq!(read(r"path = C:\\x\ty"), [pair("path", "C:\\x\ty")]);
        assert_eq!(read(r"a\=b = \u00e9\u12"), [pair("a=b", "éu12")]);
        assert_eq!(read("last = x\\"), [pair("last", "x")]);
    }

    #[test]
    fn a_line_without_a_separator_is_refused_without_telling_all_of_it() {
        assert_eq!(
            pairs("alone").unwrap_err().to_string(),
            "`alone` is not a property: write `name = value`"
        );
    }
}
