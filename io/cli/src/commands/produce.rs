//! `kohort produce`: lines from stdin become records.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use kohort::config::ProducerConfig;
use kohort::producer::{Delivery, Header, Producer, ProducerRecord};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::mpsc;

use super::{Cluster, block_on};
use crate::format::json_to_bytes;

/// Send lines from stdin as records.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The topic; the broker may create it
    topic: String,
    /// Split each line into key and value at the first of these
    #[arg(short = 'K', long, value_name = "DELIMITER", conflicts_with = "json")]
    key_delimiter: Option<String>,
    /// Lines are JSON objects as `consume --json` writes them
    #[arg(short = 'J', long)]
    json: bool,
    /// Write to this partition instead of the one the key decides
    #[arg(short = 'p', long)]
    partition: Option<i32>,
    /// Compression: none, gzip, snappy, lz4 or zstd
    #[arg(short = 'z', long, value_name = "CODEC")]
    compression: Option<String>,
    #[command(flatten)]
    cluster: Cluster,
}

/// Records on their way; beyond it reading waits.
const IN_FLIGHT_MAX: usize = 10_000;
/// Beyond this, what is left when stdin ends is given up.
const CLOSE_DEADLINE: Duration = Duration::from_secs(120);

/// One record, taken from a line.
#[derive(Debug, Default, PartialEq)]
struct Parsed {
    partition: Option<i32>,
    timestamp: Option<i64>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Sends every line; the status is 1 if one of them was not written.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    block_on(async move {
        let mut config: ProducerConfig = args.cluster.configure()?;
        if let Some(codec) = &args.compression {
            kohort::config::Properties::set(&mut config, "compression.type", codec)?;
        }
        let producer = Producer::new(config)?;
        let (deliveries, delivered) = mpsc::channel(IN_FLIGHT_MAX);
        let confirm = tokio::spawn(confirm(delivered));
        let sent = send_lines(&args, &producer, deliveries).await;
        // What was read before a bad line is still delivered.
        producer.close(CLOSE_DEADLINE).await?;
        let failed = confirm.await.context("awaiting the acknowledgements failed")?;
        sent?;
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    })
}

async fn send_lines(
    args: &Args,
    producer: &Producer,
    deliveries: mpsc::Sender<(u64, Delivery)>,
) -> anyhow::Result<()> {
    let mut input = BufReader::new(tokio::io::stdin());
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if input.read_until(b'\n', &mut line).await.context("cannot read stdin")? == 0 {
            break;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        let parsed = parse(args, &line).with_context(|| format!("line {number}"))?;
        let headers: Vec<Header<'_>> = parsed
            .headers
            .iter()
            .map(|(key, value)| Header { key: key.as_bytes(), value: value.as_deref() })
            .collect();
        let mut record = ProducerRecord::to(&args.topic).headers(&headers);
        if let Some(key) = &parsed.key {
            record = record.key(key);
        }
        if let Some(value) = &parsed.value {
            record = record.value(value);
        }
        if let Some(partition) = args.partition.or(parsed.partition) {
            record = record.partition(partition);
        }
        if let Some(timestamp) = parsed.timestamp {
            record = record.timestamp(timestamp);
        }
        let delivery = producer.send(record).await.with_context(|| format!("line {number}"))?;
        if deliveries.send((number, delivery)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Awaits every delivery; returns whether one failed, and says which.
async fn confirm(mut delivered: mpsc::Receiver<(u64, Delivery)>) -> bool {
    let mut failed = false;
    while let Some((number, delivery)) = delivered.recv().await {
        if let Err(error) = delivery.await {
            eprintln!("kohort: line {number} was not written: {error}");
            failed = true;
        }
    }
    failed
}

fn parse(args: &Args, line: &[u8]) -> anyhow::Result<Parsed> {
    if args.json {
        return parse_json(line);
    }
    let Some(delimiter) = args.key_delimiter.as_ref().filter(|d| !d.is_empty()) else {
        return Ok(Parsed { value: Some(line.to_vec()), ..Parsed::default() });
    };
    let at = line
        .windows(delimiter.len())
        .position(|window| window == delimiter.as_bytes())
        .ok_or_else(|| anyhow!("the line has no `{delimiter}` between key and value"))?;
    Ok(Parsed {
        key: Some(line[..at].to_vec()),
        value: Some(line[at + delimiter.len()..].to_vec()),
        ..Parsed::default()
    })
}

/// Reads what `consume --json` writes. Topic, partition and offset of the original do not bind.
fn parse_json(line: &[u8]) -> anyhow::Result<Parsed> {
    let Value::Object(fields) = serde_json::from_slice(line).context("not JSON")? else {
        bail!("not a JSON object");
    };
    let bytes = |name: &str| match fields.get(name) {
        None => Ok(None),
        Some(value) => json_to_bytes(value).map_err(|error| anyhow!("`{name}`: {error}")),
    };
    let mut headers = Vec::new();
    for pair in fields.get("headers").and_then(Value::as_array).into_iter().flatten() {
        match pair.as_array().map(Vec::as_slice) {
            Some([Value::String(name), value]) => {
                let value = json_to_bytes(value).map_err(|error| anyhow!("`headers`: {error}"))?;
                headers.push((name.clone(), value));
            }
            _ => bail!("`headers` is not a list of [name, value] pairs"),
        }
    }
    Ok(Parsed {
        partition: None,
        timestamp: fields.get("ts").and_then(Value::as_i64),
        key: bytes("key")?,
        value: bytes("payload")?,
        headers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_line_is_read_with_all_its_parts() {
        let line = br#"{"key":"k","payload":{"base64":"/w=="},"ts":7,"headers":[["h",null]]}"#;
        assert_eq!(
            parse_json(line).unwrap(),
            Parsed {
                partition: None,
                timestamp: Some(7),
                key: Some(b"k".to_vec()),
                value: Some(vec![0xff]),
                headers: vec![("h".to_owned(), None)],
            }
        );
    }

    #[test]
    fn what_is_no_record_is_named() {
        for (line, named) in [
            (&b"7"[..], "not a JSON object"),
            (b"{", "not JSON"),
            (br#"{"headers":[["h"]]}"#, "`headers`"),
            (br#"{"key":{"base64":"?"}}"#, "`key`"),
        ] {
            let error = format!("{:#}", parse_json(line).unwrap_err());
            assert!(error.contains(named), "{error}");
        }
    }
}
