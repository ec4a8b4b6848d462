//! What a tool printed, with all that cannot be equal on two brokers replaced by a word: addresses,
//! folders, topic ids, the random part of member ids, and times. Of a Java stack trace the first line
//! stays, the frames do not; nor does a consumer's word that it was assigned nothing.

/// How the output of one run is made comparable.
#[derive(Debug)]
pub(super) struct Comparable {
    /// What is replaced, and by which word.
    pub(super) replaced: Vec<(String, &'static str)>,
    /// Whether the lines come in no promised order.
    pub(super) sorted: bool,
}

impl Comparable {
    /// Returns the lines of an output.
    pub(super) fn lines(&self, text: &str) -> Vec<String> {
        let mut text = text.to_owned();
        for (from, to) in &self.replaced {
            text = text.replace(from, to);
        }
        let mut lines: Vec<String> = text
            .lines()
            .filter(|line| !is_stack_frame(line) && !is_empty_assignment(line))
            .map(|line| without_times(&without_ids(line)).trim_end_matches(' ').to_owned())
            .collect();
        if self.sorted {
            lines.sort();
        }
        lines
    }
}

fn is_stack_frame(line: &str) -> bool {
    line.starts_with("\tat ") || line.starts_with("\t... ") || line.starts_with("Caused by: ")
}

/// Tells whether a consumer says that it was assigned nothing. Java's says so first if it is told of its
/// partitions before it has heard of their topic, which is a matter of milliseconds.
fn is_empty_assignment(line: &str) -> bool {
    line.contains(r#""name":"partitions_assigned","partitions":[]"#)
}

/// Replaces topic ids (`TopicId: …`), the UUIDs in member ids, and those that are member ids of the new
/// group protocol. All have fixed lengths.
fn without_ids(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut after_label = false;
    for word in line.split_inclusive([' ', '\t']) {
        let bare = word.trim_end();
        let length = bare.len();
        let bytes = bare.as_bytes();
        let is_uuid_at = |at: usize| {
            [8, 13, 18, 23].iter().all(|dash| bytes.get(at + dash) == Some(&b'-'))
                && bytes[at..].iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-')
        };
        if after_label {
            words.push(word.replacen(bare, "TOPIC-ID", 1));
        } else if length >= 36 && is_uuid_at(length - 36) {
            let uuid = &bare[length - 36..];
            words.push(word.replacen(uuid, "UUID", 1));
        } else if is_short_uuid(bare) {
            words.push(word.replacen(bare, "UUID", 1));
        } else {
            words.push(word.to_owned());
        }
        after_label = bare == "TopicId:";
    }
    words.concat()
}

/// Tells whether this is a UUID in base64: 22 letters and digits, of which some are large and some small.
fn is_short_uuid(word: &str) -> bool {
    let of_base64 = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    word.len() == 22
        && word.bytes().all(of_base64)
        && word.bytes().any(|byte| byte.is_ascii_uppercase())
        && word.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// Replaces what is a time in milliseconds of this century so far: thirteen digits that begin with 1.
fn without_times(line: &str) -> String {
    let mut out = String::new();
    let mut digits = String::new();
    for character in line.chars().chain(['\n']) {
        if character.is_ascii_digit() {
            digits.push(character);
            continue;
        }
        let is_time = digits.len() == 13 && digits.starts_with('1');
        out.push_str(if is_time { "TIME" } else { &digits });
        digits.clear();
        out.push(character);
    }
    out.pop();
    out
}
