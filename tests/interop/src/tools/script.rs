//! The text form of a script: runs of tools with all that they print.
//!
//! ```text
//! # A note.
//! $ kafka-console-producer --topic lines --reader-property 'key.separator= '
//! < a line of stdin
//! > a line of stdout
//! ! a line of stderr
//! ? 1
//! @ file offsets.json
//! < a line of the file
//! @ join worker crew work 2
//! @ leave worker
//! ```
//!
//! `? STATUS` is left out when it is 0. `@ join MEMBER GROUP TOPIC PARTITIONS` starts a member and
//! waits until it owns so many partitions; with `consumer` behind it is one of the new group protocol.
//! `@ owns MEMBER PARTITIONS` waits until one that has joined before owns so many. In expected output `[..]` matches any text within a
//! line, a line `...` any lines, spaces at the end of a line do not count, and a tab is a tab.

use std::fmt;

use anyhow::{Context, Result, bail};

/// The steps of one file.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) acts: Vec<Act>,
}

/// One step, or text between steps.
#[derive(Debug)]
pub(super) enum Act {
    Note(String),
    Run(Run),
    File { name: String, lines: Vec<String> },
    Join { member: String, group: String, topic: String, partitions: usize, new: bool },
    Owns { member: String, partitions: usize },
    Leave { member: String },
}

/// One run of a tool.
#[derive(Debug)]
pub(super) struct Run {
    line: String,
    pub(super) tool: String,
    pub(super) arguments: Vec<String>,
    pub(super) stdin: Vec<String>,
    pub(super) expected: Printed,
}

/// What a tool printed, made comparable, and how it ended.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Printed {
    pub(super) stdout: Vec<String>,
    pub(super) stderr: Vec<String>,
    pub(super) status: i64,
}

impl Script {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut acts = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            take_in(&mut acts, line).with_context(|| format!("line {number}: {line:?}"))?;
        }
        Ok(Self { acts })
    }
}

fn take_in(acts: &mut Vec<Act>, line: &str) -> Result<()> {
    if line.is_empty() || line.starts_with('#') {
        acts.push(Act::Note(line.to_owned()));
        return Ok(());
    }
    if let Some(command) = line.strip_prefix("$ ") {
        let mut words = words(command)?.into_iter();
        acts.push(Act::Run(Run {
            line: command.to_owned(),
            tool: words.next().context("a run names a tool")?,
            arguments: words.collect(),
            stdin: Vec::new(),
            expected: Printed::default(),
        }));
        return Ok(());
    }
    if let Some(act) = line.strip_prefix("@ ") {
        acts.push(match act.split(' ').collect::<Vec<_>>()[..] {
            ["file", name] => Act::File { name: name.to_owned(), lines: Vec::new() },
            ["join", member, group, topic, partitions, ref protocol @ ..] => Act::Join {
                member: member.to_owned(),
                group: group.to_owned(),
                topic: topic.to_owned(),
                partitions: partitions.parse()?,
                new: match protocol {
                    [] => false,
                    ["consumer"] => true,
                    _ => bail!("no such protocol"),
                },
            },
            ["owns", member, partitions] => {
                Act::Owns { member: member.to_owned(), partitions: partitions.parse()? }
            }
            ["leave", member] => Act::Leave { member: member.to_owned() },
            _ => bail!("no such step"),
        });
        return Ok(());
    }
    let (mark, rest) = line.split_at_checked(2).unwrap_or((line, ""));
    let rest = rest.to_owned();
    match (mark, acts.last_mut()) {
        ("<" | "< ", Some(Act::File { lines, .. })) => lines.push(rest),
        ("<" | "< ", Some(Act::Run(run))) => run.stdin.push(rest),
        (">" | "> ", Some(Act::Run(run))) => run.expected.stdout.push(rest),
        ("!" | "! ", Some(Act::Run(run))) => run.expected.stderr.push(rest),
        ("? ", Some(Act::Run(run))) => run.expected.status = rest.parse()?,
        _ => bail!("neither a step nor part of one"),
    }
    Ok(())
}

/// Splits a command at its spaces; between single quotes they are part of a word.
fn words(command: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for character in command.chars() {
        match character {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    if quoted {
        bail!("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

impl Run {
    /// Returns the command as the script has it.
    pub(super) fn command(&self) -> &str {
        &self.line
    }
}

impl Printed {
    /// Returns whether a tool printed what this, as the expected, says.
    pub(super) fn matches(&self, printed: &Self) -> bool {
        self.status == printed.status
            && lines_match(&self.stdout, &printed.stdout)
            && lines_match(&self.stderr, &printed.stderr)
    }
}

fn lines_match(expected: &[String], found: &[String]) -> bool {
    match expected.split_first() {
        None => found.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=found.len()).any(|skipped| lines_match(rest, &found[skipped..]))
        }
        Some((first, rest)) => found
            .split_first()
            .is_some_and(|(line, others)| line_matches(first, line) && lines_match(rest, others)),
    }
}

fn line_matches(expected: &str, found: &str) -> bool {
    let mut pieces = expected.split("[..]");
    let Some(mut left) = pieces.next().and_then(|start| found.strip_prefix(start)) else {
        return false;
    };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return left.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return left.ends_with(piece);
        }
        match left.find(piece) {
            Some(at) => left = &left[at + piece.len()..],
            None => return false,
        }
    }
    true
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for act in &self.acts {
            match act {
                Act::Note(line) => writeln!(f, "{line}")?,
                Act::Run(run) => {
                    writeln!(f, "$ {}", run.line)?;
                    write_lines(f, "<", &run.stdin)?;
                    write!(f, "{}", run.expected)?;
                }
                Act::File { name, lines } => {
                    writeln!(f, "@ file {name}")?;
                    write_lines(f, "<", lines)?;
                }
                Act::Join { member, group, topic, partitions, new } => {
                    let protocol = if *new { " consumer" } else { "" };
                    writeln!(f, "@ join {member} {group} {topic} {partitions}{protocol}")?;
                }
                Act::Owns { member, partitions } => writeln!(f, "@ owns {member} {partitions}")?,
                Act::Leave { member } => writeln!(f, "@ leave {member}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_lines(f, ">", &self.stdout)?;
        write_lines(f, "!", &self.stderr)?;
        match self.status {
            0 => Ok(()),
            status => writeln!(f, "? {status}"),
        }
    }
}

fn write_lines(f: &mut fmt::Formatter<'_>, mark: &str, lines: &[String]) -> fmt::Result {
    lines.iter().try_for_each(|line| writeln!(f, "{}", format!("{mark} {line}").trim_end()))
}
