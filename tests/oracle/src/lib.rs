//! Kafka's own classes, in a Java process that answers line by line: those generated for its
//! messages ([`Oracle`]) and its coordinator's assignors ([`AssignorOracle`]).
//!
//! The classes come from Kafka's jars, which `cargo xtask peers` installs; the environment variable
//! `KOHORT_PEERS` names the folder they are in.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde_json::Value;

/// Kafka's classes for messages. The process ends when this value is dropped.
#[derive(Debug)]
pub struct Oracle(Java);

impl Oracle {
    /// Starts the process with the jars under `KOHORT_PEERS`.
    pub fn start() -> Result<Self> {
        Java::start("Oracle.java").map(Self)
    }

    /// Has Kafka's class read the bytes to the last one; returns them written again, and as JSON.
    pub fn decode(&mut self, class: &str, version: i16, bytes: &[u8]) -> Result<(Bytes, Value)> {
        let answer = self.0.ask(&format!("decode {class} {version} {}", hex(bytes)))?;
        let (bytes, json) = answer.split_once(' ').context("no JSON in the answer")?;
        Ok((unhex(bytes)?, serde_json::from_str(json)?))
    }

    /// Has Kafka's class make a value of the JSON and write it.
    pub fn encode(&mut self, class: &str, version: i16, json: &Value) -> Result<Bytes> {
        unhex(&self.0.ask(&format!("encode {class} {version} {json}"))?)
    }
}

/// The assignors of Kafka's group coordinator. The process ends when this value is dropped.
#[derive(Debug)]
pub struct AssignorOracle(Java);

impl AssignorOracle {
    /// Starts the process with the jars under `KOHORT_PEERS`.
    pub fn start() -> Result<Self> {
        Java::start("Assignors.java").map(Self)
    }

    /// Has an assignor divide partitions; what question and answer look like is told in
    /// `java/Assignors.java`.
    pub fn assign(&mut self, question: &Value) -> Result<Value> {
        Ok(serde_json::from_str(&self.0.ask(&format!("assign {question}"))?)?)
    }
}

/// A running Java process.
#[derive(Debug)]
struct Java {
    process: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Java {
    fn start(source: &str) -> Result<Self> {
        let peers = std::env::var_os("KOHORT_PEERS").context(
            "KOHORT_PEERS is not set: run `cargo xtask peers` and set it to the folder of the \
             peers, `target/peers`, or let `cargo xtask test` do both",
        )?;
        let libraries = PathBuf::from(peers).join("java/libs");
        if !libraries.is_dir() {
            bail!("{} is no folder: run `cargo xtask peers`", libraries.display());
        }
        let mut process = Command::new("java")
            .args(["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp"])
            .arg(libraries.join("*"))
            .arg(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/java")).join(source))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start `java`")?;
        let questions = process.stdin.take();
        let answers = process.stdout.take().context("the process has no output")?;
        Ok(Self { process, questions, answers: BufReader::new(answers) })
    }

    fn ask(&mut self, question: &str) -> Result<String> {
        let questions = self.questions.as_mut().context("the process has no input")?;
        writeln!(questions, "{question}")?;
        questions.flush()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        match answer.trim_end().split_once(' ') {
            Some(("ok", answer)) => Ok(answer.to_owned()),
            Some(("error", problem)) => bail!("Kafka's class says: {problem}"),
            // An empty message has no bytes to show.
            _ if answer.trim_end() == "ok" => Ok(String::new()),
            _ => bail!("the Java process ended or said {answer:?}"),
        }
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        // The end of its input ends the process.
        drop(self.questions.take());
        let _ = self.process.wait();
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

fn unhex(text: &str) -> Result<Bytes> {
    let digit = |text: &[u8]| Ok(u8::from_str_radix(std::str::from_utf8(text)?, 16)?);
    text.as_bytes().chunks(2).map(digit).collect()
}
